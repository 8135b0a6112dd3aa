// All interleavings of tiny runs: no order of messages, writes and crashes gives a slot two values.
#include <gtest/gtest.h>

#include "mds/paxos/testing/explorer.h"

namespace cairn::mds::paxos {
namespace {

using testing::Explorer;
using testing::Outcome;
using testing::Plan;

Outcome explore(Plan plan) {
  const Outcome outcome = Explorer(plan).explore();
  std::printf("%zu worlds, %zu lives, %zu outcomes%s\n", outcome.worlds, outcome.lives,
              outcome.ends.size(), outcome.complete ? "" : ", not all");
  return outcome;
}

TEST(Exhaustive, TwoCandidates) {
  const Outcome outcome = explore({});
  EXPECT_EQ(outcome.violation, "");
  EXPECT_TRUE(outcome.complete);
  // Each of them may win.
  EXPECT_GT(outcome.ends.at("of 1"), 0u);
  EXPECT_GT(outcome.ends.at("of 2"), 0u);
}

TEST(Exhaustive, OneCandidateThatTriesTwiceAndCrashesInBetween) {
  const Outcome outcome = explore({.campaigns = {2, 0, 0}, .crashes = 1});
  EXPECT_EQ(outcome.violation, "");
  EXPECT_TRUE(outcome.complete);
}

}  // namespace
}  // namespace cairn::mds::paxos
