#include "chunkserver/convert/conversion_duty.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "chunkserver/testing/virtual_loop.h"
#include "common/runtime/completion.h"

namespace cairn::chunkserver::convert {
namespace {

using testing::VirtualLoop;

// What became of all converters of a test.
struct Tally {
  int made = 0;
  int alive = 0;
  int interrupted = 0;
  int stopped = 0;
  std::optional<runtime::Completion<Status>> end;  // of the one at work
};

// Works until the test ends it, or it is interrupted.
class FakeConverter final : public Converter {
 public:
  FakeConverter(runtime::Runtime& runtime, Tally& tally) : runtime_(runtime), tally_(tally) {
    ++tally_.made;
    ++tally_.alive;
    tally_.end.emplace(runtime);
  }
  ~FakeConverter() override {
    EXPECT_TRUE(stopped_);
    --tally_.alive;
  }
  Task<Status> run() override {
    runtime::Completion<Status> end = *tally_.end;
    const Status ended = co_await end.wait();
    ran_ = true;
    co_return ended;
  }
  void interrupt() override {
    ++tally_.interrupted;
    tally_.end->set(fail(Code::kCancelled, "interrupted"));
  }
  Task<void> stop() override {
    EXPECT_TRUE(ran_);
    // A session that says good-bye takes a moment.
    co_await sleep_for(runtime_, 5ms);
    stopped_ = true;
    ++tally_.stopped;
  }

 private:
  runtime::Runtime& runtime_;
  Tally& tally_;
  bool ran_ = false;
  bool stopped_ = false;
};

class ConversionDutyTest : public ::testing::Test {
 protected:
  ConversionDuty::Hooks hooks() {
    return {.make = [this]() -> Result<std::unique_ptr<Converter>> {
              ++asked_;
              if (refuse_) return fail(Code::kUnavailable, "no host id");
              return std::make_unique<FakeConverter>(loop_, tally_);
            },
            .trouble = [this] { return trouble_; }};
  }
  void end(Status status) {
    ASSERT_TRUE(tally_.end->set(std::move(status)));
    loop_.run_for(10ms);
  }

  VirtualLoop loop_{1};
  std::unique_ptr<observe::Log> log_ = observe::make_null_log();
  Tally tally_;
  bool trouble_ = false;
  bool refuse_ = false;
  int asked_ = 0;
  ConversionDuty duty_{loop_, *log_, hooks()};
};

TEST_F(ConversionDutyTest, MakesOneConverterHoweverOftenWorkIsOffered) {
  loop_.run_for(10s);
  EXPECT_EQ(tally_.made, 0);
  for (int heartbeat = 0; heartbeat < 5; ++heartbeat) {
    duty_.offer();
    loop_.run_for(1s);
  }
  EXPECT_EQ(tally_.made, 1);
  EXPECT_TRUE(duty_.working());
  end(Status());
  EXPECT_FALSE(duty_.working());
  EXPECT_EQ(tally_.alive, 0);
  EXPECT_EQ(tally_.stopped, 1);
  EXPECT_EQ(tally_.interrupted, 0);
  loop_.run(duty_.stop());
}

TEST_F(ConversionDutyTest, BeginsAgainAtTheNextOfferAfterAGoodEnd) {
  duty_.offer();
  end(Status());
  duty_.offer();
  EXPECT_EQ(tally_.made, 2);
  loop_.run(duty_.stop());
}

TEST_F(ConversionDutyTest, PausesLongerAndLongerWhileConvertersFail) {
  std::vector<Duration> pauses;
  Instant failed = loop_.now();
  for (int offers = 0; offers < 2000 && pauses.size() < 9; ++offers) {
    const int before = tally_.made;
    duty_.offer();
    if (tally_.made != before) {
      pauses.push_back(loop_.now() - failed);
      end(fail(Code::kUnavailable, "no master"));
      failed = loop_.now();
    }
    loop_.run_for(100ms);
  }
  ASSERT_EQ(pauses.size(), 9U);
  for (std::size_t i = 1; i < pauses.size(); ++i) {
    const Duration least = std::min<Duration>(Duration(kPauseFirst) * (1 << (i - 1)), kPauseMost);
    EXPECT_GE(pauses[i], least - 10ms) << i;
    EXPECT_LE(pauses[i], least + 200ms) << i;
  }
  // A good one ends the mistrust.
  loop_.run_for(Duration(kPauseMost));
  duty_.offer();
  end(Status());
  duty_.offer();
  EXPECT_EQ(tally_.made, 11);
  end(fail(Code::kTimeout, "again"));
  loop_.run_for(Duration(kPauseFirst) + 100ms);
  duty_.offer();
  EXPECT_EQ(tally_.made, 12);
  loop_.run(duty_.stop());
}

TEST_F(ConversionDutyTest, OneThatCannotBeMadeIsPausedFor) {
  refuse_ = true;
  duty_.offer();
  duty_.offer();
  EXPECT_EQ(asked_, 1);
  EXPECT_FALSE(duty_.working());
  refuse_ = false;
  loop_.run_for(Duration(kPauseFirst));
  duty_.offer();
  EXPECT_TRUE(duty_.working());
  loop_.run(duty_.stop());
}

TEST_F(ConversionDutyTest, TroubleInterruptsItSoonAndOnce) {
  duty_.offer();
  loop_.run_for(10s);
  EXPECT_TRUE(duty_.working());
  trouble_ = true;
  loop_.run_for(Duration(kLookInterval) + 10ms);
  EXPECT_EQ(tally_.interrupted, 1);
  EXPECT_FALSE(duty_.working());
  loop_.run_for(2min);
  duty_.offer();
  EXPECT_EQ(tally_.made, 1);
  trouble_ = false;
  duty_.offer();
  EXPECT_EQ(tally_.made, 2);
  loop_.run(duty_.stop());
}

TEST_F(ConversionDutyTest, StopInterruptsAndNoneFollows) {
  duty_.offer();
  const Instant before = loop_.now();
  loop_.run(duty_.stop());
  EXPECT_LE(loop_.now() - before, 100ms);
  EXPECT_EQ(tally_.interrupted, 1);
  EXPECT_EQ(tally_.stopped, 1);
  EXPECT_EQ(tally_.alive, 0);
  duty_.offer();
  EXPECT_EQ(tally_.made, 1);
  loop_.run(duty_.stop());
}

TEST_F(ConversionDutyTest, InterruptedIsNotInterruptedAgainByStop) {
  duty_.offer();
  duty_.interrupt();
  loop_.run(duty_.stop());
  EXPECT_EQ(tally_.interrupted, 1);
}

TEST_F(ConversionDutyTest, WithoutAMakerItConvertsNothing) {
  ConversionDuty none(loop_, *log_, {.make = nullptr, .trouble = [] { return false; }});
  none.offer();
  EXPECT_FALSE(none.working());
  loop_.run(none.stop());
}

}  // namespace
}  // namespace cairn::chunkserver::convert
