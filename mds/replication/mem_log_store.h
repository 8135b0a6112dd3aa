// MemLogStore: the LogStore of tests and the simulator. Outlives the crash of its users.
#pragma once

#include <deque>
#include <map>

#include "mds/replication/log_store.h"

namespace cairn::mds::replication {

class MemLogStore final : public LogStore {
 public:
  // An append takes `latency`.
  MemLogStore(runtime::Runtime& runtime, Duration latency)
      : runtime_(&runtime), latency_(latency) {}
  // Of what begins from now on.
  void set_latency(Duration latency) { latency_ = latency; }
  // From now on used by another life of the node, on its runtime.
  void attach(runtime::Runtime& runtime) { runtime_ = &runtime; }

  Task<Status> append(std::vector<paxos::Record> batch) override;
  LogState state() const override { return state_; }
  Result<std::vector<paxos::Accepted>> accepted_after(Slot after) const override;
  Task<Result<std::vector<Entry>>> read(Slot from, std::size_t slots_max,
                                        ByteCount bytes_max) override;
  Task<Status> truncate_before(Slot slot) override;
  Slot first_slot() const override;
  Slot last_slot() const override { return last_slot_; }
  ByteCount size_bytes() const override;
  std::uint64_t flushes() const override { return flushes_; }

  // Appends under way are lost and never answered. (A flush that had happened anyway is the case
  // where the crash comes later.)
  void crash();
  // The disk was replaced: an empty store.
  void wipe();
  // A planted bug: appends end at once, and what came within the last half second is lost at a
  // crash, as with a drive that calls its cache durable.
  void lie_from_now() { lying_ = true; }
  // Every later append fails with kDiskFailed.
  void fail_from_now() { failed_ = true; }

 private:
  void apply(const paxos::Record& record);
  void keep_image();
  Result<std::vector<Entry>> run_from(Slot from, std::size_t slots_max, ByteCount bytes_max) const;

  runtime::Runtime* runtime_;
  Duration latency_;
  std::map<Slot, paxos::Accepted> slots_;
  LogState state_;
  Slot last_slot_;
  Slot floor_;  // what truncate_before() was told
  std::uint64_t life_ = 0;
  std::uint64_t flushes_ = 0;
  bool appending_ = false;
  bool failed_ = false;
  bool lying_ = false;
  struct Image {
    Instant at;
    std::map<Slot, paxos::Accepted> slots;
    LogState state;
  };
  std::deque<Image> images_;  // of a lying drive: what it really had
};

}  // namespace cairn::mds::replication
