#include "chunkserver/io/sim_disk.h"

#include <gtest/gtest.h>

#include "chunkserver/io/device_fixture.h"
#include "chunkserver/testing/virtual_loop.h"

namespace cairn::chunkserver::io {
namespace {

using testing::VirtualLoop;

Task<void> crash_keeps_flushed_only(runtime::Runtime* runtime) {
  int kept = 0;
  int dropped = 0;
  int torn = 0;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    SimDisk disk;
    std::unique_ptr<BlockDevice> device = disk.attach(*runtime);
    Status status = co_await device->grow(1_MiB);
    EXPECT_TRUE(status.has_value());
    co_await write_blocks(device.get(), 0, 1, 2);
    status = co_await device->flush();
    EXPECT_TRUE(status.has_value());
    co_await write_blocks(device.get(), 8, 2, 4);
    disk.crash(seed);
    status = co_await device->flush();
    EXPECT_EQ(status.error().code(), Code::kDiskFailed) << "cut off";
    std::unique_ptr<BlockDevice> again = disk.attach(*runtime);
    const bool flushed_is_there = co_await holds(again.get(), 0, pattern(2, 1));
    EXPECT_TRUE(flushed_is_there);
    int present = 0;
    for (std::uint64_t i = 0; i < 4; ++i) {
      const bool there =
          co_await holds(again.get(), 8 + i, pattern(4, 2).slice(i * kBlockBytes, kBlockBytes));
      present += there ? 1 : 0;
    }
    kept += present == 4 ? 1 : 0;
    dropped += present == 0 ? 1 : 0;
    torn += present != 0 && present != 4 ? 1 : 0;
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(dropped, 0);
  EXPECT_GT(torn, 0);
}
TEST(SimDisk, ACrashKeepsDropsAndTearsWhatWasNotFlushed) {
  VirtualLoop loop(1);
  loop.run(crash_keeps_flushed_only(&loop));
}

Task<void> write_through_covers_itself(runtime::Runtime* runtime) {
  int lost = 0;
  for (std::uint64_t seed = 0; seed < 32; ++seed) {
    SimDisk disk;
    std::unique_ptr<BlockDevice> device = disk.attach(*runtime);
    Status status = co_await device->grow(1_MiB);
    EXPECT_TRUE(status.has_value());
    co_await write_blocks(device.get(), 0, 1, 1);
    co_await write_blocks(device.get(), 4, 2, 1);
    const Buffer newest = pattern(1, 3);
    DeviceWrite write{DiskOffset(4 * kBlockBytes), {newest.span()}};
    status = co_await device->write_through(std::move(write));
    EXPECT_TRUE(status.has_value());
    disk.crash(seed);
    std::unique_ptr<BlockDevice> again = disk.attach(*runtime);
    const bool there = co_await holds(again.get(), 4, newest);
    EXPECT_TRUE(there) << seed;
    const bool other = co_await holds(again.get(), 0, pattern(1, 1));
    lost += other ? 0 : 1;
  }
  EXPECT_GT(lost, 0);
}
TEST(SimDisk, AWriteThroughMakesNothingElseDurable) {
  VirtualLoop loop(1);
  loop.run(write_through_covers_itself(&loop));
}

Task<void> flush_covers_only_ended_writes(runtime::Runtime* runtime) {
  SimDisk disk({.write_latency = 5ms, .flush_latency = 1ms});
  std::unique_ptr<BlockDevice> device = disk.attach(*runtime);
  Status status = co_await device->grow(1_MiB);
  EXPECT_TRUE(status.has_value());
  int lost = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    runtime::TaskGroup group(*runtime);
    group.spawn(write_blocks(device.get(), seed, 100 + seed, 1));
    status = co_await device->flush();  // begins while the write is on its way
    EXPECT_TRUE(status.has_value());
    co_await group.join();
    disk.crash(seed);
    device = disk.attach(*runtime);
    const bool there = co_await holds(device.get(), seed, pattern(1, 100 + seed));
    lost += there ? 0 : 1;
  }
  EXPECT_GT(lost, 0);
}
TEST(SimDisk, AFlushCoversOnlyWritesThatHadEnded) {
  VirtualLoop loop(1);
  loop.run(flush_covers_only_ended_writes(&loop));
}

Task<void> sim_fence(runtime::Runtime* runtime) {
  SimDisk disk;
  std::unique_ptr<BlockDevice> device = disk.attach(*runtime);
  const Status grown = co_await device->grow(1_MiB);
  EXPECT_TRUE(grown.has_value());
  disk.fail_writes(true);
  const Buffer bytes = pattern(1, 1);
  std::vector<Bytes> parts{bytes.span()};
  Status status = co_await device->write(DiskOffset(0), parts);
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  disk.fail_writes(false);
  status = co_await device->flush();
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
}
TEST(SimDisk, IsFencedAfterAFailedWrite) {
  VirtualLoop loop(1);
  loop.run(sim_fence(&loop));
}

class SimDiskTest : public ::testing::Test {
 protected:
  void SetUp() override { attach(); }
  void attach() {
    device_ = disk_.attach(loop_);
    const Status grown = loop_.run(device_->grow(1_MiB));
    ASSERT_TRUE(grown.has_value());
  }
  Status write(std::uint64_t block, const Buffer& bytes) {
    return loop_.run(device_->write(DiskOffset(block * kBlockBytes), {bytes.span()}));
  }
  Status flush() { return loop_.run(device_->flush()); }
  // Empty when the read fails.
  Buffer read(std::uint64_t block, std::size_t blocks) {
    Buffer into = Buffer::allocate(blocks * kBlockBytes);
    const Status status = loop_.run(device_->read(DiskOffset(block * kBlockBytes), into.span()));
    if (status.has_value()) return into;
    EXPECT_EQ(status.error().code(), Code::kDiskFailed);
    return {};
  }
  static Task<void> note(Task<Status> request, std::optional<Status>* into) {
    Status status = co_await request;
    into->emplace(std::move(status));
  }

  VirtualLoop loop_{1};
  SimDisk disk_;
  std::unique_ptr<BlockDevice> device_;
};

TEST_F(SimDiskTest, AFencedDeviceFailsReadsToo) {
  disk_.fail_writes(true);
  EXPECT_FALSE(write(0, pattern(1, 1)).has_value());
  disk_.fail_writes(false);
  EXPECT_TRUE(read(0, 1).empty());
  attach();
  EXPECT_FALSE(read(0, 1).empty()) << "a new life";
}

TEST_F(SimDiskTest, AFailedFlushKeepsOrLosesEachBlockAndFences) {
  int kept = 0;
  int lost = 0;
  int mixed = 0;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    ASSERT_TRUE(write(0, Buffer::zeroed(8 * kBlockBytes)).has_value());
    ASSERT_TRUE(flush().has_value());
    ASSERT_TRUE(write(0, pattern(8, 1)).has_value());
    disk_.fail_next_flush(seed);
    EXPECT_EQ(flush().error().code(), Code::kDiskFailed);
    EXPECT_EQ(flush().error().code(), Code::kDiskFailed) << "fenced";
    EXPECT_TRUE(read(0, 1).empty());
    EXPECT_FALSE(write(0, pattern(8, 1)).has_value());
    disk_.kill();
    attach();
    const Buffer found = read(0, 8);
    disk_.crash(seed);
    attach();
    EXPECT_TRUE(same(read(0, 8), found)) << "nothing is left that could be lost later";
    std::uint64_t blocks = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      const Buffer block = found.slice(i * kBlockBytes, kBlockBytes);
      if (same(block, pattern(8, 1).slice(i * kBlockBytes, kBlockBytes))) {
        ++blocks;
      } else {
        EXPECT_TRUE(same(block, Buffer::zeroed(kBlockBytes))) << "as before";
      }
    }
    ++(blocks == 8 ? kept : blocks == 0 ? lost : mixed);
    EXPECT_TRUE(flush().has_value()) << "only one flush failed";
  }
  EXPECT_GT(kept, 5);
  EXPECT_GT(lost, 5);
  EXPECT_GT(mixed, 5);
}

TEST_F(SimDiskTest, ABadSectorFailsReadsUntilItsRewriteIsDurable) {
  ASSERT_TRUE(write(0, pattern(4, 1)).has_value());
  ASSERT_TRUE(flush().has_value());
  disk_.fail_block(DiskOffset(2 * kBlockBytes));
  EXPECT_FALSE(read(0, 2).empty());
  EXPECT_TRUE(read(0, 3).empty());
  EXPECT_TRUE(read(2, 1).empty());
  EXPECT_FALSE(read(3, 1).empty()) << "a failed read fences nothing";
  ASSERT_TRUE(write(2, pattern(1, 9)).has_value());
  EXPECT_TRUE(same(read(2, 1), pattern(1, 9)));
  for (std::uint64_t seed = 0; disk_.bad_blocks() == 1 && read(2, 1).empty() == false; ++seed) {
    disk_.crash(seed);  // until one loses the rewrite
    attach();
    if (disk_.bad_blocks() == 0) {
      disk_.fail_block(DiskOffset(2 * kBlockBytes));
      EXPECT_TRUE(read(2, 1).empty());
      ASSERT_TRUE(write(2, pattern(1, 9)).has_value());
    }
  }
  EXPECT_TRUE(read(2, 1).empty());
  ASSERT_TRUE(write(2, pattern(1, 9)).has_value());
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(disk_.bad_blocks(), 0U);
  EXPECT_TRUE(same(read(2, 1), pattern(1, 9)));
}

TEST_F(SimDiskTest, RequestsBegunWhileItHangsWait) {
  Buffer into = Buffer::allocate(kBlockBytes);
  std::optional<Status> read_ended;
  std::optional<Status> write_ended;
  std::optional<Status> flush_ended;
  const Buffer bytes = pattern(1, 1);
  runtime::TaskGroup group(loop_);
  disk_.stall(true);
  group.spawn(note(device_->write(DiskOffset(0), {bytes.span()}), &write_ended));
  group.spawn(note(device_->read(DiskOffset(0), into.span()), &read_ended));
  group.spawn(note(device_->flush(), &flush_ended));
  loop_.run_for(3600s);
  EXPECT_EQ(group.running(), 3U);
  EXPECT_EQ(disk_.operations(), 0U) << "not begun";
  disk_.stall(false);
  loop_.run_for(1s);
  ASSERT_TRUE(read_ended.has_value() && write_ended.has_value() && flush_ended.has_value());
  EXPECT_TRUE(read_ended->has_value() && write_ended->has_value() && flush_ended->has_value());
  EXPECT_TRUE(same(read(0, 1), bytes));
}

TEST_F(SimDiskTest, APowerCutEndsWhatWaitsForADiskThatHangs) {
  std::optional<Status> ended;
  runtime::TaskGroup group(loop_);
  disk_.stall(true);
  group.spawn(note(device_->flush(), &ended));
  loop_.run_for(1s);
  disk_.crash(1);
  loop_.run_for(1s);
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->error().code(), Code::kDiskFailed);
  disk_.stall(false);
  attach();
  EXPECT_TRUE(flush().has_value());
}

TEST_F(SimDiskTest, RotChangesOneBitOfADurableBlock) {
  EXPECT_EQ(disk_.rot_somewhere(1), std::nullopt);
  ASSERT_TRUE(write(10, pattern(8, 1)).has_value());
  ASSERT_TRUE(flush().has_value());
  std::set<std::uint64_t> blocks;
  Buffer last = pattern(8, 1);
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const std::optional<DiskOffset> at = disk_.rot_somewhere(seed, DiskOffset(12 * kBlockBytes));
    ASSERT_TRUE(at.has_value());
    blocks.insert(at->raw() / kBlockBytes);
    const Buffer now = read(10, 8);
    int bits = 0;
    for (std::size_t i = 0; i < now.size(); ++i) {
      const std::byte changed = now.data()[i] ^ last.data()[i];
      if (changed == std::byte{}) continue;
      bits += std::popcount(static_cast<unsigned>(changed));
      EXPECT_EQ(10 + i / kBlockBytes, at->raw() / kBlockBytes);
    }
    EXPECT_EQ(bits, 1);
    last = now;
  }
  EXPECT_EQ(blocks, (std::set<std::uint64_t>{12, 13, 14, 15, 16, 17}));
}

// How many of 64 crashes left a block that is neither old nor new.
int torn_blocks(SimDisk* disk, VirtualLoop* loop) {
  const Buffer old_bytes = pattern(8, 1);
  const Buffer new_bytes = pattern(8, 2);
  int torn = 0;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    std::unique_ptr<BlockDevice> device = disk->attach(*loop);
    EXPECT_TRUE(loop->run(device->grow(1_MiB)).has_value());
    EXPECT_TRUE(loop->run(device->write(DiskOffset(0), {old_bytes.span()})).has_value());
    EXPECT_TRUE(loop->run(device->flush()).has_value());
    EXPECT_TRUE(loop->run(device->write(DiskOffset(0), {new_bytes.span()})).has_value());
    disk->crash(seed);
    device = disk->attach(*loop);
    Buffer found = Buffer::allocate(8 * kBlockBytes);
    EXPECT_TRUE(loop->run(device->read(DiskOffset(0), found.span())).has_value());
    for (std::size_t at = 0; at < found.size(); at += 512) {
      const bool is_old = std::memcmp(found.data() + at, old_bytes.data() + at, 512) == 0;
      const bool is_new = std::memcmp(found.data() + at, new_bytes.data() + at, 512) == 0;
      EXPECT_TRUE(is_old || is_new) << "whole sectors";
    }
    for (std::size_t at = 0; at < found.size(); at += kBlockBytes) {
      const bool is_old = std::memcmp(found.data() + at, old_bytes.data() + at, kBlockBytes) == 0;
      const bool is_new = std::memcmp(found.data() + at, new_bytes.data() + at, kBlockBytes) == 0;
      torn += is_old || is_new ? 0 : 1;
    }
  }
  return torn;
}
TEST(SimDisk, ACrashTearsBlocksBetweenSectorsWhenAsked) {
  VirtualLoop loop(1);
  SimDisk whole({.tear_sectors = false});
  EXPECT_EQ(torn_blocks(&whole, &loop), 0);
  SimDisk torn({.tear_sectors = true});
  EXPECT_GT(torn_blocks(&torn, &loop), 20);
}

TEST_F(SimDiskTest, ADiscardedBlockReadsAsBeforeOrAsZeros) {
  ASSERT_TRUE(write(0, pattern(64, 1)).has_value());
  ASSERT_TRUE(flush().has_value());
  ASSERT_TRUE(loop_.run(device_->discard(DiskOffset(0), 32 * kBlockBytes)).has_value());
  disk_.crash(1);
  attach();
  const Buffer found = read(0, 64);
  int zeros = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    const Buffer block = found.slice(i * kBlockBytes, kBlockBytes);
    const bool zero = same(block, Buffer::zeroed(kBlockBytes));
    EXPECT_TRUE(zero || same(block, pattern(64, 1).slice(i * kBlockBytes, kBlockBytes)));
    EXPECT_TRUE(!zero || i < 32);
    zeros += zero ? 1 : 0;
  }
  EXPECT_GT(zeros, 4);
  EXPECT_LT(zeros, 28);
}

}  // namespace
}  // namespace cairn::chunkserver::io
