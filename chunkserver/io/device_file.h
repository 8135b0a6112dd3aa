// DeviceFile: the open file behind uring_device and pool_device: O_DIRECT where the filesystem
// takes it, size, growth, reserve. Blocking calls; the devices run them where blocking is allowed.
//
// Owns:     the descriptor.
// Errors:   kNotFound, kDiskFailed, kNoSpace.
#pragma once

#include <string>

#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::chunkserver::io {

class DeviceFile {
 public:
  // `create`: makes the file, empty and durable in its directory, if it is absent.
  static Result<DeviceFile> open(const std::string& path, bool create);
  DeviceFile(DeviceFile&& other) noexcept;
  DeviceFile& operator=(DeviceFile&& other) noexcept;
  ~DeviceFile();

  int descriptor() const { return descriptor_; }
  bool direct() const { return direct_; }
  ByteCount size() const { return size_; }
  ByteCount space() const;
  // Blocks of the filesystem that are neither ours nor reserved (1 %, and some room for the index)
  // count as ours to take.
  ByteCount size_limit() const;
  // Allocates space up to `size`. The caller publishes the new size with set_size().
  Status allocate(ByteCount size) const;
  Status punch_hole(ByteCount offset, ByteCount length) const;
  void set_size(ByteCount size) { size_ = size; }

 private:
  DeviceFile(int descriptor, bool direct, ByteCount size)
      : descriptor_(descriptor), direct_(direct), size_(size) {}
  int descriptor_ = -1;
  bool direct_ = false;
  ByteCount size_ = 0;
};

}  // namespace cairn::chunkserver::io
