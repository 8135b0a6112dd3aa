#include "client/fuse/attributes.h"

namespace cairn::client::fuse {

namespace {

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;

constexpr mode_t kPermissionBits = 07777;
constexpr blksize_t kPreferredIoBytes = 1 << 20;

}  // namespace

mode_t to_file_type(pb::FileType type) {
  switch (type) {
    case pb::TYPE_REGULAR:
      return S_IFREG;
    case pb::TYPE_DIRECTORY:
      return S_IFDIR;
    case pb::TYPE_SYMLINK:
      return S_IFLNK;
    case pb::TYPE_FIFO:
      return S_IFIFO;
    case pb::TYPE_SOCKET:
      return S_IFSOCK;
    case pb::TYPE_CHAR:
      return S_IFCHR;
    case pb::TYPE_BLOCK:
      return S_IFBLK;
    default:
      return 0;
  }
}

pb::FileType from_mode(mode_t mode) {
  switch (mode & S_IFMT) {
    case 0:  // mknod(2): no type means a regular file
    case S_IFREG:
      return pb::TYPE_REGULAR;
    case S_IFDIR:
      return pb::TYPE_DIRECTORY;
    case S_IFLNK:
      return pb::TYPE_SYMLINK;
    case S_IFIFO:
      return pb::TYPE_FIFO;
    case S_IFSOCK:
      return pb::TYPE_SOCKET;
    case S_IFCHR:
      return pb::TYPE_CHAR;
    case S_IFBLK:
      return pb::TYPE_BLOCK;
    default:
      return pb::TYPE_UNSET;
  }
}

timespec to_timespec(std::int64_t nanos) {
  // Times before 1970 have a negative second and a positive nanosecond part.
  std::int64_t seconds = nanos / kNanosPerSecond;
  std::int64_t rest = nanos % kNanosPerSecond;
  if (rest < 0) {
    rest += kNanosPerSecond;
    --seconds;
  }
  return {.tv_sec = seconds, .tv_nsec = rest};
}

std::int64_t to_nanos(const timespec& time) { return time.tv_sec * kNanosPerSecond + time.tv_nsec; }

struct stat to_stat(const pb::Attributes& attributes) {
  struct stat st {};
  st.st_ino = attributes.inode();
  st.st_mode = to_file_type(attributes.type()) | (attributes.mode() & kPermissionBits);
  st.st_nlink = attributes.nlink();
  st.st_uid = attributes.uid();
  st.st_gid = attributes.gid();
  st.st_size = static_cast<off_t>(attributes.size());
  st.st_blocks = static_cast<blkcnt_t>(attributes.blocks());
  st.st_blksize = kPreferredIoBytes;
  st.st_atim = to_timespec(attributes.atime_ns());
  st.st_mtim = to_timespec(attributes.mtime_ns());
  st.st_ctim = to_timespec(attributes.ctime_ns());
  st.st_rdev = attributes.rdev();
  return st;
}

}  // namespace cairn::client::fuse
