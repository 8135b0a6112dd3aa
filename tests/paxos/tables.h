// Tables: the state machine of one simulated member: registers, the last answer of each session,
// the members of the group. A value: copied to flush it and to send it as a snapshot.
//
// Promises: the same values in the same slots make the same tables and the same answers. A
//           (session, seq) takes effect once, however often it is chosen.
// Requires: apply() gets consecutive slots.
#pragma once

#include <map>
#include <vector>

#include "mds/paxos/replica.h"
#include "tests/paxos/command.h"

namespace cairn::paxos_sim {

class Tables {
 public:
  struct SessionRow {
    std::uint64_t seq = 0;  // newest that took effect
    std::uint64_t result = 0;
    Slot slot;
  };
  struct Outcome {
    bool is_command = false;
    // False: it had taken effect before, or a later one of its session has.
    bool executed = false;
    Command command;
    std::uint64_t result = 0;
  };

  explicit Tables(paxos::Membership bootstrap) : membership_(std::move(bootstrap)) {}

  Outcome apply(Slot slot, const paxos::Value& value);
  std::uint64_t read(std::uint32_t key) const;
  const SessionRow* session(std::uint64_t id) const;

  Slot applied() const { return applied_; }
  const paxos::Membership& membership() const { return membership_; }
  // Kept up with each change; recomputed() finds out whether rightly.
  std::uint64_t digest() const { return mix(digest_, applied_.raw()); }
  std::uint64_t recomputed() const;

  // These tables came as a snapshot: what the log has up to here may be no chosen values.
  void came_as_snapshot() { log_floor_ = applied_; }
  // A planted bug: the newest slot is taken for not applied.
  void forget_newest_slot() { applied_ = Slot(applied_.raw() == 0 ? 0 : applied_.raw() - 1); }
  Slot log_floor() const { return log_floor_; }
  void trust_log_below() { log_floor_ = Slot(); }

 private:
  void set_key(std::uint32_t key, std::uint64_t state);
  void set_session(std::uint64_t id, const SessionRow& row);

  std::vector<std::uint64_t> keys_;
  std::map<std::uint64_t, SessionRow> sessions_;
  paxos::Membership membership_;
  Slot applied_;
  Slot log_floor_;
  std::uint64_t digest_ = 0;  // sum of the hashes of all rows
};

}  // namespace cairn::paxos_sim
