#include <gtest/gtest.h>

#include <vector>

#include "client/core/testing/fake_cluster.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::Shape;

constexpr Shape kTwoOne{.data = 2, .parity = 1, .min = 2};

// What a mount tells of the one file that it writes.
class FileAttributes : public ::testing::Test {
 protected:
  void SetUp() override {
    mount_ = cluster_.mount();
    inode_ = cluster_.create(*mount_, "a");
  }
  void TearDown() override {
    if (mount_ != nullptr) cluster_.unmount(std::move(mount_));
  }

  void write(std::uint64_t at, std::size_t length) {
    const std::vector<std::byte> bytes(length, std::byte{7});
    const Status written = cluster_.run(mount_->write(inode_, FileOffset(at), bytes, false));
    ASSERT_TRUE(written.has_value()) << written.error().to_string();
  }
  void fsync() {
    const Status synced = cluster_.run(mount_->fsync(inode_));
    ASSERT_TRUE(synced.has_value()) << synced.error().to_string();
  }
  void truncate(std::uint64_t size) {
    pb::SetAttr change;
    change.set_size(size);
    ASSERT_TRUE(cluster_.run(mount_->set_attributes(inode_, change)).has_value());
  }
  pb::Attributes seen_by(FileSystem& mount) {
    return cluster_.run(mount.get_attributes(inode_)).value();
  }
  std::uint64_t blocks() { return seen_by(*mount_).blocks(); }
  const pb::Attributes& at_master() { return cluster_.master->nodes.at(inode_.raw()).attributes; }

  FakeCluster cluster_{kTwoOne};
  std::unique_ptr<FileSystem> mount_;
  InodeId inode_;
};

TEST_F(FileAttributes, BlocksOfASparseFileAreThoseWritten) {
  write(5'000'000, 3);
  EXPECT_EQ(blocks(), 8U) << "before anything was written back";
  fsync();
  EXPECT_EQ(blocks(), 8U);
  EXPECT_EQ(at_master().blocks(), 8U);
  write(0, 200'000);
  EXPECT_EQ(blocks(), 8U + 392U);
  cluster_.world.run_for(5s);
  EXPECT_EQ(blocks(), 8U + 392U) << "written back and told";
  EXPECT_EQ(at_master().blocks(), 8U + 392U);
  truncate(100'000);
  EXPECT_EQ(blocks(), 200U);
  truncate(9'000'000);
  EXPECT_EQ(blocks(), 200U);
  mount_->release(inode_, OpenMode::kWrite);
}

TEST_F(FileAttributes, ALeaseGivenBackTellsThemAndKnowsThemAfterwards) {
  write(300'000, 1);
  ASSERT_TRUE(cluster_.run(mount_->open(inode_, OpenMode::kRead)).has_value());
  mount_->release(inode_, OpenMode::kWrite);
  auto other = cluster_.mount();
  EXPECT_EQ(seen_by(*other).blocks(), 8U);
  const Result<pb::Attributes> again = cluster_.run(mount_->open(inode_, OpenMode::kRead));
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->size(), 300'001U);
  EXPECT_EQ(again->blocks(), 8U);
  mount_->release(inode_, OpenMode::kRead);
  mount_->release(inode_, OpenMode::kRead);
  cluster_.unmount(std::move(other));
}

TEST_F(FileAttributes, BlocksCountOnceWhenRepliesAreLost) {
  write(5'000'000, 20'000);
  cluster_.master->lose_replies = 4;
  fsync();
  EXPECT_EQ(at_master().blocks(), 48U) << "six blocks: the write is not aligned";
  EXPECT_EQ(blocks(), 48U);
  mount_->release(inode_, OpenMode::kWrite);
}

TEST_F(FileAttributes, TimesSetWhileBytesAreOnTheirWayStay) {
  write(0, 10);
  fsync();
  for (const auto& cs : cluster_.cs) cs->delay = 300ms;
  write(0, 10'000);
  std::optional<Status> synced;
  cluster_.start(mount_->fsync(inode_), &synced);
  cluster_.world.run_for(295ms);
  // The bytes are there, and their count is told, before the answer to this comes.
  cluster_.master->lose_replies = 1;
  pb::SetAttr change;
  change.set_mtime_ns(1234);
  ASSERT_TRUE(cluster_.run(mount_->set_attributes(inode_, change)).has_value());
  EXPECT_TRUE(cluster_.world.run_until([&] { return synced.has_value(); }, 60s));
  cluster_.world.run_for(5s);
  EXPECT_EQ(at_master().mtime_ns(), 1234);
  EXPECT_EQ(seen_by(*mount_).mtime_ns(), 1234);
  EXPECT_EQ(at_master().blocks(), 24U);
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  mount_->release(inode_, OpenMode::kWrite);
}

}  // namespace
}  // namespace cairn::client
