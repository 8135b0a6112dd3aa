// Mounts over failovers of the master: files, leases and pins.
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

class FailoverTest : public ::testing::Test {
 protected:
  FailoverTest() : cluster_(kTwoOne, 11, 0, 3), master_(*cluster_.master) {}

  // The master dies or falls silent in `delay`; another one is elected `gap` later.
  void fail_over(Duration delay, Duration gap, bool silently) {
    const std::size_t victim = master_.leader();
    const std::size_t next = (victim + 1) % 3;
    cluster_.runtime.schedule(cluster_.runtime.after(delay), [this, victim, silently] {
      silently ? master_.pause(victim) : master_.kill(victim);
    });
    cluster_.runtime.schedule(cluster_.runtime.after(delay + gap), [this, next, victim, silently] {
      master_.elect(next);
      silently ? master_.resume(victim) : master_.revive(victim);
    });
  }

  FakeCluster cluster_;
  testing::FakeMaster& master_;
};

// Writes, fsyncs and reads records of one file, for ever, and counts.
struct Writer {
  FileSystem* file_system;
  runtime::Runtime* runtime;
  InodeId inode;
  bool stop = false;
  std::uint64_t written = 0;
  Duration longest{};
};
Task<Status> write_records(Writer* self) {
  while (!self->stop) {
    const Instant began = self->runtime->now();
    const std::vector<std::byte> record = filled(1'000, static_cast<unsigned>(self->written % 200));
    const FileOffset at(self->written * 1'000);
    const Status written = co_await self->file_system->write(self->inode, at, record, false);
    if (!written.has_value()) co_return written;
    const Status synced = co_await self->file_system->fsync(self->inode);
    if (!synced.has_value()) co_return synced;
    ++self->written;
    const auto attributes = co_await self->file_system->get_attributes(self->inode);
    if (!attributes.has_value()) co_return fail(attributes.error());
    if (attributes->size() < self->written * 1'000) co_return fail(Code::kInternal, "too short");
    self->longest = std::max(self->longest, self->runtime->now() - began);
    co_await runtime::sleep_for(*self->runtime, 3ms);
  }
  co_return Status();
}

TEST_F(FailoverTest, AWriterNeverSeesAnErrorNorAStallBeyondTheBudget) {
  auto mount = cluster_.mount();
  Writer writer{mount.get(), &cluster_.runtime, cluster_.create(*mount, "f")};
  std::optional<Status> outcome;
  cluster_.start(write_records(&writer), &outcome);
  Prng prng(5);
  for (unsigned round = 0; round < 30; ++round) {
    const auto delay = std::chrono::milliseconds(1 + prng.below(50));
    if (round % 3 == 0) master_.lose_replies = 1;
    fail_over(delay, 1500ms, round % 2 != 0);
    cluster_.world.run_for(4s);
    ASSERT_FALSE(outcome.has_value()) << outcome->error().to_string();
  }
  writer.stop = true;
  ASSERT_TRUE(cluster_.world.run_until([&] { return outcome.has_value(); }, 10s));
  ASSERT_TRUE(outcome->has_value()) << outcome->error().to_string();
  EXPECT_LT(writer.longest, Duration(3s));
  EXPECT_GT(writer.written, 1'000U);
  mount->release(writer.inode, OpenMode::kWrite);
  auto other = cluster_.mount();
  const auto got = cluster_.run(other->read(writer.inode, FileOffset(0), 100'000'000));
  ASSERT_TRUE(got.has_value());
  const std::vector<std::byte> bytes = joined(*got);
  ASSERT_EQ(bytes.size(), writer.written * 1'000);
  for (std::uint64_t i = 0; i < writer.written; ++i) {
    ASSERT_EQ(bytes[i * 1'000], static_cast<std::byte>(i % 200)) << "record " << i;
  }
  cluster_.unmount(std::move(mount));
  cluster_.unmount(std::move(other));
}

TEST_F(FailoverTest, SharedLeasesAndPinsAreToldToTheNextMaster) {
  auto a = cluster_.mount();
  auto b = cluster_.mount();
  const InodeId inode = cluster_.create(*a, "f");
  ASSERT_TRUE(cluster_.run(a->write(inode, FileOffset(0), filled(9'000, 1), false)).has_value());
  ASSERT_TRUE(cluster_.run(a->fsync(inode)).has_value());
  a->release(inode, OpenMode::kWrite);
  for (FileSystem* mount : {a.get(), b.get()}) {
    ASSERT_TRUE(cluster_.run(mount->open(inode, OpenMode::kRead)).has_value());
    ASSERT_TRUE(cluster_.run(mount->read(inode, FileOffset(0), 100)).has_value());
  }
  const testing::FakeMaster::Node& node = master_.nodes.at(inode.raw());
  const std::set<std::uint64_t> shared = node.shared;
  EXPECT_EQ(shared.size(), 2U);
  master_.kill(0);
  master_.elect(1);
  EXPECT_TRUE(node.shared.empty());
  cluster_.world.run_for(1s);
  EXPECT_EQ(node.shared, shared);
  EXPECT_EQ(node.pinned, shared);
  // The next master recalls what it was told of.
  ASSERT_TRUE(cluster_.run(a->open(inode, OpenMode::kWrite)).has_value());
  ASSERT_TRUE(cluster_.run(a->write(inode, FileOffset(0), filled(9'000, 2), false)).has_value());
  EXPECT_EQ(joined(*cluster_.run(b->read(inode, FileOffset(0), 9'000))), filled(9'000, 2));
  a->release(inode, OpenMode::kWrite);
  a->release(inode, OpenMode::kRead);
  b->release(inode, OpenMode::kRead);
  cluster_.world.run_for(1s);
  EXPECT_TRUE(node.pinned.empty());
  cluster_.unmount(std::move(a));
  cluster_.unmount(std::move(b));
}

// Opens and closes files; at the end nothing may be left pinned, and open ones must be.
TEST_F(FailoverTest, PinsAgreeWithOpenFilesWhateverAnswersGetLost) {
  auto mount = cluster_.mount();
  std::vector<InodeId> files;
  std::vector<unsigned> open(12, 1);
  for (unsigned i = 0; i < open.size(); ++i) {
    files.push_back(cluster_.create(*mount, "f" + std::to_string(i)));
    ASSERT_TRUE(cluster_.run(mount->fsync(files[i])).has_value());
  }
  Prng prng(17);
  for (unsigned round = 0; round < 60; ++round) {
    if (round % 4 == 0) {
      fail_over(std::chrono::microseconds(prng.below(3'000)), 300ms, prng.below(2) != 0);
    } else if (round % 4 == 2) {
      master_.lose_answers = 1 + prng.below(3);
    } else if (round % 4 == 3) {
      master_.lose_unpins = prng.below(3);
    }
    for (unsigned step = 0; step < 6; ++step) {
      const std::size_t at = prng.below(files.size());
      if (open[at] != 0) {
        mount->release(files[at], OpenMode::kWrite);
        --open[at];
      } else {
        const auto opened = cluster_.run(mount->open(files[at], OpenMode::kWrite));
        ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
        ++open[at];
      }
    }
    cluster_.world.run_for(round % 5 == 0 ? Duration(2s) : Duration(50ms));
  }
  cluster_.world.run_for(5s);
  for (std::size_t i = 0; i < files.size(); ++i) {
    EXPECT_EQ(master_.nodes.at(files[i].raw()).pinned.size(), open[i]) << "file " << i;
    if (open[i] != 0) mount->release(files[i], OpenMode::kWrite);
  }
  cluster_.world.run_for(1s);
  for (const InodeId file : files) EXPECT_TRUE(master_.nodes.at(file.raw()).pinned.empty());
  cluster_.unmount(std::move(mount));
}

// A chunk server that comes back on another port is found there, whether or not its piece may be
// dropped.
TEST(MovedChunkServerTest, TheOnlyCopyIsWrittenAndReadAtItsNewAddress) {
  FakeCluster cluster({.data = 1, .parity = 0, .min = 1}, 12);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "f");
  ASSERT_TRUE(cluster.run(mount->write(inode, FileOffset(0), filled(9'000, 1), false)).has_value());
  ASSERT_TRUE(cluster.run(mount->fsync(inode)).has_value());
  cluster.cs[0]->kill();
  ASSERT_TRUE(cluster.run(mount->write(inode, FileOffset(0), filled(5'000, 2), false)).has_value());
  std::optional<Status> synced;
  cluster.start(mount->fsync(inode), &synced);
  cluster.world.run_for(20s);
  EXPECT_FALSE(synced.has_value()) << "nobody has the bytes";
  cluster.revive_at(0, {"10.0.1.1", 4000});
  ASSERT_TRUE(cluster.world.run_until([&] { return synced.has_value(); }, 5s));
  EXPECT_TRUE(synced->has_value()) << synced->error().to_string();
  mount->release(inode, OpenMode::kWrite);
  auto other = cluster.mount();
  const auto before = cluster.run(other->read(inode, FileOffset(0), 100));
  ASSERT_TRUE(before.has_value());
  EXPECT_EQ(joined(*before), filled(100, 2));
  cluster.cs[0]->kill();
  cluster.revive_at(0, {"10.0.1.1", 4001});
  const auto after = cluster.run(other->read(inode, FileOffset(5'000), 4'000), 5s);
  ASSERT_TRUE(after.has_value()) << after.error().to_string();
  EXPECT_EQ(joined(*after), filled(4'000, 1));
  cluster.unmount(std::move(mount));
  cluster.unmount(std::move(other));
}

TEST(MovedChunkServerTest, NoPieceIsDroppedAndReadersDoNotGoRoundItForEver) {
  FakeCluster cluster({.data = 2, .parity = 1, .min = 2, .piece_bytes = 4_MiB}, 13);
  auto mount = cluster.mount();
  const InodeId inode = cluster.create(*mount, "f");
  constexpr std::size_t kBytes = 3'000'000;
  ASSERT_TRUE(
      cluster.run(mount->write(inode, FileOffset(0), filled(kBytes, 1), false)).has_value());
  ASSERT_TRUE(cluster.run(mount->fsync(inode)).has_value());
  for (std::size_t i = 0; i < cluster.cs.size(); ++i) {
    cluster.cs[i]->kill();
    cluster.revive_at(i, {"10.0.1." + std::to_string(i + 1), 4000});
    cluster.world.run_for(2s);  // nobody moves faster
    ASSERT_TRUE(
        cluster.run(mount->write(inode, FileOffset(0), filled(kBytes, 2), false)).has_value());
    ASSERT_TRUE(cluster.run(mount->fsync(inode)).has_value());
  }
  for (const auto& [index, chunk] : cluster.master->nodes.at(inode.raw()).chunks) {
    EXPECT_EQ(chunk.version(), 1U) << "a piece was dropped";
  }
  mount->release(inode, OpenMode::kWrite);
  auto reader = cluster.mount();
  ASSERT_TRUE(cluster.run(reader->read(inode, FileOffset(0), 100)).has_value());
  testing::FakeCs& holder = *cluster.cs[1];  // of data piece 0
  holder.kill();
  cluster.revive_at(1, {"10.0.1.2", 4001});
  const std::uint64_t before = holder.reads;
  for (std::uint64_t at = 0; at < kBytes; at += 20'000) {
    const auto got = cluster.run(reader->read(inode, FileOffset(at), 20'000));
    ASSERT_TRUE(got.has_value()) << got.error().to_string();
    EXPECT_EQ(joined(*got), filled(20'000, 2));
    cluster.world.run_for(1ms);
  }
  EXPECT_GT(holder.reads, before + 3);
  cluster.unmount(std::move(mount));
  cluster.unmount(std::move(reader));
}

// The next master grants nothing exclusive before every mount told what it holds.
TEST_F(FailoverTest, AnIdleMountDoesNotHoldUpTheOthers) {
  auto active = cluster_.mount();
  auto idle = cluster_.mount();
  const InodeId inode = cluster_.create(*active, "f");
  active->release(inode, OpenMode::kWrite);
  ASSERT_TRUE(cluster_.run(idle->open(inode, OpenMode::kRead)).has_value());
  cluster_.world.run_for(10s);
  fail_over(0ms, 1500ms, true);
  cluster_.world.run_for(1ms);
  const Instant began = cluster_.world.now();
  ASSERT_TRUE(cluster_.run(active->open(inode, OpenMode::kWrite)).has_value());
  EXPECT_LT(cluster_.world.now() - began, Duration(2500ms));
  active->release(inode, OpenMode::kWrite);
  idle->release(inode, OpenMode::kRead);
  cluster_.unmount(std::move(active));
  cluster_.unmount(std::move(idle));
}

Task<void> wait_for(runtime::Runtime* runtime, const bool* done) {
  while (!*done) co_await runtime::sleep_for(*runtime, 10ms);
}

TEST_F(FailoverTest, ALeaseThatWasNotGrantedLeavesNoPin) {
  auto holder = cluster_.mount();
  auto asker = cluster_.mount();
  const InodeId inode = cluster_.create(*holder, "f");
  bool done = false;
  holder->on_invalidate([&](InodeId) { return wait_for(&cluster_.runtime, &done); });
  const auto opened = cluster_.run(asker->open(inode, OpenMode::kWrite));
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), Code::kTimeout);
  cluster_.world.run_for(1s);
  EXPECT_EQ(master_.nodes.at(inode.raw()).pinned.size(), 1U) << "the holder's";
  done = true;
  holder->release(inode, OpenMode::kWrite);
  cluster_.world.run_for(1s);
  cluster_.unmount(std::move(holder));
  cluster_.unmount(std::move(asker));
}

}  // namespace
}  // namespace cairn::client
