// Raw block devices, on a loop device of our own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "chunkserver/io/device_file.h"
#include "chunkserver/io/device_fixture.h"
#include "chunkserver/io/open_device.h"

namespace cairn::chunkserver::io {
namespace {

constexpr ByteCount kBytes = 8_MiB;

// A block device over a file; path() is empty where there are none, why() tells the reason.
class LoopDevice {
 public:
  explicit LoopDevice(std::uint32_t sector) {
    const int file = ::open(file_.path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(file >= 0);
    // Some bytes at the end that no 4 KiB block holds.
    CHECK_EQ(::ftruncate(file, static_cast<off_t>(kBytes + (sector == 512 ? 512 : 0))), 0);
    const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) why_ = std::string("/dev/loop-control: ") + std::strerror(errno);
    // Others may take the free one before us.
    for (int attempt = 0; control >= 0 && path_.empty() && attempt < 10; ++attempt) {
      take(control, file, sector);
    }
    if (control >= 0) ::close(control);
    ::close(file);
  }
  ~LoopDevice() {
    if (device_ < 0) return;
    ::ioctl(device_, LOOP_CLR_FD, 0);
    ::close(device_);
  }
  const std::string& path() const { return path_; }
  const std::string& why() const { return why_; }
  std::string link() const { return file_.path() + "-link"; }

 private:
  void take(int control, int file, std::uint32_t sector) {
    const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
    const std::string path = "/dev/loop" + std::to_string(number);
    const int device = number < 0 ? -1 : ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    loop_config config{};
    config.fd = static_cast<std::uint32_t>(file);
    config.block_size = sector;
    if (device >= 0 && ::ioctl(device, LOOP_CONFIGURE, &config) == 0) {
      device_ = device;
      path_ = path;
      return;
    }
    why_ = path + ": " + std::strerror(errno);
    if (device >= 0) ::close(device);
  }

  TemporaryFile file_;
  int device_ = -1;
  std::string path_;
  std::string why_;
};

Task<void> use_raw(BlockDevice* device) {
  EXPECT_EQ(device->size(), kBytes);
  EXPECT_EQ(device->size_limit(), kBytes);
  EXPECT_EQ(device->space(), kBytes);
  EXPECT_TRUE(device->direct());
  Status status = co_await device->grow(kBytes);
  EXPECT_TRUE(status.has_value());
  status = co_await device->grow(kBytes + kBlockBytes);
  EXPECT_EQ(status.error().code(), Code::kNoSpace);
  const Buffer bytes = pattern(16, 1);
  std::vector<DeviceWrite> writes;
  writes.push_back({DiskOffset(kBytes - bytes.size()), {bytes.span()}});
  status = co_await device->write_durably(std::move(writes));
  EXPECT_TRUE(status.has_value());
  co_await write_blocks(device, 0, 2, 16);
  status = co_await device->flush();
  EXPECT_TRUE(status.has_value());
  const bool end = co_await holds(device, kBytes / kBlockBytes - 16, pattern(16, 1));
  EXPECT_TRUE(end);
  status = co_await device->discard(DiskOffset(4 * kBlockBytes), 4 * kBlockBytes);
  EXPECT_TRUE(status.has_value());
  const Buffer rest = pattern(16, 2);
  const bool before = co_await holds(device, 0, rest.slice(0, 4 * kBlockBytes));
  const bool after = co_await holds(device, 8, rest.slice(8 * kBlockBytes, 8 * kBlockBytes));
  EXPECT_TRUE(before && after);
  // A loop device gives the hole back as zeros.
  const bool zeros = co_await holds(device, 4, Buffer::zeroed(4 * kBlockBytes));
  EXPECT_TRUE(zeros);
  std::vector<Bytes> parts{bytes.span()};
  status = co_await device->write(DiskOffset(kBytes - kBlockBytes), std::move(parts));
  EXPECT_EQ(status.error().code(), Code::kInvalidArgument) << "over the end";
}

class RawDevice : public ::testing::TestWithParam<std::tuple<std::uint32_t, bool>> {};

TEST_P(RawDevice, IsADeviceOfItsFullSize) {
  const auto [sector, allow_uring] = GetParam();
  const LoopDevice loop_device(sector);
  if (loop_device.path().empty()) GTEST_SKIP() << "no loop device: " << loop_device.why();
  runtime::AsioRuntime loop;
  Result<std::unique_ptr<BlockDevice>> device =
      open_device(loop, loop_device.path(), {.create = false, .allow_uring = allow_uring});
  ASSERT_TRUE(device.has_value()) << device.error().to_string();
  run_on(loop, use_raw(device->get()));
}
INSTANTIATE_TEST_SUITE_P(Sectors, RawDevice,
                         ::testing::Combine(::testing::Values(512, 4096), ::testing::Bool()));

TEST(RawDevice, IsOpenedThroughALinkAndByOneOnly) {
  const LoopDevice loop_device(512);
  if (loop_device.path().empty()) GTEST_SKIP() << "no loop device: " << loop_device.why();
  std::filesystem::create_symlink(loop_device.path(), loop_device.link());
  Result<DeviceFile> file = DeviceFile::open(loop_device.link(), true);
  ASSERT_TRUE(file.has_value()) << file.error().to_string();
  EXPECT_TRUE(file->is_block_device());
  EXPECT_EQ(file->size(), kBytes);
  const Result<DeviceFile> second = DeviceFile::open(loop_device.path(), false);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), Code::kBusy);
  EXPECT_NE(second.error().message().find("is in use"), std::string::npos);
}

TEST(DeviceFile, DoesNotMakeAFileWhereALinkLeadsToAMissingDisk) {
  const TemporaryFile file;
  const std::string target = file.path() + "-missing";
  std::filesystem::create_symlink(target, file.path());
  const Result<DeviceFile> opened = DeviceFile::open(file.path(), true);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), Code::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(target));
}

TEST(DeviceFile, AFileIsNoBlockDevice) {
  const TemporaryFile file;
  const Result<DeviceFile> opened = DeviceFile::open(file.path(), true);
  ASSERT_TRUE(opened.has_value());
  EXPECT_FALSE(opened->is_block_device());
  EXPECT_TRUE(DeviceFile::open(file.path(), true).has_value());
}

}  // namespace
}  // namespace cairn::chunkserver::io
