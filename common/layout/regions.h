// Regions: a piece in 64 parts, the bits of the write-intent masks of missing pieces
// (docs/protocols/data-path.md, "When a participant fails"). Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "common/layout/file_layout.h"

namespace cairn::layout {

// Bit r is region r.
using RegionMask = std::uint64_t;
inline constexpr unsigned kRegions = 64;
inline constexpr RegionMask kAllRegions = ~RegionMask{0};

// Blocks of a region of a piece with so many blocks; the last regions of a tiny piece are empty.
constexpr std::uint64_t region_blocks(std::uint64_t piece_blocks) {
  return piece_blocks <= kRegions ? 1 : div_ceil(piece_blocks, kRegions);
}

// Regions that the run touches. Requires: it lies inside of the piece.
RegionMask regions_of(BlockRun run, std::uint64_t piece_blocks);
// The blocks of these regions, in order, neighbours joined.
std::vector<BlockRun> blocks_of(RegionMask regions, std::uint64_t piece_blocks);

}  // namespace cairn::layout
