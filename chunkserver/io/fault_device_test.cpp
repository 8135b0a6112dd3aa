#include "chunkserver/io/fault_device.h"

#include <gtest/gtest.h>

#include "chunkserver/io/device_fixture.h"
#include "chunkserver/io/sim_disk.h"
#include "chunkserver/testing/virtual_loop.h"

namespace cairn::chunkserver::io {
namespace {

using testing::VirtualLoop;

FaultPlan plan_of(std::string_view text) {
  Result<FaultPlan> plan = FaultPlan::parse(text);
  EXPECT_TRUE(plan.has_value()) << text;
  return plan.value_or(FaultPlan());
}

TEST(FaultPlan, ReadsEveryWordAndPrintsItAgain) {
  const FaultPlan plan = plan_of(
      "read-delay=2ms write-delay=8ms  flush-delay=1500us serial=on bandwidth=50M "
      "fail=writes,reads fail-range=100+8 stall=on");
  EXPECT_EQ(plan.read_delay, 2ms);
  EXPECT_EQ(plan.write_delay, 8ms);
  EXPECT_EQ(plan.flush_delay, 1500us);
  EXPECT_TRUE(plan.serial);
  EXPECT_EQ(plan.bandwidth, 50_MiB);
  EXPECT_TRUE(plan.fail_reads);
  EXPECT_TRUE(plan.fail_writes);
  EXPECT_FALSE(plan.fail_flushes);
  EXPECT_EQ(plan.fail_first, 100U);
  EXPECT_EQ(plan.fail_count, 8U);
  EXPECT_TRUE(plan.stall);
  EXPECT_EQ(plan.to_text(),
            "read-delay=2ms write-delay=8ms flush-delay=1500us serial=on bandwidth=50M "
            "fail=reads,writes fail-range=100+8 stall=on");
  EXPECT_EQ(plan_of(plan.to_text()), plan);
  EXPECT_TRUE(plan_of("none").none());
  EXPECT_EQ(plan_of("none").to_text(), "none");
  EXPECT_EQ(plan_of("read-delay=3s bandwidth=2G").to_text(), "read-delay=3s bandwidth=2G");
  EXPECT_EQ(plan_of("bandwidth=1000").bandwidth, 1000U);
  EXPECT_FALSE(plan_of("stall=off").stall);
}

TEST(FaultPlan, RefusesWhatItDoesNotUnderstand) {
  for (const char* text : {"",
                           " ",
                           "slow",
                           "slow=1",
                           "read-delay",
                           "read-delay=",
                           "read-delay=2",
                           "read-delay=2 ms",
                           "read-delay=2m",
                           "read-delay=-2ms",
                           "read-delay=99999999999s",
                           "bandwidth=0",
                           "bandwidth=5T",
                           "bandwidth=50MB",
                           "fail=",
                           "fail=all",
                           "fail=reads,",
                           "fail=reads|writes",
                           "fail-range=1",
                           "fail-range=1+0",
                           "fail-range=1+2x",
                           "fail-range=+2",
                           "stall=yes",
                           "stall=on stall=on",
                           "fail=reads fail=writes",
                           "none stall=on",
                           "stall=on none",
                           "none none",
                           "fail-range=18446744073709551615+2"}) {
    const Result<FaultPlan> plan = FaultPlan::parse(text);
    ASSERT_FALSE(plan.has_value()) << text;
    EXPECT_EQ(plan.error().code(), Code::kInvalidArgument) << text;
  }
}

// A FaultDevice of 1 MiB over a SimDisk, in virtual time.
class FaultDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status grown = loop_.run(device_.grow(1_MiB));
    ASSERT_TRUE(grown.has_value());
  }
  void plan(std::string_view text) { device_.set_plan(plan_of(text)); }
  Status read(std::uint64_t block, std::size_t blocks = 1) {
    Buffer into = Buffer::allocate(blocks * kBlockBytes);
    return loop_.run(device_.read(DiskOffset(block * kBlockBytes), into.span()));
  }
  Status write(std::uint64_t block, const Buffer& bytes) {
    return loop_.run(device_.write(DiskOffset(block * kBlockBytes), {bytes.span()}));
  }
  Duration time_of(Task<void> task) {
    const Instant begun = loop_.now();
    loop_.run(std::move(task));
    return loop_.now() - begun;
  }
  static Task<void> write_many(VirtualLoop* loop, BlockDevice* device, std::uint64_t count,
                               std::size_t blocks) {
    runtime::TaskGroup group(*loop);
    for (std::uint64_t i = 0; i < count; ++i) {
      group.spawn(write_blocks(device, i * blocks, i, blocks));
    }
    co_await group.join();
  }
  static Task<void> flush(BlockDevice* device) {
    const Status status = co_await device->flush();
    EXPECT_TRUE(status.has_value());
  }
  static Task<void> write_two_durably(BlockDevice* device) {
    const Buffer bytes = pattern(2, 3);
    std::vector<DeviceWrite> writes;
    writes.push_back({DiskOffset(0), {bytes.span()}});
    writes.push_back({DiskOffset(64 * kBlockBytes), {bytes.span()}});
    const Status status = co_await device->write_durably(std::move(writes));
    EXPECT_TRUE(status.has_value());
  }
  static Task<void> note(Task<Status> request, std::optional<Status>* into) {
    Status status = co_await request;
    into->emplace(std::move(status));
  }

  VirtualLoop loop_{1};
  SimDisk disk_;
  FaultDevice device_{loop_, disk_.attach(loop_)};
};

TEST_F(FaultDeviceTest, WithoutAPlanItCostsNoTime) {
  EXPECT_EQ(time_of(write_many(&loop_, &device_, 8, 4)), Duration{});
  EXPECT_EQ(time_of(write_two_durably(&device_)), Duration{});
  EXPECT_EQ(disk_.flushes(), 1U);
  EXPECT_TRUE(loop_.run(holds(&device_, 64, pattern(2, 3))));
  EXPECT_EQ(device_.engine(), "memory");
  EXPECT_EQ(device_.engine_note(), "");
}

TEST_F(FaultDeviceTest, DelaysEachKindOfRequestByItsTime) {
  plan("read-delay=2ms write-delay=8ms flush-delay=10ms");
  EXPECT_EQ(time_of(write_many(&loop_, &device_, 8, 4)), 8ms) << "in parallel";
  EXPECT_EQ(time_of(flush(&device_)), 10ms);
  EXPECT_EQ(time_of(write_two_durably(&device_)), 18ms);
  const Instant begun = loop_.now();
  EXPECT_TRUE(read(0).has_value());
  EXPECT_EQ(loop_.now() - begun, 2ms);
  EXPECT_EQ(device_.engine_note(),
            "faults injected: read-delay=2ms write-delay=8ms flush-delay=10ms");
  plan("none");
  EXPECT_EQ(time_of(write_many(&loop_, &device_, 8, 4)), Duration{});
}

TEST_F(FaultDeviceTest, SerialDelaysAddUp) {
  plan("write-delay=8ms serial=on");
  EXPECT_EQ(time_of(write_many(&loop_, &device_, 8, 4)), 64ms);
}

TEST_F(FaultDeviceTest, LimitsTheBandwidthOfAllTogether) {
  plan("bandwidth=1M");
  EXPECT_EQ(time_of(write_many(&loop_, &device_, 8, 16)), 500ms) << "half a MiB";
  const Instant begun = loop_.now();
  EXPECT_TRUE(read(0, 64).has_value());
  EXPECT_EQ(loop_.now() - begun, 250ms);
}

TEST_F(FaultDeviceTest, FailedReadsFenceNothing) {
  plan("fail=reads");
  EXPECT_EQ(read(0).error().code(), Code::kDiskFailed);
  EXPECT_TRUE(write(0, pattern(1, 1)).has_value());
  plan("none");
  EXPECT_TRUE(read(0).has_value());
}

TEST_F(FaultDeviceTest, OnlyReadsThatTouchTheBadSpotFail) {
  plan("fail-range=10+2");
  EXPECT_TRUE(read(8, 2).has_value());
  EXPECT_EQ(read(8, 3).error().code(), Code::kDiskFailed);
  EXPECT_EQ(read(11).error().code(), Code::kDiskFailed);
  EXPECT_TRUE(read(12).has_value());
  EXPECT_TRUE(write(10, pattern(1, 1)).has_value());
  EXPECT_EQ(read(10).error().code(), Code::kDiskFailed) << "writing does not cure it";
}

TEST_F(FaultDeviceTest, AFailedWriteFencesForGood) {
  plan("fail=writes");
  EXPECT_EQ(write(0, pattern(1, 1)).error().code(), Code::kDiskFailed);
  plan("none");
  EXPECT_EQ(write(0, pattern(1, 1)).error().code(), Code::kDiskFailed);
  EXPECT_EQ(read(0).error().code(), Code::kDiskFailed);
  EXPECT_EQ(loop_.run(device_.flush()).error().code(), Code::kDiskFailed);
  EXPECT_EQ(loop_.run(device_.write_durably({})).error().code(), Code::kDiskFailed);
  EXPECT_EQ(loop_.run(device_.grow(2_MiB)).error().code(), Code::kDiskFailed);
}

TEST_F(FaultDeviceTest, AFailedFlushFencesForGood) {
  plan("fail=flushes");
  EXPECT_TRUE(write(0, pattern(1, 1)).has_value());
  EXPECT_EQ(loop_.run(device_.flush()).error().code(), Code::kDiskFailed);
  plan("none");
  EXPECT_EQ(read(0).error().code(), Code::kDiskFailed);
}

TEST_F(FaultDeviceTest, StalledRequestsWaitForAnotherPlan) {
  plan("stall=on");
  Buffer into = Buffer::allocate(kBlockBytes);
  std::optional<Status> read_ended;
  std::optional<Status> flush_ended;
  runtime::TaskGroup group(loop_);
  group.spawn(note(device_.read(DiskOffset(0), into.span()), &read_ended));
  group.spawn(note(device_.flush(), &flush_ended));
  loop_.run_for(3600s);
  EXPECT_EQ(group.running(), 2U);
  EXPECT_EQ(device_.stalled(), 2U);
  plan("stall=on read-delay=1ms");
  loop_.run_for(1s);
  EXPECT_EQ(device_.stalled(), 2U) << "still stalled";
  plan("fail=flushes");
  loop_.run_for(1s);
  ASSERT_TRUE(read_ended.has_value() && flush_ended.has_value());
  EXPECT_TRUE(read_ended->has_value());
  EXPECT_EQ(flush_ended->error().code(), Code::kDiskFailed) << "the new plan holds for it";
  EXPECT_EQ(device_.stalled(), 0U);
}

TEST_F(FaultDeviceTest, RefusesMisuseAtOnceAndFencesNothing) {
  plan("stall=on");
  Buffer into = Buffer::allocate(kBlockBytes);
  EXPECT_EQ(loop_.run(device_.read(DiskOffset(1), into.span())).error().code(),
            Code::kInvalidArgument);
  plan("none");
  EXPECT_TRUE(read(0).has_value());
}

}  // namespace
}  // namespace cairn::chunkserver::io
