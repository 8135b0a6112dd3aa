#include "chunkserver/data/data_server.h"

namespace cairn::chunkserver::data {
namespace {

constexpr Duration kHandshakeTimeout = 3s;

}  // namespace

DataServer::DataServer(runtime::Runtime& runtime, net::Network& network,
                       net::Credentials credentials, DataService& service, observe::Log& log)
    : runtime_(runtime),
      network_(network),
      credentials_(std::move(credentials)),
      service_(service),
      log_(log),
      group_(runtime) {}

Result<net::Address> DataServer::start(net::Address at) {
  TRY(listener_, network_.listen(std::move(at), [this](std::unique_ptr<net::Stream> stream) {
    accept(std::move(stream));
  }));
  return listener_->address();
}

Task<void> DataServer::stop() {
  stopping_ = true;
  if (listener_ != nullptr) listener_->close();
  for (net::Channel* channel : channels_) channel->close();
  co_await group_.join();
}

void DataServer::accept(std::unique_ptr<net::Stream> stream) {
  if (stopping_ || group_.running() >= kConnectionsMax) {
    stream->close();
    return;
  }
  group_.spawn(serve(this, std::move(stream)));
}

Task<void> DataServer::serve(DataServer* self, std::unique_ptr<net::Stream> stream) {
  const std::string peer = stream->peer();
  net::Credentials credentials = self->credentials_;
  net::Channel::Handler handler = self->service_.handler();
  const Deadline deadline = self->runtime_.after(kHandshakeTimeout);
  Result<std::unique_ptr<net::Channel>> accepted = co_await net::accept_channel(
      self->runtime_, std::move(stream), std::move(credentials), std::move(handler), deadline);
  if (!accepted.has_value()) {
    self->log_.warning("{} was not let in: {}", peer, accepted.error().to_string());
    co_return;
  }
  const std::unique_ptr<net::Channel> channel = std::move(*accepted);
  self->channels_.insert(channel.get());
  if (self->stopping_) channel->close();
  co_await channel->closed();
  channel->close();
  self->channels_.erase(channel.get());
}

}  // namespace cairn::chunkserver::data
