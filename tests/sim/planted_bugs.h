// PlantedBugs: what a run breaks on purpose, to see that the checkers notice.
#pragma once

#include <span>
#include <string_view>

#include "tests/sim/cluster.h"
#include "tests/sim/run_report.h"

namespace cairn::sim {

struct PlantedBugName {
  std::string_view name;
  PlantedBug bug = PlantedBug::kNone;
};
std::span<const PlantedBugName> planted_bugs();
// kNone when there is no such name.
PlantedBug find_planted_bug(std::string_view name);
// Breaks what the bug names.
void plant(PlantedBug bug, SimCluster::Options& options);

}  // namespace cairn::sim
