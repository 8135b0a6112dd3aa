// RingScan: reads the batches of a ring one after the other, through a window of memory: never the
// whole ring, and no block twice.
//
// Requires: nobody writes the ring meanwhile; it outlives the scan.
// Limits:   memory: 1 MiB, or the records of the largest batch.
// Errors:   those of RingDevice; kJournalFailed or kCorrupt when the ring is damaged.
#pragma once

#include <optional>

#include "chunkserver/store/ring.h"
#include "chunkserver/store/ring_device.h"

namespace cairn::chunkserver::store {

class RingScan {
 public:
  RingScan(RingDevice& ring, JournalPosition from) : ring_(ring), end_(from) {}

  // The next batch; nullopt: the journal ends here.
  Task<Result<std::optional<Batch>>> next();
  const JournalPosition& end() const { return end_; }
  // Of a ring of its own in which nothing follows `tail`: is the batch that ends there still in it?
  // It is not if the ring's drive went back in time.
  // Requires: next() found nothing from `tail` on.
  Task<Status> check_tail(JournalPosition tail);
  // A readable batch from beyond the end proves that one before it was damaged after it was
  // durable.
  Task<Status> check_nothing_beyond();
  // Do the blocks at `block` of the ring have these CRCs? One answer for each.
  Task<Result<std::vector<bool>>> check_blocks(std::uint64_t block,
                                               std::vector<std::uint32_t> crcs);

 private:
  // These blocks; good until the next call.
  Task<Result<Bytes>> view(std::uint64_t block, std::uint64_t count);
  Task<Result<std::optional<Batch>>> batch_at(std::uint64_t at);
  Task<Status> look_for_batches(std::uint64_t from, std::uint64_t until);
  Task<Result<bool>> ends_with(JournalPosition tail, std::uint64_t from);

  RingDevice& ring_;
  JournalPosition end_;
  Buffer window_;
  std::uint64_t window_at_ = 0;
  std::uint64_t window_blocks_ = 0;
};

}  // namespace cairn::chunkserver::store
