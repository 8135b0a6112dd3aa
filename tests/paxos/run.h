// One seed: a group lives through its faults, then everything is repaired and everybody must agree.
#pragma once

#include <string>

#include "tests/paxos/settings.h"
#include "tests/paxos/stats.h"

namespace cairn::paxos_sim {

struct Outcome {
  std::string failure;  // empty: nothing wrong was seen
  std::uint64_t trace_hash = 0;
  Stats stats;
};

// Ends the process when a CHECK of the core fails (--sabotage runs it in a child).
Outcome run_seed(const Plan& plan);

}  // namespace cairn::paxos_sim
