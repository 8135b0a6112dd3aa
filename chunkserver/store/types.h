// The words of the piece store: block ranges of a piece, extents of the disk, ids and facts of a
// write op, and the limits that keep every decoder and every loop bounded.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/ids.h"
#include "common/base/limits.h"
#include "common/base/units.h"

namespace cairn::chunkserver::store {

// Blocks of a piece: 4 GiB of one piece at most.
inline constexpr std::uint64_t kPieceBlocksMax = 4_GiB / kBlockBytes;
inline constexpr std::uint64_t kPrepareBlocksMax = limits::kPrepareBytesMax / kBlockBytes;
inline constexpr std::uint64_t kReadBlocksMax = limits::kReadBytesMax / kBlockBytes;
inline constexpr std::size_t kRangesMax = kPrepareBlocksMax;
// Undecided ops of one piece; a writer has far fewer in flight.
inline constexpr std::size_t kPendingOpsMax = 4096;

// A run of blocks of a piece.
struct BlockRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  std::uint64_t end() const { return first + count; }
  friend bool operator==(const BlockRange&, const BlockRange&) = default;
};

// A run of blocks of the disk.
struct Extent {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  std::uint64_t end() const { return first + count; }
  friend bool operator==(const Extent&, const Extent&) = default;
};

struct OpId {
  LeaseEpoch epoch;
  OpSeq seq;
  friend constexpr auto operator<=>(const OpId&, const OpId&) = default;
};

struct PieceIdHash {
  std::size_t operator()(PieceId piece) const {
    const std::uint64_t mixed =
        (piece.chunk.raw() * 32 + piece.index.raw()) * 0x9e3779b97f4a7c15ULL;
    return mixed ^ mixed >> 32;
  }
};

// What a piece's header keeps so that data can be salvaged without the MDS.
struct PieceFacts {
  std::uint32_t generator = 0;
  std::uint32_t data = 0;
  std::uint32_t parity = 0;
  std::uint32_t cell_bytes = 0;
  std::uint64_t inode = 0;
  std::uint64_t chunk_index = 0;
  friend bool operator==(const PieceFacts&, const PieceFacts&) = default;
};

template <class Range>
std::uint64_t total_blocks(const std::vector<Range>& ranges) {
  std::uint64_t total = 0;
  for (const Range& range : ranges) total += range.count;
  return total;
}

}  // namespace cairn::chunkserver::store
