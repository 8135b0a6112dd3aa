// Rebuilder: one block of a piece from the same block of the chunk's other pieces: a copy, or
// decoded. The CRC of the right content is known and decides; sources may lie, or be of another
// moment. Pure.
//
// Promises: what build() calls right has that CRC. It tries the set of sources that was right last,
//           then others: every set when there are at most kSubsetsMax, else as many, by chance, so
//           that each source is left out by some.
// Limits:   kSubsetsMax decodes a block.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/base/buffer.h"
#include "common/erasure/codec.h"
#include "common/erasure/encoding.h"

namespace cairn::chunkserver::care {

inline constexpr std::size_t kSubsetsMax = 64;

// Sets of `count` of the bits of `have`, the order in which to try them: all when there are at most
// `most`, else `most` of them by chance; `first` leads when it is one.
std::vector<erasure::PieceMask> source_sets(erasure::PieceMask have, unsigned count,
                                            std::size_t most, erasure::PieceMask first,
                                            std::uint64_t seed);

class Rebuilder {
 public:
  // Requires: `wanted` is a piece of the encoding.
  Rebuilder(const erasure::Encoding& encoding, PieceIndex wanted);

  // `sources` by piece index: the block there, nullptr: not known. `into` has kBlockBytes. Answers
  // the pieces it was built from; 0: no set of them makes the block with this CRC.
  erasure::PieceMask build(std::span<std::byte* const> sources, std::uint32_t crc,
                           std::uint64_t seed, MutableBytes into);

  // Decodes since it was made.
  std::uint64_t decodes() const { return decodes_; }

 private:
  erasure::Encoding encoding_;
  unsigned wanted_;
  std::shared_ptr<const erasure::Codec> codec_;
  erasure::PieceMask last_ = 0;
  std::uint64_t decodes_ = 0;
};

}  // namespace cairn::chunkserver::care
