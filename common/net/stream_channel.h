// StreamChannel: the Channel of channel.h over one authenticated Stream.
//
// A frame to send waits in `queue_`; the writer takes as many as make one good write. The reader
// dispatches: replies to the table of calls, requests to handler tasks. A handler's permits (one of
// count, its request's bytes) are held until its reply was written, and the reader does not go on
// without them or while kQueuedBytesMax of frames wait: a peer that does not read its replies
// cannot make us hold more of them. That cannot lock two well-behaved peers to each other: neither
// has more calls under way than the other admits handlers, and a connection that moves no byte for
// a minute breaks.
#pragma once

#include <array>
#include <deque>
#include <unordered_map>

#include "common/net/channel.h"
#include "common/net/frame.h"
#include "common/runtime/completion.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::net {

// One task waits, others wake it; a wake before the wait is remembered. No allocation.
class Wakeup {
 public:
  explicit Wakeup(runtime::Runtime& runtime) : runtime_(runtime) {}
  void wake();
  bool await_ready() noexcept { return std::exchange(pending_, false); }
  void await_suspend(std::coroutine_handle<> waiter) { waiter_ = waiter; }
  void await_resume() const noexcept {}

 private:
  runtime::Runtime& runtime_;
  std::coroutine_handle<> waiter_;
  bool pending_ = false;
};

class StreamChannel final : public Channel {
 public:
  StreamChannel(runtime::Runtime& runtime, std::unique_ptr<Stream> stream, Handler handler);
  ~StreamChannel() override;
  // Starts reader and writer: nothing is delivered before the next turn of the loop.
  void start();

  Task<Result<Payload>> call(std::uint16_t op, Payload request, Deadline deadline) override;
  void post(std::uint16_t op, Payload request) override;
  bool is_open() const override { return open_; }
  std::string peer() const override { return stream_->peer(); }
  Instant heard_at() const override { return heard_at_; }
  void on_close(std::function<void()> callback) override;
  void close() override;
  Task<void> closed() override;

 private:
  using Answer = runtime::Completion<Result<Payload>>;
  using Permit = runtime::Semaphore::Permit;
  struct Outgoing {
    FrameHeader header;
    Payload payload;
    std::array<std::byte, kFrameHeaderBytes> head;  // encoded at the last moment
    Permit slot;                                    // of the handler whose reply this is
    Permit bytes;
    std::size_t size() const { return head.size() + header.meta_bytes + header.body_bytes; }
  };
  struct Incoming {
    FrameHeader header;
    Payload payload;
  };

  void enqueue(FrameHeader header, Payload payload, Permit slot, Permit bytes);
  void forget_unsent(std::uint64_t request_id);
  std::vector<Outgoing> take_batch();
  Task<void> write_loop();

  Task<void> read_loop();
  Task<Status> read_frames();
  Task<Result<Incoming>> read_frame();
  Task<Status> fill_inbox(std::size_t wanted);
  Task<Status> read_into(MutableBytes into);
  Task<Status> dispatch(Incoming frame);
  void complete(Incoming frame);
  Task<void> serve(Incoming frame, Permit slot, Permit bytes);

  void shut(std::string reason);
  Task<void> run_on_close();

  runtime::Runtime& runtime_;
  std::unique_ptr<Stream> stream_;
  Handler handler_;
  bool open_ = true;
  std::string reason_;  // why it is not open
  Instant heard_at_;
  std::function<void()> on_close_;

  std::uint64_t next_id_ = 1;
  std::unordered_map<std::uint64_t, Answer> calls_;  // by request id
  std::size_t callers_ = 0;                          // call() frames that will touch us again
  std::deque<Outgoing> queue_;
  std::size_t queued_bytes_ = 0;
  std::size_t queued_posts_ = 0;

  std::vector<std::byte> inbox_;  // bytes [inbox_begin_, inbox_end_) were read and not used
  std::size_t inbox_begin_ = 0;
  std::size_t inbox_end_ = 0;

  Wakeup writer_wakeup_;
  Wakeup reader_wakeup_;
  runtime::Signal callers_gone_;
  runtime::Semaphore handler_slots_;
  runtime::Semaphore handler_bytes_;
  runtime::TaskGroup tasks_;
};

}  // namespace cairn::net
