#include "common/cluster/control_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cairn::cluster {
namespace {

constexpr int kBacklog = 16;

std::unexpected<Error> failed(int number, const std::string& what) {
  Code code = Code::kUnavailable;
  if (number == ENOENT || number == ECONNREFUSED) code = Code::kNotFound;
  if (number == EACCES || number == EPERM) code = Code::kAccessDenied;
  if (number == EROFS) code = Code::kReadOnly;
  return fail(code, what + ": " + std::strerror(number));
}

std::string path_in(const std::string& repository) { return repository + "/" + kControlSocket; }

// The socket's place, spelled short, while `directory` is open.
sockaddr_un address_through(int directory) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(directory) + "/" + kControlSocket;
  std::memcpy(address.sun_path, path.data(), path.size());  // below 108 bytes, ends in zeros
  return address;
}

Result<Socket> open_directory(const std::string& path) {
  Socket directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) return failed(errno, "open " + path);
  return directory;
}

}  // namespace

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

Result<Socket> listen_at_control(const std::string& repository) {
  TRY(const Socket directory, open_directory(repository));
  Socket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return failed(errno, "make a socket");
  if (::unlinkat(directory.get(), kControlSocket, 0) != 0 && errno != ENOENT) {
    return failed(errno, "remove the old " + path_in(repository));
  }
  // Before bind(): the socket never exists with another mode.
  if (::fchmod(socket.get(), 0600) != 0) return failed(errno, "set the mode of a socket");
  const sockaddr_un address = address_through(directory.get());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return failed(errno, "make the socket " + path_in(repository));
  }
  if (::listen(socket.get(), kBacklog) != 0) {
    return failed(errno, "listen at " + path_in(repository));
  }
  return socket;
}

void remove_control(const std::string& repository) {
  ::unlink(path_in(repository).c_str());  // one that stays is replaced by the next start
}

Result<Socket> connect_to_control(const std::string& repository) {
  TRY(const Socket directory, open_directory(repository));
  Socket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return failed(errno, "make a socket");
  const sockaddr_un address = address_through(directory.get());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return failed(errno, "connect to " + path_in(repository));
  }
  TRY_VOID(check_peer(socket.get()));
  return socket;
}

Status check_peer(int socket) {
  ucred peer = {};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return failed(errno, "ask who is at the other end");
  }
  if (peer.uid == 0 || peer.uid == ::geteuid()) return {};
  return fail(Code::kNotPermitted,
              "the other end belongs to user " + std::to_string(peer.uid) + ", not to us or root");
}

}  // namespace cairn::cluster
