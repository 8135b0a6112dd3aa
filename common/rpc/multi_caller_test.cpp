#include "common/rpc/multi_caller.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "common/runtime/task_group.h"
#include "tests/sim/sim_runtime.h"

namespace cairn::rpc {
namespace {

constexpr Code kGood = Code{0};
constexpr Code kSilent = Code::kCancelled;  // in a script: no answer before the deadline

// What each address answers now, and how often each was asked.
struct Group {
  explicit Group(runtime::Runtime& l) : loop(l) {}
  runtime::Runtime& loop;
  std::map<std::string, Code> answers;
  std::map<std::string, int> asked;
  std::map<std::string, int> made;
  int alive = 0;
};

class Member final : public Caller {
 public:
  Member(Group& group, std::string at) : group_(group), at_(std::move(at)) {
    ++group_.made[at_];
    ++group_.alive;
  }
  ~Member() override { --group_.alive; }
  Task<Result<std::string>> call(std::string, std::string request, Deadline deadline) override {
    ++group_.asked[at_];
    const Code code = group_.answers.contains(at_) ? group_.answers.at(at_) : Code::kUnavailable;
    if (code == kGood) co_return at_ + " " + request;
    if (code != kSilent) co_return fail(code);
    co_await runtime::sleep_until(group_.loop, deadline);
    co_return fail(Code::kTimeout);
  }

 private:
  Group& group_;
  const std::string at_;
};

const net::Address kA{"10.0.0.1", 2510};
const net::Address kB{"10.0.0.2", 2510};
const std::string kNameA = "10.0.0.1:2510";
const std::string kNameB = "10.0.0.2:2510";
const std::string kNameC = "10.0.0.3:2510";

class MultiCallerTest : public ::testing::Test {
 protected:
  MultiCallerTest() : group_(loop_) {}
  MultiCaller make(MultiCaller::Options options) {
    return MultiCaller(
        loop_, {kA, kB, kA},
        [this](const net::Address& at) { return std::make_unique<Member>(group_, at.to_string()); },
        options);
  }
  static Task<void> ask(MultiCallerTest* self, MultiCaller* multi, Duration limit) {
    const Deadline deadline = self->loop_.after(limit);
    std::string method = "/t/X";
    std::string request = "x";
    Result<std::string> outcome =
        co_await multi->call(std::move(method), std::move(request), deadline);
    self->outcome_.emplace(std::move(outcome));
  }
  Result<std::string> call(MultiCaller& multi, Duration limit = 2s) {
    outcome_.reset();
    runtime::TaskGroup tasks(loop_);
    tasks.spawn(ask(this, &multi, limit));
    CHECK(world_.run_until([&] { return tasks.running() == 0; }, 60s));
    return std::move(*outcome_);
  }

  sim::SimWorld world_{1};
  runtime::Runtime& loop_ = world_.make_runtime();
  Group group_;
  std::optional<Result<std::string>> outcome_;
};

TEST_F(MultiCallerTest, AnIdempotentCallGoesOnAfterSilenceAndLostConnections) {
  MultiCaller multi = make({.resend = Resend::kIdempotent, .attempt = 50ms});
  group_.answers = {{kNameA, kSilent}, {kNameB, kGood}};
  const Instant began = loop_.now();
  EXPECT_EQ(call(multi).value(), kNameB + " x");
  EXPECT_LT(loop_.now() - began, Duration(1s));
  group_.answers = {{kNameA, kGood}, {kNameB, Code::kConnectionLost}};
  EXPECT_EQ(call(multi).value(), kNameA + " x");
  EXPECT_EQ(group_.asked[kNameB], 2);
}

TEST_F(MultiCallerTest, ACallThatMayHaveHappenedIsNotSentTwice) {
  MultiCaller multi = make({.patience = Patience::kUntilDeadline});
  group_.answers = {{kNameA, Code::kConnectionLost}, {kNameB, kGood}};
  EXPECT_EQ(call(multi).error().code(), Code::kConnectionLost);
  EXPECT_EQ(group_.asked[kNameB], 0);
  EXPECT_EQ(call(multi).value(), kNameB + " x") << "but the next call begins elsewhere";
}

TEST_F(MultiCallerTest, RidesOutAnElection) {
  MultiCaller multi = make({.patience = Patience::kUntilDeadline, .pause = 20ms});
  group_.answers = {{kNameA, Code::kNotMaster}, {kNameB, Code::kNotMaster}};
  loop_.schedule(loop_.after(150ms), [this] { group_.answers[kNameA] = kGood; });
  EXPECT_EQ(call(multi).value(), kNameA + " x");
  EXPECT_GT(group_.asked[kNameB], 2);
  group_.answers = {{kNameA, Code::kNotMaster}};
  const Instant began = loop_.now();
  EXPECT_EQ(call(multi, 200ms).error().code(), Code::kNotMaster)
      << "one that lives tells more than one that does not";
  EXPECT_GT(loop_.now() - began, Duration(100ms));
}

TEST_F(MultiCallerTest, LearnsMembersAndForgetsThoseThatLeft) {
  MultiCaller multi = make({});
  EXPECT_EQ(group_.alive, 2) << "each address once";
  group_.answers = {{kNameC, kGood}};
  EXPECT_FALSE(call(multi).has_value());
  multi.learn({kNameC, kNameA, "nonsense"});
  EXPECT_EQ(call(multi).value(), kNameC + " x");
  EXPECT_EQ(call(multi).value(), kNameC + " x");
  EXPECT_EQ(group_.asked[kNameA], 2) << "the second call stayed with the good one";
  multi.learn({});
  multi.learn({kNameA, kNameC});
  EXPECT_EQ(group_.made[kNameC], 1);
  EXPECT_EQ(call(multi).value(), kNameC + " x");
  multi.learn({kNameA});
  EXPECT_EQ(group_.alive, 2);
  EXPECT_FALSE(call(multi).has_value());
  EXPECT_EQ(multi.addresses(), (std::vector<net::Address>{kA, kB})) << "configured ones stay";
}

TEST_F(MultiCallerTest, WhatIsLearnedIsBounded) {
  MultiCaller multi = make({});
  std::vector<std::string> many;
  for (int i = 1; i < 200; ++i) many.push_back("10.1.0." + std::to_string(i) + ":2510");
  multi.learn(many);
  EXPECT_EQ(multi.addresses().size(), MultiCaller::kPeersMax);
}

TEST_F(MultiCallerTest, MembersMayChangeUnderACall) {
  MultiCaller multi = make({.resend = Resend::kIdempotent, .attempt = 100ms});
  multi.learn({kNameC});
  group_.answers = {{kNameA, Code::kUnavailable}, {kNameB, Code::kUnavailable}, {kNameC, kSilent}};
  loop_.schedule(loop_.after(30ms), [&] { multi.learn({kNameA}); });
  EXPECT_FALSE(call(multi).has_value());
  EXPECT_EQ(group_.alive, 2) << "gone when its last call ended";
}

}  // namespace
}  // namespace cairn::rpc
