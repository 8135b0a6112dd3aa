#include "chunkserver/store/ring_scan.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint64_t kWindowBlocks = 1_MiB / kBlockBytes;
// From this size on no batch is longer than a third of the ring: a quarter, or one record with a
// quarter of journaled blocks. Then a batch at the begin of the ring, which may have been torn,
// ends before the one behind which it did not fit.
constexpr std::uint64_t kThirdsFrom = 1024;

}  // namespace

Task<Result<Bytes>> RingScan::view(std::uint64_t block, std::uint64_t count) {
  CHECK_LE(block + count, ring_.blocks());
  if (block < window_at_ || block + count > window_at_ + window_blocks_) {
    const std::uint64_t blocks = std::max(count, std::min(kWindowBlocks, ring_.blocks() - block));
    if (window_.size() != std::max(blocks, kWindowBlocks) * kBlockBytes) {
      window_ = Buffer::allocate(std::max(blocks, kWindowBlocks) * kBlockBytes);
    }
    window_blocks_ = 0;
    for (std::uint64_t done = 0; done < blocks; done += kWindowBlocks) {
      const std::uint64_t now = std::min(kWindowBlocks, blocks - done);
      const MutableBytes part = window_.span().subspan(done * kBlockBytes, now * kBlockBytes);
      CO_TRY_VOID(co_await ring_.read(block + done, part));
    }
    window_at_ = block;
    window_blocks_ = blocks;
  }
  co_return std::as_const(window_).span().subspan((block - window_at_) * kBlockBytes,
                                                  count * kBlockBytes);
}

Task<Result<std::optional<Batch>>> RingScan::batch_at(std::uint64_t at) {
  if (at >= ring_.blocks()) co_return std::optional<Batch>();
  CO_TRY(const Bytes first, co_await view(at, 1));
  const Result<BatchHead> head = decode_head(first, ring_.place().id);
  if (!head.has_value() || head->sequence != end_.sequence + 1) co_return std::optional<Batch>();
  const bool fits = head->blocks() <= std::min(ring_.blocks() - at, kBatchBlocksMax);
  if (!fits) co_return std::optional<Batch>();
  CO_TRY(const Bytes records, co_await view(at, head->record_blocks()));
  co_return next_batch(records, ring_.place().id, end_, at);
}

Task<Result<std::optional<Batch>>> RingScan::next() {
  CO_TRY(std::optional<Batch> batch, co_await batch_at(end_.next_block));
  if (!batch.has_value() && end_.next_block != 0) {
    CO_TRY(batch, co_await batch_at(0));
  }
  if (batch.has_value()) end_ = {batch->sequence, batch->at + batch->blocks, batch->crc};
  co_return batch;
}

Task<Status> RingScan::look_for_batches(std::uint64_t from, std::uint64_t until) {
  for (std::uint64_t at = from; at < std::min(until, ring_.blocks()); ++at) {
    CO_TRY(const Bytes first, co_await view(at, 1));
    const Result<BatchHead> head = decode_head(first, ring_.place().id);
    if (!head.has_value() || head->sequence <= end_.sequence + 1) continue;
    if (head->blocks() > std::min(ring_.blocks() - at, kBatchBlocksMax)) continue;
    CO_TRY(const Bytes records, co_await view(at, head->record_blocks()));
    if (!proves_damage(records, ring_.place().id, end_)) continue;
    co_return fail(ring_.damage(
        fmt::format("batch {} is readable but {} is not", head->sequence, end_.sequence + 1)));
  }
  co_return Status();
}

Task<Status> RingScan::check_nothing_beyond() {
  const std::uint64_t behind = end_.next_block;
  CO_TRY_VOID(co_await look_for_batches(behind, behind + kBeyondBlocks));
  co_return co_await look_for_batches(0, std::min(kBeyondBlocks, behind));
}

Task<Result<bool>> RingScan::ends_with(JournalPosition tail, std::uint64_t from) {
  for (std::uint64_t until = tail.next_block; until > from;) {
    const std::uint64_t begin = until - std::min(until - from, kWindowBlocks);
    CO_TRY(const Bytes blocks, co_await view(begin, until - begin));
    for (std::uint64_t at = until; at-- > begin;) {
      const Bytes first = blocks.subspan((at - begin) * kBlockBytes, kBlockBytes);
      const Result<BatchHead> head = decode_head(first, ring_.place().id);
      if (!head.has_value() || head->sequence != tail.sequence) continue;
      if (head->crc == tail.crc && at + head->blocks() == tail.next_block) co_return true;
    }
    until = begin;
  }
  co_return false;
}

Task<Status> RingScan::check_tail(JournalPosition tail) {
  if (ring_.shares_data_device() || ring_.blocks() < kThirdsFrom) co_return Status();
  if (tail.next_block == 0) co_return Status();  // nothing was written to this ring yet
  const std::uint64_t longest = std::min(ring_.blocks() / 3, kBatchBlocksMax);
  CO_TRY(const bool there,
         co_await ends_with(tail, tail.next_block - std::min(tail.next_block, longest)));
  if (there) co_return Status();
  co_return fail(ring_.damage(
      fmt::format("it does not have batch {}, which the index holds: it is an older copy, or "
                  "damaged",
                  tail.sequence)));
}

Task<Result<std::vector<bool>>> RingScan::check_blocks(std::uint64_t block,
                                                       std::vector<std::uint32_t> crcs) {
  std::vector<bool> right;
  right.reserve(crcs.size());
  for (const std::uint32_t crc : crcs) {
    CO_TRY(const Bytes bytes, co_await view(block++, 1));
    right.push_back(crc32c(bytes) == crc);
  }
  co_return right;
}

}  // namespace cairn::chunkserver::store
