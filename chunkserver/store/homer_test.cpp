// Homing on simulated disks: what is written where, from memory or from the ring, and what is not.
#include "chunkserver/store/homer.h"

#include "chunkserver/store/disk_fixture.h"

namespace cairn::chunkserver::store {
namespace {

class HomerTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    world_.attach();
    ASSERT_TRUE(world_.loop.run(world_.data_device->grow(8192 * kBlockBytes)).has_value());
    RingPlace place{.id = 9, .first = kReservedBlocks, .blocks = 2048, .directory = {}};
    if (GetParam()) {
      place.first = 0;
      place.directory = "/ssd";
      world_.plug("/ssd");
    }
    const OpenRing open = world_.open_ring();
    auto made = world_.loop.run(make_ring(&world_.loop, world_.data_device.get(), place, 5, &open));
    ASSERT_TRUE(made.has_value());
    ring_ = std::move(*made);
    homer_ = std::make_unique<Homer>(world_.loop, *world_.data_device, homes_, gate_);
  }
  // A batch with these blocks, each with its home for content; in memory too if `kept`.
  void batch(const std::vector<std::uint64_t>& homes, bool kept) {
    homes_.begin_batch(++sequence_);
    for (const std::uint64_t home : homes) {
      const Buffer bytes = blocks_of(home, 1);
      std::vector<io::DeviceWrite> writes;
      writes.push_back(ring_->write_of(ring_block_, {bytes.span()}));
      ASSERT_TRUE(world_.loop.run(ring_->write_durably(std::move(writes))).has_value());
      homes_.add(home, {ring_block_++, crc_of(home), kept ? bytes : Buffer()});
    }
  }
  io::SimDisk& ring_disk() { return GetParam() ? world_.disk_of("/ssd") : world_.data; }
  DiskOffset ring_offset(std::uint64_t block) const { return ring_->write_of(block, {}).offset; }
  Result<std::uint64_t> step(std::size_t most = 1024) {
    return world_.loop.run(homer_->step(ring_.get(), most));
  }
  bool is_home(std::uint64_t home) { return world_.holds(home, home); }

  DiskWorld world_;
  std::unique_ptr<RingDevice> ring_;
  HomeMap homes_{64 * kBlockBytes};
  ReuseGate gate_;
  std::unique_ptr<Homer> homer_;
  std::uint64_t sequence_ = 0;
  std::uint64_t ring_block_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Rings, HomerTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Own" : "Shared"; });

TEST_P(HomerTest, WritesNeighboursTogetherFromMemoryAndFromTheRing) {
  batch({5000, 5003, 4000}, true);
  batch({5001, 5002, 4002}, false);
  const std::uint64_t operations = world_.data.operations();
  EXPECT_EQ(step().value(), 6U);
  // 4000, 4002, 5000 .. 5003.
  EXPECT_EQ(world_.data.operations(), operations + 3);
  for (const std::uint64_t home : {4000U, 4002U, 5000U, 5001U, 5002U, 5003U}) {
    EXPECT_TRUE(is_home(home));
  }
  EXPECT_TRUE(homes_.empty());
  EXPECT_TRUE(homes_.unflushed());
  EXPECT_EQ(homes_.tail_sequence(2), 0U);
  EXPECT_EQ(step().value(), 0U);
  EXPECT_FALSE(gate_.reading());
}

TEST_P(HomerTest, TakesTheOldestAndNoMoreThanItIsTold) {
  batch({4000, 4001}, true);
  batch({4002}, true);
  EXPECT_EQ(step(2).value(), 2U);
  EXPECT_FALSE(is_home(4002));
  EXPECT_EQ(homes_.oldest(), 2U);
  EXPECT_EQ(step(2).value(), 1U);
  EXPECT_TRUE(is_home(4002));
}

TEST_P(HomerTest, OneWriteIsNotLargerThanAMebibyte) {
  std::vector<std::uint64_t> homes;
  for (std::uint64_t home = 3000; home < 3600; ++home) homes.push_back(home);
  batch(homes, false);
  const std::uint64_t operations = world_.data.operations();
  EXPECT_EQ(step().value(), 600U);
  EXPECT_EQ(world_.data.operations(), operations + 3);
  for (const std::uint64_t home : homes) ASSERT_TRUE(is_home(home));
}

TEST_P(HomerTest, ADamagedRingIsNeverWrittenHome) {
  batch({4000, 4001}, false);
  ASSERT_TRUE(ring_disk().rot(ring_offset(1), 1));
  EXPECT_EQ(step().error().code(), Code::kJournalFailed);
  EXPECT_FALSE(is_home(4001));
  EXPECT_NE(homes_.find(4001), nullptr);
  EXPECT_EQ(homes_.tail_sequence(1), 0U);
  EXPECT_FALSE(gate_.reading());
}

TEST_P(HomerTest, MemoryThatWentBadIsReadFromTheRingInstead) {
  batch({4000}, true);
  Buffer kept = homes_.find(4000)->bytes;
  kept.data()[100] ^= std::byte{1};
  EXPECT_EQ(step().value(), 1U);
  EXPECT_TRUE(is_home(4000));
}

TEST_P(HomerTest, AFailedWriteLeavesTheBlocksInTheRing) {
  batch({4000}, true);
  world_.data.fail_writes(true);
  EXPECT_EQ(step().error().code(), Code::kDiskFailed);
  EXPECT_NE(homes_.find(4000), nullptr);
  EXPECT_EQ(homes_.tail_sequence(1), 0U);
  EXPECT_FALSE(gate_.reading());
}

Task<void> keep(Homer* homer, RingDevice* ring, Result<std::uint64_t>* result) {
  *result = co_await homer->step(ring, 1024);
}

TEST_P(HomerTest, WhatIsFreedWhileItIsWrittenIsNotGivenAwayBefore) {
  batch({4000, 4001}, false);
  world_.data.stall(true);
  ring_disk().stall(true);
  Result<std::uint64_t> result = std::uint64_t{0};
  runtime::TaskGroup group(world_.loop);
  group.spawn(keep(homer_.get(), ring_.get(), &result));
  world_.loop.run_for(1ms);
  homes_.forget({4000, 1});
  gate_.hold({{4000, 1}});
  EXPECT_TRUE(gate_.take_reusable().empty());
  ring_disk().stall(false);
  world_.data.stall(false);
  world_.loop.run_for(1s);
  EXPECT_EQ(result.value(), 2U);
  EXPECT_EQ(gate_.take_reusable(), (std::vector<Extent>{{4000, 1}}));
  EXPECT_TRUE(is_home(4001));
  // It was dead before its bytes were there: nobody wrote it.
  EXPECT_FALSE(is_home(4000));
  homes_.flushed(homes_.flush_mark());
  EXPECT_EQ(homes_.tail_sequence(1), 1U);
}

TEST_P(HomerTest, ADeadBlockWhosePlaceInTheRingIsGoneIsNoDamage) {
  batch({4000, 4001}, false);
  ring_disk().stall(true);
  world_.data.stall(true);
  Result<std::uint64_t> result = std::uint64_t{0};
  runtime::TaskGroup group(world_.loop);
  group.spawn(keep(homer_.get(), ring_.get(), &result));
  world_.loop.run_for(1ms);
  homes_.forget({4000, 2});
  // The batch is released, another one takes its place.
  ASSERT_TRUE(ring_disk().rot(ring_offset(0), 1));
  ring_disk().stall(false);
  world_.data.stall(false);
  world_.loop.run_for(1s);
  EXPECT_EQ(result.value(), 2U);
  EXPECT_FALSE(is_home(4001));
}

}  // namespace
}  // namespace cairn::chunkserver::store
