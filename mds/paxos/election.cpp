// Pre-vote and phase 1: how a member becomes the leader, and stops being it.
#include <algorithm>

#include "mds/paxos/soundness.h"
#include "mds/paxos/state.h"

namespace cairn::mds::paxos {

Ballot Replica::State::next_ballot() const {
  if (options.sabotage == Sabotage::kReuseBallot) {
    return Ballot{.round = std::max<std::uint64_t>(highest_round, 1), .node = options.self};
  }
  return Ballot{.round = std::max(promised.round, highest_round) + 1, .node = options.self};
}

void Replica::State::schedule_campaign(Duration at_least) {
  const auto stagger = static_cast<std::uint64_t>(timing.stagger.count());
  const Duration extra(stagger == 0 ? 0 : static_cast<std::int64_t>(prng.below(stagger)));
  campaign_at = now + at_least + extra;
}

void Replica::State::begin_pre_vote() {
  phase = Phase::kPreVote;
  yielded = Ballot();
  set_leader(NodeId());
  ballot = next_ballot();
  pre_votes = {options.self};
  schedule_campaign(timing.campaign);
  for (const Member& member : membership.members) {
    if (member.id == options.self || member.role != Role::kVoter) continue;
    out.send(member.id, PreVote{.ballot = ballot, .chosen = chosen, .yielded = yielded});
  }
  if (is_sole_voter()) begin_campaign(Ballot());
}

void Replica::State::on(NodeId from, const PreVoteReply& message) {
  highest_round = std::max(highest_round, message.promised.round);
  if (message.chosen > chosen) want(message.chosen, from);
  if (phase != Phase::kPreVote || message.ballot != ballot || !message.granted) return;
  pre_votes.insert(from);
  const auto yes = std::ranges::count_if(pre_votes, [this](NodeId id) { return counts(id); });
  if (static_cast<std::size_t>(yes) >= majority(membership)) begin_campaign(Ballot());
}

void Replica::State::begin_campaign(Ballot yielded_ballot) {
  phase = Phase::kCandidate;
  yielded = yielded_ballot;
  set_leader(NodeId());
  ballot = next_ballot();
  promises.clear();
  members_since = Slot();
  tail.clear();
  schedule_campaign(timing.campaign);
  prepare_at = now + timing.resend;
  promised = std::max(promised, ballot);
  own_promise = false;
  if (options.sabotage == Sabotage::kReuseBallot) {
    promise_record = 0;
  } else {
    // Before anybody hears of the ballot: it is never used twice.
    record_promise();
  }
  send_prepares();
  count_promises();
}

void Replica::State::send_prepares() {
  for (const Member& member : membership.members) {
    if (member.id == options.self || member.role != Role::kVoter) continue;
    const auto promise = promises.find(member.id);
    if (promise != promises.end() && promise->second >= members_since) continue;
    out.send_after(promise_record, member.id,
                   Prepare{.ballot = ballot, .chosen = chosen, .yielded = yielded});
  }
}

bool Replica::State::complete() const {
  if (options.sabotage == Sabotage::kSkipPhase1) return true;
  const bool careless = options.sabotage == Sabotage::kCountRemovedMember;
  const auto yes = std::ranges::count_if(promises, [this, careless](const auto& promise) {
    return counts(promise.first) && (careless || promise.second >= members_since);
  });
  return static_cast<std::size_t>(yes) >= majority(membership);
}

void Replica::State::merge(const std::vector<Accepted>& reported) {
  for (const Accepted& accepted : reported) {
    // What this ballot has proposed already is not open any more.
    if (accepted.slot <= chosen || (phase == Phase::kLeading && accepted.slot <= proposed)) {
      continue;
    }
    const auto at = tail.find(accepted.slot);
    if (at == tail.end()) {
      tail.emplace(accepted.slot, accepted);
    } else if (at->second.ballot < accepted.ballot) {
      at->second = accepted;
    }
  }
}

void Replica::State::on(NodeId from, const Promise& message) {
  if (message.ballot != ballot) return;
  // One more than needed could only bring old values to light that nobody chose. After a change of
  // the members it is asked for again.
  const bool needed = phase == Phase::kCandidate || (phase == Phase::kLeading && !complete());
  if (!needed) return;
  const Slot farthest(chosen.raw() + kSlotsAheadMax);
  if (std::ranges::any_of(message.accepted,
                          [farthest](const Accepted& one) { return one.slot > farthest; })) {
    ++dropped;
    return;
  }
  Slot& known = promises[from];
  known = std::max(known, message.chosen);
  merge(message.accepted);
  count_promises();
}

void Replica::State::count_promises() {
  if (phase != Phase::kCandidate) return;
  if (!own_promise && out.is_durable(promise_record)) {
    own_promise = true;
    promises[options.self] = kSlotMax;  // it knows what it knows
    std::vector<Accepted> own;
    for (const auto& [slot, slotted] : window) {
      own.push_back({.slot = slot, .ballot = slotted.ballot, .value = slotted.value});
    }
    merge(own);
  }
  if (!own_promise) return;
  if (options.sabotage == Sabotage::kSkipPhase1) tail.clear();
  if (complete()) begin_leading();
}

void Replica::State::begin_leading() {
  phase = Phase::kLeading;
  elected = false;
  set_leader(options.self);
  proposed = chosen;
  sure = chosen;  // the rest is proposed again, at this ballot
  own_matched = chosen;
  barrier = Slot();
  writing.clear();
  queue.clear();
  queue_bytes = 0;
  tokens.clear();
  window_bytes = 0;
  changing = false;
  rounds.clear();
  confirmed = round;
  lease_until = Instant();
  led_since = now;
  recoveries.clear();
  peers.clear();
  add_peers();
  if (membership.version == 0 && tail.empty()) {
    Membership first = membership;
    first.version = 1;
    propose_members(0, first);
  }
  begin_round();
  settle_election();
}

void Replica::State::on(NodeId from, const Refuse& message) {
  highest_round = std::max(highest_round, message.promised.round);
  if (message.chosen > chosen && phase != Phase::kLeading) want(message.chosen, from);
  // Of one that was removed long ago nothing is needed.
  if (find_member(membership, from) == nullptr) return;
  const bool mine =
      message.ballot == ballot && (phase == Phase::kCandidate || phase == Phase::kLeading);
  if (mine && message.promised > ballot) step_down();
}

void Replica::State::on(NodeId from, const Yield& message) {
  if (message.ballot.node != from || message.ballot < promised) return;
  if (recovering || !is_voter(options.self) || phase == Phase::kLeading) return;
  // Its own hold counts like anybody's: the yielded ballot may be an old one.
  if (now < first_hold || (now < hold_until && message.ballot < hold_ballot)) return;
  begin_campaign(message.ballot);
}

void Replica::State::step_down() {
  if (phase == Phase::kLeading && elected) notice(Deposed{.ballot = ballot});
  elected = false;
  if (leaving && known_by_majority() >= members_since) {
    notice(MembershipChanged{.membership = membership});
  } else if (leaving) {
    unsaid = members_since;
    know.clear();
  }
  leaving = false;
  parting.clear();
  if (phase == Phase::kLeading || phase == Phase::kCandidate) set_leader(NodeId());
  phase = Phase::kFollower;
  lease_until = Instant();
  tail.clear();
  queue.clear();
  queue_bytes = 0;
  tokens.clear();
  writing.clear();
  rounds.clear();
  recoveries.clear();
  changing = false;
  barrier = Slot();
  schedule_campaign(timing.campaign);
}

}  // namespace cairn::mds::paxos
