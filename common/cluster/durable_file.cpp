#include "common/cluster/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace cairn::cluster {
namespace {

// A descriptor that is closed when it dies. A failed close of a file that was fsynced loses
// nothing.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status sync_directory(const std::string& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) return fail(system_error(errno, "open", path));
  if (::fsync(directory.get()) != 0) return fail(system_error(errno, "fsync", path));
  return {};
}

Status write_whole(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(system_error(errno, "write", path));
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(fd) != 0) return fail(system_error(errno, "fsync", path));
  return {};
}

// A complete, durable file beside `path`, under a name of its own.
Result<std::string> write_beside(const std::string& path, std::string_view content, mode_t mode) {
  std::string temporary = path + ".tmp.XXXXXX";
  const Descriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (file.get() < 0) return fail(system_error(errno, "create", temporary));
  Status written = {};
  if (::fchmod(file.get(), mode) != 0) written = fail(system_error(errno, "chmod", temporary));
  if (written.has_value()) written = write_whole(file.get(), content, temporary);
  if (!written.has_value()) {
    ::unlink(temporary.c_str());
    return fail(std::move(written).error());
  }
  return temporary;
}

}  // namespace

Error system_error(int error_number, std::string_view what, const std::string& path) {
  Code code = Code::kDiskFailed;
  switch (error_number) {
    case ENOENT:
      code = Code::kNotFound;
      break;
    case EACCES:
    case EPERM:
      code = Code::kAccessDenied;
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::kNoSpace;
      break;
    case EROFS:
      code = Code::kReadOnly;
      break;
    case EEXIST:
      code = Code::kExists;
      break;
    case ENOTDIR:
      code = Code::kNotDirectory;
      break;
    case EISDIR:
      code = Code::kIsDirectory;
      break;
    case ENAMETOOLONG:
      code = Code::kNameTooLong;
      break;
    default:
      break;
  }
  return Error(code, std::string(what) + " " + path + ": " + std::strerror(error_number));
}

Result<std::string> read_small_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return fail(system_error(errno, "open", path));
  std::string content;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error(errno, "read", path));
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
    if (content.size() > kSmallFileBytesMax) return fail(Code::kTooBig, path + " is too big");
  }
}

Status write_file_durably(const std::string& path, std::string_view content, mode_t mode) {
  TRY(const std::string temporary, write_beside(path, content, mode));
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error_number = errno;
    ::unlink(temporary.c_str());
    return fail(system_error(error_number, "rename to", path));
  }
  return sync_directory(parent_of(path));
}

Status create_file_durably(const std::string& path, std::string_view content, mode_t mode) {
  TRY(const std::string temporary, write_beside(path, content, mode));
  const int linked = ::link(temporary.c_str(), path.c_str());
  const int error_number = errno;
  ::unlink(temporary.c_str());
  if (linked != 0) return fail(system_error(error_number, "create", path));
  return sync_directory(parent_of(path));
}

Status remove_file_durably(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail(system_error(errno, "remove", path));
  }
  return sync_directory(parent_of(path));
}

Status make_directories(const std::string& path, mode_t mode) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return {};
    return fail(Code::kNotDirectory, path + " is not a directory");
  }
  if (errno != ENOENT) return fail(system_error(errno, "look at", path));
  const std::string parent = parent_of(path);
  if (parent != path) {
    TRY_VOID(make_directories(parent, mode));
  }
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
    return fail(system_error(errno, "make directory", path));
  }
  return sync_directory(parent);
}

}  // namespace cairn::cluster
