// CsLinks: one channel per chunk server address, made on demand and remade after it broke.
//
// Owns:     the channels.
// Promises: a chunk server that cannot be reached costs one connect time-out, then nothing for a
//           moment (kUnavailable at once), so that dead servers do not slow every request.
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
  CsLinks(runtime::Runtime& runtime, net::Network& network, net::Credentials credentials);
  ~CsLinks();

  Task<Result<net::Payload>> call(std::string address, std::uint16_t op, net::Payload request,
                                  Deadline deadline);
  // Without an answer; dropped when there is no channel.
  void post(const std::string& address, std::uint16_t op, net::Payload request);
  // It answered too late: readers go round it for a moment.
  void mark_slow(const std::string& address);
  bool avoided(const std::string& address) const;
  // How long connecting has failed; 0 when it did not.
  Duration down_for(const std::string& address) const;
  Task<void> stop();

 private:
  struct Link {
    explicit Link(runtime::Runtime& runtime);
    std::shared_ptr<net::Channel> channel;
    bool connecting = false;
    Instant avoid_until;
    Instant down_since;
    Instant slow_until;
    Backoff backoff;
    Error last_error;
    Event connected;
  };
  static Task<Result<net::Payload>> serve(std::uint16_t op, net::Payload request);
  Link& link(const std::string& address);
  Task<Result<std::shared_ptr<net::Channel>>> channel(std::string address, Deadline deadline);
  Task<void> connect(Link* link, std::string address);
  Task<void> retire(std::shared_ptr<net::Channel> channel);

  runtime::Runtime& runtime_;
  net::Network& network_;
  net::Credentials credentials_;
  runtime::TaskGroup tasks_;
  std::map<std::string, std::unique_ptr<Link>> links_;
  bool stopping_ = false;
};

}  // namespace cairn::client
