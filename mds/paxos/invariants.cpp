// Every law of a member's state that must hold between two inputs.
#include <algorithm>

#include "mds/paxos/state.h"

namespace cairn::mds::paxos {

void Replica::State::check() const {
  const bool honest = options.sabotage == Sabotage::kNone;
  CHECK_LE(marked, chosen);
  CHECK_LE(chosen, sure);
  for (Slot slot = chosen.next(); slot <= sure && phase != Phase::kLeading; slot = slot.next()) {
    CHECK(window.contains(slot));
    CHECK(window.at(slot).sure);
  }
  CHECK_LE(recorded, promised);
  std::size_t bytes = 0;
  for (const auto& [slot, slotted] : window) bytes += slotted.value.bytes->size();
  CHECK_EQ(bytes, kept_bytes);
  for (const auto& [slot, slotted] : window) {
    CHECK_GT(slot, chosen);
    CHECK(slotted.value.bytes != nullptr);
    if (honest) CHECK_LE(slotted.ballot, promised);
  }
  CHECK(!elected || phase == Phase::kLeading);
  if (phase != Phase::kLeading) {
    CHECK(queue.empty());
    CHECK(tokens.empty());
    return;
  }
  CHECK_EQ(leader, options.self);
  if (honest) CHECK_EQ(ballot, promised);
  CHECK_GE(proposed, chosen);
  CHECK_LE(own_matched, proposed);
  CHECK_LE(members_since, chosen);
  CHECK(changing || !change_waits());
  CHECK(barrier == Slot() || (barrier > chosen && barrier == proposed));
  for (const auto& [slot, accepted] : tail) CHECK_GT(slot, proposed);
  for (const auto& [slot, token] : tokens) {
    CHECK_GT(slot, chosen);
    CHECK_LE(slot, proposed);
  }
  for (Slot slot = chosen.next(); slot <= proposed; slot = slot.next()) {
    const auto at = window.find(slot);
    CHECK(at != window.end());
    CHECK_EQ(at->second.ballot, ballot);
  }
  CHECK(!elected || !recovering);
}

}  // namespace cairn::mds::paxos
