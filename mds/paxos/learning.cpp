// What is chosen: the prefix this member knows, how it catches up, and how it comes back after it
// lost its acceptor state.
#include <algorithm>

#include "mds/paxos/state.h"

namespace cairn::mds::paxos {

void Replica::State::set_leader(NodeId id) {
  if (leader == id) return;
  leader = id;
  notice(LeaderChanged{.leader = id});
}

void Replica::State::choose(Slot slot, Value value, std::uint64_t token) {
  CHECK_EQ(slot, chosen.next());
  chosen = slot;
  sure = std::max(sure, slot);
  forget(slot);
  const bool change = value.kind == ValueKind::kMembership;
  std::optional<Membership> next;
  if (change) {
    next = decode_membership(*value.bytes);
    CHECK(next.has_value());  // checked where it came in
    // Left over from a leader that did not know the newest change: it changes nothing, for anybody.
    if (next->version != membership.version + 1) {
      next.reset();
      value = {.kind = ValueKind::kNoop, .bytes = std::make_shared<const std::string>()};
      // Cannot be its own, by docs/protocols/paxos.md; if it is, nobody may take it for done.
      if (token != 0) step_down();
      token = 0;
    }
    barrier = Slot();
    changing = change_waits();
  }
  out.effects().chosen.push_back({.slot = slot, .value = std::move(value), .token = token});
  if (next.has_value()) {
    const Membership before = std::exchange(membership, std::move(*next));
    // Of its own end it hears when it steps down.
    const bool leads_others = phase == Phase::kLeading && !is_voter(options.self);
    if (!leads_others) notice(MembershipChanged{.membership = membership});
    if (phase == Phase::kLeading) membership_changed(before);
    if (phase == Phase::kPreVote || phase == Phase::kCandidate) step_down();
  }
  end_recovery_if_done();
}

void Replica::State::told_chosen(Slot slot, Ballot theirs) {
  if (theirs < told_ballot) return;
  told = theirs > told_ballot ? slot : std::max(told, slot);
  told_ballot = theirs;
  extend_sure();
  choose_durable();
}

void Replica::State::extend_sure() {
  for (;; sure = sure.next()) {
    const auto at = window.find(sure.next());
    if (at == window.end()) return;
    // One ballot proposes one value for a slot, so what was accepted at the leader's is what it
    // says.
    if (at->first <= told && at->second.ballot == told_ballot) at->second.sure = true;
    if (!at->second.sure) return;
  }
}

// Who is removed stops when it hears of that, and may be the very one whose promise another would
// need after a restart if it did not know any more that the change was chosen. So this is on disk
// before anybody acts on it.
bool Replica::State::noted_as_chosen(Slot change) {
  if (noted != change) {
    noted = change;
    noted_record = out.append(ChosenRecord{.slot = change});
  }
  return out.is_durable(noted_record);
}

void Replica::State::choose_durable() {
  if (phase == Phase::kLeading) return;
  const Slot before = chosen;
  while (chosen < sure) {
    const auto at = window.find(chosen.next());
    CHECK(at != window.end());
    const bool hasty = options.sabotage == Sabotage::kChooseBeforeDurable;
    if (!hasty && !out.is_durable(at->second.record)) break;
    if (at->second.value.kind == ValueKind::kMembership && !noted_as_chosen(at->first)) break;
    Value value = at->second.value;
    choose(chosen.next(), std::move(value), 0);
  }
  // What a candidate asked for began below what it knows now.
  const bool asked = phase == Phase::kCandidate || phase == Phase::kPreVote;
  if (asked && chosen > before) step_down();
}

void Replica::State::want(Slot slot, NodeId from) {
  if (slot <= sure || phase == Phase::kLeading) return;
  const bool under_way = wanted > sure && now < fetch_at;
  wanted = std::max(wanted, slot);
  hint = from;
  if (under_way) return;
  wanted_from = from;
  fetch();
}

void Replica::State::fetch() {
  fetch_at = now + timing.resend;
  out.send(wanted_from, Fetch{.from = sure.next()});
}

void Replica::State::on(NodeId from, const Fetch& message) {
  if (message.from > chosen || message.from == Slot()) return;
  out.effects().send_chosen.push_back({.to = from, .from = message.from});
}

void Replica::State::on(NodeId from, const Learn& message) {
  // A leader has proposed all it does not know as chosen: it learns by counting.
  if (phase == Phase::kLeading) return;
  heard_of_end(from, message.chosen);
  const Slot before = sure;
  for (std::size_t i = 0; i < message.values.size(); ++i) {
    const Slot slot(message.first.raw() + i);
    if (slot <= sure) continue;
    if (slot != sure.next()) break;
    const RecordNumber record = out.append(LearnRecord{.slot = slot, .value = message.values[i]});
    // No ballot can have another value, so the highest speaks for it.
    keep(slot,
         Slotted{.ballot = promised, .value = message.values[i], .record = record, .sure = true});
    sure = slot;
  }
  if (sure == before) return;
  extend_sure();
  choose_durable();
  wanted = std::max(wanted, message.chosen);
  if (wanted > sure) {
    wanted_from = from;
    fetch();
  }
}

void Replica::State::heard_of_end(NodeId from, Slot their_chosen) {
  if (unsaid == Slot() || their_chosen < unsaid || !is_voter(from)) return;
  know.insert(from);
  if (know.size() < majority(membership)) return;
  unsaid = Slot();
  notice(MembershipChanged{.membership = membership});
}

void Replica::State::on(NodeId from, const SnapshotNeeded& message) {
  heard_of_end(from, message.applied);
  if (phase == Phase::kLeading || message.applied <= chosen) return;
  // It takes long; installed() asks for the rest.
  fetch_at = now + timing.hold;
  notice(NeedSnapshot{.from = from, .applied = message.applied});
}

void Replica::State::ask_around() {
  schedule_campaign(timing.hold);
  const NodeId somebody = membership.members[prng.below(membership.members.size())].id;
  if (somebody == options.self) return;
  out.send(somebody, Fetch{.from = unsaid == Slot() ? sure.next() : unsaid});
}

// ---- recovery ----

void Replica::State::ask_recovery() {
  recover_at = now + timing.resend;
  if (leader.valid() && recover_until == Slot()) out.send(leader, Recover{.nonce = nonce});
}

void Replica::State::on(NodeId from, const RecoverReply& message) {
  if (!recovering || message.nonce != nonce || recover_until != Slot()) return;
  if (message.ballot.node != from || message.upto == Slot()) return;
  promised = std::max(promised, message.ballot);
  record_promise();
  recover_until = message.upto;
  out.append(RecoveryRecord{.active = true, .until = recover_until});
  want(recover_until, from);
  end_recovery_if_done();
}

void Replica::State::end_recovery_if_done() {
  if (!recovering || recovery_over != 0) return;
  if (recover_until == Slot() || chosen < recover_until) return;
  recovery_over = out.append(RecoveryRecord{.active = false, .until = Slot()});
}

}  // namespace cairn::mds::paxos
