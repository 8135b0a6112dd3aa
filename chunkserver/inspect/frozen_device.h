// FrozenDevice: a data file or ring as it lies there, for looking at it: writes stay in memory, the
// file is never changed. Calls block; nothing is suspended.
//
// Owns:     the descriptor, the blocks that were "written".
// Errors:   kNotFound, kDiskFailed.
#pragma once

#include <unordered_map>

#include "chunkserver/io/block_device.h"

namespace cairn::chunkserver::inspect {

class FrozenDevice final : public io::BlockDevice {
 public:
  static Result<std::unique_ptr<FrozenDevice>> open(runtime::Runtime& runtime,
                                                    const std::string& path);
  ~FrozenDevice() override;

  ByteCount size() const override { return size_; }
  ByteCount space() const override { return size_; }
  bool direct() const override { return false; }
  ByteCount size_limit() const override { return ByteCount{1} << 60; }
  Task<Status> read(DiskOffset offset, MutableBytes into) override;
  Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) override;
  Task<Status> flush() override { co_return Status(); }
  Task<Status> discard(DiskOffset, ByteCount) override { co_return Status(); }
  Task<Status> grow(ByteCount size) override;
  std::string engine() const override { return "read-only"; }

 private:
  FrozenDevice(runtime::Runtime& runtime, int file, ByteCount size)
      : BlockDevice(runtime), file_(file), size_(size) {}
  Status read_file(DiskOffset offset, MutableBytes into) const;

  int file_;
  ByteCount size_;
  std::unordered_map<std::uint64_t, Buffer> written_;
};

}  // namespace cairn::chunkserver::inspect
