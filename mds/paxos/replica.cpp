#include "mds/paxos/replica.h"

#include <algorithm>

#include "mds/paxos/soundness.h"
#include "mds/paxos/state.h"

namespace cairn::mds::paxos {

namespace {
std::size_t voters_that_differ(const Membership& a, const Membership& b) {
  std::size_t differ = 0;
  for (const auto& [from, to] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    for (const Member& member : from->members) {
      const Member* other = find_member(*to, member.id);
      const bool votes_there = other != nullptr && other->role == Role::kVoter;
      if (member.role == Role::kVoter && !votes_there) ++differ;
    }
  }
  return differ;
}
}  // namespace

Replica::Replica(Options options, Durable durable, Instant now)
    : state_(std::make_unique<State>(options, std::move(durable), now)) {}
Replica::~Replica() = default;

bool Replica::propose(std::uint64_t token, Value value, Instant now) {
  State& s = *state_;
  s.now = now;
  CHECK_NE(token, std::uint64_t{0});
  CHECK(is_sound(value));
  CHECK(value.kind == ValueKind::kCommand);
  if (!s.elected || s.queue.size() >= s.options.limits.window_slots) return false;
  if (s.queue_bytes >= s.options.limits.window_bytes) return false;
  s.queue_bytes += value.bytes->size();
  s.queue.push_back({.token = token, .value = std::move(value)});
  return true;
}

bool Replica::propose_membership(std::uint64_t token, const Membership& next, Instant now) {
  State& s = *state_;
  s.now = now;
  if (!s.elected || s.changing || next.version != s.membership.version + 1) return false;
  // More at once would be as safe, but could leave a majority that has caught up with nothing.
  if (voters(next) == 0 || voters_that_differ(s.membership, next) > 1) return false;
  s.propose_members(token, next);
  return true;
}

void Replica::receive(NodeId from, const Message& message, Instant now) {
  State& s = *state_;
  s.now = now;
  if (from == s.options.self || !from.valid() || !is_sound(message)) {
    ++s.dropped;
    return;
  }
  std::visit([&s, from](const auto& what) { s.on(from, what); }, message);
}

void Replica::persisted(std::uint64_t record, Instant now) {
  State& s = *state_;
  s.now = now;
  s.out.persisted(record);
  if (s.recovery_over != 0 && s.out.is_durable(s.recovery_over)) {
    s.recovering = false;
    s.recovery_over = 0;
    s.schedule_campaign(s.timing.hold);
  }
  s.choose_durable();
  s.count_promises();
  s.advance();
}

void Replica::tick(Instant now) {
  state_->now = now;
  state_->tick();
}

void Replica::installed(Slot applied, const Membership& membership, Instant now) {
  State& s = *state_;
  s.now = now;
  if (applied <= s.chosen) return;
  if (s.phase != Phase::kFollower) s.step_down();
  s.chosen = applied;
  while (!s.window.empty() && s.window.begin()->first <= applied) {
    s.forget(s.window.begin()->first);
  }
  s.sure = std::max(s.sure, applied);
  if (!(s.membership == membership)) {
    s.membership = membership;
    s.notice(MembershipChanged{.membership = membership});
  }
  s.end_recovery_if_done();
  s.extend_sure();
  s.choose_durable();
  if (s.wanted > s.sure) s.fetch();
}

bool Replica::yield(NodeId to, Instant now) {
  State& s = *state_;
  s.now = now;
  if (!s.elected) return false;
  NodeId heir;
  for (const auto& [id, peer] : s.peers) {
    if (!s.is_voter(id) || peer.matched < s.chosen) continue;
    if (now - peer.last_heard > s.timing.hold) continue;
    if (!heir.valid() || id == to) heir = id;
  }
  if (!heir.valid() || (to.valid() && heir != to)) return false;
  s.begin_round();  // so that the heir knows what is chosen
  s.out.send(heir, Yield{.ballot = s.ballot});
  s.step_down();
  // It has its chance first.
  s.schedule_campaign(s.timing.hold);
  return true;
}

std::uint64_t Replica::confirm(Instant now) {
  State& s = *state_;
  s.now = now;
  // It begins with the effects, after all that ask for it in this turn.
  s.round_asked = true;
  return s.round + 1;
}

Effects Replica::take() {
  State& s = *state_;
  if (s.round_asked && s.phase == Phase::kLeading) s.begin_round();
  s.round_asked = false;
  s.fill();
  // Rides along: it costs no write of its own.
  if (s.out.has_records() && s.marked < s.chosen && !s.leaving && s.unsaid == Slot()) {
    s.marked = s.chosen;
    s.out.append(ChosenRecord{.slot = s.chosen});
  }
  return s.out.take();
}

Instant Replica::next_tick() const { return state_->next_tick(); }
bool Replica::leads() const { return state_->elected; }

bool Replica::may_serve(Instant now) const {
  const State& s = *state_;
  if (!s.elected) return false;
  if (s.is_sole_voter() || s.options.sabotage == Sabotage::kServeWithoutLease) return true;
  return now < s.lease_until;
}

std::uint64_t Replica::confirmed_round() const { return state_->confirmed; }
NodeId Replica::leader() const { return state_->leader; }
Ballot Replica::promised() const { return state_->promised; }
Slot Replica::chosen() const { return state_->chosen; }
const Membership& Replica::membership() const { return state_->membership; }
bool Replica::recovering() const { return state_->recovering; }
std::uint64_t Replica::dropped_messages() const { return state_->dropped; }

Slot Replica::last_accepted() const {
  const State& s = *state_;
  return s.window.empty() ? s.chosen : s.window.rbegin()->first;
}

std::size_t Replica::waiting() const {
  if (state_->phase != Phase::kLeading) return 0;
  return state_->queue.size() + (state_->proposed - std::min(state_->chosen, state_->proposed));
}

std::vector<PeerProgress> Replica::peers() const {
  std::vector<PeerProgress> progress;
  if (state_->phase != Phase::kLeading) return progress;
  for (const auto& [id, peer] : state_->peers) {
    progress.push_back({.id = id,
                        .chosen = peer.chosen,
                        .last_heard = peer.last_heard,
                        .last_accept = peer.last_accept});
  }
  return progress;
}

void Replica::check_invariants() const { state_->check(); }
std::string Replica::dump() const { return state_->dump(); }

}  // namespace cairn::mds::paxos
