#include "common/rpc/grpc_server_stream.h"

#include <algorithm>

#include "common/rpc/grpc_call.h"

namespace cairn::rpc {

bool StreamTable::add(const std::shared_ptr<ServerStream>& stream, bool has_key) {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  const auto same = static_cast<std::size_t>(std::ranges::count_if(
      streams_, [has_key](const auto& entry) { return entry.second.has_key == has_key; }));
  if (same >= (has_key ? kStreamsMax : kStrangersMax)) return false;
  streams_.emplace(stream.get(), Entry{stream, has_key});
  return true;
}

void StreamTable::remove(ServerStream* stream) {
  std::shared_ptr<ServerStream> last;  // dies outside the lock
  const std::lock_guard lock(mutex_);
  const auto it = streams_.find(stream);
  if (it == streams_.end()) return;
  last = std::move(it->second.stream);
  streams_.erase(it);
}

void StreamTable::close(bool closed) {
  const std::lock_guard lock(mutex_);
  closed_ = closed;
}

std::vector<std::shared_ptr<ServerStream>> StreamTable::all() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<ServerStream>> streams;
  for (const auto& [key, entry] : streams_) streams.push_back(entry.stream);
  return streams;
}

ServerStream::ServerStream(runtime::Runtime& runtime, std::shared_ptr<StreamTable> table,
                           grpc::GenericCallbackServerContext* context)
    : runtime_(runtime),
      table_(std::move(table)),
      context_(context),
      method_(context->method()),
      peer_(context->peer()) {}

void ServerStream::accept(std::unique_ptr<StreamReceiver> receiver) {
  {
    const std::lock_guard lock(mutex_);
    if (!finished_) {
      receiver_ = std::move(receiver);
      context_->AddInitialMetadata(kStreamKey, "1");
      StartSendInitialMetadata();
      reading_ = true;
      StartRead(&buffer_);
    }
  }
  // When the opener has gone meanwhile the receiver dies here.
}

void ServerStream::finish(const Error& error) { end(&error); }

// `error` null: the opener ended it.
void ServerStream::end(const Error* error) {
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    finished_ = true;
    refused_ = error != nullptr;
  }
  Finish(error == nullptr ? grpc::Status::OK : refuse_with(*context_, *error));
  post_drain();
}

void ServerStream::OnReadDone(bool ok) {
  if (!ok) {
    end(nullptr);
    return;
  }
  // Unpacked outside the lock, which the loop takes too.
  grpc::ByteBuffer batch;
  BatchReader reader;
  {
    const std::lock_guard lock(mutex_);
    batch.Swap(&buffer_);
    std::swap(reader, reader_);
  }
  Result<std::vector<std::string>> messages = reader.read(batch);
  if (!messages.has_value()) {
    finish(messages.error());
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    std::swap(reader, reader_);
    for (std::string& message : *messages) {
      inbox_bytes_ += message.size();
      inbox_.push_back(std::move(message));
    }
    reading_ = false;
    read_on();
  }
  if (messages->empty()) return;  // only parts
  post_drain();
}

// Under the lock. gRPC runs no callback inside StartRead().
void ServerStream::read_on() {
  if (finished_ || reading_ || inbox_bytes_ >= kStreamAheadBytesMax) return;
  reading_ = true;
  StartRead(&buffer_);
}

void ServerStream::OnCancel() { end(nullptr); }

void ServerStream::OnDone() { table_->remove(this); }

bool ServerStream::refused() {
  const std::lock_guard lock(mutex_);
  return refused_;
}

void ServerStream::post_drain() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(drain_posted_, true)) return;
  }
  runtime_.post([self = shared_from_this()] { self->drain(); });
}

void ServerStream::drain() {
  std::vector<std::string> messages;
  bool over = false;
  {
    const std::lock_guard lock(mutex_);
    drain_posted_ = false;
    messages.swap(inbox_);
    over = finished_;
  }
  for (std::string& message : messages) {
    if (receiver_ == nullptr || refused()) break;
    const Status taken = receiver_->message(std::move(message));
    if (!taken.has_value()) finish(taken.error());
  }
  if (over) {
    receiver_.reset();
    return;
  }
  const std::lock_guard lock(mutex_);
  inbox_bytes_ = 0;
  for (const std::string& message : inbox_) inbox_bytes_ += message.size();
  read_on();
}

}  // namespace cairn::rpc
