#include "chunkserver/control/unix_stream.h"

#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cerrno>
#include <cstring>

#include "common/base/check.h"

namespace cairn::chunkserver::control {
namespace {

using boost::asio::local::stream_protocol;
using boost::system::error_code;

constexpr Duration kPause = 1s;  // after a failed accept

struct ReadyAwaiter {
  stream_protocol::socket& socket;
  stream_protocol::socket::wait_type what;
  error_code error = {};

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    socket.async_wait(what, [this, waiter](const error_code& e) {
      error = e;
      waiter.resume();
    });
  }
  void await_resume() const noexcept {}
};

class UnixStream final : public net::Stream {
 public:
  explicit UnixStream(stream_protocol::socket socket) : socket_(std::move(socket)) {}
  ~UnixStream() override { CHECK(!waiting_); }

  Task<Result<std::size_t>> read_some(MutableBytes into) override {
    CHECK(!into.empty());
    while (!closed_) {
      const ssize_t n = ::recv(socket_.native_handle(), into.data(), into.size(), MSG_DONTWAIT);
      if (n >= 0) co_return static_cast<std::size_t>(n);
      if (errno == EINTR) continue;
      if (errno != EAGAIN) co_return lost(errno);
      const bool ready = co_await wait(stream_protocol::socket::wait_read);
      if (!ready) break;
    }
    co_return lost(EBADF);
  }
  Task<Status> write_all(std::vector<Bytes> parts) override {
    for (Bytes part : parts) {
      while (!part.empty()) {
        if (closed_) co_return lost(EBADF);
        const ssize_t n =
            ::send(socket_.native_handle(), part.data(), part.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
          part = part.subspan(static_cast<std::size_t>(n));
          continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) co_return lost(errno);
        const bool ready = co_await wait(stream_protocol::socket::wait_write);
        if (!ready) co_return lost(EBADF);
      }
    }
    co_return Status{};
  }
  void close() override {
    if (std::exchange(closed_, true)) return;
    error_code ignored;
    socket_.shutdown(stream_protocol::socket::shutdown_both, ignored);
    socket_.close(ignored);
  }
  std::string peer() const override { return "the control door"; }

 private:
  // False: closed meanwhile.
  Task<bool> wait(stream_protocol::socket::wait_type what) {
    CHECK(!waiting_);
    waiting_ = true;
    ReadyAwaiter ready{socket_, what};
    co_await ready;
    waiting_ = false;
    co_return !ready.error && !closed_;
  }
  static std::unexpected<Error> lost(int number) {
    return fail(Code::kConnectionLost, std::string("the control door: ") + std::strerror(number));
  }

  stream_protocol::socket socket_;
  bool closed_ = false;
  bool waiting_ = false;  // a reader or a writer: requests and answers take turns
};

}  // namespace

Result<std::unique_ptr<net::Stream>> make_unix_stream(runtime::AsioRuntime& runtime,
                                                      cairn::cluster::Socket socket) {
  stream_protocol::socket own(runtime.context());
  error_code error;
  own.assign(stream_protocol(), socket.get(), error);
  if (error) return fail(Code::kInvalidArgument, "not a Unix socket: " + error.message());
  socket.release();
  return std::unique_ptr<net::Stream>(std::make_unique<UnixStream>(std::move(own)));
}

class UnixListener::State : public std::enable_shared_from_this<State> {
 public:
  State(runtime::AsioRuntime& runtime, cairn::cluster::Socket socket, observe::Log& log,
        OnAccept on_accept)
      : runtime_(runtime),
        acceptor_(runtime.context()),
        log_(log),
        on_accept_(std::move(on_accept)) {
    error_code error;
    acceptor_.assign(stream_protocol(), socket.release(), error);
    CHECK(!error);
  }

  void accept() {
    acceptor_.async_accept(
        [self = shared_from_this()](const error_code& error, stream_protocol::socket socket) {
          if (self->closed_) return;
          if (!error) {
            self->take(std::move(socket));
            self->accept();
            return;
          }
          // No descriptors left, say: not at once again.
          self->log_.warning("the control door takes no connection: {}", error.message());
          self->runtime_.schedule(self->runtime_.after(kPause), [self] {
            if (!self->closed_) self->accept();
          });
        });
  }
  void close() {
    closed_ = true;
    error_code ignored;
    acceptor_.close(ignored);
  }

 private:
  void take(stream_protocol::socket socket) {
    const Status peer = cairn::cluster::check_peer(socket.native_handle());
    if (!peer.has_value()) {
      log_.warning("the control door let nobody in: {}", peer.error().message());
      return;
    }
    on_accept_(std::make_unique<UnixStream>(std::move(socket)));
  }

  runtime::AsioRuntime& runtime_;
  stream_protocol::acceptor acceptor_;
  observe::Log& log_;
  OnAccept on_accept_;
  bool closed_ = false;
};

UnixListener::UnixListener(runtime::AsioRuntime& runtime, cairn::cluster::Socket socket,
                           observe::Log& log, OnAccept on_accept)
    : state_(std::make_shared<State>(runtime, std::move(socket), log, std::move(on_accept))) {
  state_->accept();
}

UnixListener::~UnixListener() { state_->close(); }

}  // namespace cairn::chunkserver::control
