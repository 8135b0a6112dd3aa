#include "chunkserver/io/metered_device.h"

#include <gtest/gtest.h>

#include "chunkserver/io/device_fixture.h"
#include "chunkserver/io/sim_disk.h"
#include "chunkserver/testing/virtual_loop.h"

namespace cairn::chunkserver::io {
namespace {

using testing::VirtualLoop;

Task<void> meter(runtime::Runtime* runtime) {
  SimDisk disk({.write_latency = 20ms});
  MeteredDevice device(*runtime, disk.attach(*runtime));
  const Status grown = co_await device.grow(1_MiB);
  EXPECT_TRUE(grown.has_value());
  runtime::TaskGroup group(*runtime);
  group.spawn(write_blocks(&device, 0, 1, 2));
  group.spawn(write_blocks(&device, 4, 1, 2));
  co_await group.join();
  const DeviceFigures figures = device.figures();
  EXPECT_EQ(figures.writes, 2U);
  EXPECT_EQ(figures.bytes_written, 4 * kBlockBytes);
  EXPECT_EQ(figures.latency_avg_us, 20'000U);
  EXPECT_EQ(figures.latency_max_us, 20'000U);
  EXPECT_NEAR(figures.queue_depth, 2.0, 0.01);
  EXPECT_NEAR(figures.io_wait, 1.0, 0.01);
}
TEST(MeteredDevice, MeasuresDepthAndLatency) {
  VirtualLoop loop(1);
  loop.run(meter(&loop));
}

Task<void> count_durable_writes(runtime::Runtime* runtime) {
  SimDisk disk({.write_latency = 5ms, .flush_latency = 5ms});
  MeteredDevice device(*runtime, disk.attach(*runtime));
  const Status grown = co_await device.grow(1_MiB);
  EXPECT_TRUE(grown.has_value());
  const Buffer bytes = pattern(3, 7);
  std::vector<DeviceWrite> writes;
  writes.push_back({DiskOffset(0), {bytes.span().first(kBlockBytes)}});
  writes.push_back({DiskOffset(8 * kBlockBytes), {bytes.span().subspan(kBlockBytes)}});
  const Status written = co_await device.write_durably(std::move(writes));
  EXPECT_TRUE(written.has_value());
  EXPECT_EQ(disk.flushes(), 1U);
  DeviceFigures figures = device.figures();
  EXPECT_EQ(figures.writes, 2U);
  EXPECT_EQ(figures.flushes, 1U);
  EXPECT_EQ(figures.bytes_written, 3 * kBlockBytes);
  EXPECT_EQ(figures.writes_failed + figures.flushes_failed + figures.reads_failed, 0U);

  Buffer into = Buffer::allocate(kBlockBytes);
  disk.fail_reads(true);
  const Status read = co_await device.read(DiskOffset(0), into.span());
  EXPECT_EQ(read.error().code(), Code::kDiskFailed);
  disk.fail_writes(true);
  std::vector<DeviceWrite> none;
  const Status flushed = co_await device.write_durably(std::move(none));
  EXPECT_EQ(flushed.error().code(), Code::kDiskFailed);
  figures = device.figures();
  EXPECT_EQ(figures.reads_failed, 1U);
  EXPECT_EQ(figures.writes_failed, 0U);
  EXPECT_EQ(figures.flushes_failed, 1U);
  EXPECT_EQ(figures.flushes, 2U);
}
TEST(MeteredDevice, CountsADurableWriteAsItsWritesAndOneFlush) {
  VirtualLoop loop(1);
  loop.run(count_durable_writes(&loop));
}

Task<void> age_of_the_oldest(runtime::Runtime* runtime) {
  SimDisk disk({.write_latency = 40ms});
  MeteredDevice device(*runtime, disk.attach(*runtime));
  const Status grown = co_await device.grow(1_MiB);
  EXPECT_TRUE(grown.has_value());
  EXPECT_EQ(device.oldest_request(), Duration{});
  runtime::TaskGroup group(*runtime);
  group.spawn(write_blocks(&device, 0, 1, 1));
  co_await sleep_for(*runtime, 20ms);
  group.spawn(write_blocks(&device, 4, 1, 1));
  EXPECT_EQ(device.oldest_request(), 20ms) << "the first write";
  co_await sleep_for(*runtime, 25ms);
  EXPECT_EQ(device.oldest_request(), 25ms) << "the second write, when the first has ended";
  co_await group.join();
  EXPECT_EQ(device.oldest_request(), Duration{});
}
Task<void> grow_on(BlockDevice* device) {
  const Status grown = co_await device->grow(1_MiB);
  EXPECT_TRUE(grown.has_value());
}
Task<void> age_of_a_grow(runtime::Runtime* runtime) {
  SimDisk disk;
  MeteredDevice device(*runtime, disk.attach(*runtime));
  disk.stall(true);
  runtime::TaskGroup group(*runtime);
  group.spawn(grow_on(&device));
  co_await sleep_for(*runtime, 7s);
  EXPECT_EQ(device.oldest_request(), 7s);
  EXPECT_EQ(device.figures().queue_depth, 0.0) << "no request of the figures";
  disk.stall(false);
  co_await group.join();
  EXPECT_EQ(device.oldest_request(), Duration{});
  EXPECT_EQ(device.figures().latency_max_us, 0U);
}
TEST(MeteredDevice, AGrowThatHangsShowsInTheAge) {
  VirtualLoop loop(1);
  loop.run(age_of_a_grow(&loop));
}

TEST(MeteredDevice, TellsTheAgeOfTheOldestRequest) {
  VirtualLoop loop(1);
  loop.run(age_of_the_oldest(&loop));
}

}  // namespace
}  // namespace cairn::chunkserver::io
