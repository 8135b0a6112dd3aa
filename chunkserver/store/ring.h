// The ring of the journal: where the next batch goes, and what a scan finds after a crash. Pure.
//
// A batch never wraps: where it does not fit before the end it starts at block 0. So a reader that
// stands behind one batch finds the next one there or at block 0, and knows it by sequence, link,
// ring id and CRC.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "chunkserver/store/record.h"

namespace cairn::chunkserver::store {

// What of the ring is in use.
class RingUsage {
 public:
  struct Live {
    JournalPosition position;  // after the batch
    std::uint64_t at = 0;
    std::uint64_t count = 0;
  };
  // `blocks` of ring, `live` in order; the next batch goes to `next_block` or to 0.
  RingUsage(std::uint64_t blocks, std::uint64_t next_block, std::vector<Live> live = {});

  std::uint64_t blocks() const { return blocks_; }
  // Blocks that are not released, and what was skipped between.
  std::uint64_t used() const;
  // Where a batch of `count` blocks may go now; nullopt until something is released.
  std::optional<std::uint64_t> place(std::uint64_t count) const;
  void push(JournalPosition position, std::uint64_t at, std::uint64_t count);
  void release(std::uint64_t sequence);
  // What that would give back.
  std::uint64_t releasable(std::uint64_t sequence) const;
  // nullopt: released, or not yet written.
  std::optional<JournalPosition> position_of(std::uint64_t sequence) const;

 private:
  std::uint64_t blocks_;
  std::uint64_t head_;
  std::deque<Live> live_;
};

// What a scan of the ring (ring_scan.h) goes by.
//
// The first batch that is not there whole ends the journal (torn tail): only the last batch can be
// torn, because one is written at a time. A readable batch from beyond that end proves that the
// ring was damaged afterwards: kCorrupt. It is looked for in the kBeyondBlocks behind the end and
// at the begin of the ring: a damaged batch is not longer than that.
inline constexpr std::uint64_t kBatchBlocksMax = 16384;  // 64 MiB: records, journaled blocks
inline constexpr std::uint64_t kBeyondBlocks = 2 * kBatchBlocksMax;

// The batch after `position` if it begins with these bytes (its record blocks at least).
std::optional<Batch> next_batch(Bytes bytes, std::uint64_t ring, const JournalPosition& position,
                                std::uint64_t at);
// Does a batch begin here that is further than the next one after `end`?
bool proves_damage(Bytes bytes, std::uint64_t ring, const JournalPosition& end);

}  // namespace cairn::chunkserver::store
