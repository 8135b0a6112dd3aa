// GrpcStream: the opening side of a stream of messages (stream.h) to one address. Connects by
// itself, and again when the stream breaks.
//
// Owns:     a gRPC channel an attempt; the queue of messages that wait to be written.
// Promises: messages of one connection arrive in order, each once; what was sent before the
//           connection broke may be lost. send() never blocks: messages that wait while one write
//           is under way go together in the next. A peer that hangs or vanished without a word is
//           noticed within about 2 s; attempts are kBackoffMin to kBackoffMax apart.
// Requires: the loop of `runtime`, which outlives it. The destructor waits for gRPC to let go of
//           the stream (at once).
// Limits:   kStreamMessageBytesMax a message; Options::queue_bytes_max of messages that wait, or
//           one larger message alone. send() drops what does not fit, and everything while there is
//           no connection: what is late is of no use.
// Errors:   those of an attempt go to Options::on_change.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/net/channel.h"
#include "common/rpc/stream.h"
#include "common/runtime/runtime.h"

namespace cairn::rpc {

class GrpcStream {
 public:
  static constexpr Duration kBackoffMin = 50ms;
  static constexpr Duration kBackoffMax = 1s;

  struct Options {
    net::Address address;
    std::string method;
    // Asked at each attempt; at most kHelloBytesMax.
    std::function<std::string()> hello;
    ByteCount queue_bytes_max = 0;
    // On the loop, in a turn of its own. Ok: connected. Else: an attempt failed, or the connection
    // broke. The stream may be destroyed inside.
    std::function<void(const Status&)> on_change;
  };

  GrpcStream(runtime::Runtime& runtime, net::Credentials credentials, Options options);
  ~GrpcStream();
  GrpcStream(const GrpcStream&) = delete;
  GrpcStream& operator=(const GrpcStream&) = delete;

  // False: dropped.
  bool send(std::shared_ptr<const std::string> message);
  bool connected() const;
  // The peer is surely there: does not wait for the next attempt.
  void retry_now();
  ByteCount queued_bytes() const;
  std::uint64_t dropped() const;

 private:
  struct Attempt;
  struct Link;
  std::shared_ptr<Link> link_;
};

}  // namespace cairn::rpc
