#include "mds/paxos/soundness.h"

#include <algorithm>

#include "mds/paxos/replica.h"

namespace cairn::mds::paxos {

namespace {

bool is_possible(Slot slot) { return slot <= kSlotMax; }
// {0, 0} stands for none.
bool is_possible(Ballot ballot) { return ballot.round <= kRoundMax; }
bool is_real(Ballot ballot) { return ballot.valid() && is_possible(ballot); }

bool are_sound(Slot first, const std::vector<Value>& values) {
  return first != Slot() && is_possible(first) && values.size() <= kSlotsAheadMax &&
         std::ranges::all_of(values, [](const Value& value) { return is_sound(value); });
}

struct Check {
  bool operator()(const PreVote& m) const {
    return is_real(m.ballot) && is_possible(m.chosen) && is_possible(m.yielded);
  }
  bool operator()(const PreVoteReply& m) const {
    return is_real(m.ballot) && is_possible(m.promised) && is_possible(m.chosen);
  }
  bool operator()(const Prepare& m) const {
    return is_real(m.ballot) && is_possible(m.chosen) && is_possible(m.yielded);
  }
  bool operator()(const Promise& m) const {
    const auto is_good = [&m](const Accepted& one) {
      return one.slot > m.chosen && is_possible(one.slot) && one.ballot <= m.ballot &&
             is_sound(one.value);
    };
    return is_real(m.ballot) && is_possible(m.chosen) && std::ranges::all_of(m.accepted, is_good);
  }
  bool operator()(const Accept& m) const {
    return is_real(m.ballot) && is_possible(m.chosen) && are_sound(m.first, m.values) &&
           m.first.raw() + m.values.size() <= m.chosen.raw() + kSlotsAheadMax;
  }
  bool operator()(const AcceptedReply& m) const {
    return is_real(m.ballot) && m.first != Slot() && m.first <= m.last && is_possible(m.last) &&
           is_possible(m.chosen);
  }
  bool operator()(const Refuse& m) const {
    return is_real(m.ballot) && is_possible(m.promised) && is_possible(m.chosen);
  }
  bool operator()(const Heartbeat& m) const { return is_real(m.ballot) && is_possible(m.chosen); }
  bool operator()(const HeartbeatReply& m) const {
    return is_real(m.ballot) && is_possible(m.chosen) && is_possible(m.accepted);
  }
  bool operator()(const Fetch& m) const { return m.from != Slot() && is_possible(m.from); }
  bool operator()(const Learn& m) const {
    return is_possible(m.chosen) && are_sound(m.first, m.values);
  }
  bool operator()(const SnapshotNeeded& m) const { return is_possible(m.applied); }
  bool operator()(const Yield& m) const { return is_real(m.ballot); }
  bool operator()(const Recover&) const { return true; }
  bool operator()(const RecoverReply& m) const {
    return is_real(m.ballot) && m.upto != Slot() && is_possible(m.upto);
  }
};

}  // namespace

bool is_sound(const Value& value) {
  if (value.bytes == nullptr || value.bytes->size() > kValueBytesMax) return false;
  switch (value.kind) {
    case ValueKind::kNoop:
      return value.bytes->empty();
    case ValueKind::kCommand:
      return true;
    case ValueKind::kMembership:
      return decode_membership(*value.bytes).has_value();
  }
  return false;  // of a newer version, or of nobody
}

bool is_sound(const Message& message) { return std::visit(Check{}, message); }

}  // namespace cairn::mds::paxos
