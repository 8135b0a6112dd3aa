#include "mds/replication/disk_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/base/crc32c.h"

namespace cairn::mds::replication::disk {
namespace {

std::unexpected<Error> error_of(int number, std::string_view doing, const Path& path) {
  Code code = Code::kDiskFailed;
  if (number == ENOENT) code = Code::kNotFound;
  if (number == ENOSPC || number == EDQUOT) code = Code::kNoSpace;
  return fail(code, fmt::format("cannot {} {}: {}", doing, path.string(), std::strerror(number)));
}

class File {
 public:
  static Result<File> open(const Path& path, int flags) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return error_of(errno, "open", path);
    return File(fd);
  }
  File(File&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  File& operator=(File&&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }
  Status sync(const Path& path) const {
    return ::fsync(fd_) == 0 ? Status() : Status(error_of(errno, "flush", path));
  }

 private:
  explicit File(int fd) : fd_(fd) {}
  int fd_;
};

// How many bytes there were, up to `bytes`.
Result<std::size_t> read_into(const File& file, const Path& path, ByteCount offset, char* into,
                              std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t n =
        ::pread(file.fd(), into + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error_of(errno, "read", path);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

Status write_all(const File& file, const Path& path, ByteCount offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(file.fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error_of(errno, "write", path);
    offset += static_cast<ByteCount>(n);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

bool exists(const Path& path) {
  struct stat facts {};
  return ::lstat(path.c_str(), &facts) == 0;
}

Result<ByteCount> size_of(const Path& path) {
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0) return error_of(errno, "look at", path);
  if (!S_ISREG(facts.st_mode)) return fail(Code::kCorrupt, path.string() + " is no regular file");
  return static_cast<ByteCount>(facts.st_size);
}

Result<ByteCount> free_bytes(const Path& directory) {
  struct statvfs facts {};
  if (::statvfs(directory.c_str(), &facts) != 0) return error_of(errno, "look at", directory);
  return static_cast<ByteCount>(facts.f_bavail) * facts.f_frsize;
}

Status make_directory(const Path& directory) {
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return error_of(errno, "make", directory);
  }
  return sync_directory(directory.parent_path());
}

Status rename(const Path& from, const Path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return error_of(errno, "rename", from);
  TRY_VOID(sync_directory(to.parent_path()));
  return from.parent_path() == to.parent_path() ? Status() : sync_directory(from.parent_path());
}

Status remove_file(const Path& file) {
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) return error_of(errno, "remove", file);
  return sync_directory(file.parent_path());
}

Status remove_tree(const Path& tree) {
  std::error_code error;
  std::filesystem::remove_all(tree, error);
  if (error) return error_of(error.value(), "remove", tree);
  return sync_directory(tree.parent_path());
}

Status sync_directory(const Path& directory) {
  TRY(const File file, File::open(directory, O_RDONLY | O_DIRECTORY));
  return file.sync(directory);
}

Status write_whole(const Path& file, std::string_view bytes) {
  Path temporary = file;
  temporary += ".new";
  {
    TRY(const File fresh, File::open(temporary, O_WRONLY | O_CREAT | O_TRUNC));
    TRY_VOID(write_all(fresh, temporary, 0, bytes));
    TRY_VOID(fresh.sync(temporary));
  }
  return disk::rename(temporary, file);
}

Status create_empty(const Path& path) {
  TRY(const File file, File::open(path, O_WRONLY | O_CREAT | O_TRUNC));
  return {};
}

Result<std::string> read_whole(const Path& path, ByteCount bytes_max) {
  TRY(const ByteCount bytes, size_of(path));
  if (bytes > bytes_max) return fail(Code::kCorrupt, path.string() + " is too large");
  return read_at(path, 0, bytes);
}

Result<std::string> read_at(const Path& path, ByteCount offset, ByteCount bytes) {
  TRY(const File file, File::open(path, O_RDONLY));
  std::string content(bytes, '\0');
  TRY(const std::size_t got, read_into(file, path, offset, content.data(), content.size()));
  if (got != bytes) return fail(Code::kCorrupt, path.string() + " is shorter than it was");
  return content;
}

Status write_at(const Path& path, ByteCount offset, std::string_view bytes, bool sync) {
  TRY(const File file, File::open(path, O_WRONLY));
  TRY_VOID(write_all(file, path, offset, bytes));
  return sync ? file.sync(path) : Status();
}

Status sync_file(const Path& path) {
  TRY(const File file, File::open(path, O_RDONLY));
  return file.sync(path);
}

Result<std::uint32_t> crc_of(const Path& path, ByteCount bytes, const std::atomic<bool>& stop) {
  TRY(const ByteCount size, size_of(path));
  if (size != bytes) {
    return fail(Code::kCorrupt,
                fmt::format("{} has {} bytes instead of {}", path.string(), size, bytes));
  }
  TRY(const File file, File::open(path, O_RDONLY));
  std::string part(static_cast<std::size_t>(std::min<ByteCount>(bytes, 1_MiB)), '\0');
  std::uint32_t crc = 0;
  for (ByteCount at = 0; at < bytes; at += part.size()) {
    if (stop.load()) return fail(Code::kCancelled, "stopping");
    const std::size_t want = static_cast<std::size_t>(std::min<ByteCount>(part.size(), bytes - at));
    TRY(const std::size_t got, read_into(file, path, at, part.data(), want));
    if (got != want) return fail(Code::kCorrupt, path.string() + " became shorter");
    crc = crc32c(as_bytes(std::string_view(part).substr(0, want)), crc);
  }
  return crc;
}

}  // namespace cairn::mds::replication::disk
