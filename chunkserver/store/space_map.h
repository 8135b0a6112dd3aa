// SpaceMap: which blocks of the data file are free. Pure.
//
// Owns:     the free extents, maximal (no two touch).
// Promises: exact counts; allocate() gives one extent when one is long enough (near the last
//           allocation first, so that what is written together lies together), else as few as it
//           can.
// Limits:   memory grows with the number of free extents.
// Errors:   kNoSpace. Freeing a free block and taking a used one are broken invariants of the
//           caller: kCorrupt.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "chunkserver/store/types.h"
#include "common/base/result.h"

namespace cairn::chunkserver::store {

class SpaceMap {
 public:
  // Blocks [begin, end) exist and are free.
  SpaceMap(std::uint64_t begin, std::uint64_t end);

  std::uint64_t end() const { return end_; }
  std::uint64_t free_blocks() const { return free_blocks_; }
  std::uint64_t used_blocks() const { return end_ - begin_ - free_blocks_; }

  // More blocks exist: [end(), end).
  void extend(std::uint64_t end);
  Result<std::vector<Extent>> allocate(std::uint64_t count);
  Status free(Extent extent);
  // Marks free blocks as used (what the index says at start-up).
  Status take(Extent extent);
  bool is_free(std::uint64_t block) const;
  void check_invariants() const;

 private:
  using ByStart = std::map<std::uint64_t, std::uint64_t>;  // start -> count
  void insert(std::uint64_t start, std::uint64_t count);
  void remove(ByStart::iterator it);
  // Takes `count` blocks from the front of a free extent.
  Extent carve(ByStart::iterator it, std::uint64_t count);
  ByStart::iterator find_fit(std::uint64_t count);

  std::uint64_t begin_;
  std::uint64_t end_;
  std::uint64_t cursor_;
  std::uint64_t free_blocks_ = 0;
  ByStart by_start_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> by_size_;  // (count, start)
};

}  // namespace cairn::chunkserver::store
