#include "chunkserver/store/ring.h"

#include <fmt/format.h>

#include "common/base/check.h"

namespace cairn::chunkserver::store {
namespace {

// The batch after `position`, if it lies at `block`.
std::optional<Batch> batch_at(Bytes ring, std::uint64_t salt, const JournalPosition& position,
                              std::uint64_t block) {
  const std::uint64_t at = block * kBlockBytes;
  if (at >= ring.size()) return std::nullopt;
  const Result<BatchHead> head = decode_head(ring.subspan(at), salt);
  if (!head.has_value() || head->sequence != position.sequence + 1) return std::nullopt;
  if (head->previous_crc != position.crc) return std::nullopt;
  Result<Batch> batch = decode_batch(ring.subspan(at), salt);
  if (!batch.has_value()) return std::nullopt;
  return std::move(*batch);
}

Status check_nothing_beyond(Bytes ring, std::uint64_t salt, const JournalPosition& end) {
  for (std::uint64_t at = 0; at + kBlockBytes <= ring.size(); at += kBlockBytes) {
    const Result<BatchHead> head = decode_head(ring.subspan(at), salt);
    if (!head.has_value() || head->sequence <= end.sequence + 1) continue;
    if (!decode_batch(ring.subspan(at), salt).has_value()) continue;
    return fail(Code::kCorrupt,
                fmt::format("the journal is damaged: batch {} is readable but {} is not",
                            head->sequence, end.sequence + 1));
  }
  return {};
}

}  // namespace

JournalRing::JournalRing(std::uint64_t blocks, std::uint64_t next_block)
    : blocks_(blocks), head_(next_block) {
  CHECK_LE(next_block, blocks);
}

std::uint64_t JournalRing::used() const {
  if (live_.empty()) return 0;
  const std::uint64_t tail = live_.front().at;
  return head_ > tail ? head_ - tail : blocks_ - tail + head_;
}

std::optional<std::uint64_t> JournalRing::place(std::uint64_t count) const {
  if (count > blocks_) return std::nullopt;
  if (live_.empty()) return head_ + count <= blocks_ ? head_ : 0;
  const std::uint64_t tail = live_.front().at;
  if (head_ <= tail) {
    if (head_ + count <= tail) return head_;
    return std::nullopt;
  }
  if (head_ + count <= blocks_) return head_;
  if (count <= tail) return 0;
  return std::nullopt;
}

void JournalRing::push(std::uint64_t sequence, std::uint64_t at, std::uint64_t count) {
  CHECK(live_.empty() || live_.back().sequence < sequence);
  CHECK_LE(at + count, blocks_);
  live_.push_back({sequence, at, count});
  head_ = at + count;
}

void JournalRing::release(std::uint64_t sequence) {
  while (!live_.empty() && live_.front().sequence <= sequence) live_.pop_front();
}

Result<JournalScan> scan_journal(Bytes ring, std::uint64_t salt, const JournalPosition& from) {
  JournalScan scan;
  scan.end = from;
  for (;;) {
    std::uint64_t at = scan.end.next_block;
    std::optional<Batch> batch = batch_at(ring, salt, scan.end, at);
    if (!batch.has_value() && at != 0) {
      at = 0;
      batch = batch_at(ring, salt, scan.end, at);
    }
    if (!batch.has_value()) break;
    scan.end = {batch->sequence, at + batch->blocks, batch->crc};
    batch->at = at;
    scan.batches.push_back(std::move(*batch));
  }
  TRY_VOID(check_nothing_beyond(ring, salt, scan.end));
  return scan;
}

}  // namespace cairn::chunkserver::store
