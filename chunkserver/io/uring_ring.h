// UringRing: one io_uring on one loop, for one file. What a turn of the loop asks for is submitted
// together; completions wake the loop through the pollable descriptor of the ring, and whoever
// awaits one is resumed right there. A request costs no memory of its own.
//
// Owns:     the ring. Shared, because a handler of the io_context may run once more after the
//           device is gone.
// Requires: make() anywhere before the loop runs; everything else on the loop. What a request
//           points to lives until its chain has ended; stop() after the last of them.
// Limits:   the caller bounds what is in flight to kEntries requests, less than the completions the
//           ring has room for.
#pragma once

#include <liburing.h>
#include <coroutine>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/base/result.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::chunkserver::io {

class UringRing : public std::enable_shared_from_this<UringRing> {
 public:
  static constexpr unsigned kEntries = 512;  // a power of two

  // One submission or a chain of linked ones; lives in the frame of the coroutine that awaits it.
  class Chain {
   public:
    bool await_ready() const noexcept { return left_ == 0; }
    void await_suspend(std::coroutine_handle<> waiter) noexcept { waiter_ = waiter; }
    void await_resume() const noexcept {}

   private:
    friend UringRing;
    std::coroutine_handle<> waiter_;
    unsigned left_ = 0;
  };
  struct Request {
    Chain* chain = nullptr;
    bool cut = false;  // it was not linked to its predecessor after all
    int result = 0;    // as the system call would return it, -errno for an error
  };

  // Requests are for this file. Error: kUnsupported where io_uring is forbidden or absent.
  static Result<std::shared_ptr<UringRing>> make(runtime::AsioRuntime& runtime, int descriptor);
  explicit UringRing(runtime::AsioRuntime& runtime);
  ~UringRing();
  UringRing(const UringRing&) = delete;
  UringRing& operator=(const UringRing&) = delete;

  void start() { await_event(); }
  void stop();

  // Queue one submission; `request` gets its result when `chain` has ended.
  void read(Chain* chain, Request* request, std::uint64_t offset, void* into, unsigned length);
  void write(Chain* chain, Request* request, std::uint64_t offset, const iovec* parts,
             unsigned count);
  // As RWF_DSYNC has it: -EOPNOTSUPP or -EINVAL where the kernel does not know it.
  void write_through(Chain* chain, Request* request, std::uint64_t offset, const iovec* parts,
                     unsigned count);
  void sync_data(Chain* chain, Request* request);
  // The same as write() and sync_data(): the second begins when the first has done all of its
  // work, else it ends with -ECANCELED.
  void write_and_sync(Chain* chain, Request* write, Request* sync, std::uint64_t offset,
                      const iovec* parts, unsigned count);

 private:
  Status init(int descriptor);
  io_uring_sqe* next_entry();
  void label(io_uring_sqe* entry, unsigned flags, Chain* chain, Request* request);
  // And sees to it that it is submitted soon.
  void finish(io_uring_sqe* entry, Chain* chain, Request* request);
  void prepare_write(io_uring_sqe* entry, std::uint64_t offset, const iovec* parts,
                     unsigned count) const;
  void hurry();
  void make_room(unsigned entries);
  void wake_for_submit();
  void turn();
  void submit();
  void cut_chain();
  bool collect();
  void await_event();

  runtime::AsioRuntime& runtime_;
  boost::asio::posix::stream_descriptor event_;
  io_uring ring_ = {};
  int file_ = -1;  // the descriptor, or the index of the registered file
  unsigned file_flags_ = 0;
  bool made_ = false;
  bool stopped_ = false;
  bool in_turn_ = false;
  bool turn_posted_ = false;
  std::size_t in_flight_ = 0;
  std::vector<std::coroutine_handle<>> ended_;  // chains to resume in this turn
};

}  // namespace cairn::chunkserver::io
