// UringDevice: BlockDevice over io_uring. One ring for one loop; what a turn of the loop asks for
// is submitted together at its end; completions arrive through an eventfd that the io_context
// awaits.
//
// Owns:     the file, the ring, one helper thread for calls the ring of this kernel does not take
//           (grow).
#pragma once

#include <memory>

#include "chunkserver/io/block_device.h"
#include "chunkserver/io/device_file.h"
#include "chunkserver/io/offload.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/semaphore.h"

namespace cairn::chunkserver::io {

class UringDevice final : public BlockDevice {
 public:
  // Error: kUnsupported where io_uring is forbidden or absent; `file` is then as it was.
  static Result<std::unique_ptr<UringDevice>> make(runtime::AsioRuntime& runtime, DeviceFile& file);
  ~UringDevice() override;

  ByteCount size() const override { return file_.size(); }
  ByteCount space() const override { return file_.space(); }
  bool direct() const override { return file_.direct(); }
  ByteCount size_limit() const override { return file_.size_limit(); }
  Task<Status> read(DiskOffset offset, MutableBytes into) override;
  Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) override;
  Task<Status> flush() override;
  Task<Status> discard(DiskOffset offset, ByteCount length) override;
  Task<Status> grow(ByteCount size) override;
  std::string engine() const override { return "io_uring"; }

 private:
  class Ring;
  UringDevice(runtime::AsioRuntime& runtime, DeviceFile file, std::shared_ptr<Ring> ring);

  DeviceFile file_;
  runtime::AsioRuntime& runtime_;
  runtime::Semaphore slots_;
  std::shared_ptr<Ring> ring_;
  bool fenced_ = false;
  Offload offload_;
};

}  // namespace cairn::chunkserver::io
