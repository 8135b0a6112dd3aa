// FileDescriptor: closed when it dies; and whole writes and reads at an offset.
#pragma once

#include <string>
#include <utility>

#include "common/base/buffer.h"
#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::admin {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// Errors: as cluster::system_error; the message names `path`.
Status write_all_at(int fd, Bytes bytes, ByteCount offset, const std::string& path);
// Bytes got: less than asked for only at the end of the file.
Result<std::size_t> read_all_at(int fd, MutableBytes into, ByteCount offset,
                                const std::string& path);

}  // namespace cairn::admin
