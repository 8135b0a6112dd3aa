#include "chunkserver/testing/power.h"

namespace cairn::chunkserver::testing {
namespace {

// SimDisk::crash() draws first how much it keeps: 0 of 4 is nothing, 3 of 4 everything.
std::uint64_t seed_for(Fate fate, std::uint64_t seed) {
  if (fate == Fate::kBySeed || fate == Fate::kKilled) return seed;
  const std::uint64_t wanted = fate == Fate::kAllLost ? 0 : 3;
  while (Prng(seed).below(4) != wanted) ++seed;
  return seed;
}

}  // namespace

void Power::end_at(std::uint64_t n, Fate fate, std::uint64_t seed) {
  CHECK_GT(n, std::uint64_t{0});
  end_at_ = operations_ + n;
  fate_ = fate;
  seed_ = seed;
}

bool Power::count() {
  ++operations_;
  return end_at_.has_value() && operations_ >= *end_at_;
}

void Power::arm_disk(io::SimDisk* disk, std::uint64_t operation) const {
  if (fate_ == Fate::kKilled) {
    disk->kill_at(operation);
  } else {
    disk->crash_at(operation, seed_for(fate_, seed_));
  }
}

void Power::finish() { end_now(fate_, seed_); }

void Power::end_now(Fate fate, std::uint64_t seed) {
  up_ = false;
  disarm();
  fate_ = fate;
  seed_ = seed;
  std::uint64_t nth = 0;
  for (io::SimDisk* disk : disks_) {
    ++nth;
    if (!disk->attached()) continue;
    if (fate == Fate::kKilled) {
      disk->kill();
    } else {
      disk->crash(seed_for(fate, seed + 1000 * nth));
    }
  }
}

Task<Status> PoweredDevice::write(DiskOffset offset, std::vector<Bytes> parts) {
  const bool last = power_.count();
  if (last) power_.arm_disk(&disk_);
  Status written = co_await below_->write(offset, std::move(parts));
  if (last) power_.finish();
  co_return written;
}

Task<Status> PoweredDevice::flush() {
  const bool last = power_.count();
  if (last) power_.arm_disk(&disk_);
  Status flushed = co_await below_->flush();
  if (last) power_.finish();
  co_return flushed;
}

Task<Status> PoweredDevice::write_through(io::DeviceWrite write) {
  // Two points: the write, and what makes it durable.
  const bool last = power_.count();
  const bool then = !last && power_.count();
  if (last || then) power_.arm_disk(&disk_, last ? 1 : 2);
  Status written = co_await below_->write_through(std::move(write));
  if (last || then) power_.finish();
  co_return written;
}

Task<Status> PoweredDevice::discard(DiskOffset offset, ByteCount length) {
  co_await sleep_for(runtime(), discard_latency_);
  co_return co_await below_->discard(offset, length);
}

Task<Status> PoweredDevice::grow(ByteCount size) {
  co_await sleep_for(runtime(), discard_latency_);
  co_return co_await below_->grow(size);
}

Status RestlessKv::usable() const {
  if (!power_.up()) return fail(Code::kDiskFailed, "the simulated power was cut");
  return {};
}

Result<std::optional<std::string>> RestlessKv::get(std::string_view key) const {
  TRY_VOID(usable());
  if (fail_reads_) return fail(Code::kDiskFailed, "injected failure of the index");
  return below_.get(key);
}

Status RestlessKv::scan(std::string_view begin, std::string_view end, const Visit& visit) const {
  TRY_VOID(usable());
  if (fail_reads_) return fail(Code::kDiskFailed, "injected failure of the index");
  return below_.scan(begin, end, visit);
}

Status RestlessKv::write(const kv::Batch& batch) {
  TRY_VOID(usable());
  if (fail_writes_) return fail(Code::kDiskFailed, "injected failure of the index");
  if (power_.count()) {
    // It may have been flushed by itself before the answer came.
    if (prng_.chance(300)) {
      TRY_VOID(below_.write(batch));
      TRY_VOID(below_.flush());
    }
    power_.finish();
    return usable();
  }
  TRY_VOID(below_.write(batch));
  if (prng_.chance(self_flush_)) return below_.flush();
  return {};
}

Status RestlessKv::flush() {
  TRY_VOID(usable());
  if (fail_writes_) return fail(Code::kDiskFailed, "injected failure of the index");
  if (power_.count()) {
    if (prng_.chance(500)) {
      TRY_VOID(below_.flush());
    }
    power_.finish();
    return usable();
  }
  ++flushes_;
  return below_.flush();
}

void RestlessKv::wipe() {
  kv::Batch all;
  const Status scanned = below_.scan("", "", [&all](std::string_view key, std::string_view) {
    all.erase(std::string(key));
    return true;
  });
  CHECK(scanned.has_value());
  CHECK(below_.write(all).has_value());
  CHECK(below_.flush().has_value());
}

}  // namespace cairn::chunkserver::testing
