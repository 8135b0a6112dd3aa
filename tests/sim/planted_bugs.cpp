#include "tests/sim/planted_bugs.h"

namespace cairn::sim {

std::span<const PlantedBugName> planted_bugs() {
  static constexpr PlantedBugName kBugs[] = {
      {"lying-log", PlantedBug::kLyingLog},
      {"skip-fence", PlantedBug::kSkipFence},
      {"resolve-by-majority", PlantedBug::kResolveByMajority},
      {"decide-early", PlantedBug::kDecideEarly},
      {"fold-twice", PlantedBug::kFoldTwice},
      {"skip-regions", PlantedBug::kSkipRegions},
      {"forget-regions", PlantedBug::kForgetRegions},
      {"blind-repair", PlantedBug::kBlindRepair},
      {"hold-at-once", PlantedBug::kHoldAtOnce},
      {"stale-stamps", PlantedBug::kStaleStamps},
  };
  return kBugs;
}

PlantedBug find_planted_bug(std::string_view name) {
  for (const PlantedBugName& known : planted_bugs()) {
    if (known.name == name) return known.bug;
  }
  return PlantedBug::kNone;
}

void plant(PlantedBug bug, SimCluster::Options& options) {
  switch (bug) {
    case PlantedBug::kNone:
      break;
    case PlantedBug::kLyingLog:
      options.lying_logs = true;
      break;
    case PlantedBug::kSkipFence:
      options.store_sabotage.skip_fence = true;
      break;
    case PlantedBug::kResolveByMajority:
      options.master_sabotage.resolve_by_majority = true;
      break;
    case PlantedBug::kDecideEarly:
      options.client_sabotage.decide_early = true;
      break;
    case PlantedBug::kFoldTwice:
      options.store_sabotage.fold_twice = true;
      break;
    case PlantedBug::kSkipRegions:
      options.client_sabotage.skip_regions = true;
      break;
    case PlantedBug::kForgetRegions:
      options.master_sabotage.forget_regions = true;
      break;
    case PlantedBug::kBlindRepair:
      options.store_sabotage.blind_repair = true;
      break;
    case PlantedBug::kHoldAtOnce:
      options.client_sabotage.hold_at_once = true;
      break;
    case PlantedBug::kStaleStamps:
      options.client_sabotage.stale_stamps = true;
      break;
  }
}

}  // namespace cairn::sim
