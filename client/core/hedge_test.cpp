// Reads of slow chunk servers, and of blocks that arrive broken.
#include <gtest/gtest.h>

#include "client/core/testing/file_model.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::FileModel;
using testing::pattern;
using testing::Shape;

constexpr Shape kFourTwo{};
constexpr Shape kThreeCopies{.data = 1, .parity = 2, .min = 2};
constexpr std::size_t kBytes = 2'000'000;

class HedgeTest : public ::testing::TestWithParam<Shape> {
 protected:
  HedgeTest()
      : cluster_(GetParam()),
        mount_(cluster_.mount()),
        inode_(cluster_.create(*mount_, "a")),
        file_(cluster_, *mount_, inode_) {
    file_.write(0, pattern(1, kBytes));
    file_.fsync();
    mount_->release(inode_, OpenMode::kWrite);
    cluster_.unmount(std::move(mount_));
    mount_ = cluster_.mount();
    file_.use(*mount_);
  }
  ~HedgeTest() override {
    for (const auto& cs : cluster_.cs) cs->delay = Duration();
    cluster_.unmount(std::move(mount_));
  }
  std::uint64_t reads() const {
    std::uint64_t sum = 0;
    for (const auto& cs : cluster_.cs) sum += cs->reads;
    return sum;
  }
  Duration read(std::uint64_t at, std::uint64_t length = 4'096) {
    const Instant began = cluster_.runtime.now();
    file_.check(at, length);
    return cluster_.runtime.now() - began;
  }
  // Every server is met often enough to know its ways.
  void warm() {
    for (int round = 0; round < 10; ++round) {
      for (std::uint64_t at = 0; at < kBytes; at += 64 * 1024) read(at);
    }
  }

  FakeCluster cluster_;
  std::unique_ptr<FileSystem> mount_;
  InodeId inode_;
  FileModel file_;
};
INSTANTIATE_TEST_SUITE_P(Shapes, HedgeTest, ::testing::Values(kFourTwo, kThreeCopies));

TEST_P(HedgeTest, AServerThatTakesLongerThanItUsuallyDoesIsHedged) {
  warm();
  cluster_.cs[1]->delay = 700ms;
  Duration longest{};
  for (std::uint64_t at = 0; at < 6 * 64 * 1024; at += 64 * 1024) {
    longest = std::max(longest, read(at));
  }
  EXPECT_GE(longest, Duration(10ms));
  EXPECT_LT(longest, Duration(30ms)) << "the others answered first";
  cluster_.world.run_for(2s);
}

TEST_P(HedgeTest, WhatIsUsualIsNotHedged) {
  warm();
  const std::uint64_t before = reads();
  std::uint64_t asked = 0;
  for (std::uint64_t at = 0; at < kBytes; at += 64 * 1024, ++asked) read(at);
  EXPECT_EQ(reads(), before + asked);
}

TEST_P(HedgeTest, NoStormWhenAllAreSlow) {
  warm();
  for (const Duration slow : {Duration(300ms), Duration(2'500ms)}) {
    for (const auto& cs : cluster_.cs) cs->delay = slow;
    const std::uint64_t before = reads();
    std::vector<std::optional<Result<std::vector<Buffer>>>> answers(200);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const FileOffset at(i * 8'192);
      cluster_.start(mount_->read(inode_, at, 4'096), &answers[i]);
    }
    cluster_.world.run_for(20s);
    for (const auto& answer : answers) ASSERT_TRUE(answer.has_value() && answer->has_value());
    // A hedge is four reads at 4+2.
    EXPECT_LT(reads() - before, answers.size() * 3 / 2) << slow / 1ms << " ms";
  }
}

TEST_P(HedgeTest, AServerThatIsSilentCostsAMomentOnlyOnce) {
  warm();
  cluster_.cs[2]->freeze();
  Duration all{};
  for (std::uint64_t at = 0; at < kBytes; at += 64 * 1024) all += read(at);
  EXPECT_LT(all, Duration(3s));
  cluster_.world.run_for(3s);
  EXPECT_LT(read(0, kBytes), Duration(100ms)) << "it is given up";
  cluster_.cs[2]->thaw();
}

TEST_P(HedgeTest, ABrokenBlockIsAskedForAgainAndReported) {
  warm();
  testing::FakeCs& holder = *cluster_.cs[1];
  holder.rot_reads = 1;
  std::uint64_t before = holder.reads;
  for (std::uint64_t at = 0; at < kBytes && holder.rot_reads != 0; at += 64 * 1024) {
    before = holder.reads;
    read(at, 16'384);
  }
  EXPECT_EQ(holder.reads, before + 2);
  cluster_.world.run_for(10ms);
  ASSERT_EQ(holder.checks.size(), 1U);
  ASSERT_EQ(holder.checks[0].ranges_size(), 1);
  EXPECT_EQ(holder.checks[0].ranges(0).count(), 1U) << "only the broken one";
  // Broken twice: from the others.
  holder.rot_reads = 2;
  for (std::uint64_t at = 0; at < kBytes && holder.rot_reads != 0; at += 64 * 1024) {
    read(at, 16'384);
  }
  cluster_.world.run_for(10ms);
  EXPECT_EQ(holder.checks.size(), 3U);
}

// A hedge takes the stripe's lock; it must not keep it when the direct read won.
TEST(HedgeOfAWriter, TheLoserHoldsNoWriteUp) {
  FakeCluster cluster(kFourTwo);
  auto first = cluster.mount();
  const InodeId inode = cluster.create(*first, "a");
  FileModel file(cluster, *first, inode);
  file.write(0, pattern(1, 1'000'000));
  file.fsync();
  first->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(first));
  auto mount = cluster.mount();
  ASSERT_TRUE(cluster.run(mount->open(inode, OpenMode::kWrite)).has_value());
  file.use(*mount);
  for (int round = 0; round < 10; ++round) {
    for (std::uint64_t at = 0; at < 1'000'000; at += 64 * 1024) file.check(at, 4'096);
  }
  for (const auto& cs : cluster.cs) cs->delay = 1s;
  cluster.cs[1]->delay = 30ms;  // late, and yet sooner than the others
  file.check(0, 4'096);
  for (const auto& cs : cluster.cs) cs->delay = Duration();
  const Instant began = cluster.runtime.now();
  file.write(0, pattern(2, 256 * 1024));
  file.fsync();
  EXPECT_LT(cluster.runtime.now() - began, Duration(50ms));
  cluster.world.run_for(3s);
  file.check_all();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

}  // namespace
}  // namespace cairn::client
