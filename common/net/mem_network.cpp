#include "common/net/mem_network.h"

#include <algorithm>

#include "common/runtime/completion.h"

namespace cairn::net {

// One direction. The reader sees the end once `ended` and all bytes are taken.
struct MemNetwork::Pipe {
  std::string bytes;
  std::size_t taken = 0;
  bool ended = false;   // the writing side closed
  bool broken = false;  // the reading side closed, or the connection was cut
  std::optional<runtime::Completion<bool>> reader;
  std::optional<runtime::Completion<bool>> writer;

  std::size_t size() const { return bytes.size() - taken; }
  void wake() {
    if (auto waiting = std::exchange(reader, std::nullopt)) waiting->set(true);
    if (auto waiting = std::exchange(writer, std::nullopt)) waiting->set(true);
  }
};

struct MemNetwork::Connection {
  Pipe to_acceptor;
  Pipe to_connector;

  void cut() {
    for (Pipe* pipe : {&to_acceptor, &to_connector}) {
      pipe->broken = true;
      pipe->wake();
    }
  }
};

struct MemNetwork::Door {
  OnAccept on_accept;
  std::vector<std::weak_ptr<Connection>> connections;  // of those that may still live
};

struct MemNetwork::World {
  World(runtime::Runtime& r, std::size_t n) : runtime(r), pipe_bytes(n) {}
  runtime::Runtime& runtime;
  std::size_t pipe_bytes;
  std::map<Address, std::shared_ptr<Door>> doors;
  std::set<Address> unreachable;
  std::uint16_t next_port = 40'000;
};

class MemNetwork::MemStream final : public Stream {
 public:
  MemStream(std::shared_ptr<World> world, std::shared_ptr<Connection> connection, bool connector,
            std::string peer)
      : world_(std::move(world)),
        connection_(std::move(connection)),
        in_(connector ? &connection_->to_connector : &connection_->to_acceptor),
        out_(connector ? &connection_->to_acceptor : &connection_->to_connector),
        peer_(std::move(peer)) {}
  ~MemStream() override { close(); }

  Task<Result<std::size_t>> read_some(MutableBytes into) override {
    CHECK(!into.empty());
    while (in_->size() == 0 || in_->broken) {
      if (closed_ || in_->broken) co_return lost();
      if (in_->ended) co_return std::size_t{0};
      CHECK(!in_->reader.has_value());
      runtime::Completion<bool> changed(world_->runtime);
      in_->reader = changed;
      co_await changed.wait();
    }
    const std::size_t n = std::min(into.size(), in_->size());
    std::memcpy(into.data(), in_->bytes.data() + in_->taken, n);
    in_->taken += n;
    if (in_->size() == 0) {
      in_->bytes.clear();
      in_->taken = 0;
    }
    if (auto waiting = std::exchange(in_->writer, std::nullopt)) waiting->set(true);
    co_return n;
  }

  Task<Status> write_all(std::vector<Bytes> parts) override {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      Bytes rest = parts[i];
      while (!rest.empty()) {
        if (closed_ || out_->broken) co_return lost();
        const std::size_t room = world_->pipe_bytes - std::min(world_->pipe_bytes, out_->size());
        if (room == 0) {
          CHECK(!out_->writer.has_value());
          runtime::Completion<bool> changed(world_->runtime);
          out_->writer = changed;
          co_await changed.wait();
          continue;
        }
        const std::size_t n = std::min(room, rest.size());
        if (out_->taken > world_->pipe_bytes) {
          out_->bytes.erase(0, std::exchange(out_->taken, 0));
        }
        out_->bytes += as_text(rest.first(n));
        rest = rest.subspan(n);
        if (auto waiting = std::exchange(out_->reader, std::nullopt)) waiting->set(true);
      }
    }
    co_return Status{};
  }

  void close() override {
    if (std::exchange(closed_, true)) return;
    out_->ended = true;
    in_->broken = true;
    out_->wake();
    in_->wake();
  }
  std::string peer() const override { return peer_; }

 private:
  std::unexpected<Error> lost() const {
    return fail(Code::kConnectionLost, peer_ + (closed_ ? ": closed here" : ": connection broken"));
  }

  std::shared_ptr<World> world_;
  std::shared_ptr<Connection> connection_;
  Pipe* in_;
  Pipe* out_;
  std::string peer_;
  bool closed_ = false;
};

class MemNetwork::MemListener final : public Listener {
 public:
  MemListener(std::weak_ptr<World> world, Address address)
      : world_(std::move(world)), address_(std::move(address)) {}
  ~MemListener() override { close(); }
  Address address() const override { return address_; }
  void close() override {
    const std::shared_ptr<World> world = world_.lock();
    if (world) world->doors.erase(address_);
    world_.reset();
  }

 private:
  std::weak_ptr<World> world_;
  Address address_;
};

MemNetwork::MemNetwork(runtime::Runtime& runtime, std::size_t pipe_bytes)
    : world_(std::make_shared<World>(runtime, pipe_bytes)) {
  CHECK_GT(pipe_bytes, std::size_t{0});
}
MemNetwork::~MemNetwork() = default;

Task<Result<std::unique_ptr<Stream>>> MemNetwork::connect(Address to, Deadline deadline) {
  const std::shared_ptr<World> world = world_;
  if (world->unreachable.contains(to)) {
    co_await runtime::sleep_until(world->runtime, deadline);
    co_return fail(Code::kTimeout, "no connection to " + to.to_string() + " in time");
  }
  co_await runtime::yield_turn(world->runtime);
  const auto it = world->doors.find(to);
  if (it == world->doors.end()) {
    co_return fail(Code::kUnavailable, "nobody listens on " + to.to_string());
  }
  const std::shared_ptr<Door> door = it->second;
  std::erase_if(door->connections, [](const auto& connection) { return connection.expired(); });
  auto connection = std::make_shared<Connection>();
  door->connections.push_back(connection);
  door->on_accept(
      std::make_unique<MemStream>(world, connection, false, "a connector to " + to.to_string()));
  std::unique_ptr<Stream> stream =
      std::make_unique<MemStream>(world, connection, true, to.to_string());
  co_return stream;
}

Result<std::unique_ptr<Listener>> MemNetwork::listen(Address at, OnAccept on_accept) {
  while (at.port == 0) {
    const std::uint16_t port = world_->next_port++;
    if (port != 0 && !world_->doors.contains(Address{at.host, port})) at.port = port;
  }
  if (world_->doors.contains(at)) {
    return fail(Code::kBusy, "port " + std::to_string(at.port) + " of " + at.host + " is in use");
  }
  auto door = std::make_shared<Door>();
  door->on_accept = std::move(on_accept);
  world_->doors.emplace(at, std::move(door));
  return std::make_unique<MemListener>(world_, std::move(at));
}

void MemNetwork::set_unreachable(const Address& address, bool unreachable) {
  if (unreachable) {
    world_->unreachable.insert(address);
  } else {
    world_->unreachable.erase(address);
  }
}

void MemNetwork::cut(const Address& address) {
  const auto it = world_->doors.find(address);
  if (it == world_->doors.end()) return;
  for (const std::weak_ptr<Connection>& weak : std::exchange(it->second->connections, {})) {
    if (const std::shared_ptr<Connection> connection = weak.lock()) connection->cut();
  }
}

}  // namespace cairn::net
