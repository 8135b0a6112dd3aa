// What a run of the store's simulator did: for its last line, and to see that nothing was missed.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace cairn::chunkserver::testing {

struct SimStats {
  std::uint64_t seeds = 0;
  std::uint64_t steps = 0;
  std::uint64_t prepares = 0;
  std::uint64_t delta_prepares = 0;
  std::uint64_t large_prepares = 0;
  std::uint64_t reads = 0;
  std::uint64_t settles = 0;
  std::uint64_t seals = 0;
  std::uint64_t resolves = 0;
  std::uint64_t removes = 0;
  std::uint64_t refused = 0;
  std::uint64_t power_cuts = 0;
  std::uint64_t kills = 0;
  std::uint64_t crashes_in_start = 0;
  std::uint64_t ill_starts = 0;  // that failed for a drive or the index
  std::uint64_t crashes_in_switch = 0;
  std::uint64_t clean_restarts = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t commits = 0;
  std::uint64_t switches = 0;
  std::uint64_t switches_outside = 0;  // to a ring of its own
  std::uint64_t switches_refused = 0;
  std::uint64_t failed_writes = 0;
  std::uint64_t failed_flushes = 0;
  std::uint64_t failed_indexes = 0;
  std::uint64_t stalls = 0;
  std::uint64_t wounds = 0;  // rot and bad sectors in the data file
  std::uint64_t wounds_found = 0;
  std::uint64_t healed = 0;
  std::uint64_t ring_wounds = 0;
  std::uint64_t rings_refused = 0;  // a damaged ring was not opened, or fenced its store
  std::uint64_t no_space = 0;
  std::uint64_t fills = 0;
  std::uint64_t deep_checks = 0;
  std::uint64_t operations = 0;  // writes and flushes of all disks and the index

  struct Field {
    std::string_view name;
    std::uint64_t SimStats::*value;
    bool must_happen = true;
  };
  static std::span<const Field> fields();
  void add(const SimStats& other);
};

}  // namespace cairn::chunkserver::testing
