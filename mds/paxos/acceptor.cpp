// Phase 1b and 2b: what this member promises and accepts. Rules A1 to A6 of
// docs/protocols/paxos.md.
#include <algorithm>

#include "mds/paxos/state.h"

namespace cairn::mds::paxos {

namespace {
// A follower with a gap keeps at most this many windows of what lies behind it; the rest it will
// fetch.
constexpr std::size_t kWindowsKept = 4;
}  // namespace

bool Replica::State::held(NodeId from, Ballot yielded_ballot) const {
  if (options.sabotage == Sabotage::kIgnoreHold) return false;
  if (phase == Phase::kLeading && elected) return !is_sole_voter() && now < lease_until;
  // Whom it helped just before it ended is forgotten: it may have been somebody newer than whom it
  // follows now.
  if (now < first_hold) return true;
  if (from == leader || now >= hold_until) return false;
  // The leader that this hold protects said that it holds no lease any more.
  return !(yielded_ballot.valid() && hold_ballot <= yielded_ballot);
}

const char* Replica::State::objection(NodeId from, Ballot asked, Slot their_chosen,
                                      Ballot yielded_ballot) const {
  if (recovering) return "this member lost its promises";
  if (their_chosen < chosen) return "the candidate lacks chosen slots";
  // With the same chosen slots it has the same members as this one: it surely has no vote. With
  // more it may know better.
  if (their_chosen == chosen && !membership.members.empty() && !is_voter(from)) {
    return "the candidate is no voter";
  }
  if (asked < promised) return "a higher ballot was promised";
  // To repeat a promise makes no new leader.
  if (asked > promised && held(from, yielded_ballot)) return "a leader may hold a lease";
  return nullptr;
}

void Replica::State::on(NodeId from, const PreVote& message) {
  const bool granted = message.ballot.node == from && message.ballot > promised &&
                       objection(from, message.ballot, message.chosen, message.yielded) == nullptr;
  out.send(
      from,
      PreVoteReply{
          .ballot = message.ballot, .granted = granted, .promised = promised, .chosen = chosen});
}

void Replica::State::refuse(NodeId from, Ballot refused) {
  out.send(from, Refuse{.ballot = refused, .promised = promised, .chosen = chosen});
}

void Replica::State::record_promise() {
  if (recorded >= promised) return;
  recorded = promised;
  promise_record = out.append(PromiseRecord{.ballot = promised});
}

void Replica::State::on(NodeId from, const Prepare& message) {
  if (message.ballot.node != from || recovering) {
    ++dropped;
    return;
  }
  // From the leader that it follows: a promise counts only with the members known that it is asked
  // for.
  if (message.ballot == promised) told_chosen(message.chosen, message.ballot);
  if (objection(from, message.ballot, message.chosen, message.yielded) != nullptr) {
    refuse(from, message.ballot);
    return;
  }
  if (message.ballot > promised) {
    step_down();
    promised = message.ballot;
    schedule_campaign(timing.campaign + timing.hold);
  }
  // An accept or a heartbeat may have raised `promised` in memory only.
  record_promise();
  Promise promise{.ballot = promised, .chosen = std::min(sure, message.chosen), .accepted = {}};
  for (auto at = window.upper_bound(message.chosen); at != window.end(); ++at) {
    const auto& [slot, slotted] = *at;
    promise.accepted.push_back({.slot = slot, .ballot = slotted.ballot, .value = slotted.value});
  }
  out.send_after(promise_record, from, std::move(promise));
}

void Replica::State::follow(NodeId from, Ballot theirs) {
  promised = std::max(promised, theirs);
  if (phase != Phase::kFollower) step_down();
  hold_until = now + timing.hold;
  hold_ballot = theirs;
  schedule_campaign(timing.hold);
  set_leader(from);
}

void Replica::State::keep(Slot slot, Slotted what) {
  forget(slot);
  kept_bytes += what.value.bytes->size();
  window.emplace(slot, std::move(what));
}

void Replica::State::forget(Slot slot) {
  const auto at = window.find(slot);
  if (at == window.end()) return;
  kept_bytes -= at->second.value.bytes->size();
  window.erase(at);
}

bool Replica::State::accept(Ballot theirs, Slot slot, const Value& value) {
  const auto at = window.find(slot);
  // Never two values at one ballot, nor in one slot that is chosen.
  if (at != window.end() && (at->second.ballot == theirs || at->second.sure)) {
    return same_value(at->second.value, value);
  }
  const RecordNumber record =
      out.append(AcceptRecord{.ballot = theirs, .slot = slot, .value = value});
  keep(slot, Slotted{.ballot = theirs, .value = value, .record = record});
  return true;
}

void Replica::State::on(NodeId from, const Accept& message) {
  if (message.ballot.node != from || message.values.empty()) {
    ++dropped;
    return;
  }
  if (message.ballot < promised && options.sabotage != Sabotage::kForgetPromise) {
    refuse(from, message.ballot);
    return;
  }
  follow(from, std::max(message.ballot, promised));
  const Slot last(message.first.raw() + message.values.size() - 1);
  const bool full = window.size() >= kWindowsKept * options.limits.window_slots ||
                    kept_bytes >= kWindowsKept * options.limits.window_bytes;
  const bool joins = message.first <= sure.next();
  if (!recovering && (joins || !full)) {
    RecordNumber record = 0;
    bool all = true;
    for (std::size_t i = 0; i < message.values.size() && all; ++i) {
      const Slot slot(message.first.raw() + i);
      if (slot <= chosen) continue;
      all = accept(message.ballot, slot, message.values[i]);
      record = std::max(record, window.at(slot).record);
    }
    if (!all) {
      ++dropped;
      return;
    }
    out.send_after(
        record, from,
        AcceptedReply{
            .ballot = message.ballot, .first = message.first, .last = last, .chosen = chosen});
  }
  told_chosen(message.chosen, message.ballot);
  if (sure < message.chosen) want(message.chosen, from);
}

Slot Replica::State::durable_prefix(Ballot theirs) const {
  Slot prefix = chosen;
  for (const auto& [slot, slotted] : window) {
    if (slot != prefix.next() || slotted.ballot != theirs) break;
    if (!out.is_durable(slotted.record)) break;
    prefix = slot;
  }
  return prefix;
}

void Replica::State::on(NodeId from, const Heartbeat& message) {
  if (message.ballot.node != from) {
    ++dropped;
    return;
  }
  if (message.ballot < promised) {
    refuse(from, message.ballot);
    return;
  }
  follow(from, message.ballot);
  told_chosen(message.chosen, message.ballot);
  if (sure < message.chosen) want(message.chosen, from);
  out.send(from, HeartbeatReply{.ballot = message.ballot,
                                .round = message.round,
                                .chosen = chosen,
                                .accepted = recovering ? chosen : durable_prefix(message.ballot)});
}

}  // namespace cairn::mds::paxos
