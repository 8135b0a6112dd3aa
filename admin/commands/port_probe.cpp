#include "admin/commands/port_probe.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <system_error>

namespace cairn::admin {
namespace {

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

using Resolved = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

Result<Resolved> resolve(const net::Address& address) {
  addrinfo hints = {};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  if (::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found) != 0) {
    return fail(Code::kInvalidArgument, "'" + address.host + "' is not an IP address");
  }
  return Resolved(found, &::freeaddrinfo);
}

// Inode of the socket that listens at the port, "" when none is seen.
std::string listening_inode(std::uint16_t port) {
  constexpr const char* kListen = "0A";
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream lines(table);
    std::string line;
    while (std::getline(lines, line)) {
      std::istringstream words(line);
      std::array<std::string, 10> field;
      for (std::string& word : field) words >> word;
      const std::size_t colon = field[1].rfind(':');
      if (colon == std::string::npos || field[3] != kListen) continue;
      if (std::strtoul(field[1].c_str() + colon + 1, nullptr, 16) == port) return field[9];
    }
  }
  return {};
}

// "cairn-mdsd (pid 12)", "" when it cannot be seen.
std::string owner_of_port(std::uint16_t port) {
  const std::string inode = listening_inode(port);
  if (inode.empty()) return {};
  const std::string wanted = "socket:[" + inode + "]";
  std::error_code error;
  for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
    const std::string pid = process.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    std::error_code unreadable;
    std::filesystem::directory_iterator files(process.path() / "fd", unreadable);
    for (; !unreadable && files != std::filesystem::directory_iterator();
         files.increment(unreadable)) {
      std::error_code gone;
      if (std::filesystem::read_symlink(files->path(), gone).string() != wanted) continue;
      std::string name;
      std::ifstream comm(process.path() / "comm");
      std::getline(comm, name);
      return name + " (pid " + pid + ")";
    }
  }
  return {};
}

}  // namespace

Status check_port_free(const net::Address& address) {
  TRY(const Resolved resolved, resolve(address));
  const Socket socket(::socket(resolved->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.fd() < 0) return fail(Code::kInternal, std::string("socket: ") + std::strerror(errno));
  const int on = 1;
  // Without it a port whose last connections have just ended would count as taken.
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.fd(), resolved->ai_addr, resolved->ai_addrlen) == 0 &&
      ::listen(socket.fd(), 1) == 0) {
    return {};
  }
  const int error_number = errno;
  if (error_number == EADDRINUSE) {
    const std::string owner = owner_of_port(address.port);
    return fail(Code::kBusy, "port " + std::to_string(address.port) + " of " + address.host +
                                 " is taken" + (owner.empty() ? "" : " by " + owner));
  }
  if (error_number == EADDRNOTAVAIL) {
    return fail(Code::kInvalidArgument, address.host + " is not an address of this host");
  }
  return fail(Code::kBusy, "port " + std::to_string(address.port) + " of " + address.host +
                               " cannot be used: " + std::strerror(error_number));
}

Result<std::string> local_address_towards(const net::Address& peer) {
  TRY(const Resolved resolved, resolve(peer));
  // Connecting a datagram socket sends nothing: it only chooses the route.
  const Socket socket(::socket(resolved->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage own = {};
  socklen_t length = sizeof own;
  if (socket.fd() < 0 || ::connect(socket.fd(), resolved->ai_addr, resolved->ai_addrlen) != 0 ||
      ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&own), &length) != 0) {
    return fail(Code::kUnavailable, "there is no route to " + peer.host);
  }
  std::array<char, NI_MAXHOST> text = {};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&own), length, text.data(), text.size(),
                    nullptr, 0, NI_NUMERICHOST) != 0) {
    return fail(Code::kInternal, "the local address cannot be printed");
  }
  return std::string(text.data());
}

}  // namespace cairn::admin
