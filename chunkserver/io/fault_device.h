// FaultDevice: a BlockDevice that misbehaves to order, over one that works. For tests and benches
// on real daemons: slow disks, I/O errors, bad spots, disks that hang.
//
// Owns:     the device below.
// Promises: without a plan it only passes requests on. An injected failure looks like EIO of the
//           device below: a failed write or flush fences until the device is opened again, whatever
//           the plan says then.
// Limits:   a plan applies to the requests that begin after it, and to those that it finds stalled.
//           A stalled request ends only when the plan is changed: to stop in order, set_plan() with
//           stall off.
#pragma once

#include <memory>

#include "chunkserver/io/block_device.h"
#include "chunkserver/io/fault_plan.h"
#include "common/base/time.h"
#include "common/runtime/semaphore.h"

namespace cairn::chunkserver::io {

class FaultDevice final : public BlockDevice {
 public:
  FaultDevice(runtime::Runtime& runtime, std::unique_ptr<BlockDevice> below);

  void set_plan(FaultPlan plan);
  const FaultPlan& plan() const { return plan_; }
  // Requests that wait for another plan.
  std::size_t stalled() const { return stalled_; }

  ByteCount size() const override { return below_->size(); }
  ByteCount space() const override { return below_->space(); }
  bool direct() const override { return below_->direct(); }
  ByteCount size_limit() const override { return below_->size_limit(); }
  Task<Status> read(DiskOffset offset, MutableBytes into) override;
  Task<Status> write(DiskOffset offset, std::vector<Bytes> parts) override;
  Task<Status> flush() override;
  Task<Status> write_durably(std::vector<DeviceWrite> writes) override;
  Task<Status> write_through(DeviceWrite write) override;
  Task<Status> discard(DiskOffset offset, ByteCount length) override;
  Task<Status> grow(ByteCount size) override;
  std::string engine() const override { return below_->engine(); }
  std::string engine_note() const override;

 private:
  // When the plan lets a request end that begins now.
  Instant pace(Duration delay, ByteCount bytes);
  // Waits as the plan says.
  Task<void> hold_back(Duration FaultPlan::*delay, ByteCount bytes);
  bool in_bad_spot(DiskOffset offset, ByteCount length) const;
  Status fenced() const;

  std::unique_ptr<BlockDevice> below_;
  FaultPlan plan_;
  runtime::Signal changed_;
  std::size_t stalled_ = 0;
  Instant serial_free_at_;
  Instant bandwidth_free_at_;
  bool fenced_ = false;
};

}  // namespace cairn::chunkserver::io
