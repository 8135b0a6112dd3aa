// The blocks of an op and their homes: which home belongs to which block. Pure.
//
// Requires: as many blocks in the ranges as in the extents (every decoder has seen to it).
#pragma once

#include <optional>
#include <vector>

#include "chunkserver/store/rows.h"

namespace cairn::chunkserver::store {

// Steps through the blocks of extents.
class HomeCursor {
 public:
  explicit HomeCursor(const std::vector<Extent>& extents) : extents_(extents) {}
  // The next block; 0 when there are no more.
  std::uint64_t next() {
    if (extent_ == extents_.size()) return 0;
    const Extent& extent = extents_[extent_];
    const std::uint64_t home = extent.first + within_;
    if (++within_ == extent.count) {
      ++extent_;
      within_ = 0;
    }
    return home;
  }
  void skip(std::uint64_t blocks);

 private:
  const std::vector<Extent>& extents_;
  std::size_t extent_ = 0;
  std::uint64_t within_ = 0;
};

// How many blocks of sorted, disjoint ranges come before `block`; nullopt: it is in none of them.
std::optional<std::size_t> index_in(const std::vector<BlockRange>& ranges, std::uint64_t block);
// Home of the index-th block; 0 when there are fewer.
std::uint64_t home_at(const std::vector<Extent>& extents, std::size_t index);
// The same extents, but for the home of the index-th block.
std::vector<Extent> with_home(const std::vector<Extent>& extents, std::size_t index,
                              std::uint64_t home);
// Homes of the deltas of an op: the last ones of its extents.
std::vector<Extent> delta_homes(const PendingOp& op);
// The same blocks in as few ranges as possible.
std::vector<BlockRange> merged(const std::vector<BlockRange>& ranges);
// From the first to the last block that the op changes; empty when there is none.
BlockRange hull_of(const PendingOp& op);
// The blocks that an undecided op changes, merged; all that a piece can have when the blocks of a
// forwarded op are not known any more.
std::vector<BlockRange> undecided_blocks(const PieceRow& row);
// Blocks whose newest layer among the first `count` ops is a delta, merged.
std::vector<BlockRange> delta_topped(const std::vector<PendingOp>& ops, std::size_t count);

}  // namespace cairn::chunkserver::store
