#include "chunkserver/control/journal_change.h"

#include <gtest/gtest.h>

namespace cairn::chunkserver::control {

using store::RingPlan;

namespace {

RingPlan plan(const std::string& directory, ByteCount bytes, bool journal = true) {
  return {.directory = directory, .bytes = bytes, .journal = journal};
}

void expect_steps(const RingPlan& now, const RingPlan& wanted, const std::vector<RingPlan>& steps) {
  const std::vector<RingPlan> made = journal_steps(now, wanted);
  ASSERT_EQ(made.size(), steps.size()) << describe(now) << " -> " << describe(wanted);
  for (std::size_t i = 0; i < made.size(); ++i) {
    EXPECT_EQ(made[i].directory, steps[i].directory);
    EXPECT_EQ(made[i].bytes, steps[i].bytes);
    EXPECT_EQ(made[i].journal, steps[i].journal);
  }
}

TEST(JournalSteps, ChangeIsOneSwitchUnlessTheDirectoryIsInUse) {
  const RingPlan none = plan("", 64_MiB, false);
  const RingPlan inside = plan("", 64_MiB);
  const RingPlan ssd = plan("/ssd/cs1", 2048_MiB);
  expect_steps(none, none, {});
  expect_steps(ssd, ssd, {});
  expect_steps(none, ssd, {ssd});    // add
  expect_steps(ssd, none, {none});   // destroy
  expect_steps(inside, ssd, {ssd});  // move out of the repository
  expect_steps(ssd, plan("/ssd2/cs1", 64_MiB), {plan("/ssd2/cs1", 64_MiB)});
  expect_steps(inside, plan("", 128_MiB), {plan("", 128_MiB)});  // resize in the data file
  expect_steps(ssd, plan("/ssd/cs1", 4096_MiB), {inside, plan("/ssd/cs1", 4096_MiB)});
}

TEST(JournalSteps, PlansAreDescribedForPeople) {
  EXPECT_EQ(describe(plan("", 64_MiB, false)), "no journal");
  EXPECT_EQ(describe(plan("", 64_MiB)), "a journal of 64 MB in the repository");
  EXPECT_EQ(describe(plan("/ssd/cs1", 2048_MiB)), "a journal of 2048 MB at /ssd/cs1");
}

}  // namespace
}  // namespace cairn::chunkserver::control
