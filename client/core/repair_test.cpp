// Writes while pieces fail, are missing, and come back: drops, regions, the minimum.
#include <gtest/gtest.h>

#include "client/core/testing/file_model.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::FileModel;
using testing::pattern;
using testing::Shape;

// Small regions: one block of a piece each.
constexpr Shape kFourTwo{};
// 64 regions of 16 KiB.
constexpr Shape kWide{.piece_bytes = 16 * 64 * 1024};
constexpr ByteCount kStripe = 4 * 64 * 1024;

class RepairTest : public ::testing::Test {
 protected:
  explicit RepairTest(Shape shape = kFourTwo)
      : cluster_(shape),
        mount_(make(false)),
        inode_(cluster_.create(*mount_, "a")),
        file_(cluster_, *mount_, inode_) {}

  std::unique_ptr<FileSystem> make(bool soft) {
    return cluster_.mount([soft](Options& options) {
      options.restart_grace = Duration();
      options.hard = !soft;
    });
  }
  void finish() {
    mount_->release(inode_, OpenMode::kWrite);
    cluster_.unmount(std::move(mount_));
    cluster_.check_parity();
    auto other = cluster_.mount();
    file_.use(*other);
    file_.check_all();
    cluster_.unmount(std::move(other));
  }
  void repair(std::size_t server) {
    EXPECT_TRUE(cluster_.run(cluster_.repair(inode_, 0, cluster_.piece_on(inode_, 0, server))));
  }
  Duration timed_fsync() {
    const Instant began = cluster_.runtime.now();
    file_.fsync();
    return cluster_.runtime.now() - began;
  }
  pb::Chunk& chunk() { return cluster_.master->chunk(inode_.raw(), 0); }
  std::uint64_t missed(std::size_t server) {
    return chunk().pieces(static_cast<int>(cluster_.piece_on(inode_, 0, server))).missed();
  }

  FakeCluster cluster_;
  std::unique_ptr<FileSystem> mount_;
  InodeId inode_;
  FileModel file_;
};

class WideRepairTest : public RepairTest {
 protected:
  WideRepairTest() : RepairTest(kWide) {}
};

TEST_F(RepairTest, AKilledServerCostsOneQuestionAndNoPause) {
  file_.write(0, pattern(1, 300'000));
  file_.fsync();
  const std::uint64_t looks = cluster_.master->looks;
  const std::uint64_t executed = cluster_.master->executed;
  cluster_.cs[2]->kill();
  file_.write(0, pattern(2, kStripe));
  EXPECT_LT(timed_fsync(), Duration(20ms));
  EXPECT_EQ(cluster_.master->drops, 1U);
  EXPECT_EQ(cluster_.master->looks, looks);
  EXPECT_EQ(cluster_.master->executed, executed + 2) << "DropPieces, CommitFile";
  file_.check_all();
  cluster_.cs[2]->revive();
  repair(2);
  finish();
}

TEST_F(RepairTest, AConnectionThatOnlyBrokeCostsNothing) {
  file_.write(0, pattern(1, 300'000));
  file_.fsync();
  cluster_.network.cut(cluster_.cs[2]->address());
  file_.write(0, pattern(2, kStripe));
  EXPECT_LT(timed_fsync(), Duration(20ms));
  EXPECT_EQ(cluster_.master->drops, 0U);
  finish();
}

TEST_F(RepairTest, ASilentServerIsDroppedWithinTwoSeconds) {
  file_.write(0, pattern(1, 300'000));
  file_.fsync();
  cluster_.cs[3]->freeze();
  file_.write(0, pattern(2, kStripe));
  const Duration took = timed_fsync();
  EXPECT_GE(took, Duration(1500ms));
  EXPECT_LE(took, Duration(2100ms));
  EXPECT_EQ(cluster_.master->drops, 1U);
  // The next op does not know of it any more.
  file_.write(0, pattern(3, kStripe));
  EXPECT_LT(timed_fsync(), Duration(20ms));
  cluster_.cs[3]->thaw();
  cluster_.world.run_for(2s);
  repair(3);
  finish();
}

TEST_F(RepairTest, ASlowServerThatAnswersPingsKeepsItsPieceForEightSeconds) {
  file_.write(0, pattern(1, 300'000));
  file_.fsync();
  cluster_.cs[3]->delay = 6s;
  file_.write(0, pattern(2, kStripe));
  EXPECT_EQ(timed_fsync() / 1s, 6);
  EXPECT_EQ(cluster_.master->drops, 0U);
  cluster_.cs[3]->delay = 60s;
  file_.write(0, pattern(3, kStripe));
  EXPECT_EQ(timed_fsync() / 1s, 8);
  EXPECT_EQ(cluster_.master->drops, 1U);
  cluster_.cs[3]->delay = Duration();
  cluster_.world.run_for(60s);
  repair(3);
  finish();
}

// When the first one finds out, the others wait no longer.
TEST_F(RepairTest, OpsBehindADroppedPieceDoNotWaitForTheirOwnTimeouts) {
  file_.write(0, pattern(1, 3 * kStripe));
  file_.fsync();
  cluster_.cs[3]->delay = 60s;
  file_.write(0, pattern(2, kStripe));
  cluster_.world.run_for(7s);
  file_.write(2 * kStripe, pattern(3, kStripe));
  EXPECT_LT(timed_fsync(), Duration(2s));
  EXPECT_EQ(cluster_.master->drops, 1U);
  cluster_.cs[3]->delay = Duration();
  cluster_.world.run_for(60s);
  repair(3);
  finish();
}

TEST_F(RepairTest, RegionsAreMarkedBeforeAnOpIsDecided) {
  file_.write(0, pattern(1, 4 * kStripe));
  file_.fsync();
  cluster_.cs[2]->kill();
  file_.write(0, pattern(2, kStripe));
  file_.fsync();
  // A piece of 4 cells of 16 blocks: a stripe is 16 regions of one block.
  EXPECT_EQ(missed(2), 0xFFFFU);
  EXPECT_TRUE(cluster_.master->marks.empty()) << "told with the drop";
  file_.write(3 * kStripe, pattern(3, 4'096));
  file_.fsync();
  EXPECT_EQ(missed(2) >> 48, 1U);
  EXPECT_EQ(cluster_.master->marks.size(), 1U);
  file_.write(3 * kStripe, pattern(4, 4'096));
  file_.fsync();
  EXPECT_EQ(cluster_.master->marks.size(), 1U) << "marked already";
  cluster_.cs[2]->revive();
  repair(2);
  finish();
}

TEST_F(RepairTest, AWriteIsNotDecidedWhileTheMasterCannotMark) {
  file_.write(0, pattern(1, 4 * kStripe));
  file_.fsync();
  cluster_.cs[2]->kill();
  file_.write(0, pattern(2, kStripe));
  file_.fsync();
  cluster_.master->pause(0);
  file_.write(2 * kStripe, pattern(3, 100));
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  cluster_.world.run_for(3s);
  EXPECT_FALSE(synced.has_value());
  EXPECT_EQ(missed(2) & 0xFFFF'0000'0000U, 0U);
  cluster_.master->resume(0);
  ASSERT_TRUE(cluster_.world.run_until([&] { return synced.has_value(); }, 10s));
  EXPECT_TRUE(synced->has_value());
  EXPECT_NE(missed(2) & 0xFFFF'0000'0000U, 0U);
  cluster_.cs[2]->revive();
  repair(2);
  finish();
}

TEST_F(WideRepairTest, ASequenceIsMarkedAheadSoThatItDoesNotWait) {
  file_.write(0, pattern(1, 16 * kStripe));
  file_.fsync();
  cluster_.cs[2]->kill();
  for (std::uint64_t i = 0; i < 64; ++i) {
    file_.write(i * 64 * 1024, pattern(100 + i, 64 * 1024));
    file_.fsync();
  }
  // 64 writes over 64 regions: a cell is 4 of them. Without looking ahead it would be 16 questions.
  EXPECT_LE(cluster_.master->marks.size(), 16U / 2 + 2);
  EXPECT_EQ(missed(2), ~std::uint64_t{0});
  cluster_.cs[2]->revive();
  repair(2);
  finish();
}

TEST_F(WideRepairTest, ScatteredWritesMarkOnlyWhatTheyTouch) {
  file_.write(0, pattern(1, 16 * kStripe));
  file_.fsync();
  cluster_.cs[0]->kill();  // parity: each write touches it
  for (const std::uint64_t stripe : {9U, 2U, 14U, 5U}) {
    file_.write(stripe * kStripe, pattern(stripe, 4'096));
    file_.fsync();
  }
  EXPECT_EQ(std::popcount(missed(0)), 4);
  cluster_.cs[0]->revive();
  repair(0);
  finish();
}

TEST_F(RepairTest, BelowTheMinimumAWriteWaitsForTheRepairAndNotLonger) {
  file_.write(0, pattern(1, 300'000));
  file_.fsync();
  cluster_.cs[1]->kill();
  cluster_.cs[2]->kill();
  file_.write(0, pattern(2, kStripe));
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  cluster_.world.run_for(5s);
  EXPECT_FALSE(synced.has_value());
  EXPECT_EQ(cluster_.master->drops, 1U) << "both in one question";
  cluster_.cs[2]->revive();
  const std::uint64_t prepares = cluster_.cs[2]->prepares;
  repair(2);
  ASSERT_TRUE(cluster_.world.run_until([&] { return synced.has_value(); }, 200ms));
  EXPECT_TRUE(synced->has_value());
  EXPECT_EQ(cluster_.cs[2]->prepares, prepares) << "the copy has it";
  for (const auto& cs : cluster_.cs) EXPECT_EQ(cs->repeated, 0U);
  file_.check_all();
  file_.write(100'000, pattern(3, 50'000));
  file_.fsync();
  cluster_.cs[1]->revive();
  repair(1);
  finish();
}

TEST_F(RepairTest, AReaderFindsOutThatAPieceCameBack) {
  file_.write(0, pattern(1, 300'000));
  file_.fsync();
  cluster_.cs[2]->kill();
  file_.write(0, pattern(2, kStripe));
  file_.fsync();
  mount_->release(inode_, OpenMode::kWrite);
  cluster_.unmount(std::move(mount_));
  mount_ = cluster_.mount([](Options& options) { options.cache_bytes = 1_MiB; });
  file_.use(*mount_);
  file_.check_all();
  cluster_.cs[2]->revive();
  repair(2);
  const std::uint64_t reads = cluster_.cs[2]->reads;
  const std::uint64_t looks = cluster_.master->looks;
  for (int i = 0; i < 20; ++i) {
    file_.check_all();
    cluster_.world.run_for(1s);
  }
  EXPECT_GE(cluster_.cs[2]->reads, reads + 14);
  EXPECT_LE(cluster_.master->looks, looks + 2);
  ASSERT_TRUE(cluster_.run(mount_->open(inode_, OpenMode::kWrite)).has_value());
  finish();
}

TEST_F(RepairTest, WithTooFewPiecesAllAreTriedAgain) {
  file_.write(0, pattern(1, 300'000));
  file_.fsync();
  for (const std::size_t i : {0U, 1U, 2U, 3U}) cluster_.cs[i]->kill();
  file_.write(0, pattern(2, kStripe));
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  cluster_.world.run_for(10s);
  EXPECT_FALSE(synced.has_value());
  EXPECT_EQ(chunk().version(), 1U);
  for (const std::size_t i : {1U, 2U, 3U}) cluster_.cs[i]->revive();
  ASSERT_TRUE(cluster_.world.run_until([&] { return synced.has_value(); }, 3s));
  EXPECT_TRUE(synced->has_value());
  EXPECT_EQ(chunk().version(), 2U) << "only the one that is still away";
  cluster_.cs[0]->revive();
  repair(0);
  finish();
}

TEST_F(RepairTest, ASoftMountFailsAfterItsTime) {
  mount_->release(inode_, OpenMode::kWrite);
  cluster_.unmount(std::move(mount_));
  mount_ = make(true);
  inode_ = cluster_.create(*mount_, "b");
  FileModel file(cluster_, *mount_, inode_);
  file.write(0, pattern(1, 300'000));
  file.fsync();
  cluster_.cs[1]->kill();
  cluster_.cs[2]->kill();
  file.write(0, pattern(2, kStripe));
  const Instant began = cluster_.runtime.now();
  const Status failed = cluster_.run(mount_->fsync(inode_));
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code(), Code::kBelowMinimum);
  EXPECT_GE(cluster_.runtime.now() - began, Duration(30s));
  EXPECT_LT(cluster_.runtime.now() - began, Duration(33s));
  cluster_.world.run_for(1s);
  EXPECT_EQ(cluster_.master->unsettled, 1U);
  mount_->release(inode_, OpenMode::kWrite);
  cluster_.unmount(std::move(mount_));
}

TEST_F(RepairTest, AnOldMasterThatKeepsTheMinimumIsUnderstood) {
  cluster_.master->repairs = false;
  file_.write(0, pattern(1, 300'000));
  file_.fsync();
  cluster_.cs[1]->kill();
  file_.write(0, pattern(2, kStripe));
  EXPECT_LT(timed_fsync(), Duration(20ms));
  EXPECT_TRUE(cluster_.master->marks.empty()) << "nothing that could come back is missing";
  cluster_.cs[2]->kill();
  file_.write(0, pattern(3, kStripe));
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  cluster_.world.run_for(5s);
  EXPECT_FALSE(synced.has_value());
  cluster_.cs[2]->revive();
  ASSERT_TRUE(cluster_.world.run_until([&] { return synced.has_value(); }, 3s));
  EXPECT_TRUE(synced->has_value());
  finish();
}

}  // namespace
}  // namespace cairn::client
