// RepairMemory: what the master remembers of repairs that failed, so that they are not tried again
// at once, nor for ever at the same place. Pure memory; time enters as an argument.
//
// A chunk waits kFirst after a failure, then twice as long each time, kMost at most (kFirst each
// time, if a write waits). A piece that
// goes missing again and again at one place, within kRemembered of its repair, waits as if the
// repair had failed: the place is no good. A place with kStrikes of both (one failure, if a write
// waits) is unfit for the chunk.
// Limits:   kChunksMax chunks; those whose end is nearest are forgotten first.
#pragma once

#include <cstdint>
#include <map>

#include "common/base/ids.h"
#include "common/base/time.h"

namespace cairn::mds::master {

class RepairMemory {
 public:
  static constexpr Duration kFirst = 1s;
  static constexpr Duration kMost = 30s;
  static constexpr Duration kRemembered = 60s;
  static constexpr Duration kSuspected = 5s;
  static constexpr Duration kSilent = 30s;
  static constexpr unsigned kStrikes = 3;
  static constexpr std::size_t kChunksMax = 4096;

  // The repair of the chunk at that CS failed. 0: not the fault of any CS.
  void failed(ChunkId chunk, std::uint32_t cs, Instant now);
  void repaired(ChunkId chunk, std::uint32_t cs, Instant now);
  bool ready(ChunkId chunk, bool pending, Instant now) const;
  // 0: none.
  std::uint32_t unfit(ChunkId chunk, bool pending) const;

  // The CS did not answer: it is no target for a while.
  void suspect(std::uint32_t cs, Instant now) { suspects_[cs] = now + kSuspected; }
  bool suspected(std::uint32_t cs, Instant now) const;
  // The CS began anew: what failed there may go well now.
  void forgive(std::uint32_t cs);

  // The holder does not close its chunks: they are not asked for, for a while.
  void silent(SessionId holder, Instant now) { silent_[holder] = now + kSilent; }
  void answered(SessionId holder) { silent_.erase(holder); }
  bool is_silent(SessionId holder, Instant now) const;

  void expire(Instant now);

 private:
  struct Entry {
    Instant not_before;
    Instant not_before_pending;
    Instant end;
    Duration delay = kFirst;  // after the next failure
    std::uint32_t cs = 0;
    unsigned failures = 0;
    unsigned strikes = 0;  // failures, and repairs that may not have lasted
  };
  Entry& entry(ChunkId chunk, std::uint32_t cs);
  static void wait(Entry& entry, Instant now);

  std::map<ChunkId, Entry> chunks_;
  std::map<std::uint32_t, Instant> suspects_;
  std::map<SessionId, Instant> silent_;
};

}  // namespace cairn::mds::master
