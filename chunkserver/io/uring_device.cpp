#include "chunkserver/io/uring_device.h"

#include <fmt/format.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>

#include "common/base/check.h"
#include "common/runtime/completion.h"

namespace cairn::chunkserver::io {
namespace {

Error failed(const char* doing, int number) {
  return Error(Code::kDiskFailed, fmt::format("{}: {}", doing, std::strerror(number)));
}
Error fenced_error() { return Error(Code::kDiskFailed, "the disk is fenced after a failed write"); }

}  // namespace

// Shared, because a handler of the io_context may run once more after the device is gone.
class UringDevice::Ring : public std::enable_shared_from_this<Ring> {
 public:
  // One request: lives in the frame of the coroutine that awaits it.
  struct Request {
    explicit Request(runtime::Runtime& runtime) : done(runtime) {}
    runtime::Completion<int> done;
  };

  explicit Ring(runtime::AsioRuntime& runtime) : runtime_(runtime), event_(runtime.context()) {}
  ~Ring() {
    if (!ready_) return;
    CHECK_EQ(in_flight_, std::size_t{0});
    io_uring_queue_exit(&ring_);
  }

  Status init() {
    const int rc = io_uring_queue_init(kDeviceRequestsMax, &ring_, 0);
    if (rc < 0) return fail(Code::kUnsupported, fmt::format("io_uring: {}", std::strerror(-rc)));
    ready_ = true;
    const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) return fail(failed("eventfd", errno));
    event_.assign(event);
    const int registered = io_uring_register_eventfd(&ring_, event);
    if (registered < 0) {
      return fail(Code::kUnsupported, fmt::format("io_uring: {}", std::strerror(-registered)));
    }
    return {};
  }

  void start() { await_event(); }
  void stop() {
    boost::system::error_code ignored;
    event_.cancel(ignored);
  }

  // The caller holds a slot, so the queue has room: kDeviceRequestsMax entries were asked for.
  io_uring_sqe* prepare() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) {
      submit();
      entry = io_uring_get_sqe(&ring_);
    }
    CHECK(entry != nullptr);
    return entry;
  }
  // After the entry was filled in.
  void enqueue(io_uring_sqe* entry, Request* request) {
    io_uring_sqe_set_data(entry, request);
    ++in_flight_;
    if (submit_posted_) return;
    submit_posted_ = true;
    runtime_.post([self = shared_from_this()] {
      self->submit_posted_ = false;
      self->submit();
    });
  }

 private:
  void submit() {
    for (;;) {
      const int rc = io_uring_submit(&ring_);
      if (rc >= 0 || rc == -EBUSY) break;
      // EAGAIN: the kernel is short of memory for a moment; what was taken completes and we try
      // again.
      CHECK(rc == -EINTR || rc == -EAGAIN);
    }
    reap();
    if (io_uring_sq_ready(&ring_) != 0 && !submit_posted_) {
      submit_posted_ = true;
      runtime_.post([self = shared_from_this()] {
        self->submit_posted_ = false;
        self->submit();
      });
    }
  }

  void await_event() {
    event_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                        if (error) return;
                        self->drain_event();
                        self->reap();
                        self->await_event();
                      });
  }
  void drain_event() {
    std::uint64_t count = 0;
    const ssize_t n = ::read(event_.native_handle(), &count, sizeof count);
    CHECK(n == static_cast<ssize_t>(sizeof count) || errno == EAGAIN);
  }
  void reap() {
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring_, &completion) == 0) {
      auto* request = static_cast<Request*>(io_uring_cqe_get_data(completion));
      const int result = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      --in_flight_;
      // The waiter resumes in a later turn: `request` lives until then.
      request->done.set(result);
    }
  }

  runtime::AsioRuntime& runtime_;
  boost::asio::posix::stream_descriptor event_;
  io_uring ring_ = {};
  bool ready_ = false;
  bool submit_posted_ = false;
  std::size_t in_flight_ = 0;
};

Result<std::unique_ptr<UringDevice>> UringDevice::make(runtime::AsioRuntime& runtime,
                                                       DeviceFile& file) {
  auto ring = std::make_shared<Ring>(runtime);
  TRY_VOID(ring->init());
  ring->start();
  return std::unique_ptr<UringDevice>(new UringDevice(runtime, std::move(file), std::move(ring)));
}

UringDevice::UringDevice(runtime::AsioRuntime& runtime, DeviceFile file, std::shared_ptr<Ring> ring)
    : file_(std::move(file)),
      runtime_(runtime),
      slots_(runtime, kDeviceRequestsMax),
      ring_(std::move(ring)),
      offload_(runtime, 1) {}

UringDevice::~UringDevice() { ring_->stop(); }

Task<Status> UringDevice::read(DiskOffset offset, MutableBytes into) {
  CO_TRY_VOID(check_read(*this, offset, into));
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  ByteCount at = offset.raw();
  while (!into.empty()) {
    if (fenced_) co_return fail(fenced_error());
    Ring::Request request(runtime_);
    io_uring_sqe* entry = ring_->prepare();
    io_uring_prep_read(entry, file_.descriptor(), into.data(), static_cast<unsigned>(into.size()),
                       at);
    ring_->enqueue(entry, &request);
    const int n = co_await request.done.wait();
    if (n == -EINTR || n == -EAGAIN) continue;
    if (n < 0) co_return fail(failed("read", -n));
    if (n == 0) co_return fail(Code::kDiskFailed, "read: unexpected end of file");
    at += static_cast<ByteCount>(n);
    into = into.subspan(static_cast<std::size_t>(n));
  }
  co_return Status();
}

Task<Status> UringDevice::write(DiskOffset offset, std::vector<Bytes> parts) {
  CO_TRY_VOID(check_write(*this, offset, parts));
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  std::vector<iovec> vectors;
  vectors.reserve(parts.size());
  for (const Bytes& part : parts) {
    vectors.push_back({const_cast<std::byte*>(part.data()), part.size()});
  }
  ByteCount at = offset.raw();
  std::size_t first = 0;
  while (first < vectors.size()) {
    if (fenced_) co_return fail(fenced_error());
    Ring::Request request(runtime_);
    io_uring_sqe* entry = ring_->prepare();
    io_uring_prep_writev(entry, file_.descriptor(), &vectors[first],
                         static_cast<unsigned>(vectors.size() - first), at);
    ring_->enqueue(entry, &request);
    const int n = co_await request.done.wait();
    if (n == -EINTR || n == -EAGAIN) continue;
    if (n <= 0) {
      fenced_ = true;
      co_return fail(failed("write", n == 0 ? ENOSPC : -n));
    }
    at += static_cast<ByteCount>(n);
    std::size_t left = static_cast<std::size_t>(n);
    while (first < vectors.size() && left >= vectors[first].iov_len)
      left -= vectors[first++].iov_len;
    if (left != 0) {
      vectors[first].iov_base = static_cast<std::byte*>(vectors[first].iov_base) + left;
      vectors[first].iov_len -= left;
    }
  }
  co_return Status();
}

Task<Status> UringDevice::flush() {
  const runtime::Semaphore::Permit slot = co_await slots_.acquire(1);
  for (;;) {
    if (fenced_) co_return fail(fenced_error());
    Ring::Request request(runtime_);
    io_uring_sqe* entry = ring_->prepare();
    io_uring_prep_fsync(entry, file_.descriptor(), IORING_FSYNC_DATASYNC);
    ring_->enqueue(entry, &request);
    const int n = co_await request.done.wait();
    if (n == -EINTR || n == -EAGAIN) continue;
    if (n < 0) {
      fenced_ = true;
      co_return fail(failed("fdatasync", -n));
    }
    break;
  }
  // A write that failed meanwhile took the meaning from this flush.
  if (fenced_) co_return fail(fenced_error());
  co_return Status();
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
