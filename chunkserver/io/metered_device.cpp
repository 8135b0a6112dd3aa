#include "chunkserver/io/metered_device.h"

#include <algorithm>

namespace cairn::chunkserver::io {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;

}  // namespace

MeteredDevice::MeteredDevice(runtime::Runtime& runtime, std::unique_ptr<BlockDevice> below)
    : BlockDevice(runtime),
      below_(std::move(below)),
      started_(runtime.now()),
      accounted_(runtime.now()) {}

MeteredDevice::Second& MeteredDevice::second(std::int64_t number) {
  Second& slot = seconds_[static_cast<std::size_t>(number) % seconds_.size()];
  if (slot.number != number) {
    slot = Second();
    slot.number = number;
  }
  return slot;
}

void MeteredDevice::advance() {
  const Instant now = runtime().now();
  // After a long silence only the window matters.
  const Instant oldest = now - Duration(kSecondNs * (kWindowSeconds + 1));
  std::int64_t at = std::max(accounted_, oldest).nanos();
  while (at < now.nanos()) {
    const std::int64_t number = at / kSecondNs;
    const std::int64_t until = std::min(now.nanos(), (number + 1) * kSecondNs);
    Second& slot = second(number);
    slot.depth_ns += static_cast<double>(depth_) * static_cast<double>(until - at);
    if (depth_ != 0) slot.busy_ns += static_cast<std::uint64_t>(until - at);
    at = until;
  }
  accounted_ = now;
}

void MeteredDevice::watch(Request* request) {
  request->begun = runtime().now();
  request->older = youngest_;
  (youngest_ == nullptr ? oldest_ : youngest_->younger) = request;
  youngest_ = request;
}

void MeteredDevice::unwatch(Request* request) {
  (request->older == nullptr ? oldest_ : request->older->younger) = request->younger;
  (request->younger == nullptr ? youngest_ : request->younger->older) = request->older;
}

void MeteredDevice::begin(Request* request) {
  advance();
  ++depth_;
  watch(request);
}

void MeteredDevice::end(Request* request) {
  advance();
  CHECK_GT(depth_, std::uint64_t{0});
  --depth_;
  unwatch(request);
  Second& slot = second(accounted_.nanos() / kSecondNs);
  const auto latency = static_cast<std::uint64_t>((accounted_ - request->begun).count());
  ++slot.ended;
  slot.latency_ns += latency;
  slot.latency_max_ns = std::max(slot.latency_max_ns, latency);
}

Duration MeteredDevice::oldest_request() const {
  return oldest_ == nullptr ? Duration{} : runtime().now() - oldest_->begun;
}

DeviceFigures MeteredDevice::figures() {
  advance();
  DeviceFigures figures = totals_;
  const std::int64_t now = accounted_.nanos() / kSecondNs;
  std::uint64_t ended = 0;
  std::uint64_t latency = 0;
  std::uint64_t latency_max = 0;
  std::uint64_t busy = 0;
  double depth = 0;
  for (const Second& slot : seconds_) {
    if (slot.number < 0 || slot.number > now || slot.number <= now - kWindowSeconds) continue;
    ended += slot.ended;
    latency += slot.latency_ns;
    latency_max = std::max(latency_max, slot.latency_max_ns);
    busy += slot.busy_ns;
    if (slot.number > now - kDepthSeconds) depth += slot.depth_ns;
  }
  const auto window = [&](std::int64_t seconds) {
    const std::int64_t begin = std::max((now - seconds + 1) * kSecondNs, started_.nanos());
    return static_cast<double>(std::max<std::int64_t>(accounted_.nanos() - begin, 1));
  };
  figures.queue_depth = depth / window(kDepthSeconds);
  figures.io_wait = std::min(1.0, static_cast<double>(busy) / window(kWindowSeconds));
  if (ended != 0) figures.latency_avg_us = latency / ended / 1000;
  figures.latency_max_us = latency_max / 1000;
  return figures;
}

Task<Status> MeteredDevice::read(DiskOffset offset, MutableBytes into) {
  ++totals_.reads;
  totals_.bytes_read += into.size();
  Request request;
  begin(&request);
  Status status = co_await below_->read(offset, into);
  end(&request);
  if (!status.has_value()) ++totals_.reads_failed;
  co_return status;
}

Task<Status> MeteredDevice::write(DiskOffset offset, std::vector<Bytes> parts) {
  ++totals_.writes;
  totals_.bytes_written += total_bytes(parts);
  Request request;
  begin(&request);
  Status status = co_await below_->write(offset, std::move(parts));
  end(&request);
  if (!status.has_value()) ++totals_.writes_failed;
  co_return status;
}

Task<Status> MeteredDevice::flush() {
  ++totals_.flushes;
  Request request;
  begin(&request);
  Status status = co_await below_->flush();
  end(&request);
  if (!status.has_value()) ++totals_.flushes_failed;
  co_return status;
}

Task<Status> MeteredDevice::write_durably(std::vector<DeviceWrite> writes) {
  totals_.writes += writes.size();
  ++totals_.flushes;
  for (const DeviceWrite& write : writes) totals_.bytes_written += total_bytes(write.parts);
  const bool only_flush = writes.empty();
  Request request;
  begin(&request);
  Status status = co_await below_->write_durably(std::move(writes));
  end(&request);
  if (!status.has_value()) ++(only_flush ? totals_.flushes_failed : totals_.writes_failed);
  co_return status;
}

// Counted as what it is: a write and a flush.
Task<Status> MeteredDevice::write_through(DeviceWrite write) {
  ++totals_.writes;
  ++totals_.flushes;
  totals_.bytes_written += total_bytes(write.parts);
  Request request;
  begin(&request);
  Status status = co_await below_->write_through(std::move(write));
  end(&request);
  if (!status.has_value()) ++totals_.writes_failed;
  co_return status;
}

Task<Status> MeteredDevice::discard(DiskOffset offset, ByteCount length) {
  co_return co_await below_->discard(offset, length);
}

Task<Status> MeteredDevice::grow(ByteCount size) {
  // It may rightly take long, so it is no request of the figures; but it may hang.
  Request request;
  watch(&request);
  Status status = co_await below_->grow(size);
  unwatch(&request);
  co_return status;
}

}  // namespace cairn::chunkserver::io
