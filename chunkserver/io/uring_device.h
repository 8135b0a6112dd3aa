// UringDevice: BlockDevice over io_uring.
//
// Owns:     the file, the ring, one helper thread for calls that the ring would pass to a thread
//           anyway (grow, discard).
#pragma once

#include <sys/uio.h>

#include <memory>

#include "chunkserver/io/block_device.h"
#include "chunkserver/io/device_file.h"
#include "chunkserver/io/faster_way.h"
#include "chunkserver/io/offload.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/semaphore.h"

namespace cairn::chunkserver::io {

class UringRing;

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
  Task<Status> write_durably(std::vector<DeviceWrite> writes) override;
  Task<Status> write_through(DeviceWrite write) override;
  Task<Status> discard(DiskOffset offset, ByteCount length) override;
  Task<Status> grow(ByteCount size) override;
  std::string engine() const override { return "io_uring"; }

 private:
  UringDevice(runtime::AsioRuntime& runtime, DeviceFile file, std::shared_ptr<UringRing> ring);
  // The rest of a write, from `first` on.
  Task<Status> write_parts(ByteCount at, std::vector<iovec> parts, std::size_t first);
  Task<Status> sync_data();
  Task<Status> write_linked(const DeviceWrite* write);
  Task<Status> write_dsync(const DeviceWrite* write);
  Status write_failed(const char* doing, int number);

  DeviceFile file_;
  runtime::Semaphore slots_;
  std::shared_ptr<UringRing> ring_;
  bool fenced_ = false;
  FasterWay through_;  // of write_through()
  bool knows_dsync_ = true;
  Offload offload_;
};

}  // namespace cairn::chunkserver::io
