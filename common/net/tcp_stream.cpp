#include "common/net/tcp_stream.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <boost/asio/buffer.hpp>
#include <cerrno>

namespace cairn::net {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr unsigned kFullReadsMax = 16;
constexpr std::size_t kIovecsPerCall = 128;  // well below IOV_MAX (1024), and still on the stack

struct ReceiveAwaiter {
  tcp::socket& socket;
  MutableBytes into;
  error_code error = {};
  std::size_t got = 0;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    socket.async_receive(boost::asio::buffer(into.data(), into.size()),
                         [this, waiter](const error_code& e, std::size_t n) {
                           error = e;
                           got = n;
                           waiter.resume();
                         });
  }
  void await_resume() const noexcept {}
};

struct WritableAwaiter {
  tcp::socket& socket;
  error_code error = {};

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    socket.async_wait(tcp::socket::wait_write, [this, waiter](const error_code& e) {
      error = e;
      waiter.resume();
    });
  }
  void await_resume() const noexcept {}
};

// What is left to write of a list of parts.
struct Unsent {
  const std::vector<Bytes>& parts;
  std::size_t index = 0;
  std::size_t offset = 0;  // into parts[index]

  bool done() const { return index == parts.size(); }
  void advance(std::size_t sent) {
    while (!done() && sent >= parts[index].size() - offset) {
      sent -= parts[index].size() - offset;
      offset = 0;
      ++index;
    }
    offset += sent;
    CHECK(!done() || sent == 0);
  }
};

// 0, or an errno: EAGAIN when the socket buffer is full.
int send_some(int socket, Unsent& unsent) {
  iovec vectors[kIovecsPerCall];
  std::size_t count = 0;
  std::size_t offset = unsent.offset;
  for (std::size_t i = unsent.index; i < unsent.parts.size() && count < kIovecsPerCall; ++i) {
    const Bytes part = unsent.parts[i].subspan(std::exchange(offset, 0));
    vectors[count++] = {const_cast<std::byte*>(part.data()), part.size()};
  }
  msghdr message{};
  message.msg_iov = vectors;
  message.msg_iovlen = count;
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      unsent.advance(static_cast<std::size_t>(sent));
      return 0;
    }
    if (errno != EINTR) return errno;
  }
}

// Failure only makes a dead peer known later, so it is not an error.
void tune(tcp::socket& socket) {
  const int handle = socket.native_handle();
  const auto set = [handle](int level, int option, int value) {
    static_cast<void>(::setsockopt(handle, level, option, &value, sizeof value));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 60'000);
  static_cast<void>(::fcntl(handle, F_SETFD, FD_CLOEXEC));
}

}  // namespace

TcpStream::TcpStream(tcp::socket socket) : socket_(std::move(socket)) {
  tune(socket_);
  error_code error;
  const tcp::endpoint remote = socket_.remote_endpoint(error);
  peer_ =
      error ? "a peer that left" : Address{remote.address().to_string(), remote.port()}.to_string();
}

TcpStream::~TcpStream() {
  CHECK(!reading_);
  CHECK(!writing_);
}

std::unexpected<Error> TcpStream::lost(int error_number) const {
  if (closed_) return fail(Code::kConnectionLost, "connection to " + peer_ + " was closed here");
  return fail(Code::kConnectionLost, peer_ + ": " + std::strerror(error_number));
}

Task<Result<std::size_t>> TcpStream::read_some(MutableBytes into) {
  CHECK(!reading_);
  CHECK(!into.empty());
  if (closed_) co_return lost(EBADF);
  if (full_reads_ > 0 && full_reads_ < kFullReadsMax) {
    const ssize_t n = ::recv(socket_.native_handle(), into.data(), into.size(), MSG_DONTWAIT);
    if (n > 0) {
      const auto got = static_cast<std::size_t>(n);
      full_reads_ = got == into.size() ? full_reads_ + 1 : 0;
      co_return got;
    }
    // End, error or nothing there: the wait below meets the same again and tells it properly.
  }
  reading_ = true;
  ReceiveAwaiter receive{socket_, into};
  co_await receive;
  reading_ = false;
  if (receive.error == boost::asio::error::eof && !closed_) co_return std::size_t{0};
  if (receive.error) co_return lost(receive.error.value());
  full_reads_ = receive.got == into.size() ? 1 : 0;
  co_return receive.got;
}

Task<Status> TcpStream::write_all(std::vector<Bytes> parts) {
  CHECK(!writing_);
  Unsent unsent{parts};
  unsent.advance(0);  // past empty parts at the front
  while (!unsent.done()) {
    if (closed_) co_return lost(EBADF);
    const int error = send_some(socket_.native_handle(), unsent);
    if (error == 0) continue;
    if (error != EAGAIN) co_return lost(error);
    writing_ = true;
    WritableAwaiter writable{socket_};
    co_await writable;
    writing_ = false;
    if (writable.error) co_return lost(writable.error.value());
  }
  co_return Status{};
}

void TcpStream::close() {
  if (std::exchange(closed_, true)) return;
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
}

std::string TcpStream::peer() const { return peer_; }

}  // namespace cairn::net
