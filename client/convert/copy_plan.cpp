#include "client/convert/copy_plan.h"

#include <algorithm>
#include <cstring>

namespace cairn::client::convert {

namespace {

bool all_zero(Bytes bytes) {
  // Equal to itself, moved by one: all are like the first.
  return bytes.empty() || (bytes.front() == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

SeenChunk seen(const pb::Chunk& chunk) {
  SeenChunk result;
  result.index = chunk.index();
  if (chunk.writer_epoch() == 0) result.stamp = {ChunkId::from_raw(chunk.id()), chunk.opened()};
  return result;
}

std::vector<RangeWork> CopyPlan::judge(const std::vector<SeenChunk>& chunks, std::uint64_t first,
                                       std::uint64_t end) const {
  std::map<std::uint64_t, RangeWork> work;
  for (auto at = copied_.lower_bound(first); at != copied_.end() && at->first < end; ++at) {
    work.emplace(at->first, RangeWork{.index = at->first, .absent = true, .stamp = {}});
  }
  for (const SeenChunk& chunk : chunks) {
    if (chunk.index < first || chunk.index >= end) continue;
    const auto copied = copied_.find(chunk.index);
    const bool same = copied != copied_.end() && chunk.stamp.has_value() &&
                      copied->second.has_value() && *copied->second == *chunk.stamp;
    if (same) {
      work.erase(chunk.index);
    } else {
      work.insert_or_assign(chunk.index,
                            RangeWork{.index = chunk.index, .absent = false, .stamp = chunk.stamp});
    }
  }
  std::vector<RangeWork> result;
  for (const auto& [index, one] : work) result.push_back(one);
  return result;
}

void CopyPlan::done(const RangeWork& work) {
  if (work.absent) {
    copied_.erase(work.index);
  } else {
    copied_.insert_or_assign(work.index, work.stamp);
  }
}

void CopyPlan::cut(ByteCount size) {
  copied_.erase(copied_.lower_bound(div_ceil(size, range_bytes_)), copied_.end());
}

ByteCount CopyPlan::bytes_of(std::uint64_t index, ByteCount size) const {
  if (index > size / range_bytes_) return 0;
  return std::min(range_bytes_, size - index * range_bytes_);
}

WrittenParts::WrittenParts(ByteCount range_bytes)
    : range_bytes_(range_bytes),
      part_bytes_(align_up(div_ceil(range_bytes, ByteCount{kParts}), kBlockBytes)) {}

void WrittenParts::add(std::uint64_t offset, ByteCount length) {
  const std::uint64_t end = offset + length;
  while (offset < end) {
    const std::uint64_t index = offset / range_bytes_;
    const std::uint64_t in = offset % range_bytes_;
    parts_[index].set(in / part_bytes_);
    offset += std::min(part_bytes_ - in % part_bytes_, range_bytes_ - in);
  }
}

bool WrittenParts::any(std::uint64_t offset, ByteCount length) const {
  const std::uint64_t end = offset + length;
  while (offset < end) {
    const std::uint64_t in = offset % range_bytes_;
    const auto range = parts_.find(offset / range_bytes_);
    if (range == parts_.end()) {
      offset += range_bytes_ - in;
      continue;
    }
    if (range->second.test(in / part_bytes_)) return true;
    offset += std::min(part_bytes_ - in % part_bytes_, range_bytes_ - in);
  }
  return false;
}

void WrittenParts::cut(ByteCount size) {
  parts_.erase(parts_.lower_bound(div_ceil(size, range_bytes_)), parts_.end());
  const auto last = parts_.find(size / range_bytes_);
  if (last == parts_.end()) return;
  const std::uint64_t kept = div_ceil(size % range_bytes_, part_bytes_);
  for (std::uint64_t part = kept; part < kParts; ++part) last->second.reset(part);
}

std::vector<WrittenParts::Run> WrittenParts::runs(std::uint64_t index, ByteCount size) const {
  std::vector<Run> result;
  const auto range = parts_.find(index);
  if (range == parts_.end()) return result;
  const std::uint64_t begin = index * range_bytes_;
  const std::uint64_t limit = std::min(begin + range_bytes_, size);
  for (std::uint64_t part = 0; part < kParts; ++part) {
    if (!range->second.test(part)) continue;
    const std::uint64_t from = begin + part * part_bytes_;
    if (from >= limit) break;
    const ByteCount length = std::min(part_bytes_, limit - from);
    const bool follows = !result.empty() && result.back().offset + result.back().length == from;
    if (follows) {
      result.back().length += length;
    } else {
      result.push_back({from, length});
    }
  }
  return result;
}

std::vector<WriteRun> runs_to_write(std::uint64_t offset, Bytes bytes,
                                    const WrittenParts& written) {
  std::vector<WriteRun> runs;
  std::size_t at = 0;
  while (at < bytes.size()) {
    const std::size_t length = std::min<std::size_t>(kBlockBytes, bytes.size() - at);
    const Bytes block = bytes.subspan(at, length);
    const bool skipped = all_zero(block) && !written.any(offset + at, length);
    const bool follows =
        !runs.empty() && runs.back().offset + runs.back().bytes.size() == offset + at;
    if (!skipped && follows) {
      WriteRun& run = runs.back();
      run.bytes = bytes.subspan(run.offset - offset, run.bytes.size() + length);
    } else if (!skipped) {
      runs.push_back({offset + at, block});
    }
    at += length;
  }
  return runs;
}

bool Rounds::again(std::uint64_t ranges) {
  const bool fewer = made_ == 0 || ranges < last_;
  ++made_;
  last_ = ranges;
  return ranges != 0 && fewer && made_ < kMost;
}

}  // namespace cairn::client::convert
