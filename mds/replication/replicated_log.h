// ReplicatedLog: commands in, durable and applied answers out. SingleLog is the log of a group of
// one; a Paxos driver will implement the same interface.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "common/base/limits.h"
#include "common/runtime/completion.h"
#include "common/runtime/runtime.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"
#include "mds/replication/log_store.h"

namespace cairn::mds::replication {

class ReplicatedLog {
 public:
  virtual ~ReplicatedLog() = default;
  // Ends when the command is durable and applied, with what apply answered. Commands are applied in
  // the order of the calls. Errors: kOverloaded, kCancelled (stopping), kNotMaster, and disk
  // errors: the outcome is then unknown.
  virtual Task<Result<std::string>> propose(std::string command) = 0;
};

// Executes a batch; one answer an entry. An error means that the tables cannot be trusted any more.
using ApplyBatch = std::function<Result<std::vector<std::string>>(const std::vector<Entry>& batch)>;

// Owns:     the queue and the task that writes.
// Promises: what arrives while a batch is being written goes into the next one: one flush a batch.
// Requires: the loop thread; co_await stop() before it dies; `apply` does not call propose().
// Limits:   limits::kLogBatchCommandsMax and kLogBatchBytesMax a batch, kQueueMax waiting commands.
class SingleLog final : public ReplicatedLog {
 public:
  static constexpr std::size_t kQueueMax = 16'384;
  // `on_failure` runs once when the store or apply failed: the owner ends the process.
  SingleLog(runtime::Runtime& runtime, LogStore& store, ApplyBatch apply,
            std::function<void(const Error&)> on_failure);
  ~SingleLog() override = default;

  void start();
  Task<Result<std::string>> propose(std::string command) override;
  // Refuses new commands, finishes those that wait.
  Task<void> stop();

  struct Statistics {
    std::uint64_t commands = 0;
    std::uint64_t batches = 0;
    Duration busy{0};  // a batch was being written or applied
  };
  Statistics statistics() const;

 private:
  struct Waiting {
    std::string command;
    runtime::Completion<Result<std::string>> done;
  };
  Task<void> run();
  Task<void> write_one_batch();
  void fail_all(std::vector<Waiting> batch, const Error& error);

  runtime::Runtime& runtime_;
  LogStore& store_;
  const ApplyBatch apply_;
  const std::function<void(const Error&)> on_failure_;
  std::deque<Waiting> queue_;
  runtime::Signal wake_;
  runtime::TaskGroup tasks_;
  bool stopping_ = false;
  bool failed_ = false;
  Statistics statistics_;
  Instant busy_since_;
  bool busy_ = false;
};

}  // namespace cairn::mds::replication
