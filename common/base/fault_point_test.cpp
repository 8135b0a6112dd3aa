#include "common/base/fault_point.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

namespace cairn {
namespace {

void pass(const char* name, int times) {
  for (int i = 0; i < times; ++i) FAULT_POINT(name);
}

// What a child that passes the points does: 0 when it lives to its end, else the signal.
int signal_of_child(const std::string& faults, const char* name, int times) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!arm_fault_points(faults).has_value()) ::_exit(1);
    pass(name, times);
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) return WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  return 0;
}

TEST(FaultPoint, DoesNothingUnlessArmed) {
  ASSERT_TRUE(arm_fault_points("").has_value());
  pass("store.a", 1000);
  EXPECT_FALSE(base::fault_points_armed.load());
}

TEST(FaultPoint, KillsAtTheCountThPassageAndNotBefore) {
  EXPECT_EQ(signal_of_child("store.a:3", "store.a", 2), 0);
  EXPECT_EQ(signal_of_child("store.a:3", "store.a", 3), SIGKILL);
  EXPECT_EQ(signal_of_child("store.a:1", "store.a", 1), SIGKILL);
}

TEST(FaultPoint, OnlyTheNamedPointCounts) {
  EXPECT_EQ(signal_of_child("store.a:1", "store.ab", 10), 0);
  EXPECT_EQ(signal_of_child("store.a:1", "store", 10), 0);
  EXPECT_EQ(signal_of_child("store.a:1,journal.flush_2:4", "journal.flush_2", 3), 0);
  EXPECT_EQ(signal_of_child("store.a:1,journal.flush_2:4", "journal.flush_2", 4), SIGKILL);
}

TEST(FaultPoint, RandomKillsWithItsChance) {
  EXPECT_EQ(signal_of_child("store.a:random:1000", "store.a", 1), SIGKILL);
  int killed = 0;
  for (int i = 0; i < 40; ++i) {
    killed += signal_of_child("store.a:random:100", "store.a", 7) == SIGKILL ? 1 : 0;
  }
  // Half of them on average; the pids are the seeds.
  EXPECT_GT(killed, 3);
  EXPECT_LT(killed, 37);
}

TEST(FaultPoint, ReadsTheEnvironment) {
  ASSERT_EQ(::setenv("CAIRN_FAULT", "x:1", 1), 0);
  EXPECT_EXIT(
      {
        if (!arm_fault_points().has_value()) ::_exit(1);
        FAULT_POINT("x");
      },
      ::testing::KilledBySignal(SIGKILL), "fault point x, passage 1: killed");
  ASSERT_EQ(::unsetenv("CAIRN_FAULT"), 0);
  EXPECT_TRUE(arm_fault_points().has_value());
  EXPECT_FALSE(base::fault_points_armed.load());
}

TEST(FaultPoint, RefusesAMalformedValueAndKeepsWhatWasArmed) {
  for (const char* text : {"x", "x:", ":1", "x:0", "x:-1", "x:1x", "x:random",
                           "x:random:", "x:random:0", "x:random:1001", "x:1,", ",x:1", "x:1,,y:1",
                           "x y:1", "X:1", "x: 1", "x:99999999999999999999", "x:1:2", ","}) {
    EXPECT_EQ(arm_fault_points(text).error().code(), Code::kInvalidArgument) << text;
    EXPECT_FALSE(base::fault_points_armed.load()) << text;
  }
}

}  // namespace
}  // namespace cairn
