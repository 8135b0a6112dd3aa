// The journal's ring: where the next batch goes, and what a scan finds after a crash. Pure.
//
// A batch never wraps: where it does not fit before the end it starts at block 0. So a reader that
// stands behind one batch finds the next one there or at block 0, and knows it by sequence, link,
// salt and CRC.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "chunkserver/store/record.h"

namespace cairn::chunkserver::store {

class JournalRing {
 public:
  // `blocks` of ring; the next batch goes to `next_block` or to 0.
  JournalRing(std::uint64_t blocks, std::uint64_t next_block);

  std::uint64_t blocks() const { return blocks_; }
  // Blocks that still hold something the index does not have, and what was skipped between.
  std::uint64_t used() const;
  // Where a batch of `count` blocks may go now; nullopt until something is released.
  std::optional<std::uint64_t> place(std::uint64_t count) const;
  void push(std::uint64_t sequence, std::uint64_t at, std::uint64_t count);
  // The index has everything up to `sequence`, durably.
  void release(std::uint64_t sequence);

 private:
  struct Live {
    std::uint64_t sequence;
    std::uint64_t at;
    std::uint64_t count;
  };
  std::uint64_t blocks_;
  std::uint64_t head_;
  std::deque<Live> live_;
};

struct JournalScan {
  std::vector<Batch> batches;  // after `from`, in order
  JournalPosition end;
};
// Reads the whole ring. The first batch that is not there whole ends the journal (torn tail): only
// the last batch can be torn, because one is written at a time. A batch from beyond that end proves
// that the journal was damaged afterwards: kCorrupt.
Result<JournalScan> scan_journal(Bytes ring, std::uint64_t salt, const JournalPosition& from);

}  // namespace cairn::chunkserver::store
