#include <gtest/gtest.h>

#include <vector>

#include "client/core/testing/file_model.h"
#include "common/base/prng.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::FileModel;
using testing::joined;
using testing::pattern;
using testing::Shape;

constexpr Shape kFourTwo{};
constexpr Shape kTwoOne{.data = 2, .parity = 1, .min = 2};
constexpr Shape kThreeCopies{.data = 1, .parity = 2, .min = 2};
constexpr Shape kPlain{.data = 1, .parity = 0, .min = 1};

class EveryShape : public ::testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Mount, EveryShape,
                         ::testing::Values(kFourTwo, kTwoOne, kThreeCopies, kPlain));

TEST_P(EveryShape, ReadsBackWhatWasWrittenBeforeAndAfterFsync) {
  FakeCluster cluster(GetParam());
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "a");
  FileModel file(cluster, *mount, inode);
  file.write(0, pattern(1, 1'000'000));
  file.check_all();
  file.fsync();
  file.check_all();
  cluster.check_parity();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));

  auto other = cluster.mount();
  file.use(*other);
  file.check_all();
  cluster.unmount(std::move(other));
}

TEST_P(EveryShape, RandomWritesTruncatesAndReadsAgreeWithAPlainFile) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    FakeCluster cluster(GetParam(), seed);
    auto mount = cluster.mount([](Options& options) {
      options.cache_bytes = 1_MiB;
      options.dirty_bytes_per_file = 512_KiB;
    });
    const InodeId inode = cluster.create(*mount, "a");
    FileModel file(cluster, *mount, inode);
    Prng prng(seed);
    constexpr std::uint64_t kFile = 3'000'000;
    for (int step = 0; step < 120; ++step) {
      const std::uint64_t kind = prng.below(20);
      const std::uint64_t at = prng.below(kFile);
      if (kind < 10) {
        const std::uint64_t length = 1 + prng.below(prng.chance(300) ? 300'000 : 9'000);
        file.write(at, pattern(prng.next(), length));
      } else if (kind < 12) {
        file.truncate(prng.chance(500) ? at : std::min<std::uint64_t>(at, file.truth.size()));
      } else if (kind < 14) {
        file.fsync();
        cluster.check_parity();
      } else {
        file.check(at, prng.below(200'000));
      }
      if (kind == 19) cluster.world.run_for(2s);
      if (HasFatalFailure()) return;
    }
    file.fsync();
    cluster.check_parity();
    file.check_all();
    mount->release(inode, OpenMode::kWrite);
    cluster.unmount(std::move(mount));
    auto other = cluster.mount();
    file.use(*other);
    file.check_all();
    cluster.unmount(std::move(other));
  }
}

TEST(Mount, ReadsThroughEveryLossThatTheCodeAllows) {
  FakeCluster cluster(kFourTwo);
  auto writer = cluster.mount();
  const InodeId inode = cluster.create(*writer, "a");
  FileModel file(cluster, *writer, inode);
  file.write(0, pattern(3, 700'001));
  file.fsync();
  writer->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(writer));
  auto mount = cluster.mount();
  file.use(*mount);
  for (std::size_t a = 0; a < 6; ++a) {
    for (std::size_t b = a + 1; b < 6; ++b) {
      SCOPED_TRACE(std::to_string(a) + " and " + std::to_string(b));
      cluster.cs[a]->kill();
      cluster.cs[b]->kill();
      file.check_all();
      cluster.cs[a]->revive();
      cluster.cs[b]->revive();
      cluster.world.run_for(3s);
    }
  }
  for (std::size_t i = 0; i < 3; ++i) cluster.cs[i]->kill();
  const Result<std::vector<Buffer>> lost = cluster.run(mount->read(inode, FileOffset(0), 100));
  ASSERT_FALSE(lost.has_value());
  EXPECT_EQ(lost.error().code(), Code::kTooFewPieces);
  for (std::size_t i = 0; i < 3; ++i) cluster.cs[i]->revive();
  file.check_all();
  cluster.unmount(std::move(mount));
}

TEST(Mount, RottenAndSlowAnswersAreReadAround) {
  FakeCluster cluster(kFourTwo);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "a");
  FileModel file(cluster, *mount, inode);
  file.write(0, pattern(4, 500'000));
  file.fsync();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
  auto reader = cluster.mount();
  file.use(*reader);
  for (auto& cs : cluster.cs) {
    cs->rot_reads = 1;
    file.check_all();
  }
  cluster.cs[1]->delay = 20s;
  const Instant begin = cluster.runtime.now();
  file.check_all();
  EXPECT_LT(cluster.runtime.now() - begin, 4s);
  cluster.cs[1]->delay = Duration();
  cluster.unmount(std::move(reader));
}

TEST(Mount, WritesGoOnWithoutThePiecesThatFail) {
  FakeCluster cluster(kFourTwo);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "a");
  FileModel file(cluster, *mount, inode);
  file.write(0, pattern(5, 300'000));
  file.fsync();
  cluster.cs[2]->kill();
  file.write(100'000, pattern(6, 400'000));
  file.fsync();
  file.check_all();
  // Four of six are enough to read; five are needed to write.
  cluster.cs[4]->kill();
  file.write(10, pattern(7, 250'000));
  file.check_all();
  std::optional<Status> synced;
  cluster.start(mount->fsync(inode), &synced);
  cluster.world.run_for(60s);
  EXPECT_FALSE(synced.has_value()) << "below the minimum a hard mount waits";
  cluster.cs[4]->revive();
  const std::uint32_t piece = cluster.piece_on(inode, 0, 4);
  EXPECT_TRUE(cluster.run(cluster.repair(inode, 0, piece)));
  cluster.world.run_for(1s);
  ASSERT_TRUE(synced.has_value());
  EXPECT_TRUE(synced->has_value());
  file.check_all();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
  auto other = cluster.mount();
  file.use(*other);
  file.check_all();
  cluster.unmount(std::move(other));
}

TEST(Mount, ASoftMountReportsWhatItCouldNotWriteOnce) {
  FakeCluster cluster(kTwoOne);
  cluster.master->below_minimum = true;
  auto mount = cluster.mount([](Options& options) { options.hard = false; });
  const InodeId inode = cluster.create(*mount, "a");
  FileModel file(cluster, *mount, inode);
  file.write(0, pattern(8, 10'000));
  cluster.cs[0]->kill();
  cluster.cs[1]->kill();
  const Status failed = cluster.run(mount->fsync(inode));
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code(), Code::kBelowMinimum);
  EXPECT_TRUE(cluster.run(mount->fsync(inode)).has_value()) << "told once";
  cluster.cs[0]->revive();
  cluster.cs[1]->revive();
  cluster.master->below_minimum = false;
  cluster.world.run_for(3s);
  EXPECT_EQ(cluster.master->unsettled, 1U);
  file.truth.clear();
  file.write(0, pattern(9, 20'000));
  file.fsync();
  file.check_all();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

TEST(Mount, FullChunkServersAreWaitedForOrReported) {
  FakeCluster cluster(kTwoOne);
  auto waits = cluster.mount();
  auto fails = cluster.mount([](Options& options) { options.fail_on_nospace = true; });
  const InodeId a = cluster.create(*waits, "a");
  const InodeId b = cluster.create(*fails, "b");
  cluster.cs[1]->full = true;
  const std::vector<std::byte> bytes = pattern(10, 30'000);
  ASSERT_TRUE(cluster.run(waits->write(a, FileOffset(0), bytes, false)).has_value());
  ASSERT_TRUE(cluster.run(fails->write(b, FileOffset(0), bytes, false)).has_value());
  const Status refused = cluster.run(fails->fsync(b));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Code::kNoSpace);
  std::optional<Status> synced;
  cluster.start(waits->fsync(a), &synced);
  cluster.world.run_for(30s);
  EXPECT_FALSE(synced.has_value());
  // P8: reads and the namespace go on.
  EXPECT_EQ(joined(*cluster.run(waits->read(a, FileOffset(0), 40'000))), bytes);
  EXPECT_TRUE(cluster.run(waits->lookup(kRootInode, "b")).has_value());
  cluster.cs[1]->full = false;
  cluster.world.run_for(5s);
  ASSERT_TRUE(synced.has_value() && synced->has_value());
  waits->release(a, OpenMode::kWrite);
  fails->release(b, OpenMode::kWrite);
  cluster.unmount(std::move(waits));
  cluster.unmount(std::move(fails));
}

TEST(Mount, SmallFilesTouchOnlyThePiecesThatHoldBytes) {
  FakeCluster cluster(kFourTwo);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "a");
  FileModel file(cluster, *mount, inode);
  file.write(0, pattern(11, 4'000));
  file.fsync();
  std::size_t pieces = 0;
  std::size_t blocks = 0;
  for (const auto& cs : cluster.cs) {
    for (const auto& [key, piece] : cs->pieces) {
      ++pieces;
      blocks += piece.blocks.size();
    }
  }
  EXPECT_EQ(pieces, 3U);
  EXPECT_EQ(blocks, 3U);
  file.check_all();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

TEST(Mount, AChunkServerThatIsRestartedQuicklyKeepsItsPiece) {
  FakeCluster cluster(kFourTwo);
  auto mount = cluster.mount([](Options& options) { options.restart_grace = 2s; });
  const InodeId inode = cluster.create(*mount, "a");
  FileModel file(cluster, *mount, inode);
  file.write(0, pattern(13, 300'000));
  file.fsync();
  file.write(0, pattern(14, 300'000));
  cluster.cs[1]->kill();
  std::optional<Status> synced;
  cluster.start(mount->fsync(inode), &synced);
  cluster.world.run_for(1s);
  EXPECT_FALSE(synced.has_value());
  cluster.cs[1]->revive();
  cluster.world.run_for(2s);
  ASSERT_TRUE(synced.has_value() && synced->has_value());
  const pb::Chunk& chunk = cluster.master->nodes.at(inode.raw()).chunks.at(0);
  EXPECT_EQ(chunk.version(), 1U);
  cluster.check_parity();
  file.check_all();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

// A new file is opened with a guess of its layout. Every piece that the master then takes for
// written must be on its chunk server, also when the guess was wrong.
TEST(Mount, AWrongGuessOfTheLayoutLeavesNoPieceBehind) {
  const std::pair<Shape, Shape> cases[] = {
      {kTwoOne, kFourTwo}, {kFourTwo, kTwoOne}, {kThreeCopies, kFourTwo}, {kFourTwo, kFourTwo}};
  for (const auto& [before, after] : cases) {
    FakeCluster cluster(before, 1, 6);
    auto mount = cluster.mount();
    const InodeId first = cluster.create(*mount, "first");
    FileModel one(cluster, *mount, first);
    one.write(0, pattern(15, 5'000));
    one.fsync();
    mount->release(first, OpenMode::kWrite);
    cluster.master->nodes.at(first.raw()).chunks.clear();
    cluster.master->shape = after;
    const InodeId second = cluster.create(*mount, "second");
    FileModel two(cluster, *mount, second);
    two.write(0, pattern(16, 5'000));
    const std::uint64_t executed = cluster.master->executed;
    two.fsync();
    const bool right = before.data == after.data;
    EXPECT_EQ(right, cluster.master->executed == executed + 2) << "one OpenChunk, one CommitFile";
    const pb::Chunk& chunk = cluster.master->nodes.at(second.raw()).chunks.at(0);
    for (const pb::Piece& piece : chunk.pieces()) {
      if (piece.state() != pb::PIECE_CURRENT) continue;
      EXPECT_TRUE(cluster.cs[piece.cs_id() - 1025]->pieces.contains({chunk.id(), piece.index()}))
          << piece.index();
    }
    two.check_all();
    mount->release(second, OpenMode::kWrite);
    cluster.unmount(std::move(mount));
  }
}

TEST(Mount, FsyncWritesWhatWasDirtyWhenItBeganThoughMoreComesBehindIt) {
  // A cell of two ops.
  FakeCluster cluster({.data = 2,
                       .parity = 1,
                       .min = 2,
                       .cell_bytes = 2 * 1024 * 1024,
                       .piece_bytes = 2 * 1024 * 1024});
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "a");
  FileModel file(cluster, *mount, inode);
  file.write(0, pattern(1, 10));
  file.fsync();
  for (const auto& cs : cluster.cs) cs->delay = 300ms;
  file.write(0, pattern(2, 2'000'000));
  std::optional<Status> synced;
  cluster.start(mount->fsync(inode), &synced);
  while (!synced.has_value()) {
    cluster.world.run_for(100ms);
    if (!synced.has_value()) file.write(0, pattern(3, 1'048'576));
  }
  ASSERT_TRUE(synced->has_value());
  const auto& held = cluster.cs[1]->pieces.at({1, 0}).blocks;
  EXPECT_EQ(held.size(), div_ceil(2'000'000, kBlockBytes));
  for (const auto& cs : cluster.cs) cs->delay = Duration();
  file.check_all();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

TEST(Mount, ATruncationOfAFullClusterEnds) {
  FakeCluster cluster(kTwoOne);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "a");
  FileModel file(cluster, *mount, inode);
  file.write(0, pattern(1, 20'000));
  file.fsync();
  for (const auto& cs : cluster.cs) cs->full = true;
  // The rest of the last block cannot be zeroed now: before the next write will do.
  file.truncate(10'000);
  file.check_all();
  const std::vector<std::byte> bytes = pattern(2, 3'000);
  std::optional<Status> written;
  cluster.start(mount->write(inode, FileOffset(15'000), bytes, false), &written);
  cluster.world.run_for(100s);
  EXPECT_FALSE(written.has_value()) << "a hard mount waits";
  for (const auto& cs : cluster.cs) cs->full = false;
  cluster.world.run_for(20s);
  ASSERT_TRUE(written.has_value());
  ASSERT_TRUE(written->has_value()) << written->error().to_string();
  file.truth.resize(15'000);
  file.truth.insert(file.truth.end(), bytes.begin(), bytes.end());
  file.check_all();
  file.fsync();
  // What waits to be written is not cut off from under its writer.
  for (const auto& cs : cluster.cs) cs->full = true;
  file.write(0, pattern(3, 10'000));
  pb::SetAttr change;
  change.set_size(100);
  const Result<pb::Attributes> cut = cluster.run(mount->set_attributes(inode, change));
  ASSERT_FALSE(cut.has_value());
  EXPECT_EQ(cut.error().code(), Code::kTimeout);
  file.check_all();
  for (const auto& cs : cluster.cs) cs->full = false;
  file.fsync();
  file.truncate(100);
  file.check_all();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

TEST(Mount, AReadEndsThoughAWriteOfItsStripeWaits) {
  FakeCluster cluster(kTwoOne);
  auto first = cluster.mount();
  const InodeId inode = cluster.create(*first, "a");
  FileModel file(cluster, *first, inode);
  file.write(0, pattern(1, 131'072));
  file.fsync();
  first->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(first));
  auto mount = cluster.mount();
  ASSERT_TRUE(cluster.run(mount->open(inode, OpenMode::kWrite)).has_value());
  file.use(*mount);
  for (const auto& cs : cluster.cs) cs->full = true;
  file.write(0, pattern(2, 4'096));
  cluster.world.run_for(3s);
  // Piece 1, so that the read has to rebuild.
  cluster.cs[2]->kill();
  std::optional<Result<std::vector<Buffer>>> got;
  cluster.start(mount->read(inode, FileOffset(100'000), 4'096), &got);
  EXPECT_TRUE(cluster.world.run_until([&] { return got.has_value(); }, 60s));
  for (const auto& cs : cluster.cs) cs->full = false;
  cluster.cs[2]->revive();
  cluster.world.run_for(20s);
  file.check_all();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

TEST(Mount, SettlesWhenIdle) {
  FakeCluster cluster(kTwoOne);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "a");
  FileModel file(cluster, *mount, inode);
  file.write(0, pattern(12, 10'000));
  file.fsync();
  cluster.world.run_for(2s);
  std::uint64_t settles = 0;
  for (const auto& cs : cluster.cs) settles += cs->settles;
  EXPECT_EQ(settles, 2U);
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

}  // namespace
}  // namespace cairn::client
