// GrpcServer: offers the methods of a Dispatcher as unary gRPC calls, and those of a
// StreamDispatcher as streams of messages (stream.h).
//
// Promises: handlers run on the loop of `runtime`, concurrently; a call without the cluster's key
//           (auth.h) reaches no handler; a handler's Error travels with its code. A taken port is
//           refused.
// Limits:   kCallsMax calls under way, more are answered kOverloaded at once; messages of
//           kMessageBytesMax; refusals for lack of the key are answered at 20 a second, so that
//           guessing and noise cost the loop nothing. kStreamsMax streams; a stream is read at most
//           kStreamAheadBytesMax and one message ahead of its receiver.
// Requires: the loop thread for start(), stop() and destruction; the dispatchers, the log and the
//           runtime outlive it; co_await stop() before it dies, on a running loop.
// Errors:   start(): kBusy (names the port), kUnavailable (no such local address).
#pragma once

#include <memory>

#include "common/net/channel.h"
#include "common/observe/log.h"
#include "common/rpc/rpc.h"
#include "common/rpc/stream.h"
#include "common/runtime/runtime.h"

namespace cairn::rpc {

class GrpcServer {
 public:
  GrpcServer(runtime::Runtime& runtime, observe::Log& log, const Dispatcher& dispatcher,
             net::Credentials credentials, const StreamDispatcher* streams = nullptr);
  ~GrpcServer();

  // Port 0 asks for any. Answers the address that was really bound.
  Result<net::Address> start(const net::Address& address);
  // Refuses new calls, lets handlers end; at `deadline` answers what is left with kConnectionLost
  // (it may have happened). Returns when no call, no handler and no stream is left: their owner
  // makes handlers end; streams end at once.
  Task<void> stop(Deadline deadline);

 private:
  class Core;
  std::shared_ptr<Core> core_;
};

}  // namespace cairn::rpc
