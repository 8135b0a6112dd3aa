#include "client/core/file_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace cairn::client {

namespace {

// Bits [first, first + count) of a segment.
std::uint16_t mask_of(std::uint64_t first, std::uint64_t count) {
  DCHECK(first + count <= kSegmentBlocks);
  return static_cast<std::uint16_t>(((1U << count) - 1U) << first);
}
std::uint64_t segment_index(std::uint64_t block) { return block / kSegmentBlocks; }
std::uint64_t in_segment(std::uint64_t block) { return block % kSegmentBlocks; }
std::uint16_t bit_of(std::uint64_t block) { return mask_of(in_segment(block), 1); }
std::uint64_t bits(std::uint16_t mask) { return static_cast<std::uint64_t>(std::popcount(mask)); }

}  // namespace

bool CachePool::make_room(std::uint64_t segments) {
  while (segments_used() + segments > segments_max_ && !clean_.empty()) {
    const Place victim = clean_.front();
    victim.file->evict(victim.segment);
  }
  while (segments_used() + segments > segments_max_ && !old_.empty()) {
    const OldPlace victim = old_.front();
    victim.file->drop_old(victim.block, 1);
  }
  return segments_used() + segments <= segments_max_;
}

const FileCache::Segment* FileCache::find(std::uint64_t block) const {
  const auto found = segments_.find(segment_index(block));
  return found == segments_.end() ? nullptr : &found->second;
}

FileCache::Segment& FileCache::segment_of(std::uint64_t block) {
  const auto [at, added] = segments_.try_emplace(segment_index(block));
  if (added) {
    at->second.bytes = Buffer::allocate(kSegmentBytes);
    ++pool_.used_;
  }
  return at->second;
}

void FileCache::make_writable(Segment& segment, std::uint16_t blocks) {
  if ((segment.lent & blocks) == 0) return;
  Buffer copy = Buffer::allocate(kSegmentBytes);
  std::memcpy(copy.data(), segment.bytes.data(), kSegmentBytes);
  segment.bytes = std::move(copy);
  segment.lent = 0;
}

void FileCache::update_place(std::uint64_t index, Segment& segment) {
  if (segment.place.has_value()) {
    pool_.clean_.erase(*segment.place);
    segment.place.reset();
  }
  if (segment.dirty != 0 || segment.claimed != 0) return;
  segment.place = pool_.clean_.insert(pool_.clean_.end(), {this, index});
}

void FileCache::set_dirty(Segment& segment, std::uint16_t blocks, Instant now) {
  dirty_blocks_ += bits(static_cast<std::uint16_t>(blocks & ~segment.dirty));
  segment.dirty = static_cast<std::uint16_t>(segment.dirty | blocks);
  dirty_since_ = std::min(dirty_since_, now);
}

void FileCache::clear_dirty(Segment& segment, std::uint16_t blocks) {
  dirty_blocks_ -= bits(static_cast<std::uint16_t>(blocks & segment.dirty));
  segment.dirty = static_cast<std::uint16_t>(segment.dirty & ~blocks);
  segment.partly = static_cast<std::uint16_t>(segment.partly & ~blocks);
  if (dirty_blocks_ == 0) dirty_since_ = Instant::infinite();
}

void FileCache::erase(std::map<std::uint64_t, Segment>::iterator at) {
  Segment& segment = at->second;
  drop_old(at->first * kSegmentBlocks, kSegmentBlocks);
  clear_dirty(segment, segment.dirty);
  claimed_blocks_ -= bits(segment.claimed);
  if (segment.place.has_value()) pool_.clean_.erase(*segment.place);
  --pool_.used_;
  ++losses_;
  segments_.erase(at);
}

void FileCache::evict(std::uint64_t index) {
  const auto at = segments_.find(index);
  CHECK(at != segments_.end());
  CHECK_EQ(at->second.dirty | at->second.claimed, 0);
  erase(at);
}

std::uint64_t FileCache::missing_segments(FileOffset offset, ByteCount length) const {
  if (length == 0) return 0;
  const std::uint64_t first = offset.raw() / kSegmentBytes;
  const std::uint64_t last = (offset.raw() + length - 1) / kSegmentBytes;
  std::uint64_t missing = last - first + 1;
  for (auto at = segments_.lower_bound(first); at != segments_.end() && at->first <= last; ++at) {
    --missing;
  }
  return missing;
}

std::vector<std::uint64_t> FileCache::unknown_edges(FileOffset offset, ByteCount length) const {
  std::vector<std::uint64_t> edges;
  if (length == 0) return edges;
  const std::uint64_t begin = offset.raw();
  const std::uint64_t end = begin + length;
  const std::uint64_t first = begin / kBlockBytes;
  const std::uint64_t last = (end - 1) / kBlockBytes;
  const bool first_partial = begin % kBlockBytes != 0 || end < (first + 1) * kBlockBytes;
  if (first_partial && !valid(first)) edges.push_back(first);
  if (last != first && end % kBlockBytes != 0 && !valid(last)) edges.push_back(last);
  return edges;
}

void FileCache::fill(std::uint64_t block, Bytes bytes) {
  CHECK_LE(bytes.size(), kBlockBytes);
  Segment& segment = segment_of(block);
  if ((segment.valid & bit_of(block)) != 0) return;
  std::byte* at = segment.bytes.data() + in_segment(block) * kBlockBytes;
  if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
  if (bytes.size() < kBlockBytes) std::memset(at + bytes.size(), 0, kBlockBytes - bytes.size());
  segment.valid = static_cast<std::uint16_t>(segment.valid | bit_of(block));
  update_place(segment_index(block), segment);
}

void FileCache::write(FileOffset offset, Bytes bytes, Instant now, ByteCount older_end) {
  CHECK(unknown_edges(offset, bytes.size()).empty());
  if (bytes.empty()) return;
  std::uint64_t at = offset.raw();
  const std::uint64_t first_block = at / kBlockBytes;
  const std::uint64_t last_block = (at + bytes.size() - 1) / kBlockBytes;
  const bool keeps = wants_old(offset, bytes.size());
  while (!bytes.empty()) {
    const std::uint64_t in = at % kSegmentBytes;
    const std::size_t part = std::min<std::size_t>(bytes.size(), kSegmentBytes - in);
    const std::uint64_t first = in / kBlockBytes;
    const std::uint64_t last = (in + part - 1) / kBlockBytes;
    const std::uint16_t blocks = mask_of(first, last - first + 1);
    Segment& segment = segment_of(at / kBlockBytes);
    make_writable(segment, blocks);
    if (keeps) take_old(at / kSegmentBytes, segment, blocks);
    std::memcpy(segment.bytes.data() + in, bytes.data(), part);
    segment.valid = static_cast<std::uint16_t>(segment.valid | blocks);
    set_dirty(segment, blocks, now);
    // Blocks in between are new from end to end.
    std::uint16_t partly = static_cast<std::uint16_t>(segment.partly & ~blocks);
    const std::uint64_t begin = align_down(at, kBlockBytes);
    const std::uint64_t end = align_up(at + part, kBlockBytes);
    if (begin != at && begin < older_end) {
      partly = static_cast<std::uint16_t>(partly | mask_of(first, 1));
    }
    if (at + part < std::min(end, older_end)) {
      partly = static_cast<std::uint16_t>(partly | mask_of(last, 1));
    }
    segment.partly = partly;
    update_place(at / kSegmentBytes, segment);
    at += part;
    bytes = bytes.subspan(part);
  }
  if (old_.empty()) return;
  drop_old_of_full_rows(first_block, last_block);
  // Old bytes never make a write wait: other things go for them, or they go again.
  static_cast<void>(pool_.make_room(0));
}

bool FileCache::valid(std::uint64_t block) const {
  const Segment* segment = find(block);
  return segment != nullptr && (segment->valid & bit_of(block)) != 0;
}

bool FileCache::dirty(std::uint64_t block) const {
  const Segment* segment = find(block);
  return segment != nullptr && (segment->dirty & bit_of(block)) != 0;
}

std::uint64_t FileCache::valid_run(std::uint64_t block, std::uint64_t most,
                                   const std::byte** bytes) const {
  const Segment* segment = find(block);
  if (segment == nullptr) return 0;
  const std::uint64_t at = in_segment(block);
  const auto rest = static_cast<std::uint16_t>(segment->valid >> at);
  *bytes = segment->bytes.data() + at * kBlockBytes;
  return std::min<std::uint64_t>(most, static_cast<std::uint64_t>(std::countr_one(rest)));
}

void FileCache::copy_out(std::uint64_t block, std::size_t at, MutableBytes into) {
  CHECK_LE(at + into.size(), kBlockBytes);
  const auto found = segments_.find(segment_index(block));
  CHECK(found != segments_.end());
  CHECK_NE(found->second.valid & bit_of(block), 0);
  std::memcpy(into.data(), found->second.bytes.data() + in_segment(block) * kBlockBytes + at,
              into.size());
  if (found->second.place.has_value()) update_place(found->first, found->second);
}

std::vector<FileRun> FileCache::runs_of(std::uint16_t Segment::*which, std::uint64_t first,
                                        std::uint64_t count) const {
  std::vector<FileRun> runs;
  const std::uint64_t end = first + count;
  for (auto at = segments_.lower_bound(segment_index(first));
       at != segments_.end() && at->first * kSegmentBlocks < end; ++at) {
    const std::uint64_t begin = at->first * kSegmentBlocks;
    std::uint16_t mask = at->second.*which;
    if (begin < first) mask = static_cast<std::uint16_t>(mask & ~mask_of(0, first - begin));
    if (end - begin < kSegmentBlocks) {
      mask = static_cast<std::uint16_t>(mask & mask_of(0, end - begin));
    }
    while (mask != 0) {
      const auto low = static_cast<std::uint64_t>(std::countr_zero(mask));
      const auto length =
          static_cast<std::uint64_t>(std::countr_one(static_cast<std::uint16_t>(mask >> low)));
      mask = static_cast<std::uint16_t>(mask & ~mask_of(low, length));
      if (!runs.empty() && runs.back().first + runs.back().count == begin + low) {
        runs.back().count += length;
      } else {
        runs.push_back({begin + low, length});
      }
    }
  }
  return runs;
}

std::vector<FileRun> FileCache::dirty_runs(std::uint64_t first, std::uint64_t count) const {
  return runs_of(&Segment::dirty, first, count);
}

std::vector<FileRun> FileCache::valid_runs(std::uint64_t first, std::uint64_t count) const {
  return runs_of(&Segment::valid, first, count);
}

std::optional<std::uint64_t> FileCache::next_dirty(std::uint64_t block) const {
  for (auto at = segments_.lower_bound(segment_index(block)); at != segments_.end(); ++at) {
    std::uint16_t dirty = at->second.dirty;
    if (at->first == segment_index(block)) {
      dirty = static_cast<std::uint16_t>(dirty & ~mask_of(0, in_segment(block)));
    }
    if (dirty != 0) {
      return at->first * kSegmentBlocks + static_cast<std::uint64_t>(std::countr_zero(dirty));
    }
  }
  return std::nullopt;
}

Buffer FileCache::claim(std::uint64_t block, std::uint64_t most, bool* partly) {
  const auto found = segments_.find(segment_index(block));
  CHECK(found != segments_.end());
  Segment& segment = found->second;
  const std::uint64_t at = in_segment(block);
  const auto rest = static_cast<std::uint16_t>(segment.dirty >> at);
  const std::uint64_t count =
      std::min<std::uint64_t>(most, static_cast<std::uint64_t>(std::countr_one(rest)));
  CHECK_GT(count, std::uint64_t{0});
  const std::uint16_t blocks = mask_of(at, count);
  CHECK_EQ(segment.claimed & blocks, 0);
  if (partly != nullptr && (segment.partly & blocks) != 0) *partly = true;
  drop_old(block, count);
  clear_dirty(segment, blocks);
  claimed_blocks_ += count;
  segment.claimed = static_cast<std::uint16_t>(segment.claimed | blocks);
  segment.lent = static_cast<std::uint16_t>(segment.lent | blocks);
  update_place(found->first, segment);
  return segment.bytes.slice(at * kBlockBytes, count * kBlockBytes);
}

void FileCache::done(FileRun run) {
  for (std::uint64_t block = run.first; block < run.first + run.count; ++block) {
    const auto found = segments_.find(segment_index(block));
    if (found == segments_.end() || (found->second.claimed & bit_of(block)) == 0) continue;
    Segment& segment = found->second;
    segment.claimed = static_cast<std::uint16_t>(segment.claimed & ~bit_of(block));
    segment.lent = static_cast<std::uint16_t>(segment.lent & ~bit_of(block));
    --claimed_blocks_;
    if (segment.claimed == 0) update_place(found->first, segment);
  }
}

void FileCache::failed(FileRun run, Instant since) {
  for (std::uint64_t block = run.first; block < run.first + run.count; ++block) {
    const auto found = segments_.find(segment_index(block));
    if (found == segments_.end() || (found->second.claimed & bit_of(block)) == 0) continue;
    set_dirty(found->second, bit_of(block), since);
  }
  // Written to meanwhile, what was sent counted as old: some chunk server may not have it.
  drop_old(run.first, run.count);
  if (run.count != 0) drop_old_of_full_rows(run.first, run.first + run.count - 1);
  done(run);
}

void FileCache::truncate(ByteCount size, Instant now) {
  const std::uint64_t edge = size / kBlockBytes;
  drop_old(edge, std::numeric_limits<std::uint64_t>::max() - edge);
  const std::size_t keep = size % kBlockBytes;
  if (keep != 0 && valid(edge)) {
    Segment& segment = segment_of(edge);
    make_writable(segment, bit_of(edge));
    std::memset(segment.bytes.data() + in_segment(edge) * kBlockBytes + keep, 0,
                kBlockBytes - keep);
    set_dirty(segment, bit_of(edge), now);
    drop_old_of_full_rows(edge, edge);
    update_place(segment_index(edge), segment);
  }
  const std::uint64_t first = div_ceil(size, kBlockBytes);
  auto at = segments_.lower_bound(segment_index(first));
  while (at != segments_.end()) {
    const std::uint64_t begin = at->first * kSegmentBlocks;
    const std::uint64_t kept = first > begin ? first - begin : 0;
    const auto next = std::next(at);
    Segment& segment = at->second;
    const auto gone = static_cast<std::uint16_t>(~mask_of(0, kept));
    CHECK_EQ(segment.claimed & gone, 0);
    clear_dirty(segment, gone);
    segment.valid = static_cast<std::uint16_t>(segment.valid & ~gone);
    if (segment.valid == 0) {
      erase(at);
    } else {
      update_place(at->first, segment);
    }
    at = next;
  }
  ++losses_;
}

void FileCache::drop_all() {
  while (!segments_.empty()) erase(segments_.begin());
  CHECK_EQ(dirty_blocks_, std::uint64_t{0});
  CHECK_EQ(claimed_blocks_, std::uint64_t{0});
  CHECK(old_.empty());
}

void FileCache::drop_clean() {
  for (auto at = segments_.begin(); at != segments_.end();) {
    const auto next = std::next(at);
    if (at->second.dirty == 0 && at->second.claimed == 0) erase(at);
    at = next;
  }
}

}  // namespace cairn::client
