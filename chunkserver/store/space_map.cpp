#include "chunkserver/store/space_map.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/check.h"

namespace cairn::chunkserver::store {
namespace {

// Extents looked at beyond the cursor before the best fit anywhere is taken.
constexpr int kNextFitSteps = 16;

}  // namespace

SpaceMap::SpaceMap(std::uint64_t begin, std::uint64_t end)
    : begin_(begin), end_(begin), cursor_(begin) {
  extend(end);
}

void SpaceMap::insert(std::uint64_t start, std::uint64_t count) {
  by_start_.emplace(start, count);
  by_size_.emplace(count, start);
}

void SpaceMap::remove(ByStart::iterator it) {
  by_size_.erase({it->second, it->first});
  by_start_.erase(it);
}

void SpaceMap::extend(std::uint64_t end) {
  CHECK_GE(end, end_);
  if (end == end_) return;
  const std::uint64_t added = end - end_;
  const std::uint64_t start = end_;
  end_ = end;
  const Status status = free({start, added});
  CHECK(status.has_value());
}

bool SpaceMap::is_free(std::uint64_t block) const {
  auto it = by_start_.upper_bound(block);
  if (it == by_start_.begin()) return false;
  --it;
  return block < it->first + it->second;
}

SpaceMap::ByStart::iterator SpaceMap::find_fit(std::uint64_t count) {
  auto it = by_start_.upper_bound(cursor_);
  if (it != by_start_.begin()) {
    // The extent the cursor stands in or behind.
    const auto before = std::prev(it);
    if (before->first + before->second > cursor_) it = before;
  }
  for (int step = 0; step < kNextFitSteps && it != by_start_.end(); ++step, ++it) {
    if (it->second >= count) return it;
  }
  const auto best = by_size_.lower_bound({count, 0});
  if (best != by_size_.end()) return by_start_.find(best->second);
  return by_start_.end();
}

Extent SpaceMap::carve(ByStart::iterator it, std::uint64_t count) {
  const Extent extent{it->first, count};
  const std::uint64_t left = it->second - count;
  remove(it);
  if (left != 0) insert(extent.end(), left);
  free_blocks_ -= count;
  cursor_ = extent.end();
  return extent;
}

Result<std::vector<Extent>> SpaceMap::allocate(std::uint64_t count) {
  if (count > free_blocks_) {
    return fail(Code::kNoSpace, fmt::format("{} blocks wanted, {} free", count, free_blocks_));
  }
  std::vector<Extent> extents;
  while (count != 0) {
    auto it = find_fit(count);
    if (it == by_start_.end()) it = by_start_.find(by_size_.rbegin()->second);
    const std::uint64_t taken = std::min(count, it->second);
    extents.push_back(carve(it, taken));
    count -= taken;
  }
  return extents;
}

Status SpaceMap::free(Extent extent) {
  if (extent.count == 0) return {};
  if (extent.first < begin_ || extent.end() > end_ || extent.end() < extent.first) {
    return fail(Code::kCorrupt, fmt::format("freeing {} + {}, outside [{}, {})", extent.first,
                                            extent.count, begin_, end_));
  }
  auto next = by_start_.lower_bound(extent.first);
  const bool overlaps_next = next != by_start_.end() && next->first < extent.end();
  auto before = next == by_start_.begin() ? by_start_.end() : std::prev(next);
  const bool has_before = before != by_start_.end();
  if (overlaps_next || (has_before && before->first + before->second > extent.first)) {
    return fail(Code::kCorrupt, fmt::format("{} + {} is freed twice", extent.first, extent.count));
  }
  free_blocks_ += extent.count;
  std::uint64_t start = extent.first;
  std::uint64_t count = extent.count;
  if (next != by_start_.end() && next->first == extent.end()) {
    count += next->second;
    remove(next);
  }
  if (has_before && before->first + before->second == start) {
    start = before->first;
    count += before->second;
    remove(before);
  }
  insert(start, count);
  return {};
}

Status SpaceMap::take(Extent extent) {
  if (extent.count == 0) return {};
  auto it = by_start_.upper_bound(extent.first);
  const bool found = it != by_start_.begin() && (--it, extent.first < it->first + it->second);
  if (!found || extent.end() > it->first + it->second) {
    return fail(Code::kCorrupt, fmt::format("{} + {} is used twice or outside [{}, {})",
                                            extent.first, extent.count, begin_, end_));
  }
  const Extent whole{it->first, it->second};
  remove(it);
  if (whole.first < extent.first) insert(whole.first, extent.first - whole.first);
  if (extent.end() < whole.end()) insert(extent.end(), whole.end() - extent.end());
  free_blocks_ -= extent.count;
  return {};
}

void SpaceMap::check_invariants() const {
  CHECK_EQ(by_start_.size(), by_size_.size());
  std::uint64_t total = 0;
  std::uint64_t last_end = 0;
  for (const auto& [start, count] : by_start_) {
    CHECK_GT(count, std::uint64_t{0});
    CHECK_GE(start, begin_);
    CHECK_LE(start + count, end_);
    CHECK(last_end == 0 || start > last_end);
    CHECK(by_size_.contains({count, start}));
    last_end = start + count;
    total += count;
  }
  CHECK_EQ(total, free_blocks_);
}

}  // namespace cairn::chunkserver::store
