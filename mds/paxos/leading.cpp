// Phase 2: the leader proposes, counts, and keeps its lease.
#include <algorithm>

#include "mds/paxos/state.h"

namespace cairn::mds::paxos {

namespace {
// A leader whose own write takes so many times hold leaves, when the others do better.
constexpr int kPatience = 3;
}  // namespace

// Of the voters' values the highest that a majority has reached.
template <class T, class Of>
T Replica::State::agreed(T own, Of of) const {
  std::vector<T> values;
  for (const auto& [id, peer] : peers) {
    if (counts(id)) values.push_back(of(peer));
  }
  if (is_voter(options.self)) values.push_back(own);
  const std::size_t needed = majority(membership);
  if (values.size() < needed) return T{};
  std::ranges::sort(values, std::greater<>());
  return values[needed - 1];
}

void Replica::State::add_peers() {
  for (const Member& member : membership.members) {
    if (member.id == options.self) continue;
    peers.try_emplace(member.id, Peer{.chosen = Slot(),
                                      .matched = Slot(),
                                      .round = 0,
                                      .last_heard = now,
                                      .last_accept = now,
                                      .last_progress = now});
  }
}

// ---- proposing ----

bool Replica::State::may_propose() {
  if (phase != Phase::kLeading || leaving || barrier > chosen) return false;
  // One durable write carries what came during the one before.
  if (proposed > own_matched) return false;
  if (proposed - chosen >= options.limits.window_slots) return false;
  if (window_bytes >= options.limits.window_bytes) return false;
  return complete();
}

void Replica::State::propose_members(std::uint64_t token, const Membership& next) {
  Value value{.kind = ValueKind::kMembership,
              .bytes = std::make_shared<const std::string>(encode_membership(next))};
  changing = true;
  queue_bytes += value.bytes->size();
  queue.push_back({.token = token, .value = std::move(value)});
}

bool Replica::State::next_value(Pending* next) {
  if (!tail.empty()) {
    const auto first = tail.begin();
    if (first->first > proposed.next()) {
      *next = {.token = 0,
               .value = {.kind = ValueKind::kNoop, .bytes = std::make_shared<const std::string>()}};
      return true;
    }
    *next = {.token = 0, .value = first->second.value};
    tail.erase(first);
    return true;
  }
  if (queue.empty()) return false;
  *next = std::move(queue.front());
  queue.pop_front();
  queue_bytes -= next->value.bytes->size();
  return true;
}

void Replica::State::fill() {
  while (may_propose() && !(tail.empty() && queue.empty())) propose_batch();
}

void Replica::State::propose_batch() {
  const Slot first = proposed.next();
  std::size_t bytes = 0;
  const std::size_t room = options.limits.window_slots - (proposed - chosen);
  const std::size_t most = std::min(options.limits.batch_slots, room);
  RecordNumber record = 0;
  Pending next;
  for (std::size_t count = 0; count < most && bytes < options.limits.batch_bytes; ++count) {
    if (!next_value(&next)) break;
    proposed = proposed.next();
    bytes += next.value.bytes->size();
    if (next.token != 0) tokens.emplace(proposed, next.token);
    record = out.append(AcceptRecord{.ballot = ballot, .slot = proposed, .value = next.value});
    keep(proposed, Slotted{.ballot = ballot, .value = next.value, .record = record});
    if (next.value.kind == ValueKind::kMembership) {
      barrier = proposed;
      changing = true;
      break;  // config of the next slot is not known before this one is chosen
    }
  }
  recorded = std::max(recorded, ballot);
  window_bytes += bytes;
  writing.push_back({.record = record, .last = proposed, .since = now});
  for (auto& [id, peer] : peers) {
    // Who had all has been given something to do only now.
    if (peer.matched.next() >= first) peer.last_progress = now;
    send_accept(id, first, proposed);
  }
  advance();
}

void Replica::State::send_accept(NodeId to, Slot first, Slot last) {
  Accept message{.ballot = ballot, .first = first, .values = {}, .chosen = chosen};
  std::size_t bytes = 0;
  for (Slot slot = first; slot <= last && bytes < options.limits.batch_bytes; slot = slot.next()) {
    message.values.push_back(window.at(slot).value);
    bytes += message.values.back().bytes->size();
  }
  out.send(to, std::move(message));
}

void Replica::State::resend_to(NodeId id, Peer& peer) {
  const Slot first = std::max(peer.matched, chosen).next();
  if (first > proposed || now - peer.last_progress < timing.resend) return;
  // To one that is silent only its heartbeats: it will say what it has when it is back.
  if (now - peer.last_heard > timing.hold) return;
  peer.last_progress = now;
  const Slot last(std::min(proposed.raw(), first.raw() + options.limits.batch_slots - 1));
  send_accept(id, first, last);
}

// ---- counting ----

void Replica::State::heard(Peer& peer, Slot their_chosen, Slot their_accepted) {
  peer.last_heard = now;
  peer.chosen = std::max(peer.chosen, their_chosen);
  const Slot has = std::min(std::max(their_chosen, their_accepted), proposed);
  if (has > peer.matched) {
    peer.matched = has;
    peer.last_progress = now;
    peer.last_accept = now;
  }
  if (peer.matched >= chosen) peer.last_accept = now;
}

void Replica::State::on(NodeId from, const AcceptedReply& message) {
  const auto at = peers.find(from);
  if (phase != Phase::kLeading || message.ballot != ballot || at == peers.end()) return;
  Peer& peer = at->second;
  // Behind a gap it counts nothing yet: a later answer tells how far all is there.
  const bool joins = message.first <= std::max(peer.matched, chosen).next();
  heard(peer, message.chosen, joins ? message.last : Slot());
  advance();
  part();
}

void Replica::State::on(NodeId from, const HeartbeatReply& message) {
  const auto at = peers.find(from);
  if (phase != Phase::kLeading || message.ballot != ballot || at == peers.end()) return;
  heard(at->second, message.chosen, message.accepted);
  at->second.round = std::max(at->second.round, std::min(message.round, round));
  count_rounds();
  advance();
  part();
}

void Replica::State::advance() {
  if (phase != Phase::kLeading) return;
  while (!writing.empty() && out.is_durable(writing.front().record)) {
    own_matched = writing.front().last;
    writing.pop_front();
  }
  const Ballot reign = ballot;
  while (phase == Phase::kLeading && ballot == reign) {
    // Also when a majority of others has it: see choose_durable().
    const Slot reached =
        std::min(agreed(own_matched, [](const Peer& peer) { return peer.matched; }), own_matched);
    if (reached <= chosen) break;
    const Slot slot = chosen.next();
    const auto at = window.find(slot);
    CHECK(at != window.end());
    // Of its own end a restart shall know nothing before the others do: they may need its promise.
    const bool note = at->second.value.kind == ValueKind::kMembership &&
                      votes_after(at->second.value, options.self);
    if (note && !noted_as_chosen(slot)) break;
    const auto token = tokens.find(slot);
    const std::uint64_t answers = token == tokens.end() ? 0 : token->second;
    if (token != tokens.end()) tokens.erase(token);
    window_bytes -= std::min(window_bytes, at->second.value.bytes->size());
    Value value = at->second.value;
    choose(slot, std::move(value), answers);
  }
  if (phase == Phase::kLeading) settle_election();
}

void Replica::State::settle_election() {
  if (elected || !tail.empty() || proposed != chosen || membership.version == 0) return;
  if (!complete() || !is_voter(options.self)) return;
  elected = true;
  notice(Elected{.ballot = ballot});
}

Slot Replica::State::known_by_majority() const {
  return agreed(chosen, [](const Peer& peer) { return peer.chosen; });
}

bool Replica::State::is_late() const {
  if (writing.empty() || now - writing.front().since < kPatience * timing.hold) return false;
  return agreed(own_matched, [](const Peer& peer) { return peer.matched; }) > own_matched;
}

// ---- heartbeats and lease ----

void Replica::State::begin_round() {
  round_asked = false;
  ++round;
  rounds.emplace(round, now);
  heartbeat_at = now + timing.heartbeat;
  for (const auto& [id, peer] : peers) {
    out.send(id, Heartbeat{.ballot = ballot, .round = round, .chosen = chosen});
  }
  count_rounds();
}

void Replica::State::count_rounds() {
  const std::uint64_t reached = agreed(round, [](const Peer& peer) { return peer.round; });
  if (reached > confirmed) {
    confirmed = reached;
    const auto sent = rounds.find(reached);
    if (sent != rounds.end()) lease_until = std::max(lease_until, sent->second + timing.lease);
    rounds.erase(rounds.begin(), rounds.upper_bound(reached));
  }
}

}  // namespace cairn::mds::paxos
