#include "chunkserver/io/pool_device.h"

#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cairn::chunkserver::io {
namespace {

Error failed(const char* doing, int number) {
  return Error(Code::kDiskFailed, fmt::format("{}: {}", doing, std::strerror(number)));
}
Error fenced_error() { return Error(Code::kDiskFailed, "the disk is fenced after a failed write"); }

Status read_fully(int descriptor, ByteCount offset, MutableBytes into) {
  while (!into.empty()) {
    const ssize_t n = ::pread(descriptor, into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(failed("read", errno));
    if (n == 0) return fail(Code::kDiskFailed, "read: unexpected end of file");
    offset += static_cast<ByteCount>(n);
    into = into.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status write_fully(int descriptor, ByteCount offset, const std::vector<Bytes>& parts) {
  std::vector<iovec> vectors;
  vectors.reserve(parts.size());
  for (const Bytes& part : parts) {
    vectors.push_back({const_cast<std::byte*>(part.data()), part.size()});
  }
  std::size_t first = 0;
  while (first < vectors.size()) {
    const ssize_t n =
        ::pwritev(descriptor, &vectors[first], static_cast<int>(vectors.size() - first),
                  static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(failed("write", errno));
    if (n == 0) return fail(Code::kDiskFailed, "write: no progress");
    offset += static_cast<ByteCount>(n);
    std::size_t left = static_cast<std::size_t>(n);
    while (first < vectors.size() && left >= vectors[first].iov_len)
      left -= vectors[first++].iov_len;
    if (left != 0) {
      vectors[first].iov_base = static_cast<std::byte*>(vectors[first].iov_base) + left;
      vectors[first].iov_len -= left;
    }
  }
  return {};
}

Status sync_data(int descriptor) {
  if (::fdatasync(descriptor) != 0) return fail(failed("fdatasync", errno));
  return {};
}

}  // namespace

PoolDevice::PoolDevice(runtime::Runtime& runtime, DeviceFile file, unsigned threads,
                       std::string note)
    : BlockDevice(runtime),
      file_(std::move(file)),
      slots_(runtime, kDeviceRequestsMax),
      note_(std::move(note)),
      offload_(runtime, threads) {}

Task<Status> PoolDevice::read(DiskOffset offset, MutableBytes into) {
  CO_TRY_VOID(check_read(*this, offset, into));
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  if (fenced_) co_return fail(fenced_error());
  Offload::Job job = [descriptor = file_.descriptor(), at = offset.raw(), into] {
    return read_fully(descriptor, at, into);
  };
  co_return co_await offload_.run(std::move(job));
}

Task<Status> PoolDevice::write(DiskOffset offset, std::vector<Bytes> parts) {
  CO_TRY_VOID(check_write(*this, offset, parts));
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  if (fenced_) co_return fail(fenced_error());
  Offload::Job job = [descriptor = file_.descriptor(), at = offset.raw(), &parts] {
    return write_fully(descriptor, at, parts);
  };
  Status status = co_await offload_.run(std::move(job));
  if (!status.has_value()) fenced_ = true;
  co_return status;
}

Task<Status> PoolDevice::flush() {
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  if (fenced_) co_return fail(fenced_error());
  Offload::Job job = [descriptor = file_.descriptor()] { return sync_data(descriptor); };
  Status status = co_await offload_.run(std::move(job));
  if (!status.has_value()) fenced_ = true;
  if (status.has_value() && fenced_) co_return fail(fenced_error());
  co_return status;
}

Task<Status> PoolDevice::write_durably(std::vector<DeviceWrite> writes) {
  if (writes.size() != 1) co_return co_await BlockDevice::write_durably(std::move(writes));
  // One visit to a thread for both.
  const DeviceWrite& write = writes.front();
  CO_TRY_VOID(check_write(*this, write.offset, write.parts));
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  if (fenced_) co_return fail(fenced_error());
  Offload::Job job = [descriptor = file_.descriptor(), &write]() -> Status {
    TRY_VOID(write_fully(descriptor, write.offset.raw(), write.parts));
    return sync_data(descriptor);
  };
  Status status = co_await offload_.run(std::move(job));
  if (!status.has_value()) fenced_ = true;
  // A write that failed meanwhile took the meaning from this flush.
  if (status.has_value() && fenced_) co_return fail(fenced_error());
  co_return status;
}

Task<Status> PoolDevice::discard(DiskOffset offset, ByteCount length) {
  if (fenced_) co_return fail(fenced_error());
  Offload::Job job = [file = &file_, at = offset.raw(), length] {
    return file->punch_hole(at, length);
  };
  co_return co_await offload_.run(std::move(job));
}

Task<Status> PoolDevice::grow(ByteCount size) {
  if (fenced_) co_return fail(fenced_error());
  if (size <= file_.size()) co_return Status();
  Offload::Job job = [file = &file_, size] { return file->allocate(size); };
  Status status = co_await offload_.run(std::move(job));
  if (status.has_value()) file_.set_size(std::max(file_.size(), size));
  co_return status;
}

}  // namespace cairn::chunkserver::io
