// Ports for tests: found free a moment ago on 127.0.0.1.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "common/net/port_probe.h"

namespace cairn::admin::testing {

// A listening socket; knows its port. Port 0 asks for any.
class Listener {
 public:
  explicit Listener(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ok_ = ::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
          ::listen(fd_, 1) == 0;
    socklen_t length = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { ::close(fd_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  bool ok() const { return ok_; }
  std::uint16_t port() const { return port_; }

 private:
  int fd_;
  bool ok_ = false;
  std::uint16_t port_ = 0;
};

// The lower of two neighbours; 0 when none was found.
inline std::uint16_t free_port_pair() {
  for (int attempt = 0; attempt < 100; ++attempt) {
    const Listener first(0);
    const auto next = static_cast<std::uint16_t>(first.port() + 1);
    if (next != 0 && net::probe_listen({.host = "127.0.0.1", .port = next}).has_value()) {
      return first.port();
    }
  }
  return 0;
}

}  // namespace cairn::admin::testing
