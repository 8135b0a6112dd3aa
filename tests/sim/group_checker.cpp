#include "tests/sim/group_checker.h"

#include "common/base/crc32c.h"
#include "mds/state/machine.h"

namespace cairn::sim {

std::string GroupChecker::check_masters() {
  SimMds* serving = nullptr;
  for (std::size_t i = 0; i < cluster_.mds_count(); ++i) {
    SimMds& node = cluster_.mds(i);
    if (!node.may_serve()) continue;
    if (serving != nullptr) return serving->host() + " and " + node.host() + " both serve";
    serving = &node;
  }
  return cluster_.mds_failure();
}

std::string GroupChecker::check_contents() {
  for (std::size_t i = 0; i < cluster_.mds_count(); ++i) {
    SimMds& node = cluster_.mds(i);
    std::string wrong = check_tables(node);
    if (wrong.empty()) wrong = check_log(node);
    if (!wrong.empty()) return node.host() + " " + wrong;
  }
  return {};
}

std::string GroupChecker::check_tables(SimMds& node) {
  const Result<Slot> applied = mds::state::Machine::applied_slot(node.tables());
  const Result<std::uint32_t> digest = mds::state::Machine::digest(node.tables());
  if (!applied.has_value() || !digest.has_value()) return "cannot read its tables";
  const auto [at, first] = digests_.emplace(*applied, *digest);
  if (first || at->second == *digest) return {};
  return "has other tables at slot " + std::to_string(applied->raw()) + " than were seen before";
}

std::string GroupChecker::check_log(SimMds& node) {
  const Slot upto = node.store().state().chosen;
  const Result<std::vector<mds::paxos::Accepted>> slots = node.store().accepted_after(Slot());
  if (!slots.has_value()) return "cannot read its log";
  for (const mds::paxos::Accepted& accepted : *slots) {
    if (accepted.slot > upto) break;
    const auto kind = static_cast<std::uint32_t>(accepted.value.kind);
    const std::uint32_t crc = crc32c(as_bytes(*accepted.value.bytes), kind);
    const auto [at, first] = chosen_.emplace(accepted.slot, crc);
    if (first || at->second == crc) continue;
    return "has another value in its log as chosen in slot " + std::to_string(accepted.slot.raw()) +
           " than was seen before";
  }
  return {};
}

}  // namespace cairn::sim
