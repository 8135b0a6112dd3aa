// Applier: executes chosen slots on the tables, and keeps the log short.
//
// Promises: a batch is one atomic write of the tables, with the applied slot in it; the log is cut
//           only below what the tables have durably, and kKeepSlots behind it for slower members.
// Requires: the loop thread; open() first; co_await stop() before it dies.
// Errors:   kCorrupt, kDiskFailed: the tables cannot be trusted any more.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/observe/log.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task_group.h"
#include "mds/replication/log_store.h"
#include "mds/replication/table_vault.h"

namespace cairn::mds::replication {

class Applier {
 public:
  static constexpr std::uint64_t kKeepSlots = 20'000;

  struct Options {
    // The tables are flushed when they have taken this much since the last time.
    ByteCount flush_every_bytes = 32_MiB;
    // Slots below what the tables have durably that stay in the log.
    std::uint64_t keep_slots = kKeepSlots;
  };
  // A digest mark was applied: the tables are exactly as of `slot` during the call.
  using OnMark = std::function<void(std::uint64_t mark, Slot slot)>;
  Applier(runtime::Runtime& runtime, observe::Log& log, TableVault& vault, LogStore& store,
          Options options, OnMark on_mark);

  Status open();
  // Consecutive slots from applied_slot() + 1. One answer a slot: CommandReply bytes; empty for
  // what
  // is no command.
  Result<std::vector<std::string>> apply(const std::vector<paxos::Chosen>& batch);
  Slot applied_slot() const { return applied_; }
  std::uint64_t commands() const { return commands_; }
  // Empty before the first membership value was applied.
  Result<paxos::Membership> membership() const;

  // Around a replacement of the tables: nothing touches them between the two.
  Task<void> pause();
  Status resume();
  // Waits for a flush under way, then flushes all.
  Task<Status> stop();

 private:
  Status apply_one(const paxos::Chosen& chosen, kv::Batch* changes, std::string* answer,
                   const kv::Reader& reader);
  static Task<void> flush_and_cut(Applier* self);
  Task<Status> flush_once();

  runtime::Runtime& runtime_;
  observe::Log& log_;
  TableVault& vault_;
  LogStore& store_;
  const Options options_;
  const OnMark on_mark_;
  runtime::TaskGroup tasks_;
  Slot applied_;
  std::uint64_t mark_ = 0;  // of the slot applied last, when it was a digest mark
  std::uint64_t commands_ = 0;
  ByteCount since_flush_ = 0;
  bool paused_ = false;
};

}  // namespace cairn::mds::replication
