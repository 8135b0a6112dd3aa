// LogStore: the durable memory of one Paxos member: its records in the order they were appended,
// one durable write a batch. FileLogStore (file_log_store.h) keeps them in segment files,
// MemLogStore (mem_log_store.h) in memory with a crash(). Format: docs/formats/mds-log.md.
//
// Owns:     an index in memory of where each slot's newest record lies.
// Promises: append() ends after the batch is durable; a batch is there wholly or not at all;
//           records come back in order. What was appended last for a slot is what read() answers (a
//           LearnRecord wins over AcceptRecords that follow it). The newest promise, chosen and
//           recovery records survive truncation.
// Requires: the loop thread; one append() at a time (read() and truncate_before() may run beside
//           it); the object outlives its tasks.
// Errors:   kDiskFailed, kNoSpace: the store is fenced, every later append fails likewise (after a
//           failed write or flush nobody knows what is on the disk). kCorrupt when opened or read:
//           damage that no torn write explains.
#pragma once

#include <vector>

#include "common/base/result.h"
#include "common/base/units.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"
#include "mds/paxos/replica.h"

namespace cairn::mds::replication {

// A slot with its chosen value.
struct Entry {
  Slot slot;
  paxos::Value value;
};

// What opening found, apart from the values.
struct LogState {
  paxos::Ballot promised;  // the highest of all promise and accept records
  Slot chosen;
  bool recovering = false;
  Slot recover_until;
  bool empty = true;  // nothing was ever appended
};

class LogStore {
 public:
  virtual ~LogStore() = default;
  virtual Task<Status> append(std::vector<paxos::Record> batch) = 0;
  // As of the last append.
  virtual LogState state() const = 0;
  // The newest record of each slot > `after`, ascending (Accepted::ballot invalid: learned). For
  // start-up: nothing may be appended meanwhile.
  virtual Result<std::vector<paxos::Accepted>> accepted_after(Slot after) const = 0;
  // Consecutive slots from `from` on, at most `slots_max` and about `bytes_max` (at least one). The
  // caller asks only for chosen slots. kNotFound: `from` was truncated or never appended.
  virtual Task<Result<std::vector<Entry>>> read(Slot from, std::size_t slots_max,
                                                ByteCount bytes_max) = 0;
  // Slots < `slot` are not answered any more: from the call on, and after a restart if anything was
  // appended since. Also where the tables were replaced by newer ones: what the log says of slots
  // below is then not surely what was chosen.
  virtual Task<Status> truncate_before(Slot slot) = 0;
  // The lowest slot that read() has; 0 when there is none.
  virtual Slot first_slot() const = 0;
  // The highest slot that was ever appended; 0 when there is none.
  virtual Slot last_slot() const = 0;
  // Bytes that a restart would have to read.
  virtual ByteCount size_bytes() const = 0;
  // Durable writes so far.
  virtual std::uint64_t flushes() const = 0;
};

}  // namespace cairn::mds::replication
