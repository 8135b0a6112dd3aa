// A member's state as it starts, its clock, and what it knows of who votes.
#include "mds/paxos/state.h"

#include <algorithm>

#include "mds/paxos/soundness.h"

namespace cairn::mds::paxos {

Replica::State::State(Options given, Durable durable, Instant start)
    : options(given),
      timing(given.timing),
      prng(given.seed),
      out(given.sabotage == Sabotage::kAnswerBeforeDurable),
      now(start) {
  CHECK_LE(options.limits.window_slots, std::size_t{kSlotsAheadMax / 2});
  promised = durable.promised;
  for (const Accepted& accepted : durable.accepted) promised = std::max(promised, accepted.ballot);
  recorded = promised;
  highest_round = options.sabotage == Sabotage::kReuseBallot ? 0 : promised.round;
  chosen = durable.applied;
  sure = chosen;
  membership = std::move(durable.membership);
  recovering = durable.recovering;
  recover_until = durable.recover_until;
  nonce = prng.next() | 1;
  recover_at = start;
  for (const Accepted& accepted : durable.accepted) {
    if (accepted.slot <= chosen) continue;
    // A learned value is the chosen one: no ballot can have another, so the highest speaks for it.
    const Ballot ballot_of = accepted.ballot.valid() ? accepted.ballot : promised;
    keep(accepted.slot, Slotted{.ballot = ballot_of,
                                .value = accepted.value,
                                .record = 0,
                                .sure = !accepted.ballot.valid()});
  }
  while (chosen < durable.chosen) {
    const auto at = window.find(chosen.next());
    if (at == window.end()) break;
    Value value = at->second.value;
    choose(chosen.next(), std::move(value), 0);
  }
  extend_sure();
  choose_durable();
  marked = chosen;
  // It may have helped a leader just before it ended.
  first_hold = is_alone() ? start : start + timing.hold;
  hold_until = first_hold;
  schedule_campaign(timing.hold);
  if (is_alone()) campaign_at = start;
  if (recovering && recover_until == Slot()) {
    out.append(RecoveryRecord{.active = true, .until = Slot()});
  }
}

bool Replica::State::is_voter(NodeId id) const {
  const Member* member = find_member(membership, id);
  return member != nullptr && member->role == Role::kVoter;
}

bool Replica::State::votes_after(const Value& change, NodeId id) const {
  const std::optional<Membership> next = decode_membership(*change.bytes);
  const Member* member = next.has_value() ? find_member(*next, id) : nullptr;
  return member != nullptr && member->role == Role::kVoter;
}

bool Replica::State::is_sole_voter() const {
  return voters(membership) == 1 && is_voter(options.self);
}

bool Replica::State::is_alone() const {
  if (!is_sole_voter()) return false;
  // A change that this member accepted may have been chosen: then others vote too, and may have a
  // leader.
  return std::ranges::none_of(window, [this](const auto& slot) {
    const Value& value = slot.second.value;
    if (value.kind != ValueKind::kMembership) return false;
    const std::optional<Membership> next = decode_membership(*value.bytes);
    const Member* self = next.has_value() ? find_member(*next, options.self) : nullptr;
    return self == nullptr || self->role != Role::kVoter || voters(*next) != 1;
  });
}

bool Replica::State::counts(NodeId id) const {
  return is_voter(id) || options.sabotage == Sabotage::kCountRemovedMember;
}

void Replica::State::tick() {
  if (recovering) {
    if (now >= recover_at) ask_recovery();
  }
  if (wanted > sure && phase != Phase::kLeading && now >= fetch_at) {
    wanted_from = leader.valid() ? leader : hint;
    fetch();
  }
  if (phase == Phase::kLeading) {
    if (now >= heartbeat_at) begin_round();
    for (auto& [id, peer] : peers) resend_to(id, peer);
    if (now >= prepare_at) {
      prepare_at = now + timing.resend;
      if (!complete()) send_prepares();
    }
    const Instant began = led_since + timing.hold;
    const Instant confirmed_until = leaving ? began : std::max(lease_until, began);
    if (!is_sole_voter() && now >= confirmed_until + timing.stagger) {
      step_down();
    } else if (is_late()) {
      step_down();
      schedule_campaign(2 * timing.hold);
    }
    return;
  }
  if (now < campaign_at || membership.members.empty()) return;
  if (recovering || !is_voter(options.self)) {
    ask_around();
  } else if (phase == Phase::kCandidate && !own_promise) {
    // Its own disk is slow: another ballot would have to wait as long.
    schedule_campaign(timing.campaign);
  } else if (is_alone()) {
    begin_campaign(Ballot());
  } else if (now >= hold_until) {
    begin_pre_vote();
  } else {
    campaign_at = hold_until;
  }
}

Instant Replica::State::next_tick() const {
  Instant next = Instant::infinite();
  if (recovering && leader.valid() && recover_until == Slot()) next = std::min(next, recover_at);
  if (wanted > sure && phase != Phase::kLeading) next = std::min(next, fetch_at);
  if (phase == Phase::kLeading) {
    next = std::min({next, heartbeat_at, prepare_at});
  } else if (!membership.members.empty()) {
    next = std::min(next, campaign_at);
  }
  return next;
}

}  // namespace cairn::mds::paxos
