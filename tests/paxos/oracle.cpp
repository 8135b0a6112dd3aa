#include "tests/paxos/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "tests/paxos/command.h"

namespace cairn::paxos_sim {

namespace {
std::uint64_t bit_of(NodeId id) {
  CHECK_LT(id.raw(), 64u);
  return std::uint64_t{1} << id.raw();
}
std::uint64_t voter_bits(const paxos::Membership& membership) {
  std::uint64_t bits = 0;
  for (const paxos::Member& member : membership.members) {
    if (member.role == paxos::Role::kVoter) bits |= bit_of(member.id);
  }
  return bits;
}
}  // namespace

std::string to_string(paxos::Ballot ballot) {
  return fmt::format("{}.{}", ballot.round, ballot.node.raw());
}

void Oracle::violation(std::string what) {
  if (failure_.empty()) failure_ = std::move(what);
}

std::vector<Oracle::Proposal>* Oracle::proposals(Slot slot) {
  CHECK_GE(slot.raw(), 1u);
  if (proposals_.size() < slot.raw()) proposals_.resize(slot.raw());
  return &proposals_[slot.raw() - 1];
}

void Oracle::accept_durable(NodeId member, const paxos::AcceptRecord& record) {
  const std::uint64_t hash = hash_of(record.value);
  std::vector<Proposal>* all = proposals(record.slot);
  const auto at = std::find_if(all->begin(), all->end(),
                               [&record](const Proposal& p) { return p.ballot == record.ballot; });
  if (at == all->end()) {
    all->push_back({record.ballot, hash, bit_of(member), record.value.kind});
    return;
  }
  if (at->hash != hash) {
    violation(fmt::format("ballot {} has two values in slot {}, the second accepted by member {}",
                          to_string(record.ballot), record.slot.raw(), member.raw()));
  }
  at->members |= bit_of(member);
}

void Oracle::learn_durable(NodeId member, const paxos::LearnRecord& record) {
  if (!white_box_) return;
  if (record.slot > chosen_slot() || log_hash(record.slot) != hash_of(record.value)) {
    violation(fmt::format("member {} learned a value for slot {} that is not the chosen one",
                          member.raw(), record.slot.raw()));
  }
}

bool Oracle::accepted(NodeId member, Slot slot, paxos::Ballot ballot) const {
  if (slot.raw() > proposals_.size()) return false;
  for (const Proposal& proposal : proposals_[slot.raw() - 1]) {
    if (proposal.ballot == ballot) return (proposal.members & bit_of(member)) != 0;
  }
  return false;
}

const paxos::Membership& Oracle::config_of(Slot slot) const {
  for (auto at = configs_.rbegin(); at != configs_.rend(); ++at) {
    if (at->first < slot) return at->second;
  }
  return configs_.front().second;
}

std::uint64_t Oracle::log_hash(Slot slot) const {
  CHECK_LE(slot, chosen_slot());
  return slots_[slot.raw() - 1].log_hash;
}

bool Oracle::is_chosen(Slot slot, std::uint64_t hash) const {
  if (slot <= chosen_slot()) return log_hash(slot) == hash;
  if (slot > chosen_slot().next() || slot.raw() > proposals_.size()) return false;
  const std::vector<Proposal>& all = proposals_[slot.raw() - 1];
  return std::any_of(all.begin(), all.end(), [&](const Proposal& proposal) {
    return proposal.hash == hash && majority_accepted(slot, proposal);
  });
}

bool Oracle::majority_accepted(Slot slot, const Proposal& proposal) const {
  const paxos::Membership& config = config_of(slot);
  const int accepted_by = std::popcount(proposal.members & voter_bits(config));
  return static_cast<std::size_t>(accepted_by) >= paxos::majority(config);
}

void Oracle::take_first(NodeId member, Slot slot, const paxos::Value& value, std::uint64_t hash) {
  bool found = false;
  std::uint64_t in_logs = hash;
  for (const Proposal& proposal : *proposals(slot)) {
    const bool stale_membership =
        value.kind == paxos::ValueKind::kNoop && proposal.kind == paxos::ValueKind::kMembership;
    if (proposal.hash != hash && !stale_membership) continue;
    if (!majority_accepted(slot, proposal)) continue;
    found = true;
    in_logs = proposal.hash;
  }
  if (white_box_ && !found) {
    violation(fmt::format("member {} takes slot {} as chosen, but no majority has it on disk",
                          member.raw(), slot.raw()));
  }
  slots_.push_back({.hash = hash, .log_hash = in_logs, .digest = 0});
  if (value.kind != paxos::ValueKind::kMembership) return;
  std::optional<paxos::Membership> next = paxos::decode_membership(*value.bytes);
  if (!next.has_value() || next->version != newest().version + 1) {
    violation(fmt::format("slot {} holds no membership that follows version {}", slot.raw(),
                          newest().version));
    return;
  }
  configs_.emplace_back(slot, std::move(*next));
}

void Oracle::chosen(NodeId member, Slot slot, const paxos::Value& value) {
  const std::uint64_t hash = hash_of(value);
  if (slot == chosen_slot().next()) {
    take_first(member, slot, value, hash);
    return;
  }
  if (slot > chosen_slot()) {
    violation(fmt::format("member {} takes slot {} as chosen, nobody knew slot {}", member.raw(),
                          slot.raw(), chosen_slot().raw() + 1));
    return;
  }
  if (slots_[slot.raw() - 1].hash != hash) {
    violation(fmt::format("slot {} has two chosen values, the second at member {}", slot.raw(),
                          member.raw()));
  }
}

void Oracle::applied(NodeId member, Slot slot, std::uint64_t digest) {
  if (slot > chosen_slot()) {
    violation(
        fmt::format("member {} applied slot {} before it was chosen", member.raw(), slot.raw()));
    return;
  }
  Known& known = slots_[slot.raw() - 1];
  if (known.digest == 0) known.digest = digest;
  if (known.digest != digest) {
    violation(fmt::format("the tables of member {} at slot {} differ from those of another",
                          member.raw(), slot.raw()));
  }
}

void Oracle::executed(NodeId member, std::pair<std::uint64_t, std::uint64_t> request, Slot slot,
                      std::uint64_t result) {
  const auto [at, is_new] = executed_.try_emplace(request, Executed{slot, result});
  if (is_new || (at->second.slot == slot && at->second.result == result)) return;
  violation(fmt::format("request {} of session {} took effect in slot {} and, at member {}, in {}",
                        request.second, request.first, at->second.slot.raw(), member.raw(),
                        slot.raw()));
}

std::optional<std::uint64_t> Oracle::result_of(
    std::pair<std::uint64_t, std::uint64_t> request) const {
  const auto at = executed_.find(request);
  return at == executed_.end() ? std::nullopt : std::optional(at->second.result);
}

void Oracle::elected(NodeId member, paxos::Ballot ballot, Slot known) {
  if (!white_box_) return;
  for (std::uint64_t slot = known.raw() + 1; slot <= proposals_.size(); ++slot) {
    // Whose majority a slot needs is known up to the first one that nobody knows as chosen.
    if (slot > chosen_slot().raw() + 1) break;
    for (const Proposal& proposal : proposals_[slot - 1]) {
      if (proposal.ballot < ballot && majority_accepted(Slot(slot), proposal)) {
        violation(fmt::format("member {} was elected at {} without slot {}, chosen at {}",
                              member.raw(), to_string(ballot), slot, to_string(proposal.ballot)));
      }
    }
  }
}

void Oracle::answered(std::pair<std::uint64_t, std::uint64_t> request, std::uint64_t result) {
  const auto at = executed_.find(request);
  if (at == executed_.end()) {
    violation(fmt::format("request {} of session {} was answered and never took effect",
                          request.second, request.first));
    return;
  }
  if (at->second.result != result) {
    violation(fmt::format("request {} of session {} was answered in two ways", request.second,
                          request.first));
  }
  std::uint64_t& newest_seq = answered_[request.first];
  newest_seq = std::max(newest_seq, request.second);
}

}  // namespace cairn::paxos_sim
