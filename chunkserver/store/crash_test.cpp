// The simulator of the store in short: docs/testing.md, "The chunk store". cairn-store-sim runs it
// for as long as one likes.
#include <gtest/gtest.h>

#include "chunkserver/testing/sim_run.h"

namespace cairn::chunkserver::store {
namespace {

using testing::ExhaustPlan;
using testing::SimOutcome;
using testing::SimPlan;
using testing::SimStats;

TEST(StoreSim, RandomProgramsEndInLegalStatesWhateverFails) {
  SimStats sum;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const SimOutcome outcome = run_seed(SimPlan{.seed = seed});
    ASSERT_EQ(outcome.failure, "") << "seed " << seed;
    sum.add(outcome.stats);
  }
  EXPECT_GT(sum.power_cuts, 100U);
  EXPECT_GT(sum.switches, 20U);
  EXPECT_GT(sum.prepares, 2000U);
}

TEST(StoreSim, ASeedMeansTheSameEveryTime) {
  for (std::uint64_t seed = 500; seed < 505; ++seed) {
    const SimPlan plan{.seed = seed, .steps = 40};
    EXPECT_EQ(run_seed(plan).trace_hash, run_seed(plan).trace_hash) << seed;
  }
}

// All of them, with both rings, in tests/store.
TEST(StoreSim, AShortProgramSurvivesTheEndAtEveryWriteAndFlush) {
  for (const std::size_t program : {0U, 1U}) {
    const SimOutcome outcome = run_exhaustively(ExhaustPlan{.program = program});
    EXPECT_EQ(outcome.failure, "");
  }
}

}  // namespace
}  // namespace cairn::chunkserver::store
