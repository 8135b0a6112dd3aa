// CsLinks: one channel per chunk server address, made on demand and remade after it broke.
//
// Owns:     the channels, and a watch over each while requests wait.
// Promises: a chunk server that cannot be reached costs one connect time-out, then nothing for a
//           moment (kUnavailable at once), so that dead servers do not slow every request. One that
//           sent nothing at all for kSilent while something waits is given up: its calls end with
//           kConnectionLost. It is asked for a sign of life before (OP_PING), and any answer is
//           one. Time in which this process did not run does not count.
// Requires: the loop of `runtime`; co_await stop() before it dies.
// Errors:   those of net::Channel::call; kUnavailable while an address is avoided; kCancelled after
//           stop().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "client/core/event.h"
#include "client/core/retry.h"
#include "common/net/channel.h"
#include "common/runtime/task_group.h"

namespace cairn::client {

class CsLinks {
 public:
  static constexpr Duration kPingAfter = std::chrono::milliseconds(500);
  static constexpr Duration kSilent = std::chrono::milliseconds(1500);

  CsLinks(runtime::Runtime& runtime, net::Network& network, net::Credentials credentials);
  ~CsLinks();

  Task<Result<net::Payload>> call(std::string address, std::uint16_t op, net::Payload request,
                                  Deadline deadline);
  // Without an answer; dropped when there is no channel.
  void post(const std::string& address, std::uint16_t op, net::Payload request);
  // It answered too late: readers go round it for a moment.
  void mark_slow(const std::string& address);
  // Readers that can should go round it. Looks in the background whether it is back.
  bool avoided(const std::string& address);
  // How long it could not be reached; 0 when it can, as far as known.
  Duration down_for(const std::string& address) const;
  // It cannot be reached, and not only since a moment ago: it may be back elsewhere.
  bool may_have_moved(const std::string& address) const;
  Task<void> stop();

 private:
  struct Link {
    explicit Link(runtime::Runtime& runtime);
    std::shared_ptr<net::Channel> channel;
    bool connecting = false;
    Instant avoid_until;
    Instant down_since;
    Instant slow_until;
    Instant broken_at;  // when an open channel ended last
    Backoff backoff;
    Error last_error;
    std::size_t waiting = 0;  // requests
    Instant waiting_since;    // when it was 0 last
    bool watched = false;
    bool pinging = false;
    Event changed;
  };
  static Task<Result<net::Payload>> serve(std::uint16_t op, net::Payload request);
  Link& link(const std::string& address);
  void start_connect(Link& link, const std::string& address);
  Task<Result<std::shared_ptr<net::Channel>>> channel(std::string address, Deadline deadline);
  Task<void> connect(Link* link, std::string address);
  Task<void> retire(std::shared_ptr<net::Channel> channel);
  Task<void> watch(Link* link);
  Task<void> ping(Link* link);
  void give_up(Link& link);

  runtime::Runtime& runtime_;
  net::Network& network_;
  net::Credentials credentials_;
  runtime::TaskGroup tasks_;
  std::map<std::string, std::unique_ptr<Link>> links_;
  bool stopping_ = false;
};

}  // namespace cairn::client
