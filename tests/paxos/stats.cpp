#include "tests/paxos/stats.h"

#include <algorithm>

namespace cairn::paxos_sim {

const std::array<Stats::Field, 36>& Stats::fields() {
  static const std::array<Field, 36> kFields = {{
      {"seeds", &Stats::seeds, true},
      {"events", &Stats::events, true},
      {"ops answered", &Stats::ops_answered, true},
      {"ops abandoned", &Stats::ops_abandoned, true},
      {"retries", &Stats::retries, true},
      {"duplicates filtered", &Stats::duplicates_filtered, true},
      {"reads by lease", &Stats::reads_by_lease, true},
      {"reads by round", &Stats::reads_by_round, true},
      {"reads refused", &Stats::reads_refused, true},
      {"proposals refused", &Stats::proposals_refused, true},
      {"slots", &Stats::slots, true},
      {"elections", &Stats::elections, true},
      {"depositions", &Stats::depositions, true},
      {"crashes", &Stats::crashes, true},
      {"crashes at an effect", &Stats::crashes_at_effect, true},
      {"batches lost", &Stats::batches_lost, true},
      {"batches kept", &Stats::batches_kept, true},
      {"power failures", &Stats::power_failures, true},
      {"logs lost", &Stats::logs_lost, true},
      {"tables lost", &Stats::tables_lost, true},
      {"recoveries", &Stats::recoveries, true},
      {"pauses", &Stats::pauses, true},
      {"partitions", &Stats::partitions, true},
      {"one-way cuts", &Stats::one_way_cuts, true},
      {"clogs", &Stats::clogs, true},
      {"yields", &Stats::yields, true},
      {"learns", &Stats::learns, true},
      {"snapshots", &Stats::snapshots, true},
      {"truncations", &Stats::truncations, true},
      {"members added", &Stats::members_added, true},
      {"members promoted", &Stats::members_promoted, true},
      {"members removed", &Stats::members_removed, true},
      {"leaders removed", &Stats::leaders_removed, true},
      {"addresses changed", &Stats::addresses_changed, true},
      {"members destroyed", &Stats::members_destroyed, true},
      {"histories given up", &Stats::histories_given_up, false},
  }};
  return kFields;
}

void Stats::add(const Stats& other) {
  for (const Field& field : fields()) this->*field.value += other.*field.value;
  converge_ms = std::max(converge_ms, other.converge_ms);
  converge_holds = std::max(converge_holds, other.converge_holds);
}

}  // namespace cairn::paxos_sim
