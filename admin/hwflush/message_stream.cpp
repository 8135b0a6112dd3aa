#include "admin/hwflush/message_stream.h"

#include <algorithm>
#include <utility>

#include "admin/hwflush/limits.h"

namespace cairn::admin::hwflush {

MessageStream::MessageStream(std::unique_ptr<net::Stream> stream)
    : stream_(std::move(stream)), chunk_(kPayloadBytesMax) {}

Task<Result<Message>> MessageStream::read() {
  for (;;) {
    Result<std::optional<Message>> next = decoder_.next();
    if (!next.has_value()) co_return fail(next.error());
    if (next->has_value()) co_return std::move(**next);
    // There is room: a decoder that wants more has less than one frame.
    const MutableBytes into = MutableBytes(chunk_).first(std::min(chunk_.size(), decoder_.room()));
    const Result<std::size_t> got = co_await stream_->read_some(into);
    if (!got.has_value()) co_return fail(got.error());
    if (*got == 0) co_return fail(Code::kConnectionLost, peer() + " ended the connection");
    decoder_.append(into.first(*got));
  }
}

Task<Status> MessageStream::write(Message message) {
  const std::vector<std::byte> frame = encode_message(message);
  std::vector<Bytes> parts = {Bytes(frame)};
  Status written = co_await stream_->write_all(std::move(parts));
  co_return written;
}

}  // namespace cairn::admin::hwflush
