// MeteredDevice: a BlockDevice that counts what passes through it to another one.
//
// Owns:     the device below.
// Promises: figures over sliding windows of whole seconds, O(1) per request.
#pragma once

#include <array>
#include <memory>

#include "chunkserver/io/block_device.h"
#include "common/base/time.h"
#include "common/runtime/runtime.h"

namespace cairn::chunkserver::io {

struct DeviceFigures {
  std::uint64_t reads = 0;  // since the start
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t reads_failed = 0;  // of those that ended; part of the counts above
  std::uint64_t writes_failed = 0;
  std::uint64_t flushes_failed = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  double queue_depth = 0;            // average of the last 5 s
  std::uint64_t latency_avg_us = 0;  // over the last 20 s
  std::uint64_t latency_max_us = 0;
  double io_wait = 0;  // share of the last 20 s with at least one request at the disk
};

class MeteredDevice final : public BlockDevice {
 public:
  MeteredDevice(runtime::Runtime& runtime, std::unique_ptr<BlockDevice> below);

  ByteCount size() const override { return below_->size(); }
  ByteCount space() const override { return below_->space(); }
  bool direct() const override { return below_->direct(); }
  ByteCount size_limit() const override { return below_->size_limit(); }
  Task<Status> read(DiskOffset offset, MutableBytes into) override;
  Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) override;
  Task<Status> flush() override;
  // Counts the writes and one flush; a failure counts as one failed write, or as a failed flush
  // when there was nothing to write.
  Task<Status> write_durably(std::vector<DeviceWrite> writes) override;
  Task<Status> write_through(DeviceWrite write) override;
  Task<Status> discard(DiskOffset offset, ByteCount length) override;
  Task<Status> grow(ByteCount size) override;
  std::string engine() const override { return below_->engine(); }
  std::string engine_note() const override { return below_->engine_note(); }

  DeviceFigures figures();
  // The age of the oldest read, write, flush or grow that has not ended, its time in line included;
  // zero when there is none. A disk that hangs shows here first.
  Duration oldest_request() const;

 private:
  static constexpr std::int64_t kWindowSeconds = 20;
  static constexpr std::int64_t kDepthSeconds = 5;
  struct Second {
    std::int64_t number = -1;
    std::uint64_t ended = 0;
    std::uint64_t latency_ns = 0;
    std::uint64_t latency_max_ns = 0;
    double depth_ns = 0;  // integral of the depth over the second
    std::uint64_t busy_ns = 0;
  };

  // One request, in the frame of its task and in a list in the order of beginning.
  struct Request {
    Instant begun;
    Request* older = nullptr;
    Request* younger = nullptr;
  };

  // Accounts the time since the last event at the present depth.
  void advance();
  // For oldest_request() alone; begin() and end() do it, too.
  void watch(Request* request);
  void unwatch(Request* request);
  void begin(Request* request);
  void end(Request* request);
  Second& second(std::int64_t number);

  std::unique_ptr<BlockDevice> below_;
  DeviceFigures totals_;
  std::array<Second, kWindowSeconds + 1> seconds_;
  std::uint64_t depth_ = 0;
  Request* oldest_ = nullptr;
  Request* youngest_ = nullptr;
  Instant started_;
  Instant accounted_;
};

}  // namespace cairn::chunkserver::io
