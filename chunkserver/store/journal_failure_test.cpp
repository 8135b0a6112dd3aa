// The journal when something breaks: power cuts at every operation, failed writes, an apply that
// fails, a device that hangs.
#include "chunkserver/store/journal_fixture.h"

namespace cairn::chunkserver::store {
namespace {

class JournalFailureTest : public JournalTest {
 protected:
  bool all_answered_with(Code code) const {
    return answers_.size() == next_ &&
           std::all_of(answers_.begin(), answers_.end(),
                       [code](const Answered& answer) { return answer.code == code; });
  }
};

TEST_F(JournalFailureTest, AfterAFailedWriteEverythingEndsWithItsError) {
  begin(64);
  submit(journaled());
  settle_down();
  answers_.clear();
  next_ = 0;
  world_.data.fail_writes(true);
  submit(journaled());
  submit(settle());
  settle_down();
  EXPECT_TRUE(all_answered_with(Code::kDiskFailed));
  EXPECT_EQ(failures_, (std::vector<Code>{Code::kDiskFailed}));
  world_.data.fail_writes(false);
  const std::uint64_t operations = world_.data.operations();
  submit(journaled());
  settle_down();
  EXPECT_TRUE(all_answered_with(Code::kDiskFailed));
  EXPECT_EQ(world_.data.operations(), operations);
  EXPECT_EQ(failures_.size(), 1U);
}

TEST_F(JournalFailureTest, AFailedFlushIsAFailure) {
  begin(64);
  world_.data.fail_next_flush(3);
  submit(journaled());
  settle_down();
  EXPECT_TRUE(all_answered_with(Code::kDiskFailed));
  EXPECT_TRUE(applied_.empty());
}

TEST_F(JournalFailureTest, TheRingsOwnDriveFailsWithItsOwnCode) {
  begin(64, "/ssd");
  world_.disk_of("/ssd").fail_writes(true);
  submit(journaled());
  settle_down();
  EXPECT_TRUE(all_answered_with(Code::kJournalFailed));
  EXPECT_NE(journal_->failure()->message().find("/ssd/cairn-journal"), std::string::npos);
}

TEST_F(JournalFailureTest, AnApplyThatFailsFailsItsBatchAndAllBehindIt) {
  begin(64);
  apply_fails_ = true;
  apply_takes_ = 1ms;
  submit(settle());
  world_.loop.run_for(500us);
  submit(settle());
  settle_down();
  EXPECT_TRUE(all_answered_with(Code::kCorrupt));
  EXPECT_EQ(applied_, (std::vector<std::uint64_t>{1}));
}

TEST_F(JournalFailureTest, AnAbortAnswersEverybodyAtOnceAlsoWhatHangsInTheDevice) {
  begin(64);
  world_.data.stall(true);
  submit(journaled(4));
  world_.loop.run_for(1ms);
  submit(journaled(3));
  submit(settle(), Journal::Urgency::kSoon);
  world_.loop.run_for(1ms);
  EXPECT_TRUE(answers_.empty());
  journal_->abort(Error(Code::kTimeout, "the disk hangs"));
  world_.loop.run_for(Duration{0});
  EXPECT_TRUE(all_answered_with(Code::kTimeout));
  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(answers_[i].chunk, i + 1);
  EXPECT_EQ(failures_, (std::vector<Code>{Code::kTimeout}));

  const Instant before = world_.loop.now();
  world_.loop.run(journal_->stop());
  EXPECT_TRUE(journal_->hangs());
  EXPECT_EQ(world_.loop.now() - before, Journal::kStopGrace);
  journal_.reset();
  // Its memory is there when the device comes back to it.
  world_.data.stall(false);
  world_.loop.run_for(1s);
  EXPECT_TRUE(world_.holds(kReservedBlocks + 1, kHomes));
  // What had not been begun was never written.
  EXPECT_FALSE(world_.holds(kReservedBlocks + 6, kHomes + 4));
  EXPECT_TRUE(applied_.empty());
}

TEST_F(JournalFailureTest, StopWaitsALittleForAWriteThatComesBack) {
  begin(64);
  world_.data.stall(true);
  submit(journaled(4));
  world_.loop.run_for(1ms);
  journal_->abort(Error(Code::kTimeout, "the disk hangs"));
  world_.loop.schedule(world_.loop.now() + 10ms, [this] { world_.data.stall(false); });
  world_.loop.run(journal_->stop());
  EXPECT_FALSE(journal_->hangs());
  EXPECT_TRUE(all_answered_with(Code::kTimeout));
}

TEST_F(JournalFailureTest, AnAbortWhileABatchIsAppliedAnswersAtOnce) {
  begin(64);
  apply_takes_ = 50ms;
  submit(settle());
  world_.loop.run_for(1ms);
  submit(settle());
  journal_->abort(Error(Code::kDiskFailed, "the index"));
  world_.loop.run_for(1ms);
  EXPECT_TRUE(all_answered_with(Code::kDiskFailed));
  // stop() waits for the apply: it looks at the store.
  end();
  EXPECT_EQ(applied_, (std::vector<std::uint64_t>{1}));
}

TEST_F(JournalFailureTest, AnAbortEndsAPauseAndAFullRing) {
  begin(32);
  for (int i = 0; i < 8; ++i) submit(journaled(4));
  settle_down();
  EXPECT_EQ(answers_.size(), 6U);
  journal_->abort(Error(Code::kJournalFailed, "pulled"));
  world_.loop.run(journal_->pause());
  settle_down();
  EXPECT_EQ(answers_.size(), 8U);
  EXPECT_EQ(answers_[7], (Answered{8, Code::kJournalFailed}));
}

// What one run of the program below left behind.
struct Crashed {
  std::vector<std::uint64_t> answered;
  std::vector<std::uint64_t> found;
  std::uint64_t operations = 0;
};

class JournalCrashTest : public JournalTest {
 protected:
  // Records of all kinds, in bursts, with releases; power off at operation `at` (0: never).
  Crashed run(std::uint64_t at, std::uint64_t seed, bool kill, const std::string& directory) {
    begin(32, directory);
    io::SimDisk& disk = directory.empty() ? world_.data : world_.disk_of(directory);
    const std::uint64_t before = disk.operations();
    if (at != 0 && kill) disk.kill_at(at);
    if (at != 0 && !kill) disk.crash_at(at, seed);
    Prng prng(seed);
    std::uint64_t released = 0;
    for (int burst = 0; burst < 8; ++burst) {
      for (std::uint64_t i = prng.between(1, 3); i-- > 0;) {
        const bool to_ring = !directory.empty() || prng.chance(500);
        submit(prng.chance(300) ? settle() : write(prng.between(1, 4), to_ring));
      }
      settle_down();
      // All but the last two batches may go.
      if (positions_.size() > 2 && !journal_->failure().has_value()) {
        released = positions_[positions_.size() - 3].sequence;
        journal_->release(released);
      }
    }
    Crashed crashed;
    crashed.operations = disk.operations() - before;
    const JournalPosition from = released == 0 ? JournalPosition() : positions_[released - 1];
    std::size_t gone = 0;
    for (std::size_t i = 0; i < released; ++i) gone += batches_[i];
    for (const Answered& answer : answers_) {
      if (!answer.code.has_value()) crashed.answered.push_back(answer.chunk);
    }
    crashed.answered.erase(crashed.answered.begin(),
                           crashed.answered.begin() + static_cast<std::ptrdiff_t>(gone));
    end();
    if (at != 0 && disk.attached()) disk.crash(seed);
    reopen(directory);
    crashed.found = scan(*ring_, from);
    return crashed;
  }
  void reopen(const std::string& directory) {
    RingPlace place = ring_->place();
    world_.attach();
    const OpenRing open = world_.open_ring();
    auto ring = world_.loop.run(open_ring(world_.data_device.get(), place, 5, &open));
    ASSERT_TRUE(ring.has_value()) << directory;
    ring_ = std::move(*ring);
  }
};

void check_every_crash(
    const std::function<Crashed(std::uint64_t at, std::uint64_t seed, bool kill)>& run_fresh) {
  for (const bool kill : {false, true}) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      const Crashed whole = run_fresh(0, seed, kill);
      ASSERT_EQ(whole.found, whole.answered);
      ASSERT_GT(whole.operations, 12U);
      for (std::uint64_t at = 1; at <= whole.operations; ++at) {
        const Crashed crashed = run_fresh(at, seed, kill);
        // Everything that was answered is there, in order, and at most one batch more.
        ASSERT_GE(crashed.found.size(), crashed.answered.size()) << "seed " << seed << " at " << at;
        for (std::size_t i = 0; i < crashed.answered.size(); ++i) {
          ASSERT_EQ(crashed.found[i], crashed.answered[i]) << "seed " << seed << " at " << at;
        }
        ASSERT_LE(crashed.found.size(), crashed.answered.size() + 3);
      }
    }
  }
}

class OneRun : public JournalCrashTest {
 public:
  OneRun() = default;
  void TestBody() override {}
  using JournalCrashTest::run;
  ~OneRun() override { TearDown(); }
};

TEST(JournalCrash, WhatWasAnsweredIsInTheRingWheneverThePowerGoes) {
  check_every_crash([](std::uint64_t at, std::uint64_t seed, bool kill) {
    OneRun one;
    return one.run(at, seed, kill, {});
  });
}

TEST(JournalCrash, TheSameWithARingOfItsOwn) {
  check_every_crash([](std::uint64_t at, std::uint64_t seed, bool kill) {
    OneRun one;
    return one.run(at, seed, kill, "/ssd");
  });
}

}  // namespace
}  // namespace cairn::chunkserver::store
