#include "common/net/stream_channel.h"

#include <algorithm>

#include "common/base/limits.h"
#include "common/net/frame_payload.h"

namespace cairn::net {
namespace {

constexpr std::size_t kHandlerBytesMax = 128_MiB;
constexpr std::size_t kQueuedPostsMax = 4096;

// Rounded up, so that the peer never gives up before us; 0 means unknown.
std::uint32_t milliseconds_left(Duration left) {
  const std::int64_t ms = left.count() / 1'000'000 + 1;
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(ms, 1, UINT32_MAX));
}

}  // namespace

StreamChannel::StreamChannel(runtime::Runtime& runtime, std::unique_ptr<Stream> stream,
                             Handler handler)
    : runtime_(runtime),
      stream_(std::move(stream)),
      handler_(std::move(handler)),
      heard_at_(runtime.now()),
      inbox_(64_KiB),
      writer_wakeup_(runtime),
      reader_wakeup_(runtime),
      callers_gone_(runtime),
      handler_slots_(runtime, limits::kChannelRequestsInFlightMax),
      handler_bytes_(runtime, kHandlerBytesMax),
      tasks_(runtime) {}

StreamChannel::~StreamChannel() {
  CHECK(!open_);
  CHECK_EQ(callers_, std::size_t{0});
}

void StreamChannel::start() {
  tasks_.spawn(read_loop());
  tasks_.spawn(write_loop());
}

Task<Result<Payload>> StreamChannel::call(std::uint16_t op, Payload request, Deadline deadline) {
  if (!open_) co_return fail(Code::kConnectionLost, reason_);
  if (!fits_in_frame(request))
    co_return fail(Code::kInvalidArgument, "request too large for a frame");
  if (calls_.size() >= limits::kChannelRequestsInFlightMax) {
    co_return fail(Code::kOverloaded, "too many requests in flight to " + stream_->peer());
  }
  if (deadline <= runtime_.now()) co_return fail(Code::kTimeout, "the deadline has passed");
  FrameHeader header;
  header.op = op;
  header.request_id = next_id_++;
  header.deadline_ms = milliseconds_left(deadline - runtime_.now());
  describe_payload(request, header);

  Answer answer(runtime_);
  calls_.emplace(header.request_id, answer);
  ++callers_;
  enqueue(header, std::move(request), Permit(), Permit());
  std::optional<Result<Payload>> outcome = co_await answer.wait_until(deadline);
  if (!outcome.has_value()) {
    calls_.erase(header.request_id);
    forget_unsent(header.request_id);
    outcome.emplace(fail(Code::kTimeout, "no answer from " + stream_->peer() + " to op " +
                                             std::to_string(op) + " in time"));
  }
  if (--callers_ == 0) callers_gone_.notify_all();
  co_return std::move(*outcome);
}

void StreamChannel::post(std::uint16_t op, Payload request) {
  if (!open_ || queued_posts_ >= kQueuedPostsMax || !fits_in_frame(request)) return;
  FrameHeader header;
  header.kind = FrameKind::kOneway;
  header.op = op;
  describe_payload(request, header);
  ++queued_posts_;
  enqueue(header, std::move(request), Permit(), Permit());
}

void StreamChannel::on_close(std::function<void()> callback) {
  CHECK(!on_close_);
  on_close_ = std::move(callback);
  if (!open_) tasks_.spawn(run_on_close());
}

void StreamChannel::close() { shut("the channel to " + stream_->peer() + " was closed here"); }

Task<void> StreamChannel::closed() {
  while (tasks_.running() != 0 || callers_ != 0) {
    co_await tasks_.join();
    if (callers_ != 0) co_await callers_gone_.wait();
  }
}

void StreamChannel::shut(std::string reason) {
  if (!std::exchange(open_, false)) return;
  reason_ = std::move(reason);
  stream_->close();
  for (auto& [id, answer] : std::exchange(calls_, {})) {
    answer.set(fail(Code::kConnectionLost, reason_));
  }
  queue_.clear();
  queued_bytes_ = 0;
  queued_posts_ = 0;
  writer_wakeup_.wake();
  reader_wakeup_.wake();
  if (on_close_) tasks_.spawn(run_on_close());
}

// In a later turn: close() may be called from anywhere, also from inside what the callback changes.
Task<void> StreamChannel::run_on_close() {
  co_await runtime::yield_turn(runtime_);
  const std::function<void()> callback = std::exchange(on_close_, nullptr);
  if (callback) callback();
}

}  // namespace cairn::net
