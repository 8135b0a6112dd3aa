#include "client/core/retry.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::client {
namespace {

TEST(Retry, NothingThatADyingOrDeposedMdsSaysIsFinal) {
  for (const Code code :
       {Code::kUnavailable, Code::kNoMajority, Code::kOverloaded, Code::kCancelled, Code::kTimeout,
        Code::kConnectionLost, Code::kDiskFailed, Code::kCorrupt}) {
    EXPECT_EQ(judge(Error(code)), Verdict::kAgain) << code_name(code);
  }
  EXPECT_EQ(judge(Error(Code::kNotMaster)), Verdict::kReconnect);
  EXPECT_EQ(judge(Error(Code::kProtocol)), Verdict::kReconnect);
  EXPECT_EQ(judge(Error(Code::kSessionGone)), Verdict::kSessionGone);
}

TEST(Retry, WhatTheApplicationDidWrongIsFinal) {
  for (const Code code : {Code::kNotFound, Code::kExists, Code::kNotEmpty, Code::kTooBig,
                          Code::kNoSpace, Code::kBelowMinimum, Code::kStaleEpoch,
                          Code::kInvalidArgument, Code::kUnsupported, Code::kInternal}) {
    EXPECT_EQ(judge(Error(code)), Verdict::kFinal) << code_name(code);
  }
}

// A lease counted from the answer of somebody who is no master is a lease nobody granted.
TEST(Retry, OnlyFinalAnswersProveAMaster) {
  unsigned proofs = 0;
  for (std::uint32_t raw = 0; raw < 600; ++raw) {
    if (!is_known_code(raw)) continue;
    const Code code = static_cast<Code>(raw);
    if (!proves_master(code)) continue;
    ++proofs;
    EXPECT_EQ(judge(Error(code)), Verdict::kFinal) << code_name(code);
  }
  EXPECT_GT(proofs, 15U);
  for (const Code code : {Code::kNotMaster, Code::kUnavailable, Code::kOverloaded, Code::kTimeout,
                          Code::kConnectionLost, Code::kSessionGone, Code::kCancelled,
                          Code::kNoMajority, Code::kNotAuthenticated, Code::kInternal}) {
    EXPECT_FALSE(proves_master(code)) << code_name(code);
  }
}

TEST(Retry, BackoffDoublesAndIsBoundedAndNeverBelowHalf) {
  Backoff backoff(20ms, 500ms);
  Duration at = 20ms;
  for (std::uint64_t i = 0; i < 10; ++i) {
    const Duration delay = backoff.next(i * 7919);
    EXPECT_GE(delay, at / 2);
    EXPECT_LE(delay, at);
    at = std::min<Duration>(at * 2, 500ms);
  }
  backoff.reset();
  EXPECT_LE(backoff.next(0), Duration(20ms));
}

}  // namespace
}  // namespace cairn::client
