// The leader when members come, go, or come back without what they promised.
#include <algorithm>

#include "mds/paxos/state.h"

namespace cairn::mds::paxos {

bool Replica::State::change_waits() const {
  return std::ranges::any_of(
      queue, [](const Pending& one) { return one.value.kind == ValueKind::kMembership; });
}

void Replica::State::membership_changed(const Membership& before) {
  // Those that are new have held for nobody yet, and have promised nothing for the slots that
  // follow. Nor has one that lost what it promised: see Recovery.
  lease_until = Instant();
  led_since = now;
  members_since = chosen;
  for (const Member& member : before.members) {
    if (member.id == options.self || find_member(membership, member.id) != nullptr) continue;
    if (options.sabotage != Sabotage::kCountRemovedMember) peers.erase(member.id);
    recoveries.erase(member.id);
    parting.insert(member.id);
  }
  add_peers();
  if (!is_voter(options.self)) {
    leaving = true;
    if (elected) notice(Deposed{.ballot = ballot});
    elected = false;
  }
  begin_round();
  if (!leaving) {
    send_prepares();
    answer_recoveries();
    mark_recoveries();
  }
  part();
}

void Replica::State::part() {
  if (!leaving && parting.empty()) return;
  // Whoever was removed will stop when it hears of it. Until then those that stay can ask it.
  const Slot known = known_by_majority();
  if (known < members_since) return;
  for (const NodeId id : parting) {
    out.send(id, Heartbeat{.ballot = ballot, .round = round, .chosen = chosen});
  }
  parting.clear();
  if (!leaving) return;
  for (const Member& member : membership.members) {
    const auto peer = peers.find(member.id);
    if (!is_voter(member.id) || peer == peers.end() || peer->second.chosen < members_since) {
      continue;
    }
    out.send(member.id, Yield{.ballot = ballot});
    break;
  }
  step_down();
}

// ---- members that lost their acceptor state ----

void Replica::State::on(NodeId from, const Recover& message) {
  if (!elected || find_member(membership, from) == nullptr) return;
  Recovering& asked = recoveries[from];
  if (asked.nonce != message.nonce) asked = Recovering{.nonce = message.nonce, .upto = {}};
  if (asked.upto != Slot()) {
    out.send(from, RecoverReply{.nonce = asked.nonce, .ballot = ballot, .upto = asked.upto});
  }
  mark_recoveries();
}

void Replica::State::mark_recoveries() {
  const auto waits = [](const auto& asked) { return asked.second.version == 0; };
  if (!elected || changing || std::ranges::none_of(recoveries, waits)) return;
  Membership same = membership;
  ++same.version;
  for (auto& [id, asked] : recoveries) {
    if (asked.version == 0) asked.version = same.version;
  }
  propose_members(0, same);
}

void Replica::State::answer_recoveries() {
  for (auto& [id, asked] : recoveries) {
    if (asked.version != membership.version) continue;
    asked.upto = chosen;
    out.send(id, RecoverReply{.nonce = asked.nonce, .ballot = ballot, .upto = chosen});
  }
}

}  // namespace cairn::mds::paxos
