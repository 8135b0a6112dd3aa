#include "tests/paxos/tables.h"

namespace cairn::paxos_sim {

namespace {
std::uint64_t row_hash(std::uint32_t key, std::uint64_t state) {
  return state == 0 ? 0 : mix(mix(0x4b, key), state);
}
std::uint64_t row_hash(std::uint64_t session, const Tables::SessionRow& row) {
  return mix(mix(mix(session, row.seq), row.result), row.slot.raw());
}
std::uint64_t row_hash(const paxos::Membership& membership) {
  return hash_bytes(paxos::encode_membership(membership));
}
}  // namespace

Tables::Outcome Tables::apply(Slot slot, const paxos::Value& value) {
  CHECK_EQ(slot, applied_.next());
  applied_ = slot;
  if (value.kind == paxos::ValueKind::kMembership) {
    std::optional<paxos::Membership> next = paxos::decode_membership(*value.bytes);
    CHECK(next.has_value());
    if (membership_.version != 0) digest_ -= row_hash(membership_);
    membership_ = std::move(*next);
    if (membership_.version != 0) digest_ += row_hash(membership_);
  }
  if (value.kind != paxos::ValueKind::kCommand) return {};
  const std::optional<Command> command = decode(*value.bytes);
  CHECK(command.has_value());
  Outcome outcome{.is_command = true, .executed = false, .command = *command, .result = 0};
  if (const SessionRow* row = session(command->session); row != nullptr) {
    if (row->seq >= command->seq) {
      outcome.result = row->seq == command->seq ? row->result : 0;
      return outcome;
    }
  }
  const RegisterStep step = apply_op(read(command->key), command->op);
  set_key(command->key, step.state);
  set_session(command->session, {.seq = command->seq, .result = step.result, .slot = slot});
  outcome.executed = true;
  outcome.result = step.result;
  return outcome;
}

std::uint64_t Tables::read(std::uint32_t key) const { return key < keys_.size() ? keys_[key] : 0; }

const Tables::SessionRow* Tables::session(std::uint64_t id) const {
  const auto at = sessions_.find(id);
  return at == sessions_.end() ? nullptr : &at->second;
}

void Tables::set_key(std::uint32_t key, std::uint64_t state) {
  if (key >= keys_.size()) keys_.resize(key + 1, 0);
  digest_ += row_hash(key, state) - row_hash(key, keys_[key]);
  keys_[key] = state;
}

void Tables::set_session(std::uint64_t id, const SessionRow& row) {
  SessionRow& kept = sessions_[id];
  if (kept.seq != 0) digest_ -= row_hash(id, kept);
  kept = row;
  digest_ += row_hash(id, kept);
}

std::uint64_t Tables::recomputed() const {
  std::uint64_t sum = membership_.version == 0 ? 0 : row_hash(membership_);
  for (std::uint32_t key = 0; key < keys_.size(); ++key) sum += row_hash(key, keys_[key]);
  for (const auto& [id, row] : sessions_) sum += row_hash(id, row);
  return mix(sum, applied_.raw());
}

}  // namespace cairn::paxos_sim
