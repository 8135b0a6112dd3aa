// LogStore: durable batches of log entries in slot order. FileLogStore (file_log_store.h) keeps
// them in segment files, MemLogStore in memory with a crash().
//
// Promises: append() ends after the batch is durable; entries come back in order, without a gap.
// Requires: one append at a time, slots that follow last_slot(); the loop thread.
// Errors:   kDiskFailed, kNoSpace: the store is fenced, every later append fails likewise (after a
//           failed write or flush nobody knows what is on the disk). kCorrupt when opened.
#pragma once

#include <vector>

#include "common/base/result.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"
#include "mds/replication/log_format.h"

namespace cairn::mds::replication {

class LogStore {
 public:
  virtual ~LogStore() = default;
  virtual Task<Status> append(std::vector<Entry> batch) = 0;
  // Visits durable entries with slot >= `from` in order. For start-up: nothing may be appended
  // meanwhile.
  virtual Status read_from(Slot from, const EntryVisitor& visit) const = 0;
  // Entries with slot < `slot` are not needed any more; may keep some of them.
  virtual Task<Status> truncate_before(Slot slot) = 0;
  // 0 when nothing was ever appended.
  virtual Slot last_slot() const = 0;
  // Bytes that a restart would have to read.
  virtual ByteCount size_bytes() const = 0;
};

// Durable and undurable entries apart, for tests and the simulator. Outlives the crash of its
// users.
class MemLogStore final : public LogStore {
 public:
  // An append takes `latency`.
  MemLogStore(runtime::Runtime& runtime, Duration latency)
      : runtime_(&runtime), latency_(latency) {}
  // From now on used by another life of the node, on its runtime.
  void attach(runtime::Runtime& runtime) { runtime_ = &runtime; }

  Task<Status> append(std::vector<Entry> batch) override;
  Status read_from(Slot from, const EntryVisitor& visit) const override;
  Task<Status> truncate_before(Slot slot) override;
  Slot last_slot() const override;
  ByteCount size_bytes() const override;

  // Appends under way are lost and never answered.
  void crash() { ++life_; }
  // Every later append fails with kDiskFailed.
  void fail_from_now() { failed_ = true; }
  std::uint64_t flushes() const { return flushes_; }

 private:
  runtime::Runtime* runtime_;
  Duration latency_;
  std::vector<Entry> durable_;
  Slot truncated_before_{1};
  std::uint64_t life_ = 0;
  std::uint64_t flushes_ = 0;
  bool failed_ = false;
};

}  // namespace cairn::mds::replication
