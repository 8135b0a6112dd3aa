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

void expect_safe(Plan plan) {
  const Outcome outcome = explore(plan);
  EXPECT_EQ(outcome.violation, "");
  EXPECT_TRUE(outcome.complete);
}

// The explorer would see it.
void expect_unsafe(Plan plan, Sabotage sabotage) {
  plan.sabotage = sabotage;
  EXPECT_NE(explore(plan).violation, "");
}

TEST(Exhaustive, TwoCandidates) {
  const Outcome outcome = explore({});
  EXPECT_EQ(outcome.violation, "");
  EXPECT_TRUE(outcome.complete);
  // Each of them may win.
  EXPECT_GT(outcome.ends.at("of 1"), 0u);
  EXPECT_GT(outcome.ends.at("of 2"), 0u);
}

TEST(Exhaustive, OneCandidateThatTriesTwiceAndACrash) {
  expect_safe({.campaigns = {2, 0, 0}, .crashes = 1});
}

TEST(Exhaustive, OneCandidateWithSlowDisksAndACrash) {
  expect_safe({.campaigns = {1, 0, 0},
               .crashes = 1,
               .may_crash = {false, true, false},
               .slow_disks = true});
}

TEST(Exhaustive, OneCandidateThatTriesTwiceAndARepeatedMessage) {
  expect_safe({.campaigns = {2, 0, 0}, .repeats = 1});
}

TEST(Exhaustive, TwoCandidatesAndACrashOfTheThird) {
  expect_safe({.crashes = 1, .may_crash = {false, false, true}, .worlds_max = 20'000'000});
}

TEST(Exhaustive, PlantedFaultsAreFound) {
  expect_unsafe({}, Sabotage::kForgetPromise);
  expect_unsafe({}, Sabotage::kSkipPhase1);
  expect_unsafe({.crashes = 1}, Sabotage::kAnswerBeforeDurable);
  expect_unsafe({.campaigns = {2, 0, 0}, .crashes = 1}, Sabotage::kReuseBallot);
}

}  // namespace
}  // namespace cairn::mds::paxos
