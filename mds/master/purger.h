// Purger: removes unlinked inodes that nobody has open any more, step by step through the log.
//
// Requires: the loop thread; spawn run() into the task group of the environment; stop() ends it.
// Limits:   kParallel inodes at a time, kChunksPerStep chunks a command.
#pragma once

#include <functional>

#include "common/runtime/semaphore.h"
#include "mds/master/environment.h"

namespace cairn::mds::master {

class Purger {
 public:
  static constexpr std::size_t kParallel = 64;
  static constexpr std::uint32_t kChunksPerStep = 64;

  // `allowed` says whether an orphan may go: no pins, and pins are known.
  Purger(Environment env, std::function<bool(InodeId)> allowed)
      : env_(env), allowed_(std::move(allowed)), wake_(env.runtime) {}

  static Task<void> run(Purger* self);
  // There may be something to do: now.
  void poke();
  // There may be something to do: at the next step(). A sweep passes the deleted rows of all it
  // removed
  // before, so one a second serves a thousand unlinks better than one each.
  void want() { wanted_ = true; }
  void step() {
    if (wanted_) poke();
  }
  void stop() { wake_.notify_all(); }

 private:
  Task<Status> sweep();
  static Task<void> purge(Purger* self, InodeId inode);

  Environment env_;
  const std::function<bool(InodeId)> allowed_;
  runtime::Signal wake_;
  bool poked_ = true;
  bool wanted_ = false;
};

}  // namespace cairn::mds::master
