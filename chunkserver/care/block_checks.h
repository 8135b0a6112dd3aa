// BlockChecks: blocks that somebody doubts (OP_CHECK) are read and verified on the drive. What is
// damaged there the store has noted then, and the healer takes it up.
//
// Promises: a block that waits is not taken twice. One read at a time.
// Limits:   kChecksMax blocks wait; more are dropped: whoever doubts a block again says so again.
// Requires: the loop thread; co_await stop() before it dies; door and log outlive it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "chunkserver/care/store_door.h"
#include "common/observe/log.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::care {

inline constexpr std::size_t kChecksMax = 4096;
inline constexpr std::size_t kCheckReadBlocks = 1_MiB / kBlockBytes;

// Blocks, since the start.
struct CheckFigures {
  std::uint64_t taken = 0;
  std::uint64_t dropped = 0;
  std::uint64_t bad_reads = 0;  // reads that met damage
};

class BlockChecks {
 public:
  BlockChecks(runtime::Runtime& runtime, StoreDoor& door, observe::Log& log)
      : door_(door), log_(log), group_(runtime) {}
  BlockChecks(const BlockChecks&) = delete;
  BlockChecks& operator=(const BlockChecks&) = delete;

  void add(PieceId piece, const std::vector<store::BlockRange>& ranges);
  Task<void> stop();
  const CheckFigures& figures() const { return figures_; }

 private:
  Task<void> run();
  // The first blocks that wait of the piece whose turn it is.
  std::vector<store::BlockRange> take(PieceId* piece);
  bool halted() const { return stopping_ || door_.failure().has_value(); }

  StoreDoor& door_;
  observe::Log& log_;
  std::map<PieceId, std::set<std::uint64_t>> waiting_;
  std::deque<PieceId> order_;  // of the pieces in waiting_
  std::size_t blocks_ = 0;     // in waiting_
  CheckFigures figures_;
  bool running_ = false;
  bool stopping_ = false;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver::care
