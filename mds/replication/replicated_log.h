// ReplicatedLog: commands in, durable and applied answers out. What the master knows of the group
// (group.h implements it).
#pragma once

#include <cstdint>
#include <string>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/runtime/task.h"

namespace cairn::mds::replication {

class ReplicatedLog {
 public:
  virtual ~ReplicatedLog() = default;
  // Ends when the command is chosen and applied, with what apply answered. Commands are applied in
  // the order of the calls. Errors: kOverloaded (not done), kCancelled (stopping), kNotMaster and
  // disk
  // errors: the outcome is then unknown.
  virtual Task<Result<std::string>> propose(std::string command) = 0;
  // Ok when what was read from the tables before this call was the newest truth at that time: at
  // once while
  // the lease holds, else after a round of heartbeats. Errors: kNotMaster, kCancelled.
  virtual Task<Status> confirm() = 0;
  // True: confirm() would answer Ok at once.
  virtual bool may_serve() const = 0;

  struct Statistics {
    std::uint64_t commands = 0;  // applied, of this life
    std::uint64_t batches = 0;   // durable writes of the log
    Duration busy{0};            // a batch was being written or applied
  };
  virtual Statistics statistics() const = 0;
};

}  // namespace cairn::mds::replication
