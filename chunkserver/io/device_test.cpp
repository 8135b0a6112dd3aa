#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "chunkserver/io/metered_device.h"
#include "chunkserver/io/open_device.h"
#include "chunkserver/io/pool_device.h"
#include "chunkserver/io/sim_disk.h"
#include "chunkserver/io/uring_device.h"
#include "common/base/prng.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::io {
namespace {

Task<void> stop_after(Task<void> body, runtime::AsioRuntime* loop) {
  co_await body;
  loop->stop();
}
void run_on(runtime::AsioRuntime& loop, Task<void> body) {
  runtime::TaskGroup group(loop);
  group.spawn(stop_after(std::move(body), &loop));
  loop.run();
}

class TemporaryFile {
 public:
  TemporaryFile() {
    std::string name = (std::filesystem::temp_directory_path() / "cairn-device-XXXXXX").string();
    const char* made = ::mkdtemp(name.data());
    CHECK(made != nullptr);
    directory_ = made;
  }
  ~TemporaryFile() { std::filesystem::remove_all(directory_); }
  std::string path() const { return directory_ + "/data"; }

 private:
  std::string directory_;
};

Buffer pattern(std::size_t blocks, std::uint64_t seed) {
  Prng prng(seed);
  Buffer buffer = Buffer::allocate(blocks * kBlockBytes);
  for (std::size_t at = 0; at < buffer.size(); at += 8) store_le(buffer.data() + at, prng.next());
  return buffer;
}
bool same(const Buffer& a, const Buffer& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

Task<void> write_pattern(BlockDevice* device, std::uint64_t block, std::uint64_t seed,
                         int* failures) {
  const Buffer bytes = pattern(4, seed);
  std::vector<Bytes> parts{bytes.span().first(kBlockBytes), bytes.span().subspan(kBlockBytes)};
  const Status status = co_await device->write(DiskOffset(block * kBlockBytes), std::move(parts));
  if (!status.has_value()) ++*failures;
}
Task<void> check_pattern(BlockDevice* device, std::uint64_t block, std::uint64_t seed,
                         int* failures) {
  Buffer bytes = Buffer::allocate(4 * kBlockBytes);
  const Status status = co_await device->read(DiskOffset(block * kBlockBytes), bytes.span());
  if (!status.has_value() || !same(bytes, pattern(4, seed))) ++*failures;
}

// More requests at once than the device hands to the disk.
Task<void> exercise(runtime::Runtime* runtime, BlockDevice* device) {
  constexpr std::uint64_t kRequests = 3 * kDeviceRequestsMax;
  const Status grown = co_await device->grow(kRequests * 4 * kBlockBytes);
  EXPECT_TRUE(grown.has_value());
  EXPECT_EQ(device->size(), kRequests * 4 * kBlockBytes);
  EXPECT_GE(device->space(), device->size());
  int failures = 0;
  runtime::TaskGroup group(*runtime);
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    group.spawn(write_pattern(device, i * 4, i, &failures));
  }
  co_await group.join();
  EXPECT_EQ(failures, 0);
  const Status flushed = co_await device->flush();
  EXPECT_TRUE(flushed.has_value());
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    group.spawn(check_pattern(device, i * 4, i, &failures));
  }
  co_await group.join();
  EXPECT_EQ(failures, 0);
  const Status discarded = co_await device->discard(DiskOffset(0), kBlockBytes);
  EXPECT_TRUE(discarded.has_value());
}

Task<void> refuse_misuse(BlockDevice* device) {
  Buffer bytes = Buffer::allocate(2 * kBlockBytes);
  const Status grown = co_await device->grow(kBlockBytes);
  EXPECT_TRUE(grown.has_value());
  Status status = co_await device->read(DiskOffset(1), bytes.span().first(kBlockBytes));
  EXPECT_EQ(status.error().code(), Code::kInvalidArgument);
  status = co_await device->read(DiskOffset(0), bytes.span().first(100));
  EXPECT_EQ(status.error().code(), Code::kInvalidArgument);
  status = co_await device->read(DiskOffset(0), bytes.span().subspan(8, kBlockBytes));
  EXPECT_EQ(status.error().code(), Code::kInvalidArgument);
  status = co_await device->read(DiskOffset(0), bytes.span());
  EXPECT_EQ(status.error().code(), Code::kInvalidArgument) << "beyond the end";
  std::vector<Bytes> none;
  status = co_await device->write(DiskOffset(0), std::move(none));
  EXPECT_EQ(status.error().code(), Code::kInvalidArgument);
  // A refused request fences nothing.
  status = co_await device->read(DiskOffset(0), bytes.span().first(kBlockBytes));
  EXPECT_TRUE(status.has_value());
}

TEST(UringDevice, KeepsWhatManyParallelRequestsWrote) {
  const TemporaryFile file;
  runtime::AsioRuntime loop;
  Result<DeviceFile> opened = DeviceFile::open(file.path(), true);
  ASSERT_TRUE(opened.has_value());
  Result<std::unique_ptr<UringDevice>> device = UringDevice::make(loop, *opened);
  if (!device.has_value()) GTEST_SKIP() << device.error().to_string();
  EXPECT_EQ((*device)->engine(), "io_uring");
  run_on(loop, exercise(&loop, device->get()));
}

TEST(UringDevice, RefusesMisuse) {
  const TemporaryFile file;
  runtime::AsioRuntime loop;
  Result<DeviceFile> opened = DeviceFile::open(file.path(), true);
  ASSERT_TRUE(opened.has_value());
  Result<std::unique_ptr<UringDevice>> device = UringDevice::make(loop, *opened);
  if (!device.has_value()) GTEST_SKIP() << device.error().to_string();
  run_on(loop, refuse_misuse(device->get()));
}

TEST(PoolDevice, KeepsWhatManyParallelRequestsWrote) {
  const TemporaryFile file;
  runtime::AsioRuntime loop;
  Result<DeviceFile> opened = DeviceFile::open(file.path(), true);
  ASSERT_TRUE(opened.has_value());
  PoolDevice device(loop, std::move(*opened));
  run_on(loop, exercise(&loop, &device));
}

TEST(PoolDevice, RefusesMisuse) {
  const TemporaryFile file;
  runtime::AsioRuntime loop;
  Result<DeviceFile> opened = DeviceFile::open(file.path(), true);
  ASSERT_TRUE(opened.has_value());
  PoolDevice device(loop, std::move(*opened));
  run_on(loop, refuse_misuse(&device));
}

// A descriptor that refuses writes: what a disk that fails does to a device.
Task<void> fail_and_stay_failed(BlockDevice* device) {
  Buffer bytes = Buffer::zeroed(kBlockBytes);
  std::vector<Bytes> parts{std::as_const(bytes).span()};
  Status status = co_await device->write(DiskOffset(0), parts);
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  status = co_await device->flush();
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  status = co_await device->read(DiskOffset(0), bytes.span());
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  status = co_await device->grow(2_MiB);
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
}

TEST(OpenDevice, SaysWhichEngineItChose) {
  const TemporaryFile file;
  runtime::AsioRuntime loop;
  EXPECT_EQ(open_device(loop, file.path(), {}).error().code(), Code::kNotFound);
  Result<std::unique_ptr<BlockDevice>> device =
      open_device(loop, file.path(), {.create = true, .allow_uring = false});
  ASSERT_TRUE(device.has_value());
  EXPECT_EQ((*device)->engine(), "threads");
  EXPECT_EQ((*device)->size(), 0U);
  Result<std::unique_ptr<BlockDevice>> best = open_device(loop, file.path(), {.create = true});
  ASSERT_TRUE(best.has_value());
  EXPECT_TRUE((*best)->engine() == "io_uring" || (*best)->engine() == "threads");
}

Task<void> sim_write(BlockDevice* device, std::uint64_t block, std::uint64_t seed,
                     std::size_t blocks) {
  const Buffer bytes = pattern(blocks, seed);
  std::vector<Bytes> parts{bytes.span()};
  const Status status = co_await device->write(DiskOffset(block * kBlockBytes), std::move(parts));
  EXPECT_TRUE(status.has_value());
}
Task<bool> sim_holds(BlockDevice* device, std::uint64_t block, Buffer expected) {
  Buffer bytes = Buffer::allocate(expected.size());
  const Status status = co_await device->read(DiskOffset(block * kBlockBytes), bytes.span());
  EXPECT_TRUE(status.has_value());
  co_return same(bytes, expected);
}

Task<void> crash_keeps_flushed_only(runtime::Runtime* runtime) {
  int kept = 0;
  int dropped = 0;
  int torn = 0;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    SimDisk disk;
    std::unique_ptr<BlockDevice> device = disk.attach(*runtime);
    Status status = co_await device->grow(1_MiB);
    EXPECT_TRUE(status.has_value());
    co_await sim_write(device.get(), 0, 1, 2);
    status = co_await device->flush();
    EXPECT_TRUE(status.has_value());
    co_await sim_write(device.get(), 8, 2, 4);
    disk.crash(seed);
    status = co_await device->flush();
    EXPECT_EQ(status.error().code(), Code::kDiskFailed) << "cut off";
    std::unique_ptr<BlockDevice> again = disk.attach(*runtime);
    const bool flushed_is_there = co_await sim_holds(again.get(), 0, pattern(2, 1));
    EXPECT_TRUE(flushed_is_there);
    int present = 0;
    for (std::uint64_t i = 0; i < 4; ++i) {
      const bool holds =
          co_await sim_holds(again.get(), 8 + i, pattern(4, 2).slice(i * kBlockBytes, kBlockBytes));
      present += holds ? 1 : 0;
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
  runtime::AsioRuntime loop;
  run_on(loop, crash_keeps_flushed_only(&loop));
}

Task<void> flush_covers_only_ended_writes(runtime::Runtime* runtime) {
  SimDisk disk({.write_latency = 5ms, .flush_latency = 1ms});
  std::unique_ptr<BlockDevice> device = disk.attach(*runtime);
  Status status = co_await device->grow(1_MiB);
  EXPECT_TRUE(status.has_value());
  int lost = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    runtime::TaskGroup group(*runtime);
    group.spawn(sim_write(device.get(), seed, 100 + seed, 1));
    status = co_await device->flush();  // begins while the write is on its way
    EXPECT_TRUE(status.has_value());
    co_await group.join();
    disk.crash(seed);
    device = disk.attach(*runtime);
    const bool holds = co_await sim_holds(device.get(), seed, pattern(1, 100 + seed));
    lost += holds ? 0 : 1;
  }
  EXPECT_GT(lost, 0);
}
TEST(SimDisk, AFlushCoversOnlyWritesThatHadEnded) {
  runtime::AsioRuntime loop;
  run_on(loop, flush_covers_only_ended_writes(&loop));
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
  runtime::AsioRuntime loop;
  run_on(loop, sim_fence(&loop));
}

Task<void> meter(runtime::Runtime* runtime) {
  SimDisk disk({.write_latency = 20ms});
  MeteredDevice device(*runtime, disk.attach(*runtime));
  const Status grown = co_await device.grow(1_MiB);
  EXPECT_TRUE(grown.has_value());
  runtime::TaskGroup group(*runtime);
  group.spawn(sim_write(&device, 0, 1, 2));
  group.spawn(sim_write(&device, 4, 1, 2));
  co_await group.join();
  const DeviceFigures figures = device.figures();
  EXPECT_EQ(figures.writes, 2U);
  EXPECT_EQ(figures.bytes_written, 4 * kBlockBytes);
  EXPECT_GE(figures.latency_avg_us, 19'000U);
  EXPECT_LT(figures.latency_max_us, 2'000'000U);
  EXPECT_GT(figures.queue_depth, 0.5);
  EXPECT_LE(figures.queue_depth, 2.0);
  EXPECT_GT(figures.io_wait, 0.2);
  EXPECT_LE(figures.io_wait, 1.0);
}
TEST(MeteredDevice, MeasuresDepthAndLatency) {
  runtime::AsioRuntime loop;
  run_on(loop, meter(&loop));
}

TEST(UringDevice, IsFencedAfterAFailedWrite) {
  const TemporaryFile file;
  runtime::AsioRuntime loop;
  Result<std::unique_ptr<BlockDevice>> device = open_device(loop, file.path(), {.create = true});
  ASSERT_TRUE(device.has_value());
  // /dev/full takes no write.
  Result<DeviceFile> full = DeviceFile::open("/dev/full", false);
  if (!full.has_value()) GTEST_SKIP() << "no /dev/full";
  full->set_size(1_MiB);
  Result<std::unique_ptr<UringDevice>> uring = UringDevice::make(loop, *full);
  if (uring.has_value()) {
    run_on(loop, fail_and_stay_failed(uring->get()));
  }
}

TEST(PoolDevice, IsFencedAfterAFailedWrite) {
  runtime::AsioRuntime loop;
  Result<DeviceFile> full = DeviceFile::open("/dev/full", false);
  if (!full.has_value()) GTEST_SKIP() << "no /dev/full";
  full->set_size(1_MiB);
  PoolDevice device(loop, std::move(*full));
  run_on(loop, fail_and_stay_failed(&device));
}

}  // namespace
}  // namespace cairn::chunkserver::io
