// Chunks that the master holds for a repair, in every state that their writer can be in.
#include <gtest/gtest.h>

#include "client/core/testing/file_model.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::FileModel;
using testing::pattern;
using testing::Shape;

constexpr Shape kFourTwo{};
constexpr ByteCount kStripe = 4 * 64 * 1024;
constexpr ByteCount kChunk = 4 * kStripe;

class HoldTest : public ::testing::Test {
 protected:
  HoldTest()
      : cluster_(kFourTwo),
        mount_(cluster_.mount([](Options& options) { options.restart_grace = Duration(); })),
        inode_(cluster_.create(*mount_, "a")),
        file_(cluster_, *mount_, inode_) {}

  // One chunk with data, without the piece on cs[2], which is back.
  void lose_a_piece() {
    file_.write(0, pattern(1, kStripe * 2));
    file_.fsync();
    cluster_.cs[2]->kill();
    file_.write(0, pattern(2, kStripe));
    file_.fsync();
    cluster_.cs[2]->revive();
    cluster_.world.run_for(1s);
  }
  void start_repair(std::optional<bool>* done, Duration copy = Duration(), std::size_t server = 2,
                    std::uint64_t index = 0) {
    const std::uint32_t piece = cluster_.piece_on(inode_, index, server);
    cluster_.start(cluster_.repair(inode_, index, piece, copy), done);
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
  pb::Chunk& chunk() { return cluster_.master->chunk(inode_.raw(), 0); }
  bool until(const std::optional<bool>& done, Duration limit = 5s) {
    return cluster_.world.run_until([&] { return done.has_value(); }, limit) && *done;
  }
  bool until(const std::optional<Status>& done, Duration limit = 5s) {
    return cluster_.world.run_until([&] { return done.has_value(); }, limit) && done->has_value();
  }

  FakeCluster cluster_;
  std::unique_ptr<FileSystem> mount_;
  InodeId inode_;
  FileModel file_;
};

TEST_F(HoldTest, AnIdleChunkIsClosedAtOnceAndOpenedByTheNextWrite) {
  lose_a_piece();
  std::optional<bool> repaired;
  const Instant began = cluster_.runtime.now();
  start_repair(&repaired);
  ASSERT_TRUE(until(repaired));
  EXPECT_LT(cluster_.runtime.now() - began, Duration(5ms));
  EXPECT_EQ(cluster_.master->closes, 1U);
  EXPECT_EQ(chunk().writer_epoch(), 0U);
  const std::uint64_t opens = cluster_.master->opens;
  const std::uint64_t floor = chunk().seq_floor();
  EXPECT_GT(floor, 2U);
  file_.write(kStripe, pattern(3, kStripe));
  file_.fsync();
  EXPECT_EQ(cluster_.master->opens, opens + 1);
  const auto& seen =
      cluster_.cs[2]->pieces.at({chunk().id(), cluster_.piece_on(inode_, 0, 2)}).seen;
  ASSERT_EQ(seen.size(), 1U) << "the piece takes part again";
  EXPECT_GE(*seen.begin(), floor);
  cluster_.world.run_for(1s);
  finish();
}

TEST_F(HoldTest, OpsUnderWayAreFinishedFirstAndNoneBegins) {
  lose_a_piece();
  for (const auto& cs : cluster_.cs) cs->delay = 200ms;
  file_.write(0, pattern(3, kStripe));
  cluster_.world.run_for(50ms);  // its PREPAREs are on their way
  std::optional<bool> repaired;
  start_repair(&repaired, 500ms);
  cluster_.world.run_for(20ms);
  file_.write(kStripe, pattern(4, kStripe));
  cluster_.world.run_for(100ms);
  EXPECT_EQ(cluster_.master->closes, 0U) << "one op is under way";
  cluster_.world.run_for(200ms);
  EXPECT_EQ(cluster_.master->closes, 1U);
  std::uint64_t prepares = 0;
  for (const auto& cs : cluster_.cs) prepares += cs->prepares;
  EXPECT_FALSE(repaired.has_value());
  // FakeCluster::repair checks that the chunk stays closed.
  ASSERT_TRUE(until(repaired));
  for (const auto& cs : cluster_.cs) prepares -= cs->prepares;
  EXPECT_EQ(prepares, 0U);
  file_.fsync();
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  finish();
}

TEST_F(HoldTest, AWaitingOpIsQuietAndIsDecidedAfterTheRepairWithoutBeingSentAgain) {
  lose_a_piece();
  cluster_.cs[4]->kill();
  file_.write(0, pattern(3, kStripe));
  file_.write(kStripe, pattern(4, kStripe));
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  cluster_.world.run_for(3s);
  ASSERT_FALSE(synced.has_value());
  std::uint64_t prepares = 0;
  for (const auto& cs : cluster_.cs) prepares += cs->prepares;
  std::optional<bool> repaired;
  start_repair(&repaired, 2s);
  cluster_.world.run_for(1s);
  EXPECT_EQ(cluster_.master->closes, 1U);
  EXPECT_FALSE(synced.has_value()) << "the copy is under way";
  ASSERT_TRUE(until(repaired));
  ASSERT_TRUE(until(synced, 100ms));
  for (const auto& cs : cluster_.cs) prepares -= cs->prepares;
  EXPECT_EQ(prepares, 0U);
  cluster_.cs[4]->revive();
  cluster_.world.run_for(1s);
  repaired.reset();
  start_repair(&repaired, Duration(), 4);
  ASSERT_TRUE(until(repaired));
  finish();
}

// An op that was written for four pieces must not go to five.
TEST_F(HoldTest, WritesDuringARepairGoToThePieceThatCameBack) {
  lose_a_piece();
  std::optional<bool> repaired;
  start_repair(&repaired, 3s);
  cluster_.world.run_for(100ms);
  file_.write(0, pattern(3, kStripe));
  file_.write(2 * kStripe, pattern(4, 1'000));
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  cluster_.world.run_for(2s);
  EXPECT_FALSE(synced.has_value());
  ASSERT_TRUE(until(repaired));
  ASSERT_TRUE(until(synced));
  finish();
}

TEST_F(HoldTest, SeveralChunksAreHeldAtOnceAndTheOthersGoOn) {
  file_.write(0, pattern(1, 3 * kChunk));
  file_.fsync();
  cluster_.cs[2]->kill();
  file_.write(0, pattern(2, 3 * kChunk));
  file_.fsync();
  cluster_.cs[2]->revive();
  cluster_.world.run_for(1s);
  std::optional<bool> first;
  std::optional<bool> second;
  start_repair(&first, 3s, 2, 0);
  start_repair(&second, 3s, 2, 1);
  cluster_.world.run_for(100ms);
  EXPECT_EQ(cluster_.master->closes, 2U);
  file_.write(2 * kChunk, pattern(3, kStripe));
  cluster_.world.run_for(2s);
  file_.fsync();
  EXPECT_FALSE(first.has_value()) << "chunk 2 waits for nobody";
  ASSERT_TRUE(until(first) && until(second));
  std::optional<bool> third;
  start_repair(&third, Duration(), 2, 2);
  ASSERT_TRUE(until(third));
  finish();
}

// Then nobody here knows whether it was done before the hold or will be after it.
TEST_F(HoldTest, AHoldOvertakesTheAnswerToAnOpenChunk) {
  file_.write(0, pattern(1, 5'000));  // one data piece
  file_.fsync();
  cluster_.cs[0]->kill();  // parity
  file_.write(0, pattern(2, 5'000));
  file_.fsync();
  cluster_.cs[0]->revive();
  cluster_.world.run_for(1s);
  std::optional<bool> repaired;
  cluster_.master->on_open = [&] {
    cluster_.master->on_open = nullptr;
    start_repair(&repaired, 500ms, 0);
  };
  // The other data pieces become current.
  file_.write(64 * 1024, pattern(3, 190'000));
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  ASSERT_TRUE(until(repaired));
  ASSERT_TRUE(until(synced));
  EXPECT_EQ(cluster_.master->closes, 1U);
  finish();
}

// A piece that was opened for an op that did not begin yet: the repair reads it.
TEST_F(HoldTest, PiecesThatNobodyWroteYetAreMadeBeforeAChunkIsClosed) {
  file_.write(0, pattern(1, 5'000));
  file_.fsync();
  cluster_.cs[0]->kill();
  file_.write(0, pattern(2, 5'000));
  file_.fsync();
  // Its PREPARE is on the way when the hold comes; the server is slow to make it.
  for (const auto& cs : cluster_.cs) cs->delay = 100ms;
  file_.write(64 * 1024, pattern(3, 190'000));
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  cluster_.world.run_for(20ms);
  cluster_.cs[0]->revive();
  std::optional<bool> repaired;
  start_repair(&repaired, 100ms, 0);
  ASSERT_TRUE(until(repaired));
  ASSERT_TRUE(until(synced));
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  for (const pb::Piece& piece : chunk().pieces()) {
    if (piece.state() != pb::PIECE_CURRENT) continue;
    EXPECT_TRUE(cluster_.cs[piece.cs_id() - 1025]->pieces.contains({chunk().id(), piece.index()}));
  }
  finish();
}

TEST_F(HoldTest, AFileThatIsNotOursAnyMoreIsLeftToTheMaster) {
  lose_a_piece();
  mount_->release(inode_, OpenMode::kWrite);
  cluster_.unmount(std::move(mount_));
  std::optional<bool> repaired;
  start_repair(&repaired);
  ASSERT_TRUE(until(repaired));
  EXPECT_EQ(cluster_.master->closes, 0U);
  cluster_.check_parity();
}

// The lease goes back while the chunk is held; the next holder opens it.
TEST_F(HoldTest, ARecallDuringAHold) {
  lose_a_piece();
  for (const auto& cs : cluster_.cs) cs->delay = 100ms;
  file_.write(0, pattern(3, kStripe));
  auto other = cluster_.mount();
  std::optional<bool> repaired;
  start_repair(&repaired, 1s);
  std::optional<Result<pb::Attributes>> opened;
  cluster_.start(other->open(inode_, OpenMode::kWrite), &opened);
  cluster_.world.run_for(200ms);
  ASSERT_TRUE(until(repaired));
  ASSERT_TRUE(cluster_.world.run_until([&] { return opened.has_value(); }, 10s));
  ASSERT_TRUE(opened->has_value()) << opened->error().to_string();
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  FileModel theirs(cluster_, *other, inode_);
  theirs.truth = file_.truth;
  theirs.check_all();
  theirs.write(kStripe, pattern(5, kStripe));
  theirs.fsync();
  file_.truth = theirs.truth;
  other->release(inode_, OpenMode::kWrite);
  cluster_.unmount(std::move(other));
  finish();
}

TEST_F(HoldTest, AMasterThatDiesDuringAHoldLeavesNothingStuck) {
  lose_a_piece();
  for (const auto& cs : cluster_.cs) cs->delay = 100ms;
  file_.write(0, pattern(3, kStripe));
  cluster_.world.run_for(50ms);
  std::optional<bool> repaired;
  start_repair(&repaired);
  cluster_.world.run_for(1ms);
  cluster_.master->kill(0);
  cluster_.world.run_for(1s);
  cluster_.master->revive(0);
  cluster_.master->elect(0);
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  file_.fsync();
  file_.write(kStripe, pattern(4, kStripe));
  file_.fsync();
  cluster_.world.run_for(20s);
  ASSERT_TRUE(repaired.has_value());
  if (!*repaired) {
    repaired.reset();
    start_repair(&repaired);
    ASSERT_TRUE(until(repaired));
  }
  finish();
}

// A hold whose ops cannot become quiet must not stop the file for ever.
TEST_F(HoldTest, AHoldThatCannotBeMetEnds) {
  lose_a_piece();
  cluster_.cs[3]->full = true;
  file_.write(0, pattern(3, kStripe));
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  cluster_.world.run_for(1s);
  std::optional<bool> repaired;
  start_repair(&repaired);
  cluster_.world.run_for(30s);
  ASSERT_TRUE(repaired.has_value());
  EXPECT_FALSE(*repaired);
  EXPECT_EQ(cluster_.master->closes, 0U);
  cluster_.cs[3]->full = false;
  ASSERT_TRUE(until(synced));
  file_.write(kStripe, pattern(4, kStripe));
  file_.fsync();
  repaired.reset();
  start_repair(&repaired);
  ASSERT_TRUE(until(repaired));
  finish();
}

TEST_F(HoldTest, TrimAndTruncateRespectIt) {
  lose_a_piece();
  std::optional<bool> repaired;
  start_repair(&repaired, 2s);
  cluster_.world.run_for(10ms);
  file_.truncate(kStripe + 5'000);
  ASSERT_TRUE(until(repaired));
  file_.write(kStripe + 50'000, pattern(3, 10'000));
  file_.fsync();
  finish();
}

TEST_F(HoldTest, TheMountStopsDuringAHold) {
  lose_a_piece();
  cluster_.cs[3]->full = true;
  file_.write(0, pattern(3, kStripe));
  cluster_.world.run_for(2s);
  std::optional<bool> repaired;
  start_repair(&repaired);
  cluster_.world.run_for(100ms);
  mount_->release(inode_, OpenMode::kWrite);
  const Instant began = cluster_.runtime.now();
  const Status stopped = cluster_.run(mount_->stop(cluster_.runtime.after(1s)));
  EXPECT_FALSE(stopped.has_value()) << "not everything was written";
  EXPECT_LT(cluster_.runtime.now() - began, Duration(4s));
  mount_.reset();
  cluster_.world.run_for(20s);
}

}  // namespace
}  // namespace cairn::client
