#include "common/net/tcp_network.h"

#include <fcntl.h>

#include <boost/asio/io_context.hpp>

#include "common/net/tcp_stream.h"
#include "common/runtime/completion.h"

namespace cairn::net {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr int kBacklog = 1024;
constexpr Duration kAcceptPause = 100ms;  // after EMFILE and the like: wait for a descriptor

Result<tcp::endpoint> to_endpoint(const Address& address) {
  error_code error;
  const boost::asio::ip::address host = boost::asio::ip::make_address(address.host, error);
  if (error) {
    return fail(Code::kInvalidArgument, "\"" + address.host + "\" is not an IP address");
  }
  return tcp::endpoint(host, address.port);
}

Address to_address(const tcp::endpoint& endpoint) {
  return Address{endpoint.address().to_string(), endpoint.port()};
}

// Shared by the listener and the accept under way, which ends a turn later.
struct Door : std::enable_shared_from_this<Door> {
  Door(runtime::AsioRuntime& r, Network::OnAccept callback)
      : runtime(r), acceptor(r.context()), on_accept(std::move(callback)) {}

  void accept_next() {
    acceptor.async_accept([self = shared_from_this()](const error_code& error, tcp::socket socket) {
      self->accepted(error, std::move(socket));
    });
  }
  void accepted(const error_code& error, tcp::socket socket) {
    if (closed) return;
    if (!error) {
      on_accept(std::make_unique<TcpStream>(std::move(socket)));
      if (!closed) accept_next();
      return;
    }
    if (error == boost::asio::error::connection_aborted) return accept_next();
    runtime.schedule(runtime.after(kAcceptPause), [self = shared_from_this()] {
      if (!self->closed) self->accept_next();
    });
  }
  void close() {
    if (std::exchange(closed, true)) return;
    error_code ignored;
    acceptor.close(ignored);
  }

  runtime::AsioRuntime& runtime;
  tcp::acceptor acceptor;
  Network::OnAccept on_accept;
  bool closed = false;
};

class TcpListener final : public Listener {
 public:
  TcpListener(std::shared_ptr<Door> door, Address address)
      : door_(std::move(door)), address_(std::move(address)) {}
  ~TcpListener() override { door_->close(); }
  Address address() const override { return address_; }
  void close() override { door_->close(); }

 private:
  std::shared_ptr<Door> door_;
  Address address_;
};

std::unexpected<Error> cannot_listen(const Address& at, const error_code& error) {
  const bool taken = error == boost::asio::error::address_in_use;
  return fail(taken ? Code::kBusy : Code::kUnavailable,
              "cannot listen on " + at.to_string() + ": " +
                  (taken ? "port " + std::to_string(at.port) + " is in use" : error.message()));
}

Status open(tcp::acceptor& acceptor, const tcp::endpoint& endpoint, const Address& at) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (error) return cannot_listen(at, error);
  static_cast<void>(::fcntl(acceptor.native_handle(), F_SETFD, FD_CLOEXEC));
  acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(kBacklog, error);
  if (error) return cannot_listen(at, error);
  return {};
}

// The kernel may pick the port we connect to as our own: TCP then connects to itself.
bool is_self_connected(const tcp::socket& socket) {
  error_code error;
  const tcp::endpoint local = socket.local_endpoint(error);
  if (error) return false;
  const tcp::endpoint remote = socket.remote_endpoint(error);
  return !error && local == remote;
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> TcpNetwork::connect(Address to, Deadline deadline) {
  const Result<tcp::endpoint> endpoint = to_endpoint(to);
  if (!endpoint.has_value()) co_return fail(endpoint.error());
  tcp::socket socket(runtime_.context());
  error_code error;
  socket.open(endpoint->protocol(), error);
  if (error) {
    co_return fail(Code::kUnavailable, "cannot make a socket: " + error.message());
  }
  runtime::Completion<error_code> done(runtime_);
  socket.async_connect(*endpoint, [done](const error_code& e) mutable { done.set(e); });
  const std::optional<error_code> outcome = co_await done.wait_until(deadline);
  if (!outcome.has_value()) {
    co_return fail(Code::kTimeout, "no connection to " + to.to_string() + " in time");
  }
  if (*outcome) {
    co_return fail(Code::kUnavailable,
                   "cannot connect to " + to.to_string() + ": " + outcome->message());
  }
  if (is_self_connected(socket)) {
    co_return fail(Code::kUnavailable, "nobody listens on " + to.to_string());
  }
  std::unique_ptr<Stream> stream = std::make_unique<TcpStream>(std::move(socket));
  co_return stream;
}

Result<std::unique_ptr<Listener>> TcpNetwork::listen(Address at, OnAccept on_accept) {
  TRY(const tcp::endpoint endpoint, to_endpoint(at));
  auto door = std::make_shared<Door>(runtime_, std::move(on_accept));
  TRY_VOID(open(door->acceptor, endpoint, at));
  error_code error;
  const tcp::endpoint bound = door->acceptor.local_endpoint(error);
  if (error) return cannot_listen(at, error);
  door->accept_next();
  return std::make_unique<TcpListener>(std::move(door), to_address(bound));
}

}  // namespace cairn::net
