// The reader and the writer of a StreamChannel.
#include <algorithm>

#include "common/base/limits.h"
#include "common/net/frame_payload.h"
#include "common/net/stream_channel.h"

namespace cairn::net {
namespace {

constexpr std::size_t kBatchBytesMax = 256_KiB;
constexpr std::size_t kBatchPartsMax = 64;
constexpr std::size_t kQueuedBytesMax = 128_MiB;
constexpr std::size_t kSmallRestBytes = 4_KiB;

}  // namespace

void Wakeup::wake() {
  if (!waiter_) {
    pending_ = true;
    return;
  }
  runtime_.post([waiter = std::exchange(waiter_, nullptr)] { waiter.resume(); });
}

void StreamChannel::enqueue(FrameHeader header, Payload payload, Permit slot, Permit bytes) {
  Outgoing& frame = queue_.emplace_back();
  frame.header = header;
  frame.payload = std::move(payload);
  frame.slot = std::move(slot);
  frame.bytes = std::move(bytes);
  queued_bytes_ += frame.size();
  if (queue_.size() == 1) writer_wakeup_.wake();
}

// A request nobody waits for is not sent; so a stalled peer cannot make the queue grow.
void StreamChannel::forget_unsent(std::uint64_t request_id) {
  const auto it = std::ranges::find_if(queue_, [request_id](const Outgoing& frame) {
    return frame.header.kind == FrameKind::kRequest && frame.header.request_id == request_id;
  });
  if (it == queue_.end()) return;
  queued_bytes_ -= it->size();
  queue_.erase(it);
}

std::vector<StreamChannel::Outgoing> StreamChannel::take_batch() {
  std::vector<Outgoing> batch;
  std::size_t bytes = 0;
  std::size_t parts = 0;
  while (!queue_.empty() && bytes < kBatchBytesMax && parts < kBatchPartsMax) {
    Outgoing& frame = queue_.front();
    encode_frame_header(frame.header, frame.head);
    bytes += frame.size();
    parts += 2 + frame.payload.body.size();
    if (frame.header.kind == FrameKind::kOneway) --queued_posts_;
    batch.push_back(std::move(frame));
    queue_.pop_front();
  }
  queued_bytes_ -= bytes;
  if (queued_bytes_ < kQueuedBytesMax) reader_wakeup_.wake();
  return batch;
}

Task<void> StreamChannel::write_loop() {
  while (open_) {
    if (queue_.empty()) {
      co_await writer_wakeup_;
      continue;
    }
    const std::vector<Outgoing> batch = take_batch();
    std::vector<Bytes> parts;
    parts.reserve(kBatchPartsMax);
    for (const Outgoing& frame : batch) {
      parts.emplace_back(frame.head);
      if (!frame.payload.meta.empty()) parts.push_back(as_bytes(frame.payload.meta));
      for (const Buffer& part : frame.payload.body) {
        if (!part.empty()) parts.push_back(part.span());
      }
    }
    const Status written = co_await stream_->write_all(std::move(parts));
    if (!written.has_value()) shut(written.error().message());
  }
}

Task<void> StreamChannel::read_loop() {
  // The owner gets the channel before its handler gets a request.
  co_await runtime::yield_turn(runtime_);
  const Status end = co_await read_frames();
  CHECK(!end.has_value());
  shut(end.error().message());
}

Task<Status> StreamChannel::read_frames() {
  for (;;) {
    while (open_ && queued_bytes_ >= kQueuedBytesMax) co_await reader_wakeup_;
    Result<Incoming> frame = co_await read_frame();
    if (!frame.has_value()) co_return fail(std::move(frame).error());
    Incoming incoming = std::move(*frame);
    if (incoming.header.kind == FrameKind::kReply) {
      complete(std::move(incoming));
      continue;
    }
    CO_TRY_VOID(co_await dispatch(std::move(incoming)));
  }
}

// Makes at least `wanted` bytes available in the inbox.
Task<Status> StreamChannel::fill_inbox(std::size_t wanted) {
  CHECK_LE(wanted, inbox_.size());
  if (inbox_end_ - inbox_begin_ >= wanted) co_return Status{};
  std::memmove(inbox_.data(), inbox_.data() + inbox_begin_, inbox_end_ - inbox_begin_);
  inbox_end_ -= std::exchange(inbox_begin_, 0);
  while (inbox_end_ - inbox_begin_ < wanted) {
    const MutableBytes room = MutableBytes(inbox_).subspan(inbox_end_);
    const Result<std::size_t> got = co_await stream_->read_some(room);
    if (!got.has_value()) co_return fail(got.error());
    if (*got == 0)
      co_return fail(Code::kConnectionLost, stream_->peer() + " closed the connection");
    heard_at_ = runtime_.now();
    inbox_end_ += *got;
  }
  co_return Status{};
}

// First what the inbox has, the rest straight from the stream.
Task<Status> StreamChannel::read_into(MutableBytes into) {
  const std::size_t here = std::min(into.size(), inbox_end_ - inbox_begin_);
  if (here != 0) std::memcpy(into.data(), inbox_.data() + inbox_begin_, here);
  inbox_begin_ += here;
  into = into.subspan(here);
  while (!into.empty()) {
    if (into.size() < kSmallRestBytes) {  // take what follows along with it
      CO_TRY_VOID(co_await fill_inbox(into.size()));
      std::memcpy(into.data(), inbox_.data() + inbox_begin_, into.size());
      inbox_begin_ += into.size();
      co_return Status{};
    }
    const Result<std::size_t> got = co_await stream_->read_some(into);
    if (!got.has_value()) co_return fail(got.error());
    if (*got == 0)
      co_return fail(Code::kConnectionLost, stream_->peer() + " closed the connection");
    heard_at_ = runtime_.now();
    into = into.subspan(*got);
  }
  co_return Status{};
}

Task<Result<StreamChannel::Incoming>> StreamChannel::read_frame() {
  CO_TRY_VOID(co_await fill_inbox(kFrameHeaderBytes));
  const std::span<const std::byte, kFrameHeaderBytes> head(inbox_.data() + inbox_begin_,
                                                           kFrameHeaderBytes);
  Incoming frame;
  CO_TRY(frame.header, decode_frame_header(head));
  inbox_begin_ += kFrameHeaderBytes;

  frame.payload.meta.resize(frame.header.meta_bytes);
  const MutableBytes meta = std::as_writable_bytes(std::span(frame.payload.meta));
  CO_TRY_VOID(co_await read_into(meta));
  CO_TRY_VOID(check_frame_meta(frame.header, meta));
  if (frame.header.body_bytes != 0) {
    Buffer body = Buffer::allocate(frame.header.body_bytes);
    CO_TRY_VOID(co_await read_into(body.span()));
    frame.payload.body.push_back(std::move(body));
  }
  co_return frame;
}

// Hands a request to the handler, in the order of arrival; waits while too many are being handled.
Task<Status> StreamChannel::dispatch(Incoming frame) {
  const std::size_t size = frame.payload.meta.size() + frame.payload.body_size();
  Permit slot = co_await handler_slots_.acquire(1);
  Permit bytes = co_await handler_bytes_.acquire(size);
  if (!open_) co_return fail(Code::kConnectionLost, reason_);
  tasks_.spawn(serve(std::move(frame), std::move(slot), std::move(bytes)));
  co_return Status{};
}

void StreamChannel::complete(Incoming frame) {
  const auto it = calls_.find(frame.header.request_id);
  if (it == calls_.end()) return;  // its caller gave up
  Answer answer = std::move(it->second);
  calls_.erase(it);
  if (frame.header.error_code == 0) {
    answer.set(std::move(frame.payload));
  } else {
    answer.set(fail(decode_error(frame.header.error_code, frame.payload.meta)));
  }
}

Task<void> StreamChannel::serve(Incoming frame, Permit slot, Permit bytes) {
  Result<Payload> outcome = fail(Code::kUnsupported, "this end of the channel serves nothing");
  if (handler_) {
    Task<Result<Payload>> work = handler_(frame.header.op, std::move(frame.payload));
    outcome = co_await work;
  }
  if (frame.header.kind == FrameKind::kOneway || !open_) co_return;
  if (outcome.has_value() && !fits_in_frame(*outcome)) {
    outcome = fail(Code::kInternal, "the reply is too large for a frame");
  }
  FrameHeader header;
  header.kind = FrameKind::kReply;
  header.op = frame.header.op;
  header.request_id = frame.header.request_id;
  Payload reply;
  if (outcome.has_value()) {
    reply = std::move(*outcome);
  } else {
    header.error_code = static_cast<std::uint32_t>(outcome.error().code());
    reply.meta = encode_error(outcome.error());
  }
  describe_payload(reply, header);
  enqueue(header, std::move(reply), std::move(slot), std::move(bytes));
}

}  // namespace cairn::net
