// Planted bugs: runs seeds with a core (or driver) that is broken on purpose, until a checker
// notices.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/paxos/settings.h"

namespace cairn::paxos_sim {

struct PlantedBug {
  std::string_view name;
  paxos::Sabotage sabotage = paxos::Sabotage::kNone;
  DriverFault driver_fault = DriverFault::kNone;
};
const std::vector<PlantedBug>& planted_bugs();
const PlantedBug* find_planted_bug(std::string_view name);

struct Caught {
  std::uint64_t seed = 0;
  std::string by;  // what the checker said
};
// Seeds plan.seed ... + count - 1 in a child process, since a CHECK of the core may be what
// notices. nullopt: nobody noticed.
std::optional<Caught> hunt(Plan plan, std::uint64_t count);

}  // namespace cairn::paxos_sim
