// Stats: what happened in a run, so that nobody believes in a test of something that never
// occurred.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace cairn::paxos_sim {

struct Stats {
  std::uint64_t seeds = 0;
  std::uint64_t events = 0;
  std::uint64_t ops_answered = 0;
  std::uint64_t ops_abandoned = 0;
  std::uint64_t retries = 0;
  std::uint64_t duplicates_filtered = 0;
  std::uint64_t reads_by_lease = 0;
  std::uint64_t reads_by_round = 0;
  std::uint64_t reads_refused = 0;
  std::uint64_t proposals_refused = 0;
  std::uint64_t slots = 0;
  std::uint64_t elections = 0;
  std::uint64_t depositions = 0;
  std::uint64_t crashes = 0;
  std::uint64_t crashes_at_effect = 0;
  std::uint64_t batches_lost = 0;
  std::uint64_t batches_kept = 0;
  std::uint64_t power_failures = 0;
  std::uint64_t logs_lost = 0;
  std::uint64_t tables_lost = 0;
  std::uint64_t recoveries = 0;
  std::uint64_t pauses = 0;
  std::uint64_t partitions = 0;
  std::uint64_t one_way_cuts = 0;
  std::uint64_t clogs = 0;
  std::uint64_t yields = 0;
  std::uint64_t learns = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t truncations = 0;
  std::uint64_t members_added = 0;
  std::uint64_t members_promoted = 0;
  std::uint64_t members_removed = 0;
  std::uint64_t leaders_removed = 0;
  std::uint64_t addresses_changed = 0;
  std::uint64_t members_destroyed = 0;
  std::uint64_t histories_given_up = 0;
  // The longest way to agreement after the faults, virtual: in milliseconds, and in times of hold.
  std::uint64_t converge_ms = 0;
  std::uint64_t converge_holds = 0;

  struct Field {
    std::string_view name;
    std::uint64_t Stats::*value;
    bool must_happen;  // in any run of some hundred seeds
  };
  static const std::array<Field, 36>& fields();
  void add(const Stats& other);
};

}  // namespace cairn::paxos_sim
