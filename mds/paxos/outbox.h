// Outbox: what a step wants done, and what may leave only when a record is durable. Internal to
// the core.
//
// Promises: a message given with a record leaves after persisted() reached that record, not before.
#pragma once

#include <map>
#include <utility>

#include "common/base/check.h"
#include "mds/paxos/types.h"

namespace cairn::mds::paxos {

using RecordNumber = std::uint64_t;

class Outbox {
 public:
  // `hasty`: sabotage, nothing waits for the disk.
  explicit Outbox(bool hasty) : hasty_(hasty) {}

  RecordNumber append(Record record) {
    effects_.records.push_back(std::move(record));
    effects_.last_record = ++last_;
    return last_;
  }
  void send(NodeId to, Message message) { effects_.messages.push_back({to, std::move(message)}); }
  void send_after(RecordNumber record, NodeId to, Message message) {
    CHECK_LE(record, last_);
    if (is_durable(record)) {
      send(to, std::move(message));
    } else {
      held_.emplace(record, Outgoing{to, std::move(message)});
    }
  }
  void persisted(RecordNumber record) {
    CHECK_LE(record, last_);
    if (record <= durable_) return;
    durable_ = record;
    const auto end = held_.upper_bound(record);
    for (auto at = held_.begin(); at != end; ++at) {
      effects_.messages.push_back(std::move(at->second));
    }
    held_.erase(held_.begin(), end);
  }
  bool is_durable(RecordNumber record) const { return hasty_ || record <= durable_; }
  bool has_records() const { return !effects_.records.empty(); }

  const std::multimap<RecordNumber, Outgoing>& held() const { return held_; }

  Effects& effects() { return effects_; }
  Effects take() { return std::exchange(effects_, Effects{}); }

 private:
  const bool hasty_;
  Effects effects_;
  RecordNumber last_ = 0;
  RecordNumber durable_ = 0;
  std::multimap<RecordNumber, Outgoing> held_;
};

}  // namespace cairn::mds::paxos
