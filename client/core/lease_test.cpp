// Sessions and leases: two mounts on one file, recalls, lost connections, lost sessions.
#include <gtest/gtest.h>

#include <vector>

#include "client/core/testing/fake_cluster.h"
#include "common/base/prng.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::joined;
using testing::Shape;

constexpr Shape kTwoOne{.data = 2, .parity = 1, .min = 2};

std::vector<std::byte> filled(std::size_t count, unsigned value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

TEST(Lease, ARecallWritesBackBeforeTheOtherMountReads) {
  FakeCluster cluster(kTwoOne);
  auto a = cluster.mount();
  auto b = cluster.mount();
  const InodeId inode = cluster.create(*a, "f");
  for (unsigned round = 1; round < 20; ++round) {
    FileSystem& from = round % 2 != 0 ? *a : *b;
    FileSystem& to = round % 2 != 0 ? *b : *a;
    const std::vector<std::byte> bytes = filled(5'000 * round, round);
    ASSERT_TRUE(cluster.run(from.write(inode, FileOffset(100), bytes, false)).has_value());
    const Result<pb::Attributes> seen = cluster.run(to.get_attributes(inode));
    ASSERT_TRUE(seen.has_value());
    EXPECT_EQ(seen->size(), 100 + bytes.size());
    const auto got = cluster.run(to.read(inode, FileOffset(100), 200'000));
    ASSERT_TRUE(got.has_value()) << got.error().to_string();
    EXPECT_EQ(joined(*got), bytes);
  }
  EXPECT_GT(cluster.master->recalls, 10U);
  a->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(a));
  cluster.unmount(std::move(b));
}

// Each of two mounts appends records; all must be there, whole, in an order that each saw.
struct Appender {
  FileSystem* file_system;
  InodeId inode;
  unsigned value;
};
Task<Status> append(Appender who, int count) {
  for (int i = 0; i < count; ++i) {
    const std::vector<std::byte> record = filled(1'000, who.value);
    const Status written = co_await who.file_system->write(who.inode, FileOffset(0), record, true);
    if (!written.has_value()) co_return written;
  }
  co_return Status();
}

TEST(Lease, AppendsOfManyMountsNeverOverlap) {
  FakeCluster cluster(kTwoOne, 5);
  std::vector<std::unique_ptr<FileSystem>> mounts;
  for (int i = 0; i < 3; ++i) mounts.push_back(cluster.mount());
  const InodeId inode = cluster.create(*mounts[0], "log");
  std::vector<std::optional<Status>> results(3);
  for (unsigned i = 0; i < 3; ++i) {
    const Appender who{mounts[i].get(), inode, i + 1};
    cluster.start(append(who, 40), &results[i]);
  }
  ASSERT_TRUE(cluster.world.run_until(
      [&] {
        return std::ranges::all_of(results, [](const auto& result) { return result.has_value(); });
      },
      std::chrono::minutes(30)));
  for (const auto& result : results) EXPECT_TRUE(result->has_value());
  const auto got = cluster.run(mounts[1]->read(inode, FileOffset(0), 1'000'000));
  ASSERT_TRUE(got.has_value());
  const std::vector<std::byte> bytes = joined(*got);
  ASSERT_EQ(bytes.size(), 120'000U);
  std::array<int, 4> count{};
  for (std::size_t at = 0; at < bytes.size(); at += 1'000) {
    const auto record = std::span(bytes).subspan(at, 1'000);
    ASSERT_TRUE(std::ranges::all_of(record, [&](std::byte b) { return b == record.front(); }));
    ++count[static_cast<std::size_t>(record.front())];
  }
  EXPECT_EQ(count[1], 40);
  EXPECT_EQ(count[2], 40);
  EXPECT_EQ(count[3], 40);
  mounts[0]->release(inode, OpenMode::kWrite);
  for (auto& mount : mounts) cluster.unmount(std::move(mount));
}

TEST(Lease, TheKernelForgetsBeforeTheLeaseIsGivenBack) {
  FakeCluster cluster(kTwoOne);
  auto a = cluster.mount();
  auto b = cluster.mount();
  const InodeId inode = cluster.create(*a, "f");
  int dropped = 0;
  FileSystem* served = a.get();
  FakeCluster* in = &cluster;
  // The first invalidation waits for a read of the same inode, as one that meets a locked page
  // does.
  struct Hook {
    static Task<void> drop(FakeCluster* cluster, FileSystem* file_system, int* count, InodeId id) {
      if (++*count != 1) co_return;
      co_await runtime::sleep_for(cluster->runtime, 5ms);
      const auto bytes = co_await file_system->read(id, FileOffset(0), 10);
      EXPECT_TRUE(bytes.has_value());
    }
  };
  a->on_invalidate(
      [&dropped, served, in](InodeId id) { return Hook::drop(in, served, &dropped, id); });
  const std::vector<std::byte> bytes = filled(100, 7);
  ASSERT_TRUE(cluster.run(a->write(inode, FileOffset(0), bytes, false)).has_value());
  const auto got = cluster.run(b->read(inode, FileOffset(0), 100), 5s);
  EXPECT_EQ(joined(*got), bytes);
  EXPECT_GE(dropped, 2) << "a round in which a read was served is repeated";
  a->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(a));
  cluster.unmount(std::move(b));
}

TEST(Lease, ASizeThatCouldNotBeToldIsReported) {
  FakeCluster cluster(kTwoOne);
  auto a = cluster.mount();
  auto b = cluster.mount();
  const InodeId inode = cluster.create(*a, "f");
  const std::vector<std::byte> bytes = filled(5'000, 1);
  ASSERT_TRUE(cluster.run(a->write(inode, FileOffset(0), bytes, false)).has_value());
  cluster.master->refuse_releases = true;
  ASSERT_TRUE(cluster.run(b->get_attributes(inode)).has_value());
  cluster.master->refuse_releases = false;
  cluster.world.run_for(1s);
  const Status told = cluster.run(a->fsync(inode));
  ASSERT_FALSE(told.has_value()) << "the master does not know the size";
  EXPECT_EQ(told.error().code(), Code::kLeaseExpired);
  a->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(a));
  cluster.unmount(std::move(b));
}

TEST(Lease, PinsOfClosedFilesAreTakenBackAsFastAsFilesAreClosed) {
  FakeCluster cluster(kTwoOne);
  auto mount = cluster.mount();
  std::vector<InodeId> files;
  for (int i = 0; i < 600; ++i) files.push_back(cluster.create(*mount, std::to_string(i)));
  for (const InodeId file : files) mount->release(file, OpenMode::kWrite);
  cluster.world.run_for(300ms);
  for (const InodeId file : files) EXPECT_TRUE(cluster.master->nodes.at(file.raw()).pinned.empty());
  cluster.unmount(std::move(mount));
}

TEST(Session, MutationsAreDoneOnceWhenRepliesAreLost) {
  FakeCluster cluster(kTwoOne);
  auto mount = cluster.mount();
  for (int i = 0; i < 10; ++i) {
    cluster.master->lose_replies = 1 + static_cast<std::uint64_t>(i) % 3;
    pb::MakeNode make;
    make.set_parent(1);
    make.set_name("file " + std::to_string(i));
    make.set_type(pb::TYPE_REGULAR);
    const auto made = cluster.run(mount->make_node(make, false));
    ASSERT_TRUE(made.has_value()) << made.error().to_string();
  }
  EXPECT_EQ(cluster.master->executed, 10U);
  EXPECT_EQ(cluster.master->names.size(), 10U);
  cluster.unmount(std::move(mount));
}

TEST(Session, FilesSurviveLostConnectionsEverywhere) {
  FakeCluster cluster(kTwoOne, 3);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "f");
  std::vector<std::byte> truth;
  for (unsigned i = 1; i < 30; ++i) {
    const std::vector<std::byte> bytes = filled(30'000, i);
    ASSERT_TRUE(
        cluster.run(mount->write(inode, FileOffset(truth.size()), bytes, false)).has_value());
    truth.insert(truth.end(), bytes.begin(), bytes.end());
    if (i % 3 == 0) cluster.master->lose_replies = 1;
    std::optional<Status> synced;
    cluster.start(mount->fsync(inode), &synced);
    cluster.world.run_for(Duration(i * 20'000));
    if (i % 2 == 0) cluster.network.cut(cluster.cs[i % 3]->address());
    if (i % 5 == 0) cluster.network.cut(cluster.master->address());
    ASSERT_TRUE(cluster.world.run_until([&] { return synced.has_value(); }, 60s));
    ASSERT_TRUE(synced->has_value()) << synced->error().to_string();
  }
  const auto got = cluster.run(mount->read(inode, FileOffset(0), 2'000'000));
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(joined(*got), truth);
  cluster.check_parity();
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

TEST(Session, ALostSessionLosesOnlyWhatWasNotSyncedAndSaysSo) {
  FakeCluster cluster(kTwoOne);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "f");
  const std::vector<std::byte> kept = filled(10'000, 1);
  const std::vector<std::byte> lost = filled(20'000, 2);
  ASSERT_TRUE(cluster.run(mount->write(inode, FileOffset(0), kept, false)).has_value());
  ASSERT_TRUE(cluster.run(mount->fsync(inode)).has_value());
  ASSERT_TRUE(cluster.run(mount->write(inode, FileOffset(0), lost, false)).has_value());
  cluster.master->end_session(cluster.master->sessions().front());
  ASSERT_TRUE(cluster.run(mount->lookup(kRootInode, "f")).has_value());
  const Status told = cluster.run(mount->fsync(inode));
  ASSERT_FALSE(told.has_value());
  EXPECT_EQ(told.error().code(), Code::kLeaseExpired);
  // The mount goes on under a new session.
  EXPECT_EQ(joined(*cluster.run(mount->read(inode, FileOffset(0), 50'000))), kept);
  ASSERT_TRUE(cluster.run(mount->write(inode, FileOffset(0), lost, false)).has_value());
  EXPECT_TRUE(cluster.run(mount->fsync(inode)).has_value());
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

TEST(Session, DelayedDataOutlivesALongOutageOfTheMaster) {
  FakeCluster cluster(kTwoOne);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "f");
  const std::uint64_t chunk = std::uint64_t{kTwoOne.data} * kTwoOne.piece_bytes;
  const std::vector<std::byte> bytes = filled(10'000, 1);
  ASSERT_TRUE(cluster.run(mount->write(inode, FileOffset(0), bytes, false)).has_value());
  ASSERT_TRUE(cluster.run(mount->fsync(inode)).has_value());
  // The map of the next chunk is not known here.
  ASSERT_TRUE(cluster.run(mount->write(inode, FileOffset(chunk), bytes, false)).has_value());
  cluster.network.set_unreachable(cluster.master->address(), true);
  cluster.network.cut(cluster.master->address());
  cluster.world.run_for(70s);
  cluster.network.set_unreachable(cluster.master->address(), false);
  const Status synced = cluster.run(mount->fsync(inode));
  ASSERT_TRUE(synced.has_value()) << synced.error().to_string();
  auto other = cluster.mount();
  EXPECT_EQ(joined(*cluster.run(other->read(inode, FileOffset(chunk), 20'000))), bytes);
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
  cluster.unmount(std::move(other));
}

TEST(Session, ATruncationThatNobodyAnsweredIsAskedAbout) {
  FakeCluster cluster(kTwoOne);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "f");
  const std::vector<std::byte> bytes = filled(300'000, 1);
  ASSERT_TRUE(cluster.run(mount->write(inode, FileOffset(0), bytes, false)).has_value());
  ASSERT_TRUE(cluster.run(mount->fsync(inode)).has_value());
  cluster.master->lose_replies = 1'000'000;
  pb::SetAttr change;
  change.set_size(1'000);
  ASSERT_FALSE(cluster.run(mount->set_attributes(inode, change)).has_value());
  cluster.master->lose_replies = 0;
  EXPECT_EQ(cluster.run(mount->get_attributes(inode))->size(), 1'000U) << "it was done";
  EXPECT_EQ(joined(*cluster.run(mount->read(inode, FileOffset(0), 300'000))), filled(1'000, 1));
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

TEST(Session, OpenFilesArePinnedUnderTheNextSessionToo) {
  FakeCluster cluster(kTwoOne);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "f");
  std::set<std::uint64_t>& pinned = cluster.master->nodes.at(inode.raw()).pinned;
  EXPECT_EQ(pinned.size(), 1U);
  cluster.master->end_session(cluster.master->sessions().front());
  ASSERT_TRUE(cluster.run(mount->lookup(kRootInode, "f")).has_value());
  ASSERT_TRUE(cluster.run(mount->read(inode, FileOffset(0), 10)).has_value());
  EXPECT_EQ(pinned.size(), 1U);
  mount->release(inode, OpenMode::kWrite);
  cluster.world.run_for(1s);
  EXPECT_TRUE(pinned.empty());
  cluster.unmount(std::move(mount));
}

TEST(Session, NothingIsReadFromTheCacheWhenTheLeaseRanOut) {
  FakeCluster cluster(kTwoOne);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "f");
  const std::vector<std::byte> bytes = filled(4'096, 1);
  ASSERT_TRUE(cluster.run(mount->write(inode, FileOffset(0), bytes, false)).has_value());
  ASSERT_TRUE(cluster.run(mount->fsync(inode)).has_value());
  cluster.network.set_unreachable(cluster.master->address(), true);
  cluster.network.cut(cluster.master->address());
  cluster.world.run_for(8s);
  EXPECT_TRUE(cluster.run(mount->read(inode, FileOffset(0), 10)).has_value()) << "still valid";
  cluster.world.run_for(5s);
  const auto late = cluster.run(mount->read(inode, FileOffset(0), 10));
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().code(), Code::kTimeout);
  cluster.network.set_unreachable(cluster.master->address(), false);
  EXPECT_TRUE(cluster.run(mount->read(inode, FileOffset(0), 10)).has_value());
  mount->release(inode, OpenMode::kWrite);
  cluster.unmount(std::move(mount));
}

}  // namespace
}  // namespace cairn::client
