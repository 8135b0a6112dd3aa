#include "chunkserver/io/uring_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "chunkserver/io/uring_ring.h"

namespace cairn::chunkserver::io {
namespace {

Error failed(const char* doing, int number) {
  return Error(Code::kDiskFailed, fmt::format("{}: {}", doing, std::strerror(number)));
}
Error fenced_error() { return Error(Code::kDiskFailed, "the disk is fenced after a failed write"); }
bool again(int result) { return result == -EINTR || result == -EAGAIN; }

std::vector<iovec> vectors_of(const std::vector<Bytes>& parts) {
  std::vector<iovec> vectors;
  vectors.reserve(parts.size());
  for (const Bytes& part : parts) {
    vectors.push_back({const_cast<std::byte*>(part.data()), part.size()});
  }
  return vectors;
}

// Moves past `written` bytes; the index of the first part that is not wholly written.
std::size_t skip(std::vector<iovec>* parts, std::size_t first, std::size_t written) {
  while (first < parts->size() && written >= (*parts)[first].iov_len) {
    written -= (*parts)[first++].iov_len;
  }
  if (written != 0) {
    iovec& part = (*parts)[first];
    part.iov_base = static_cast<std::byte*>(part.iov_base) + written;
    part.iov_len -= written;
  }
  return first;
}

}  // namespace

Result<std::unique_ptr<UringDevice>> UringDevice::make(runtime::AsioRuntime& runtime,
                                                       DeviceFile& file) {
  TRY(std::shared_ptr<UringRing> ring, UringRing::make(runtime, file.descriptor()));
  ring->start();
  return std::unique_ptr<UringDevice>(new UringDevice(runtime, std::move(file), std::move(ring)));
}

UringDevice::UringDevice(runtime::AsioRuntime& runtime, DeviceFile file,
                         std::shared_ptr<UringRing> ring)
    : BlockDevice(runtime),
      file_(std::move(file)),
      slots_(runtime, kDeviceRequestsMax),
      ring_(std::move(ring)),
      offload_(runtime, 1) {}

UringDevice::~UringDevice() { ring_->stop(); }

Status UringDevice::write_failed(const char* doing, int number) {
  fenced_ = true;
  return fail(failed(doing, number));
}

Task<Status> UringDevice::read(DiskOffset offset, MutableBytes into) {
  CO_TRY_VOID(check_read(*this, offset, into));
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  ByteCount at = offset.raw();
  while (!into.empty()) {
    if (fenced_) co_return fail(fenced_error());
    UringRing::Chain chain;
    UringRing::Request request;
    ring_->read(&chain, &request, at, into.data(), static_cast<unsigned>(into.size()));
    co_await chain;
    if (again(request.result)) continue;
    if (request.result < 0) co_return fail(failed("read", -request.result));
    if (request.result == 0) co_return fail(Code::kDiskFailed, "read: unexpected end of file");
    at += static_cast<ByteCount>(request.result);
    into = into.subspan(static_cast<std::size_t>(request.result));
  }
  co_return Status();
}

Task<Status> UringDevice::write(DiskOffset offset, std::vector<Bytes> parts) {
  CO_TRY_VOID(check_write(*this, offset, parts));
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  std::vector<iovec> vectors = vectors_of(parts);
  co_return co_await write_parts(offset.raw(), std::move(vectors), 0);
}

Task<Status> UringDevice::write_parts(ByteCount at, std::vector<iovec> parts, std::size_t first) {
  while (first < parts.size()) {
    if (fenced_) co_return fail(fenced_error());
    UringRing::Chain chain;
    UringRing::Request request;
    ring_->write(&chain, &request, at, &parts[first], static_cast<unsigned>(parts.size() - first));
    co_await chain;
    if (again(request.result)) continue;
    if (request.result <= 0) {
      co_return write_failed("write", request.result == 0 ? ENOSPC : -request.result);
    }
    at += static_cast<ByteCount>(request.result);
    first = skip(&parts, first, static_cast<std::size_t>(request.result));
  }
  co_return Status();
}

Task<Status> UringDevice::flush() {
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  co_return co_await sync_data();
}

Task<Status> UringDevice::sync_data() {
  for (;;) {
    if (fenced_) co_return fail(fenced_error());
    UringRing::Chain chain;
    UringRing::Request request;
    ring_->sync_data(&chain, &request);
    co_await chain;
    if (again(request.result)) continue;
    if (request.result < 0) co_return write_failed("fdatasync", -request.result);
    break;
  }
  // A write that failed meanwhile took the meaning from this flush.
  if (fenced_) co_return fail(fenced_error());
  co_return Status();
}

Task<Status> UringDevice::write_durably(std::vector<DeviceWrite> writes) {
  if (writes.size() != 1) co_return co_await BlockDevice::write_durably(std::move(writes));
  co_return co_await write_linked(&writes.front());
}

// One write and its fdatasync are one submission of two linked requests.
Task<Status> UringDevice::write_linked(const DeviceWrite* one) {
  const DeviceWrite& write = *one;
  CO_TRY_VOID(check_write(*this, write.offset, write.parts));
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  if (fenced_) co_return fail(fenced_error());
  std::vector<iovec> vectors = vectors_of(write.parts);
  UringRing::Chain chain;
  UringRing::Request written;
  UringRing::Request synced;
  ring_->write_and_sync(&chain, &written, &synced, write.offset.raw(), vectors.data(),
                        static_cast<unsigned>(vectors.size()));
  co_await chain;
  if (written.result < 0 && !again(written.result)) {
    co_return write_failed("write", -written.result);
  }
  if (synced.result < 0 && synced.result != -ECANCELED && !again(synced.result)) {
    co_return write_failed("fdatasync", -synced.result);
  }
  const auto done = static_cast<std::size_t>(std::max(written.result, 0));
  if (done != total_bytes(write.parts)) {
    // Cut short, and the chain with it: the rest by itself.
    const std::size_t first = skip(&vectors, 0, done);
    Status rest = co_await write_parts(write.offset.raw() + done, std::move(vectors), first);
    if (!rest.has_value()) co_return rest;
  } else if (synced.result == 0) {
    // A write that failed meanwhile took the meaning from this flush.
    if (fenced_) co_return fail(fenced_error());
    co_return Status();
  }
  co_return co_await sync_data();
}

// A write with RWF_DSYNC is one request instead of two and up to 20 % faster where a processor is
// idle. But the kernel finishes it in a work queue of the processor that took the interrupt, where
// it waits for up to a tick, 4 ms, when all are busy. So whichever was faster lately is taken.
Task<Status> UringDevice::write_through(DeviceWrite write) {
  const FasterWay::Way way = knows_dsync_ ? through_.choose() : FasterWay::Way::kFirst;
  const Instant begin = runtime().now();
  Status status;
  if (way == FasterWay::Way::kFirst) {
    status = co_await write_linked(&write);
  } else {
    status = co_await write_dsync(&write);
  }
  if (status.has_value()) through_.note(way, runtime().now() - begin);
  co_return status;
}

Task<Status> UringDevice::write_dsync(const DeviceWrite* write) {
  CO_TRY_VOID(check_write(*this, write->offset, write->parts));
  UringRing::Request request;
  {
    const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
    if (fenced_) co_return fail(fenced_error());
    const std::vector<iovec> vectors = vectors_of(write->parts);
    UringRing::Chain chain;
    ring_->write_through(&chain, &request, write->offset.raw(), vectors.data(),
                         static_cast<unsigned>(vectors.size()));
    co_await chain;
  }
  if (request.result == -EOPNOTSUPP || request.result == -EINVAL) knows_dsync_ = false;
  const bool whole =
      request.result >= 0 && static_cast<ByteCount>(request.result) == total_bytes(write->parts);
  if (whole) {
    if (fenced_) co_return fail(fenced_error());
    co_return Status();
  }
  if (request.result < 0 && knows_dsync_ && !again(request.result)) {
    co_return write_failed("write", -request.result);
  }
  // Cut short, or the kernel does not know the flag: once more, the other way.
  co_return co_await write_linked(write);
}

Task<Status> UringDevice::discard(DiskOffset offset, ByteCount length) {
  if (fenced_) co_return fail(fenced_error());
  Offload::Job job = [file = &file_, at = offset.raw(), length] {
    return file->punch_hole(at, length);
  };
  co_return co_await offload_.run(std::move(job));
}

Task<Status> UringDevice::grow(ByteCount size) {
  if (fenced_) co_return fail(fenced_error());
  if (size <= file_.size()) co_return Status();
  Offload::Job job = [file = &file_, size] { return file->allocate(size); };
  Status status = co_await offload_.run(std::move(job));
  if (status.has_value()) file_.set_size(std::max(file_.size(), size));
  co_return status;
}

}  // namespace cairn::chunkserver::io
