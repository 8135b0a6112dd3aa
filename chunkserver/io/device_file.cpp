#include "chunkserver/io/device_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
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

}  // namespace

Result<DeviceFile> DeviceFile::open(const std::string& path, bool create) {
  const int flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0);
  bool direct = true;
  int descriptor = ::open(path.c_str(), flags | O_DIRECT, 0600);
  if (descriptor < 0 && errno == EINVAL) {
    direct = false;
    descriptor = ::open(path.c_str(), flags, 0600);
  }
  if (descriptor < 0) {
    const int number = errno;
    return fail(system_error(number == ENOENT ? Code::kNotFound : Code::kDiskFailed,
                             "opening " + path, number));
  }
  DeviceFile file(descriptor, direct, 0);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    return fail(system_error(Code::kDiskFailed, "fstat of " + path, errno));
  }
  file.size_ = align_down(static_cast<ByteCount>(status.st_size), kBlockBytes);
  if (create) {
    TRY_VOID(sync_parent(path));
  }
  return file;
}

DeviceFile::DeviceFile(DeviceFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      direct_(other.direct_),
      size_(other.size_) {}

DeviceFile& DeviceFile::operator=(DeviceFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(direct_, other.direct_);
  std::swap(size_, other.size_);
  return *this;
}

DeviceFile::~DeviceFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

ByteCount DeviceFile::space() const {
  struct statvfs fs {};
  if (::fstatvfs(descriptor_, &fs) != 0) return size_;
  return static_cast<ByteCount>(fs.f_blocks) * fs.f_frsize;
}

ByteCount DeviceFile::size_limit() const {
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
  const int rc = ::fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             static_cast<off_t>(offset), static_cast<off_t>(length));
  // Where holes are not supported the bytes just stay.
  if (rc == 0 || errno == EOPNOTSUPP) return {};
  return fail(system_error(Code::kDiskFailed, "punching a hole", errno));
}

}  // namespace cairn::chunkserver::io
