// Runs of the store's simulator: random ones by seed, and short programs with the power ending at
// every write and flush. docs/testing.md, "The chunk store".
#pragma once

#include <string>

#include "chunkserver/store/sabotage.h"
#include "chunkserver/testing/sim_stats.h"

namespace cairn::chunkserver::testing {

struct SimPlan {
  std::uint64_t seed = 1;
  std::uint64_t steps = 60;
  store::Sabotage sabotage = {};
  bool verbose = false;
};

struct SimOutcome {
  std::string failure;  // empty: none
  SimStats stats;
  std::uint64_t trace_hash = 0;
};

SimOutcome run_seed(const SimPlan& plan);

struct ExhaustPlan {
  std::size_t program = 0;  // of short_programs.h
  bool outside = false;     // the ring has a disk of its own at first
  bool pairs = false;       // a second end in every start
  std::uint64_t seed = 1;
  store::Sabotage sabotage = {};
  bool verbose = false;
};
// Every crash point in every fate; stops at the first failure and names it.
SimOutcome run_exhaustively(const ExhaustPlan& plan);

}  // namespace cairn::chunkserver::testing
