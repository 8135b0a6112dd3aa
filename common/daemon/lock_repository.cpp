#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/daemon/daemon.h"

namespace cairn::daemon {
namespace {

Code code_of(int error) {
  switch (error) {
    case ENOENT:
      return Code::kNotFound;
    case EACCES:
    case EPERM:
      return Code::kAccessDenied;
    case EROFS:
      return Code::kReadOnly;
    default:
      return Code::kDiskFailed;
  }
}

std::unexpected<Error> cannot(const std::string& path) {
  const int error = errno;
  return fail(code_of(error), "cannot lock " + path + ": " + std::strerror(error));
}

// Of the process that holds the lock, as it wrote it; "?" in the instant before it did.
std::string holder(int file) {
  char text[24] = {};
  const ssize_t n = ::pread(file, text, sizeof text - 1, 0);
  const std::string_view read(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  const std::string_view digits = read.substr(0, read.find_first_not_of("0123456789"));
  return digits.empty() ? "?" : std::string(digits);
}

}  // namespace

Status lock_repository(const std::string& directory) {
  const std::string path = directory + "/lock";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return cannot(path);
  if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    const Status busy = errno == EWOULDBLOCK
                            ? fail(Code::kBusy, directory + " is in use by process " + holder(file))
                            : cannot(path);
    ::close(file);
    return busy;
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  const bool written = ::ftruncate(file, 0) == 0 && ::pwrite(file, pid.data(), pid.size(), 0) ==
                                                        static_cast<ssize_t>(pid.size());
  if (!written && errno != ENOSPC) {  // on a full disk the lock holds all the same
    const auto error = cannot(path);
    ::close(file);
    return error;
  }
  // `file` stays open: the lock ends with the process, however it ends.
  return {};
}

}  // namespace cairn::daemon
