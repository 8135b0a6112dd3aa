// DeviceFile: the open file behind uring_device and pool_device: O_DIRECT where the filesystem
// takes it, size, growth, reserve. Or a raw block device, named directly or by a symbolic link: it
// has its full size from the beginning, and what it held before. Blocking calls; the devices run
// them where blocking is allowed.
//
// Owns:     the descriptor; of a block device alone: nobody mounts it, or opens it as we do,
//           meanwhile.
// Errors:   kNotFound, kBusy (a block device that is mounted or otherwise in use), kUnsupported (a
//           block device with blocks larger than 4 KiB), kDiskFailed, kNoSpace.
#pragma once

#include <string>

#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::chunkserver::io {

class DeviceFile {
 public:
  // `create`: makes the file, empty and durable in its directory, if it is absent. Never through a
  // symbolic link: one that leads nowhere is kNotFound, its disk is missing.
  static Result<DeviceFile> open(const std::string& path, bool create);
  DeviceFile(DeviceFile&& other) noexcept;
  DeviceFile& operator=(DeviceFile&& other) noexcept;
  ~DeviceFile();

  int descriptor() const { return descriptor_; }
  bool direct() const { return direct_; }
  bool is_block_device() const { return block_device_; }
  ByteCount size() const { return size_; }
  ByteCount space() const;
  // Blocks of the filesystem that are neither ours nor reserved (1 %, and some room for the index)
  // count as ours to take. A block device is all ours.
  ByteCount size_limit() const;
  // Allocates space up to `size`. The caller publishes the new size with set_size().
  Status allocate(ByteCount size) const;
  // Tells the disk that the bytes are not needed; does nothing where it cannot be told.
  Status punch_hole(ByteCount offset, ByteCount length) const;
  void set_size(ByteCount size) { size_ = size; }

 private:
  DeviceFile(int descriptor, bool direct) : descriptor_(descriptor), direct_(direct) {}
  Status measure(const std::string& path);
  Status measure_block_device(const std::string& path);

  int descriptor_ = -1;
  bool direct_ = false;
  bool block_device_ = false;
  ByteCount size_ = 0;
};

}  // namespace cairn::chunkserver::io
