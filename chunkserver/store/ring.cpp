#include "chunkserver/store/ring.h"

#include "common/base/check.h"

namespace cairn::chunkserver::store {

RingUsage::RingUsage(std::uint64_t blocks, std::uint64_t next_block, std::vector<Live> live)
    : blocks_(blocks), head_(next_block), live_(live.begin(), live.end()) {
  CHECK_LE(next_block, blocks);
  for (std::size_t i = 1; i < live_.size(); ++i) {
    CHECK_EQ(live_[i].position.sequence, live_[i - 1].position.sequence + 1);
  }
  if (!live_.empty()) CHECK_EQ(live_.back().position.next_block, next_block);
}

std::uint64_t RingUsage::used() const {
  if (live_.empty()) return 0;
  const std::uint64_t tail = live_.front().at;
  return head_ > tail ? head_ - tail : blocks_ - tail + head_;
}

std::optional<std::uint64_t> RingUsage::place(std::uint64_t count) const {
  CHECK_GT(count, std::uint64_t{0});
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

void RingUsage::push(JournalPosition position, std::uint64_t at, std::uint64_t count) {
  CHECK(live_.empty() || live_.back().position.sequence + 1 == position.sequence);
  CHECK_EQ(position.next_block, at + count);
  CHECK_LE(at + count, blocks_);
  live_.push_back({position, at, count});
  head_ = at + count;
}

void RingUsage::release(std::uint64_t sequence) {
  while (!live_.empty() && live_.front().position.sequence <= sequence) live_.pop_front();
}

std::uint64_t RingUsage::releasable(std::uint64_t sequence) const {
  if (live_.empty() || sequence < live_.front().position.sequence) return 0;
  const std::uint64_t index = sequence - live_.front().position.sequence + 1;
  if (index >= live_.size()) return used();
  const std::uint64_t tail = live_.front().at;
  const std::uint64_t next = live_[index].at;
  return next > tail ? next - tail : blocks_ - tail + next;
}

std::optional<JournalPosition> RingUsage::position_of(std::uint64_t sequence) const {
  if (live_.empty() || sequence < live_.front().position.sequence) return std::nullopt;
  const std::uint64_t index = sequence - live_.front().position.sequence;
  if (index >= live_.size()) return std::nullopt;
  return live_[index].position;
}

std::optional<Batch> next_batch(Bytes bytes, std::uint64_t ring, const JournalPosition& position,
                                std::uint64_t at) {
  const Result<BatchHead> head = decode_head(bytes, ring);
  if (!head.has_value() || head->sequence != position.sequence + 1) return std::nullopt;
  if (head->previous_crc != position.crc) return std::nullopt;
  Result<Batch> batch = decode_batch(bytes, ring);
  if (!batch.has_value() || batch->blocks > kBatchBlocksMax) return std::nullopt;
  batch->at = at;
  return std::move(*batch);
}

bool proves_damage(Bytes bytes, std::uint64_t ring, const JournalPosition& end) {
  const Result<BatchHead> head = decode_head(bytes, ring);
  if (!head.has_value() || head->sequence <= end.sequence + 1) return false;
  return decode_batch(bytes, ring).has_value();
}

}  // namespace cairn::chunkserver::store
