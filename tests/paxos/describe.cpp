#include "tests/paxos/describe.h"

#include <fmt/format.h>

#include "tests/paxos/command.h"
#include "tests/paxos/oracle.h"

namespace cairn::paxos_sim {

namespace {

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

std::string on(const char* name, paxos::Ballot ballot) {
  return fmt::format("{} {}", name, to_string(ballot));
}

std::string describe_all(const std::vector<paxos::Value>& values) {
  std::string text;
  for (const paxos::Value& value : values) text += " " + describe(value);
  return text;
}

}  // namespace

std::string describe(const paxos::Membership& membership) {
  std::string text = fmt::format("v{}[", membership.version);
  for (const paxos::Member& member : membership.members) {
    text += fmt::format("{}{} ", member.id.raw(),
                        member.role == paxos::Role::kVoter ? "" : "(learner)");
  }
  if (!membership.members.empty()) text.pop_back();
  return text + "]";
}

std::string describe(const paxos::Value& value) {
  if (value.kind == paxos::ValueKind::kNoop) return "noop";
  if (value.kind == paxos::ValueKind::kMembership) {
    const std::optional<paxos::Membership> membership = paxos::decode_membership(*value.bytes);
    return membership.has_value() ? describe(*membership) : "broken membership";
  }
  const std::optional<Command> command = decode(*value.bytes);
  if (!command.has_value()) return "broken command";
  return fmt::format("{}/{}", command->session, command->seq);
}

std::string describe(const paxos::Message& message) {
  using fmt::format;
  return std::visit(
      Overloaded{
          [](const paxos::PreVote& m) {
            return format("{} chosen {} yielded {}", on("PreVote", m.ballot), m.chosen.raw(),
                          to_string(m.yielded));
          },
          [](const paxos::PreVoteReply& m) {
            return format("{} {} promised {} chosen {}", on("PreVoteReply", m.ballot),
                          m.granted ? "yes" : "no", to_string(m.promised), m.chosen.raw());
          },
          [](const paxos::Prepare& m) {
            return format("{} chosen {} yielded {}", on("Prepare", m.ballot), m.chosen.raw(),
                          to_string(m.yielded));
          },
          [](const paxos::Promise& m) {
            std::string text =
                format("{} chosen {} accepted", on("Promise", m.ballot), m.chosen.raw());
            for (const paxos::Accepted& a : m.accepted) {
              text += format(" {}@{}={}", a.slot.raw(), to_string(a.ballot), describe(a.value));
            }
            return text;
          },
          [](const paxos::Accept& m) {
            return format("{} chosen {} from {}:{}", on("Accept", m.ballot), m.chosen.raw(),
                          m.first.raw(), describe_all(m.values));
          },
          [](const paxos::AcceptedReply& m) {
            return format("{} {}..{} chosen {}", on("AcceptedReply", m.ballot), m.first.raw(),
                          m.last.raw(), m.chosen.raw());
          },
          [](const paxos::Refuse& m) {
            return format("{} promised {} chosen {}", on("Refuse", m.ballot), to_string(m.promised),
                          m.chosen.raw());
          },
          [](const paxos::Heartbeat& m) {
            return format("{} round {} chosen {}", on("Heartbeat", m.ballot), m.round,
                          m.chosen.raw());
          },
          [](const paxos::HeartbeatReply& m) {
            return format("{} round {} chosen {} accepted {}", on("HeartbeatReply", m.ballot),
                          m.round, m.chosen.raw(), m.accepted.raw());
          },
          [](const paxos::Fetch& m) { return format("Fetch from {}", m.from.raw()); },
          [](const paxos::Learn& m) {
            return format("Learn chosen {} from {}:{}", m.chosen.raw(), m.first.raw(),
                          describe_all(m.values));
          },
          [](const paxos::SnapshotNeeded& m) {
            return format("SnapshotNeeded applied {}", m.applied.raw());
          },
          [](const paxos::Yield& m) { return on("Yield", m.ballot); },
          [](const paxos::Recover& m) { return format("Recover nonce {}", m.nonce); },
          [](const paxos::RecoverReply& m) {
            return format("{} nonce {} upto {}", on("RecoverReply", m.ballot), m.nonce,
                          m.upto.raw());
          }},
      message);
}

std::string describe(const paxos::Record& record) {
  using fmt::format;
  return std::visit(
      Overloaded{
          [](const paxos::PromiseRecord& r) { return on("promise", r.ballot); },
          [](const paxos::AcceptRecord& r) {
            return format("{} slot {} {}", on("accept", r.ballot), r.slot.raw(), describe(r.value));
          },
          [](const paxos::LearnRecord& r) {
            return format("learn slot {} {}", r.slot.raw(), describe(r.value));
          },
          [](const paxos::ChosenRecord& r) { return format("chosen {}", r.slot.raw()); },
          [](const paxos::RecoveryRecord& r) {
            return format("recovery {} until {}", r.active ? "begun" : "over", r.until.raw());
          }},
      record);
}

namespace {

std::uint64_t hash_of(paxos::Ballot ballot) { return mix(ballot.round, ballot.node.raw()); }

std::uint64_t hash_all(const std::vector<paxos::Value>& values) {
  std::uint64_t hash = values.size();
  for (const paxos::Value& value : values) hash = mix(hash, paxos_sim::hash_of(value));
  return hash;
}

}  // namespace

std::uint64_t hash_of(const paxos::Message& message) {
  const std::uint64_t body = std::visit(
      Overloaded{[](const paxos::PreVote& m) { return mix(hash_of(m.ballot), m.chosen.raw()); },
                 [](const paxos::PreVoteReply& m) {
                   return mix(mix(hash_of(m.ballot), hash_of(m.promised)), m.granted ? 1 : 2);
                 },
                 [](const paxos::Prepare& m) { return mix(hash_of(m.ballot), m.chosen.raw()); },
                 [](const paxos::Promise& m) {
                   std::uint64_t hash = mix(hash_of(m.ballot), m.chosen.raw());
                   for (const paxos::Accepted& a : m.accepted) {
                     hash = mix(hash, mix(a.slot.raw(), hash_of(a.ballot)));
                   }
                   return hash;
                 },
                 [](const paxos::Accept& m) {
                   return mix(mix(hash_of(m.ballot), m.first.raw()), hash_all(m.values));
                 },
                 [](const paxos::AcceptedReply& m) {
                   return mix(mix(hash_of(m.ballot), m.first.raw()), m.last.raw());
                 },
                 [](const paxos::Refuse& m) { return mix(hash_of(m.ballot), hash_of(m.promised)); },
                 [](const paxos::Heartbeat& m) { return mix(hash_of(m.ballot), m.round); },
                 [](const paxos::HeartbeatReply& m) {
                   return mix(mix(hash_of(m.ballot), m.round), m.accepted.raw());
                 },
                 [](const paxos::Fetch& m) { return mix(3, m.from.raw()); },
                 [](const paxos::Learn& m) { return mix(m.first.raw(), hash_all(m.values)); },
                 [](const paxos::SnapshotNeeded& m) { return mix(4, m.applied.raw()); },
                 [](const paxos::Yield& m) { return hash_of(m.ballot); },
                 [](const paxos::Recover& m) { return m.nonce; },
                 [](const paxos::RecoverReply& m) { return mix(hash_of(m.ballot), m.upto.raw()); }},
      message);
  return mix(body, message.index());
}

}  // namespace cairn::paxos_sim
