// Applier: executes log entries on the tables, and keeps the log short.
//
// Promises: a batch is one atomic write of the tables, with the applied slot in it; after start-up
//           the tables have every durable entry; the log is cut only below what the tables have
//           durably.
// Requires: the loop thread; co_await stop() before it dies.
// Errors:   kCorrupt, kDiskFailed: the tables cannot be trusted any more.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/kv/kv.h"
#include "common/observe/log.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task_group.h"
#include "mds/replication/log_store.h"

namespace cairn::mds::replication {

// Makes the tables durable, away from the loop if it can. In production: a helper thread.
using FlushTables = std::function<Task<Status>()>;

class Applier {
 public:
  struct Options {
    // The tables are flushed when the log has grown by this since the last time.
    ByteCount flush_every_bytes = 32_MiB;
    FlushTables flush;  // empty: tables.flush() on the loop
  };
  Applier(runtime::Runtime& runtime, observe::Log& log, kv::Kv& tables, LogStore& store,
          Options options);

  // Applies what the log has and the tables have not. kCorrupt when the log does not reach back.
  Status replay();
  // For SingleLog: CommandReply bytes, one an entry.
  Result<std::vector<std::string>> apply(const std::vector<Entry>& batch);
  Slot applied_slot() const { return applied_; }
  // Waits for a flush under way, then flushes all.
  Task<Status> stop();

 private:
  Task<void> flush_and_cut();
  Task<Status> flush_once();

  runtime::Runtime& runtime_;
  observe::Log& log_;
  kv::Kv& tables_;
  LogStore& store_;
  const Options options_;
  runtime::TaskGroup tasks_;
  Slot applied_;
  ByteCount since_flush_ = 0;
};

}  // namespace cairn::mds::replication
