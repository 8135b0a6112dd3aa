// FlushGroup: many callers, few flushes. flush() ends when a flush of the device that began after
// the call has ended; callers that come while one is under way share the next.
//
// Requires: the loop thread; every call ended before it dies.
// Errors:   those of the device, for all who shared the flush.
#pragma once

#include "chunkserver/io/block_device.h"
#include "common/runtime/semaphore.h"

namespace cairn::chunkserver::store {

class FlushGroup {
 public:
  FlushGroup(runtime::Runtime& runtime, io::BlockDevice& device)
      : device_(device), changed_(runtime) {}

  Task<Status> flush() {
    const std::uint64_t mine = ++asked_;
    while (done_ < mine) {
      if (failure_.has_value()) co_return fail(*failure_);
      if (flushing_) {
        co_await changed_.wait();
        continue;
      }
      flushing_ = true;
      const std::uint64_t covers = asked_;
      const Status status = co_await device_.flush();
      flushing_ = false;
      if (status.has_value()) {
        done_ = covers;
      } else {
        failure_ = status.error();
      }
      changed_.notify_all();
      // Given up meanwhile: what the caller would do next, nobody shall do any more.
      if (failure_.has_value()) co_return fail(*failure_);
    }
    co_return Status();
  }
  // Everybody who waits for somebody else's flush gets this error now.
  void abort(const Error& error) {
    if (!failure_.has_value()) failure_ = error;
    changed_.notify_all();
  }

 private:
  io::BlockDevice& device_;
  runtime::Signal changed_;
  std::uint64_t asked_ = 0;
  std::uint64_t done_ = 0;
  bool flushing_ = false;
  std::optional<Error> failure_;
};

}  // namespace cairn::chunkserver::store
