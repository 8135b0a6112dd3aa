// DamageLedger: which damaged blocks are to be healed next, and when those are tried again that
// could not be. Pure: time is an argument.
//
// Promises: a block that failed waits, longer each time, kHealRetryFirst to kHealRetryMost; those
//           that waited longest come first, so that many hopeless blocks hold up no other. A block
//           that is damaged anew (at another home, or with another content) begins anew. failed()
//           says once for each block that it should be told.
// Limits:   what due() is given: at most kDamagedBlocksMax blocks.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "chunkserver/store/piece_store.h"
#include "common/base/time.h"

namespace cairn::chunkserver::care {

inline constexpr Duration kHealRetryFirst = 5s;
inline constexpr Duration kHealRetryMost = 300s;

// Damaged blocks of one piece, ascending.
struct HealRun {
  PieceId piece;
  std::vector<store::DamagedBlock> blocks;
};

class DamageLedger {
 public:
  // `damaged` is all damage there is now, in order; what is not in it is forgotten. Answers runs of
  // at most `blocks_max` blocks that are due, at most `runs_max`. A block that is damaged twice (in
  // two ops) is in two runs.
  std::vector<HealRun> due(const std::vector<store::DamagedBlock>& damaged, Instant now,
                           std::size_t blocks_max, std::size_t runs_max);
  // It could not be healed. `certain`: there are not enough pieces, which a person should know at
  // once; else only when it stays so (kSilentTries). True: say it now.
  bool failed(const store::DamagedBlock& block, Instant now, bool certain);
  // The store has its content. Should it be damaged all the same, that is not tried at once.
  void healed(const store::DamagedBlock& block, Instant now);
  std::uint64_t undoable() const { return undoable_; }

 private:
  struct Entry {
    Instant next;
    Duration backoff = {};
    unsigned tries = 0;
    bool said = false;
    std::uint64_t seen = 0;  // the look at which it was there last
  };
  Entry* find(const store::DamagedBlock& block);

  std::map<store::DamagedBlock, Entry> entries_;
  std::uint64_t looks_ = 0;
  std::uint64_t undoable_ = 0;
};

}  // namespace cairn::chunkserver::care
