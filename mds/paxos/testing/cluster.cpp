#include "mds/paxos/testing/cluster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace cairn::mds::paxos::testing {

NodeId id_of(std::uint32_t number) { return NodeId::from_raw(number); }

Value command(const std::string& text) {
  return {.kind = ValueKind::kCommand, .bytes = std::make_shared<const std::string>(text)};
}

Value change_to(const Membership& next) {
  return {.kind = ValueKind::kMembership,
          .bytes = std::make_shared<const std::string>(encode_membership(next))};
}

std::string text_of(const Value& value) {
  switch (value.kind) {
    case ValueKind::kNoop:
      return "noop";
    case ValueKind::kMembership:
      return "members v" + std::to_string(decode_membership(*value.bytes)->version);
    case ValueKind::kCommand:
      break;
  }
  return *value.bytes;
}

Membership members(std::uint32_t voters, std::uint32_t learners) {
  Membership membership;
  for (std::uint32_t number = 1; number <= voters + learners; ++number) {
    membership.members.push_back({.id = id_of(number),
                                  .role = number <= voters ? Role::kVoter : Role::kLearner,
                                  .address = "mds" + std::to_string(number) + ":2510",
                                  .repo_uuid = number});
  }
  membership.next_id = voters + learners + 1;
  return membership;
}

Membership with_role(Membership membership, std::uint32_t number, Role role) {
  ++membership.version;
  for (Member& member : membership.members) {
    if (member.id == id_of(number)) {
      member.role = role;
      return membership;
    }
  }
  membership.members.push_back({.id = id_of(number),
                                .role = role,
                                .address = "mds" + std::to_string(number) + ":2510",
                                .repo_uuid = number});
  membership.next_id = std::max(membership.next_id, number + 1);
  return membership;
}

Membership without(Membership membership, std::uint32_t number) {
  ++membership.version;
  std::erase_if(membership.members,
                [number](const Member& member) { return member.id == id_of(number); });
  return membership;
}

Options options_of(std::uint32_t number, Limits limits, std::uint64_t seed) {
  return {.self = id_of(number),
          .timing = {},
          .limits = limits,
          .seed = seed,
          .sabotage = Sabotage::kNone};
}

Durable durable_of(Membership membership, Slot applied, Ballot promised) {
  return {.promised = promised,
          .applied = applied,
          .membership = std::move(membership),
          .chosen = applied,
          .accepted = {},
          .recovering = false,
          .recover_until = {}};
}

void Disk::write(const Record& record) {
  if (const auto* promise = std::get_if<PromiseRecord>(&record)) {
    promised = std::max(promised, promise->ballot);
  } else if (const auto* accept = std::get_if<AcceptRecord>(&record)) {
    promised = std::max(promised, accept->ballot);
    Accepted& kept = slots[accept->slot];
    if (kept.slot != Slot() && !kept.ballot.valid()) return;  // a learned one stays
    kept = {.slot = accept->slot, .ballot = accept->ballot, .value = accept->value};
  } else if (const auto* learn = std::get_if<LearnRecord>(&record)) {
    slots[learn->slot] = {.slot = learn->slot, .ballot = {}, .value = learn->value};
  } else if (const auto* known = std::get_if<ChosenRecord>(&record)) {
    chosen = std::max(chosen, known->slot);
  } else if (const auto* recovery = std::get_if<RecoveryRecord>(&record)) {
    recovering = recovery->active;
    recover_until = recovery->until;
  }
}

Cluster::Cluster(Membership founders, Timing given, std::uint64_t seed)
    : timing(given), seed_(seed) {
  for (const Member& member : founders.members) start(member.id.raw(), founders);
}

void Cluster::start(std::uint32_t number, Membership known) {
  nodes_[number].tables_membership = std::move(known);
  begin(number);
}

void Cluster::begin(std::uint32_t number) {
  Node& node = nodes_.at(number);
  Durable durable{.promised = node.disk.promised,
                  .applied = node.applied,
                  .membership = node.tables_membership,
                  .chosen = node.disk.chosen,
                  .accepted = {},
                  .recovering = node.disk.recovering,
                  .recover_until = node.disk.recover_until};
  for (auto at = node.disk.slots.upper_bound(node.applied); at != node.disk.slots.end(); ++at) {
    durable.accepted.push_back(at->second);
  }
  node.core = std::make_unique<Replica>(Options{.self = id_of(number),
                                                .timing = timing,
                                                .limits = limits,
                                                .seed = seed_++,
                                                .sabotage = Sabotage::kNone},
                                        std::move(durable), now);
  collect(number);
}

void Cluster::crash(std::uint32_t number) {
  Node& node = nodes_.at(number);
  node.core.reset();
  node.unwritten.clear();
  node.last_record = 0;
  node.chosen.clear();
  node.notices.clear();
}

void Cluster::restart(std::uint32_t number) {
  if (runs(number)) crash(number);
  begin(number);
}

void Cluster::lose_log(std::uint32_t number) {
  CHECK(!runs(number));
  nodes_.at(number).disk = Disk();
  nodes_.at(number).disk.recovering = true;
}

void Cluster::collect(std::uint32_t number) {
  Node& node = nodes_.at(number);
  Effects effects = node.core->take();
  node.core->check_invariants();
  if (!effects.records.empty()) node.last_record = effects.last_record;
  for (Record& record : effects.records) node.unwritten.push_back(std::move(record));
  for (Outgoing& out : effects.messages) {
    wire_.push_back({.from = id_of(number), .to = out.to, .message = std::move(out.message)});
    sent_.push_back(wire_.back());
  }
  for (const Chosen& chosen : effects.chosen) {
    ASSERT_EQ(chosen.slot, node.applied.next()) << "at " << number;
    const auto [at, is_new] = truth_.emplace(chosen.slot, chosen.value);
    ASSERT_TRUE(same_value(at->second, chosen.value))
        << "slot " << chosen.slot << " has two values: " << text_of(at->second) << " and, at "
        << number << ", " << text_of(chosen.value);
    node.applied = chosen.slot;
    if (chosen.value.kind == ValueKind::kMembership) {
      node.tables_membership = *decode_membership(*chosen.value.bytes);
    }
    node.chosen.push_back(chosen);
  }
  for (Notice& notice : effects.notices) node.notices.push_back(std::move(notice));
  for (const SendChosen& what : effects.send_chosen) answer_fetch(number, what);
}

void Cluster::answer_fetch(std::uint32_t number, const SendChosen& what) {
  const Node& node = nodes_.at(number);
  Learn learn{.first = what.from, .values = {}, .chosen = node.core->chosen()};
  for (Slot slot = what.from; slot <= node.core->chosen(); slot = slot.next()) {
    const auto at = node.disk.slots.find(slot);
    if (at == node.disk.slots.end()) break;
    learn.values.push_back(at->second.value);
  }
  Message message = learn;
  if (learn.values.empty()) message = SnapshotNeeded{.applied = node.applied};
  wire_.push_back({.from = id_of(number), .to = what.to, .message = std::move(message)});
}

void Cluster::persist(std::uint32_t number) {
  Node& node = nodes_.at(number);
  for (const Record& record : node.unwritten) node.disk.write(record);
  node.unwritten.clear();
  node.core->persisted(node.last_record, now);
  collect(number);
}

void Cluster::deliver(const Letter& letter) {
  const auto at = nodes_.find(letter.to.raw());
  if (at == nodes_.end() || at->second.core == nullptr) return;
  at->second.core->receive(letter.from, letter.message, now);
  collect(letter.to.raw());
}

bool Cluster::move_one() {
  for (auto& [number, node] : nodes_) {
    if (node.core == nullptr || node.unwritten.empty() || disk_stopped[number]) continue;
    persist(number);
    return true;
  }
  if (wire_.empty()) return false;
  const Letter letter = std::move(wire_.front());
  wire_.pop_front();
  if (cut_[letter.from.raw()] || cut_[letter.to.raw()]) return true;
  if (keep_back && keep_back(letter)) {
    kept.push_back(letter);
    return true;
  }
  deliver(letter);
  return true;
}

void Cluster::settle() {
  unsigned moves = 0;
  while (move_one()) CHECK_LT(++moves, 1'000'000u);
}

void Cluster::run(Duration length) {
  const Instant end = now + length;
  for (unsigned turns = 0;; ++turns) {
    CHECK_LT(turns, 1'000'000u);  // a replica that wants to be ticked without end
    settle();
    Instant next = end;
    for (const auto& [number, node] : nodes_) {
      if (node.core != nullptr) next = std::min(next, node.core->next_tick());
    }
    if (next >= end) break;
    now = std::max(now, next);
    for (auto& [number, node] : nodes_) {
      if (node.core == nullptr || node.core->next_tick() > now) continue;
      node.core->tick(now);
      // The driver would wait for ever shorter times.
      EXPECT_GT(node.core->next_tick(), now) << "member " << number;
      collect(number);
    }
  }
  now = end;
}

bool Cluster::run_until(const std::function<bool()>& done) {
  const Instant end = now + 60s;
  while (!done()) {
    if (now >= end) return false;
    run(10ms);
  }
  return true;
}

void Cluster::release() {
  std::deque<Letter> letters = std::exchange(kept, {});
  for (const Letter& letter : letters) deliver(letter);
}

std::vector<std::string> Cluster::commands(std::uint32_t number) const {
  std::vector<std::string> texts;
  for (const Chosen& chosen : nodes_.at(number).chosen) {
    if (chosen.value.kind == ValueKind::kCommand) texts.push_back(text_of(chosen.value));
  }
  return texts;
}

std::uint32_t Cluster::leader() const {
  std::uint32_t found = 0;
  for (const auto& [number, node] : nodes_) {
    if (node.core == nullptr || !node.core->leads()) continue;
    if (found != 0) return 0;
    found = number;
  }
  return found;
}

std::uint32_t Cluster::elect() {
  EXPECT_TRUE(run_until([this] { return leader() != 0 && (*this)[leader()].may_serve(now); }));
  return leader();
}

void Cluster::propose(const std::string& text) {
  const std::uint32_t number = leader();
  ASSERT_NE(number, 0u);
  ASSERT_TRUE((*this)[number].propose(++last_token_, command(text), now));
  collect(number);
  settle();
}

}  // namespace cairn::mds::paxos::testing
