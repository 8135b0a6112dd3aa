// Bugs that can be planted into the store (store::Sabotage), and the hunt for one: random seeds and
// short programs until something is noticed.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "chunkserver/testing/sim_run.h"

namespace cairn::chunkserver::testing {

struct PlantedBug {
  std::string_view name;
  bool store::Sabotage::*flag;
};
std::span<const PlantedBug> planted_bugs();
// nullptr: there is no such bug.
const PlantedBug* find_planted_bug(std::string_view name);

struct Caught {
  std::uint64_t seed = 0;
  std::string by;
};
// Looks at `count` seeds from `plan.seed` on.
std::optional<Caught> hunt(const SimPlan& plan, std::uint64_t count);

}  // namespace cairn::chunkserver::testing
