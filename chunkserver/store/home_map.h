// HomeMap: blocks that are durable in the ring and not yet at their home in the data file. Pure.
//
// Promises: tail_sequence() is the last batch whose blocks, and those of all before it, need not be
//           in the ring any more: at home durably, or dead. A home that is forgotten, or set again
//           by a later batch, is dead in the earlier one. (A block that dies between written() and
//           the flush after it counts until that flush.)
// Requires: batches in order of their sequence. A home that is being written (between take() and
//           written()) is not given away: the caller's gate sees to it. The loop thread.
// Limits:   memory grows with the blocks (about 110 bytes each): the caller stops journaling at
//           kHomelessBlocksMax. Kept bytes: `keep_bytes`; what is above is read from the ring. A
//           kept block holds the whole buffer it is a slice of.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "chunkserver/store/home_index.h"
#include "chunkserver/store/types.h"
#include "common/base/buffer.h"

namespace cairn::chunkserver::store {

inline constexpr std::size_t kHomelessBlocksMax = 1'000'000;

class HomeMap {
 public:
  explicit HomeMap(ByteCount keep_bytes) : keep_bytes_(keep_bytes) {}

  struct Place {
    std::uint64_t ring_block = 0;
    std::uint32_t crc = 0;
    Buffer bytes;  // empty: only the ring has it
  };
  struct Homeless {
    std::uint64_t home = 0;  // block of the data file
    std::uint64_t sequence = 0;
    Place place;
  };

  // A batch became durable: its journaled blocks in order. `bytes` may be empty.
  void begin_batch(std::uint64_t sequence);
  void add(std::uint64_t home, Place place);
  // Freed, or written directly by a later record.
  void forget(Extent homes);
  // Good until the next call that is not const.
  const Place* find(std::uint64_t home) const {
    if (index_.size() == 0) return nullptr;
    const std::uint32_t number = index_.find(home);
    return number == HomeIndex::kNone ? nullptr : &entry(number).place;
  }

  // The blocks of the oldest batches that are not being written, at most `blocks_max`, sorted by
  // home; they count as being written.
  std::vector<Homeless> take(std::size_t blocks_max);
  // A block that was taken is still the one that its home waits for.
  bool is_current(const Homeless& block) const;
  // They lie at home now, but not durably. From here on reads go there. Blocks that died meanwhile
  // are left alone.
  void written(const std::vector<Homeless>& blocks);
  // A flush of the data file that began after the last call of written() has ended: `upto` is what
  // flush_mark() was before it began. Later calls of written() meanwhile do not count.
  std::uint64_t flush_mark() const { return flush_mark_; }
  void flushed(std::uint64_t upto);
  bool unflushed() const { return !waves_.empty(); }

  std::uint64_t tail_sequence(std::uint64_t applied) const;
  std::size_t homeless() const { return index_.size(); }
  bool empty() const { return index_.size() == 0; }
  // Batch of the oldest block that is not at home.
  std::optional<std::uint64_t> oldest() const;
  // Homes in order of their batches; for the start.
  std::vector<std::uint64_t> homes() const;
  ByteCount kept_bytes() const { return kept_bytes_; }
  void check_invariants() const;

 private:
  static constexpr std::uint32_t kNone = HomeIndex::kNone;
  static constexpr std::uint32_t kSlabEntries = 1024;

  struct Entry {
    Place place;
    std::uint64_t home = 0;
    std::uint64_t batch = 0;  // counted from the first one of this map
    // Neighbours among those that nobody writes, by age; free entries use `next`.
    std::uint32_t previous = kNone;
    std::uint32_t next = kNone;
    bool writing = false;
  };
  struct Batch {
    std::uint64_t sequence = 0;
    std::size_t live = 0;      // not yet durably at home and not dead
    std::size_t homeless = 0;  // of these, those that are in the index
  };
  // What one call of written() brought home.
  struct Wave {
    std::uint64_t mark = 0;
    std::vector<std::pair<std::uint64_t, std::size_t>> blocks;  // batch, how many
  };

  Entry& entry(std::uint32_t number) {
    return slabs_[number / kSlabEntries][number % kSlabEntries];
  }
  const Entry& entry(std::uint32_t number) const {
    return slabs_[number / kSlabEntries][number % kSlabEntries];
  }
  Batch& batch(std::uint64_t number) { return batches_[number - first_batch_]; }
  const Batch& batch(std::uint64_t number) const { return batches_[number - first_batch_]; }
  std::uint32_t make_entry();
  void link(std::uint32_t number);
  void unlink(std::uint32_t number);
  // Takes it out of everything but the batch's count of live blocks.
  void drop(std::uint32_t number);
  void kill(std::uint32_t number);
  // Forgets batches of which nothing is left.
  void pop_batches();

  ByteCount keep_bytes_;
  ByteCount kept_bytes_ = 0;
  std::uint64_t flush_mark_ = 1;
  HomeIndex index_;
  std::vector<std::unique_ptr<Entry[]>> slabs_;
  std::uint32_t free_ = kNone;
  std::uint32_t oldest_ = kNone;
  std::uint32_t newest_ = kNone;
  std::deque<Batch> batches_;
  std::uint64_t first_batch_ = 0;     // number of batches_.front()
  std::uint64_t first_homeless_ = 0;  // no batch before it has a homeless block
  std::deque<Wave> waves_;            // by mark
};

}  // namespace cairn::chunkserver::store
