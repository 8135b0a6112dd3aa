#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>

#include "chunkserver/io/device_fixture.h"
#include "chunkserver/io/open_device.h"
#include "chunkserver/io/pool_device.h"
#include "chunkserver/io/uring_device.h"

namespace cairn::chunkserver::io {
namespace {

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

Task<void> write_pattern_durably(BlockDevice* device, std::uint64_t block, std::uint64_t seed,
                                 int* failures) {
  const Buffer bytes = pattern(4, seed);
  std::vector<DeviceWrite> writes;
  writes.push_back({DiskOffset(block * kBlockBytes),
                    {bytes.span().first(kBlockBytes), bytes.span().subspan(kBlockBytes)}});
  const Status status = co_await device->write_durably(std::move(writes));
  if (!status.has_value()) ++*failures;
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
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    group.spawn(write_pattern_durably(device, i * 4, i + 7, &failures));
  }
  co_await group.join();
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    group.spawn(check_pattern(device, i * 4, i + 7, &failures));
  }
  co_await group.join();
  EXPECT_EQ(failures, 0);
  Buffer more = pattern(3, 99);
  std::vector<DeviceWrite> writes;
  writes.push_back({DiskOffset(0), {std::as_const(more).span()}});
  Status durable = co_await device->write_durably(std::move(writes));
  EXPECT_TRUE(durable.has_value());
  writes.clear();
  for (std::uint64_t i = 1; i < 40; ++i) {
    writes.push_back({DiskOffset(i * 16 * kBlockBytes), {std::as_const(more).span()}});
  }
  durable = co_await device->write_durably(std::move(writes));
  EXPECT_TRUE(durable.has_value());
  for (std::uint64_t i = 0; i < 40; ++i) {
    const bool there = co_await holds(device, i * 16, more);
    EXPECT_TRUE(there) << i;
  }
  writes.clear();
  durable = co_await device->write_durably(std::move(writes));
  EXPECT_TRUE(durable.has_value()) << "only a flush";
  // More often than it takes to try both ways.
  for (std::uint64_t i = 0; i < 2 * FasterWay::kProbe; ++i) {
    DeviceWrite write{DiskOffset(i % 40 * kBlockBytes), {std::as_const(more).span()}};
    durable = co_await device->write_through(std::move(write));
    EXPECT_TRUE(durable.has_value());
    const bool there = co_await holds(device, i % 40, more);
    EXPECT_TRUE(there) << i;
  }
  DeviceWrite crooked{DiskOffset(1), {std::as_const(more).span()}};
  durable = co_await device->write_through(std::move(crooked));
  EXPECT_EQ(durable.error().code(), Code::kInvalidArgument);
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
  const Buffer old = Buffer::zeroed(kBlockBytes);
  std::vector<DeviceWrite> writes;
  const Buffer good = pattern(1, 5);
  writes.push_back({DiskOffset(0), {good.span()}});
  writes.push_back({DiskOffset(kBlockBytes), {good.span()}});
  status = co_await device->write_durably(std::move(writes));
  EXPECT_EQ(status.error().code(), Code::kInvalidArgument);
  const bool untouched = co_await holds(device, 0, old);
  EXPECT_TRUE(untouched) << "refused as a whole";
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
  std::vector<DeviceWrite> writes;
  status = co_await device->write_durably(std::move(writes));
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  DeviceWrite write{DiskOffset(0), parts};
  status = co_await device->write_through(std::move(write));
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  status = co_await device->read(DiskOffset(0), bytes.span());
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  status = co_await device->grow(2_MiB);
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
}

// The failure is that of the write, whichever way it went.
Task<void> fail_through(BlockDevice* device) {
  const Buffer bytes = Buffer::zeroed(kBlockBytes);
  DeviceWrite write{DiskOffset(0), {bytes.span()}};
  Status status = co_await device->write_through(std::move(write));
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  status = co_await device->flush();
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
}

TEST(FasterWay, TakesTheFasterOneAndTriesTheOtherNowAndThen) {
  using Way = FasterWay::Way;
  FasterWay ways;
  const auto run = [&ways](Duration first, Duration second) {
    unsigned seconds = 0;
    for (unsigned i = 0; i < 4 * FasterWay::kProbe; ++i) {
      const Way way = ways.choose();
      seconds += way == Way::kSecond ? 1U : 0U;
      ways.note(way, way == Way::kFirst ? first : second);
    }
    return seconds;
  };
  EXPECT_GT(run(120us, 95us), 4 * FasterWay::kProbe - 100);
  EXPECT_LT(run(120us, 3ms), 100U) << "a busy machine";
  for (int i = 0; i < 3; ++i) run(120us, 95us);
  EXPECT_GT(run(120us, 95us), 4 * FasterWay::kProbe - 100) << "quiet again";
}

// The failure is that of the write inside.
Task<void> fail_durably(BlockDevice* device) {
  const Buffer bytes = Buffer::zeroed(kBlockBytes);
  std::vector<DeviceWrite> writes;
  writes.push_back({DiskOffset(0), {bytes.span()}});
  Status status = co_await device->write_durably(std::move(writes));
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  status = co_await device->flush();
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
  EXPECT_EQ((*device)->engine_note(), "io_uring is switched off");
  EXPECT_EQ((*device)->size(), 0U);
  Result<std::unique_ptr<BlockDevice>> best = open_device(loop, file.path(), {.create = true});
  ASSERT_TRUE(best.has_value());
  EXPECT_TRUE((*best)->engine() == "io_uring" || (*best)->engine() == "threads");
}

TEST(UringDevice, IsFencedAfterAFailedWrite) {
  runtime::AsioRuntime loop;
  runtime::AsioRuntime other;
  // /dev/full takes no write.
  Result<DeviceFile> full = DeviceFile::open("/dev/full", false);
  if (!full.has_value()) GTEST_SKIP() << "no /dev/full";
  full->set_size(1_MiB);
  Result<std::unique_ptr<UringDevice>> uring = UringDevice::make(loop, *full);
  if (uring.has_value()) {
    run_on(loop, fail_and_stay_failed(uring->get()));
    Result<DeviceFile> again = DeviceFile::open("/dev/full", false);
    ASSERT_TRUE(again.has_value());
    again->set_size(1_MiB);
    Result<std::unique_ptr<UringDevice>> second = UringDevice::make(other, *again);
    ASSERT_TRUE(second.has_value());
    run_on(other, fail_durably(second->get()));
    Result<DeviceFile> last = DeviceFile::open("/dev/full", false);
    ASSERT_TRUE(last.has_value());
    last->set_size(1_MiB);
    runtime::AsioRuntime its;
    Result<std::unique_ptr<UringDevice>> third = UringDevice::make(its, *last);
    ASSERT_TRUE(third.has_value());
    run_on(its, fail_through(third->get()));
  }
}

TEST(PoolDevice, IsFencedAfterAFailedWrite) {
  runtime::AsioRuntime loop;
  Result<DeviceFile> full = DeviceFile::open("/dev/full", false);
  if (!full.has_value()) GTEST_SKIP() << "no /dev/full";
  full->set_size(1_MiB);
  PoolDevice device(loop, std::move(*full));
  run_on(loop, fail_and_stay_failed(&device));
  Result<DeviceFile> again = DeviceFile::open("/dev/full", false);
  ASSERT_TRUE(again.has_value());
  again->set_size(1_MiB);
  runtime::AsioRuntime other;
  PoolDevice second(other, std::move(*again));
  run_on(other, fail_durably(&second));
  Result<DeviceFile> last = DeviceFile::open("/dev/full", false);
  ASSERT_TRUE(last.has_value());
  last->set_size(1_MiB);
  runtime::AsioRuntime its;
  PoolDevice third(its, std::move(*last));
  run_on(its, fail_through(&third));
}

// As a container does it.
bool forbid_io_uring() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(OpenDevice, FallsBackToThreadsAndSaysWhy) {
  const TemporaryFile file;
  const pid_t child = ::fork();
  if (child == 0) {
    if (!forbid_io_uring()) ::_exit(3);
    runtime::AsioRuntime loop;
    Result<std::unique_ptr<BlockDevice>> device = open_device(loop, file.path(), {.create = true});
    if (!device.has_value()) ::_exit(1);
    const bool told =
        (*device)->engine() == "threads" &&
        (*device)->engine_note() == "io_uring is forbidden here: Operation not permitted";
    ::_exit(told ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 3) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// A write that the kernel cuts short in a chain, whose rest then fails.
Task<void> cut_short(BlockDevice* device) {
  const Status grown = co_await device->grow(64_KiB);
  EXPECT_TRUE(grown.has_value());
  rlimit limit{};
  EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit old_limit = limit;
  limit.rlim_cur = 32_KiB;
  EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const Buffer bytes = pattern(8, 1);
  std::vector<DeviceWrite> writes;
  writes.push_back(
      {DiskOffset(24_KiB), {bytes.span().first(kBlockBytes), bytes.span().subspan(kBlockBytes)}});
  Status status = co_await device->write_durably(std::move(writes));
  EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  EXPECT_EQ(status.error().code(), Code::kDiskFailed);
  status = co_await device->flush();
  EXPECT_EQ(status.error().code(), Code::kDiskFailed) << "fenced";
}

TEST(UringDevice, ADurableWriteThatIsCutShortGoesOnAndFailsWithItsRest) {
  const TemporaryFile file;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const bool allow_uring : {true, false}) {
    runtime::AsioRuntime loop;
    Result<std::unique_ptr<BlockDevice>> device =
        open_device(loop, file.path(), {.create = true, .allow_uring = allow_uring});
    ASSERT_TRUE(device.has_value());
    run_on(loop, cut_short(device->get()));
    Result<DeviceFile> reader = DeviceFile::open(file.path(), false);
    ASSERT_TRUE(reader.has_value());
    Buffer found = Buffer::allocate(3 * kBlockBytes);
    ASSERT_EQ(::pread(reader->descriptor(), found.data(), found.size(), 24_KiB),
              static_cast<ssize_t>(found.size()));
    EXPECT_TRUE(same(found.slice(0, 2 * kBlockBytes), pattern(8, 1).slice(0, 2 * kBlockBytes)));
    EXPECT_TRUE(same(found.slice(2 * kBlockBytes, kBlockBytes), Buffer::zeroed(kBlockBytes)));
  }
  std::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace cairn::chunkserver::io
