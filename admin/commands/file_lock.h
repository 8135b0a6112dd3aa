// FileLock: an flock()ed file, until the object dies.
#pragma once

#include <unistd.h>

#include <string>
#include <utility>

#include "common/base/result.h"

namespace cairn::admin {

class FileLock {
 public:
  explicit FileLock(int fd) : fd_(fd) {}
  ~FileLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;

 private:
  int fd_;
};

// The lock that the daemon of a repository holds while it runs.
// Error: kBusy, naming the process that has it.
Result<FileLock> lock_stopped_repository(const std::string& directory);

}  // namespace cairn::admin
