#include "chunkserver/io/fault_device.h"

#include <algorithm>

namespace cairn::chunkserver::io {
namespace {

Error injected(const char* doing) {
  return Error(Code::kDiskFailed, std::string(doing) + ": Input/output error (injected)");
}

}  // namespace

FaultDevice::FaultDevice(runtime::Runtime& runtime, std::unique_ptr<BlockDevice> below)
    : BlockDevice(runtime), below_(std::move(below)), changed_(runtime) {}

void FaultDevice::set_plan(FaultPlan plan) {
  plan_ = plan;
  serial_free_at_ = bandwidth_free_at_ = Instant();
  changed_.notify_all();
}

std::string FaultDevice::engine_note() const {
  std::string note = below_->engine_note();
  if (plan_.none()) return note;
  return note + (note.empty() ? "" : "; ") + "faults injected: " + plan_.to_text();
}

Instant FaultDevice::pace(Duration delay, ByteCount bytes) {
  const Instant now = runtime().now();
  Instant end = now + delay;
  if (plan_.serial) {
    serial_free_at_ = std::max(serial_free_at_, now) + delay;
    end = serial_free_at_;
  }
  if (plan_.bandwidth != 0 && bytes != 0) {
    const double seconds = static_cast<double>(bytes) / static_cast<double>(plan_.bandwidth);
    bandwidth_free_at_ = std::max(bandwidth_free_at_, now) +
                         Duration(static_cast<std::int64_t>(seconds * 1'000'000'000));
    end = std::max(end, bandwidth_free_at_);
  }
  return end;
}

Task<void> FaultDevice::hold_back(Duration FaultPlan::*delay, ByteCount bytes) {
  while (plan_.stall) {
    ++stalled_;
    co_await changed_.wait();
    --stalled_;
  }
  const Instant end = pace(plan_.*delay, bytes);
  if (end > runtime().now()) co_await sleep_until(runtime(), end);
}

bool FaultDevice::in_bad_spot(DiskOffset offset, ByteCount length) const {
  const std::uint64_t first = offset.raw() / kBlockBytes;
  return first < plan_.fail_first + plan_.fail_count &&
         plan_.fail_first < first + length / kBlockBytes;
}

Status FaultDevice::fenced() const {
  if (fenced_) return fail(Code::kDiskFailed, "the disk is fenced after an injected failure");
  return {};
}

Task<Status> FaultDevice::read(DiskOffset offset, MutableBytes into) {
  CO_TRY_VOID(check_read(*this, offset, into));
  co_await hold_back(&FaultPlan::read_delay, into.size());
  CO_TRY_VOID(fenced());
  if (plan_.fail_reads || in_bad_spot(offset, into.size())) co_return fail(injected("read"));
  co_return co_await below_->read(offset, into);
}

Task<Status> FaultDevice::write(DiskOffset offset, std::vector<Bytes> parts) {
  CO_TRY_VOID(check_write(*this, offset, parts));
  co_await hold_back(&FaultPlan::write_delay, total_bytes(parts));
  CO_TRY_VOID(fenced());
  if (plan_.fail_writes) {
    fenced_ = true;
    co_return fail(injected("write"));
  }
  co_return co_await below_->write(offset, std::move(parts));
}

Task<Status> FaultDevice::flush() {
  co_await hold_back(&FaultPlan::flush_delay, 0);
  CO_TRY_VOID(fenced());
  if (plan_.fail_flushes) {
    fenced_ = true;
    co_return fail(injected("fdatasync"));
  }
  Status status = co_await below_->flush();
  // A write that failed meanwhile took the meaning from this flush.
  if (status.has_value()) co_return fenced();
  co_return status;
}

Task<Status> FaultDevice::write_durably(std::vector<DeviceWrite> writes) {
  if (!plan_.none()) co_return co_await BlockDevice::write_durably(std::move(writes));
  CO_TRY_VOID(fenced());
  Status status = co_await below_->write_durably(std::move(writes));
  if (status.has_value()) co_return fenced();
  co_return status;
}

Task<Status> FaultDevice::write_through(DeviceWrite write) {
  if (!plan_.none()) co_return co_await BlockDevice::write_through(std::move(write));
  CO_TRY_VOID(fenced());
  Status status = co_await below_->write_through(std::move(write));
  if (status.has_value()) co_return fenced();
  co_return status;
}

Task<Status> FaultDevice::discard(DiskOffset offset, ByteCount length) {
  co_await hold_back(&FaultPlan::write_delay, 0);
  CO_TRY_VOID(fenced());
  co_return co_await below_->discard(offset, length);
}

Task<Status> FaultDevice::grow(ByteCount size) {
  co_await hold_back(&FaultPlan::write_delay, 0);
  CO_TRY_VOID(fenced());
  co_return co_await below_->grow(size);
}

}  // namespace cairn::chunkserver::io
