#include "common/net/channel.h"

#include "common/net/authenticate.h"
#include "common/net/stream_channel.h"

namespace cairn::net {
namespace {

Task<Result<std::unique_ptr<Channel>>> open_channel(runtime::Runtime* runtime,
                                                    std::unique_ptr<Stream> stream,
                                                    Credentials credentials, Role role,
                                                    Channel::Handler handler, Deadline deadline) {
  const Status known =
      co_await authenticate(*runtime, *stream, std::move(credentials), role, deadline);
  if (!known.has_value()) {
    stream->close();
    co_return fail(known.error());
  }
  auto channel = std::make_unique<StreamChannel>(*runtime, std::move(stream), std::move(handler));
  channel->start();
  std::unique_ptr<Channel> opened = std::move(channel);
  co_return opened;
}

}  // namespace

std::size_t Payload::body_size() const {
  std::size_t size = 0;
  for (const Buffer& part : body) size += part.size();
  return size;
}

Task<Result<std::unique_ptr<Channel>>> connect_channel(runtime::Runtime& runtime, Network& network,
                                                       Address to, Credentials credentials,
                                                       Channel::Handler handler,
                                                       Deadline deadline) {
  Result<std::unique_ptr<Stream>> stream = co_await network.connect(std::move(to), deadline);
  if (!stream.has_value()) co_return fail(std::move(stream).error());
  Task<Result<std::unique_ptr<Channel>>> opening =
      open_channel(&runtime, std::move(*stream), std::move(credentials), Role::kConnector,
                   std::move(handler), deadline);
  co_return co_await opening;
}

Task<Result<std::unique_ptr<Channel>>> accept_channel(runtime::Runtime& runtime,
                                                      std::unique_ptr<Stream> stream,
                                                      Credentials credentials,
                                                      Channel::Handler handler, Deadline deadline) {
  return open_channel(&runtime, std::move(stream), std::move(credentials), Role::kAcceptor,
                      std::move(handler), deadline);
}

}  // namespace cairn::net
