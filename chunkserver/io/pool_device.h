// PoolDevice: BlockDevice over preadv, pwritev and fdatasync on a few threads, where io_uring is
// forbidden.
//
// Owns: the file and its threads.
#pragma once

#include "chunkserver/io/block_device.h"
#include "chunkserver/io/device_file.h"
#include "chunkserver/io/offload.h"
#include "common/runtime/semaphore.h"

namespace cairn::chunkserver::io {

class PoolDevice final : public BlockDevice {
 public:
  // `note`: why it is not io_uring.
  PoolDevice(runtime::Runtime& runtime, DeviceFile file, unsigned threads = 8,
             std::string note = {});

  ByteCount size() const override { return file_.size(); }
  ByteCount space() const override { return file_.space(); }
  bool direct() const override { return file_.direct(); }
  ByteCount size_limit() const override { return file_.size_limit(); }
  Task<Status> read(DiskOffset offset, MutableBytes into) override;
  Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) override;
  Task<Status> flush() override;
  Task<Status> write_durably(std::vector<DeviceWrite> writes) override;
  Task<Status> discard(DiskOffset offset, ByteCount length) override;
  Task<Status> grow(ByteCount size) override;
  std::string engine() const override { return "threads"; }
  std::string engine_note() const override { return note_; }

 private:
  DeviceFile file_;
  runtime::Semaphore slots_;
  std::string note_;
  bool fenced_ = false;
  Offload offload_;
};

}  // namespace cairn::chunkserver::io
