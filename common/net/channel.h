// Channel: pipelined requests, both ways, over one Stream. The transport of the data plane and of
// namespace sessions. A frame is header + meta (a protobuf message) + body (bulk bytes, never
// protobuf); see docs/formats/frame.md.
//
// Owns:     the stream, a reader and a writer task, the table of requests in flight.
// Promises: requests of one channel are written in call order and delivered to the peer's handler
//           in that order (handlers then run concurrently); a reply completes exactly its own
//           request; bodies are received into fresh 4 KiB-aligned Buffers and sent without a copy;
//           when the stream breaks, every request in flight ends with kConnectionLost.
// Limits:   limits::kChannelRequestsInFlightMax per side (call() then ends with kOverloaded); meta
//           and body sizes of limits.h; a frame beyond them closes the channel (kProtocol).
// Requires: the loop thread; close() and co_await closed() before it dies.
// Errors:   kTimeout at the deadline (a late reply is dropped), kConnectionLost, kOverloaded, and
//           whatever the handler of the peer returned (code and message travel).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/net/stream.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"

namespace cairn::net {

// What travels in one direction. On receipt `body` has at most one part.
struct Payload {
  std::string meta;
  std::vector<Buffer> body;
  std::size_t body_size() const;
};

// Proof that both ends know the cluster's key, exchanged before the first request: HMAC-SHA256 over
// two nonces, the cluster name and the role, in both directions. An empty key means that the
// cluster was made without a password; then only the names are compared.
struct Credentials {
  std::string cluster;
  std::string key;
};

class Channel {
 public:
  // Serves one request of the peer. `op` is a number of pb::Op. Empty: every request of the peer is
  // answered with kUnsupported.
  using Handler = std::function<Task<Result<Payload>>(std::uint16_t op, Payload request)>;

  virtual ~Channel() = default;
  virtual Task<Result<Payload>> call(std::uint16_t op, Payload request, Deadline deadline) = 0;
  // A request without a reply; dropped when the channel is broken, or when 4096 posts wait to be
  // written: a post is a hint.
  virtual void post(std::uint16_t op, Payload request) = 0;
  virtual bool is_open() const = 0;
  virtual std::string peer() const = 0;
  // When bytes of the peer came last; at first, when the channel was opened.
  virtual Instant heard_at() const = 0;
  // Runs once, in a turn of its own before closed() resumes, when the channel breaks or is closed.
  // Set before the first call.
  virtual void on_close(std::function<void()> callback) = 0;
  virtual void close() = 0;
  // Resumes when every task of the channel ended.
  virtual Task<void> closed() = 0;
};

// Connects, authenticates, starts.
// Errors:   those of connect(), kNotAuthenticated, kWrongCluster.
Task<Result<std::unique_ptr<Channel>>> connect_channel(runtime::Runtime& runtime, Network& network,
                                                       Address to, Credentials credentials,
                                                       Channel::Handler handler, Deadline deadline);

// The accepting side of the same.
Task<Result<std::unique_ptr<Channel>>> accept_channel(runtime::Runtime& runtime,
                                                      std::unique_ptr<Stream> stream,
                                                      Credentials credentials,
                                                      Channel::Handler handler, Deadline deadline);

}  // namespace cairn::net
