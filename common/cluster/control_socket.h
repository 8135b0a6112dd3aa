// REPO/control: the Unix socket at which a running cairn-csd takes requests of its own host
// (control_protocol.h). The path of a repository may be longer than an address of a socket: both
// ends go through /proc/self/fd.
//
// Promises: only the daemon's user and root may connect (mode 0600, from the beginning).
// Errors:   kNotFound (connect: no socket, or nobody behind it), kAccessDenied, kReadOnly,
//           kNotPermitted (peer of another user), else kUnavailable.
#pragma once

#include <string>
#include <utility>

#include "common/base/result.h"

namespace cairn::cluster {

inline constexpr const char* kControlSocket = "control";

// A descriptor that is closed when it dies.
class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// Listens. Requires: the repository's lock, so that a socket that is there is nobody's any more.
Result<Socket> listen_at_control(const std::string& repository);
void remove_control(const std::string& repository);
Result<Socket> connect_to_control(const std::string& repository);
// The process at the other end is root's or that of our own user.
Status check_peer(int socket);

}  // namespace cairn::cluster
