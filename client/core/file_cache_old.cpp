// FileCache: the bytes that dirty blocks had before (docs/protocols/data-path.md, "Old bytes,
// deltas").
#include <bit>

#include "client/core/file_cache.h"

namespace cairn::client {

void FileCache::keep_old(unsigned data, std::uint64_t cell_blocks) {
  row_data_ = data < 2 ? 0 : data;
  row_cell_ = cell_blocks;
}

const std::byte* FileCache::old(std::uint64_t block) const {
  const auto found = old_.find(block);
  return found == old_.end() ? nullptr : found->second.bytes.data();
}

bool FileCache::wants_old(FileOffset offset, ByteCount length) {
  if (offset.raw() != run_end_) run_begin_ = offset.raw();
  run_end_ = offset.raw() + length;
  return row_data_ != 0 && pool_.old_max() != 0 && run_end_ - run_begin_ <= kSegmentBytes;
}

void FileCache::take_old(std::uint64_t index, const Segment& segment, std::uint16_t blocks) {
  // A clean block is what the chunk servers have. A claimed one is what they are about to have: if
  // its op fails, failed() forgets it.
  auto turning = static_cast<std::uint16_t>(blocks & segment.valid & ~segment.dirty);
  for (; turning != 0; turning = static_cast<std::uint16_t>(turning & (turning - 1))) {
    const auto at = static_cast<std::uint64_t>(std::countr_zero(turning));
    const std::uint64_t block = index * kSegmentBlocks + at;
    if (pool_.old_.size() >= pool_.old_max()) {
      const CachePool::OldPlace victim = pool_.old_.front();
      victim.file->drop_old(victim.block, 1);
    }
    Buffer bytes = Buffer::copy_of(segment.bytes.span().subspan(at * kBlockBytes, kBlockBytes));
    const auto place = pool_.old_.insert(pool_.old_.end(), {this, block});
    const bool added = old_.emplace(block, Old{std::move(bytes), place}).second;
    CHECK(added);
  }
}

void FileCache::drop_old(std::uint64_t first, std::uint64_t count) {
  if (old_.empty()) return;
  auto at = old_.lower_bound(first);
  while (at != old_.end() && at->first - first < count) {
    pool_.old_.erase(at->second.place);
    at = old_.erase(at);
  }
}

bool FileCache::row_is_dirty(std::uint64_t block) const {
  const std::uint64_t stripe = row_data_ * row_cell_;
  const std::uint64_t row = block - block % stripe + block % stripe % row_cell_;
  // From the last cell on: a writer in sequence gets there last.
  for (std::uint64_t cell = row_data_; cell-- > 0;) {
    if (!dirty(row + cell * row_cell_)) return false;
  }
  return true;
}

void FileCache::drop_old_of_full_rows(std::uint64_t first, std::uint64_t last) {
  const std::uint64_t stripe = row_data_ * row_cell_;
  if (stripe == 0 || old_.empty()) return;
  for (std::uint64_t block = first; block <= last; ++block) {
    if (!row_is_dirty(block)) continue;
    const std::uint64_t row = block - block % stripe + block % stripe % row_cell_;
    for (std::uint64_t cell = 0; cell < row_data_; ++cell) drop_old(row + cell * row_cell_, 1);
  }
}

void FileCache::check_invariants() const {
  std::uint64_t dirty = 0;
  std::uint64_t claimed = 0;
  for (const auto& [index, segment] : segments_) {
    CHECK_EQ(segment.dirty & ~segment.valid, 0);
    CHECK_EQ(segment.claimed & ~segment.valid, 0);
    CHECK_EQ(segment.lent & ~segment.claimed, 0);
    CHECK_EQ(segment.partly & ~segment.dirty, 0);
    CHECK_EQ(segment.place.has_value(), segment.dirty == 0 && segment.claimed == 0);
    dirty += static_cast<std::uint64_t>(std::popcount(segment.dirty));
    claimed += static_cast<std::uint64_t>(std::popcount(segment.claimed));
  }
  for (const auto& [block, one] : old_) {
    CHECK(this->dirty(block));
    CHECK_EQ(one.bytes.size(), kBlockBytes);
    CHECK_EQ(one.place->block, block);
  }
  CHECK_LE(pool_.old_.size(), pool_.old_max());
  CHECK_EQ(dirty, dirty_blocks_);
  CHECK_EQ(claimed, claimed_blocks_);
}

}  // namespace cairn::client
