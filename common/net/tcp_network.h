// TcpNetwork: the Network of real machines, on the io_context of one AsioRuntime.
//
// Promises: a listening port belongs to one process (no SO_REUSEPORT); a restarted daemon gets its
//           port back at once (SO_REUSEADDR); a connection to ourselves by accident is refused.
// Requires: outlives its listeners; the runtime outlives it and its streams.
#pragma once

#include "common/net/stream.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::net {

class TcpNetwork final : public Network {
 public:
  explicit TcpNetwork(runtime::AsioRuntime& runtime) : runtime_(runtime) {}

  Task<Result<std::unique_ptr<Stream>>> connect(Address to, Deadline deadline) override;
  Result<std::unique_ptr<Listener>> listen(Address at, OnAccept on_accept) override;

 private:
  runtime::AsioRuntime& runtime_;
};

}  // namespace cairn::net
