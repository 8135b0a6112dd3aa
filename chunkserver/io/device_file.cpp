#include "chunkserver/io/device_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace cairn::chunkserver::io {
namespace {

Error system_error(Code code, const std::string& doing, int number) {
  return Error(code, fmt::format("{}: {}", doing, std::strerror(number)));
}

// A file that was just made is there after a crash only when its directory was synced.
Status sync_parent(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const int directory =
      ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return fail(system_error(Code::kDiskFailed, "opening " + parent, errno));
  const int rc = ::fsync(directory);
  const int number = errno;
  ::close(directory);
  if (rc != 0) return fail(system_error(Code::kDiskFailed, "fsync of " + parent, number));
  return {};
}

bool leads_nowhere(const std::string& path) {
  struct stat link {};
  struct stat target {};
  return ::lstat(path.c_str(), &link) == 0 && S_ISLNK(link.st_mode) &&
         ::stat(path.c_str(), &target) != 0;
}

bool leads_to_block_device(const std::string& path) {
  struct stat target {};
  return ::stat(path.c_str(), &target) == 0 && S_ISBLK(target.st_mode);
}

Error open_error(const std::string& path, int number) {
  if (number == EBUSY) {
    return Error(Code::kBusy, path +
                                  " is in use: mounted, part of a RAID or LVM, swap, or opened by "
                                  "another chunk server");
  }
  return system_error(number == ENOENT ? Code::kNotFound : Code::kDiskFailed, "opening " + path,
                      number);
}

}  // namespace

Result<DeviceFile> DeviceFile::open(const std::string& path, bool create) {
  if (create && leads_nowhere(path)) {
    return fail(Code::kNotFound, path + " is a symbolic link that leads nowhere: a missing disk?");
  }
  const bool block_device = leads_to_block_device(path);
  const bool make = create && !block_device;
  // O_EXCL without O_CREAT claims a block device.
  const int flags = O_RDWR | O_CLOEXEC | (make ? O_CREAT : 0) | (block_device ? O_EXCL : 0);
  bool direct = true;
  int descriptor = ::open(path.c_str(), flags | O_DIRECT, 0600);
  if (descriptor < 0 && errno == EINVAL) {
    direct = false;
    descriptor = ::open(path.c_str(), flags, 0600);
  }
  if (descriptor < 0) return fail(open_error(path, errno));
  DeviceFile file(descriptor, direct);
  TRY_VOID(file.measure(path));
  // Another kind of file took the place of the one we looked at.
  if (file.block_device_ != block_device) return fail(open_error(path, EBUSY));
  if (make) {
    TRY_VOID(sync_parent(path));
  }
  return file;
}

Status DeviceFile::measure(const std::string& path) {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) {
    return fail(system_error(Code::kDiskFailed, "fstat of " + path, errno));
  }
  if (S_ISBLK(status.st_mode)) return measure_block_device(path);
  size_ = align_down(static_cast<ByteCount>(status.st_size), kBlockBytes);
  return {};
}

Status DeviceFile::measure_block_device(const std::string& path) {
  block_device_ = true;
  std::uint64_t bytes = 0;
  int sector = 0;
  if (::ioctl(descriptor_, BLKGETSIZE64, &bytes) != 0 ||
      ::ioctl(descriptor_, BLKSSZGET, &sector) != 0) {
    return fail(system_error(Code::kDiskFailed, "size of " + path, errno));
  }
  if (sector <= 0 || kBlockBytes % static_cast<ByteCount>(sector) != 0) {
    return fail(Code::kUnsupported,
                fmt::format("{} has blocks of {} bytes; 4096 at most", path, sector));
  }
  size_ = align_down(bytes, kBlockBytes);
  return {};
}

DeviceFile::DeviceFile(DeviceFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      direct_(other.direct_),
      block_device_(other.block_device_),
      size_(other.size_) {}

DeviceFile& DeviceFile::operator=(DeviceFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(direct_, other.direct_);
  std::swap(block_device_, other.block_device_);
  std::swap(size_, other.size_);
  return *this;
}

DeviceFile::~DeviceFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

ByteCount DeviceFile::space() const {
  if (block_device_) return size_;
  struct statvfs fs {};
  if (::fstatvfs(descriptor_, &fs) != 0) return size_;
  return static_cast<ByteCount>(fs.f_blocks) * fs.f_frsize;
}

ByteCount DeviceFile::size_limit() const {
  if (block_device_) return size_;
  struct statvfs fs {};
  if (::fstatvfs(descriptor_, &fs) != 0) return size_;
  const ByteCount total = static_cast<ByteCount>(fs.f_blocks) * fs.f_frsize;
  const ByteCount available = static_cast<ByteCount>(fs.f_bavail) * fs.f_frsize;
  // 1 %, but at least what the index needs for its compactions, and never most of a tiny
  // filesystem.
  const ByteCount reserve = std::max(total / 100, std::min<ByteCount>(256_MiB, total / 10));
  const ByteCount room = available > reserve ? available - reserve : 0;
  return size_ + align_down(room, kBlockBytes);
}

Status DeviceFile::allocate(ByteCount size) const {
  if (block_device_) {
    if (size <= size_) return {};
    return fail(Code::kNoSpace, fmt::format("the block device has {} bytes", size_));
  }
  int rc = 0;
  do {
    rc = ::fallocate(descriptor_, 0, 0, static_cast<off_t>(size));
  } while (rc != 0 && errno == EINTR);
  if (rc == 0) return {};
  if (errno == EOPNOTSUPP) {
    if (::ftruncate(descriptor_, static_cast<off_t>(size)) == 0) return {};
  }
  const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  return fail(system_error(full ? Code::kNoSpace : Code::kDiskFailed, "fallocate", errno));
}

Status DeviceFile::punch_hole(ByteCount offset, ByteCount length) const {
  if (block_device_) {
    const std::array<std::uint64_t, 2> range{offset, length};
    if (::ioctl(descriptor_, BLKDISCARD, range.data()) == 0 || errno == EOPNOTSUPP) return {};
    return fail(system_error(Code::kDiskFailed, "discarding blocks", errno));
  }
  const int rc = ::fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             static_cast<off_t>(offset), static_cast<off_t>(length));
  // Where holes are not supported the bytes just stay.
  if (rc == 0 || errno == EOPNOTSUPP) return {};
  return fail(system_error(Code::kDiskFailed, "punching a hole", errno));
}

}  // namespace cairn::chunkserver::io
