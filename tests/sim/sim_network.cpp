#include "tests/sim/sim_network.h"

#include <algorithm>
#include <deque>

#include "common/runtime/completion.h"

namespace cairn::sim {

namespace {
constexpr std::size_t kPipeBytesMax = 4U << 20;
}

// One direction of a link. Bytes go from `sent` (on the wire) to `arrived` (readable).
struct SimFabric::Pipe {
  explicit Pipe(SimRuntime* reader_runtime, SimRuntime* writer_runtime)
      : reader(reader_runtime), writer(writer_runtime) {}
  SimRuntime* reader;
  SimRuntime* writer;
  std::deque<std::byte> arrived;
  std::deque<std::vector<std::byte>> wire;
  std::size_t wire_bytes = 0;
  std::size_t sent_bytes = 0;
  bool delivery_planned = false;
  bool ended = false;  // the writer's side is gone: reads end after what arrived
  bool reset = false;  // broken: reads and writes fail
  // The writer died: what is on the wire arrives then, cut or not.
  std::optional<Instant> late;
  std::optional<runtime::Completion<bool>> read_waiter;
  std::optional<runtime::Completion<bool>> write_waiter;

  void wake() {
    if (read_waiter) std::exchange(read_waiter, std::nullopt)->set(true);
    if (write_waiter) std::exchange(write_waiter, std::nullopt)->set(true);
  }
};

struct SimFabric::Link {
  std::string hosts[2];
  std::unique_ptr<Pipe> pipes[2];  // pipes[i]: from side i to the other side
};

class SimStream final : public net::Stream {
 public:
  SimStream(SimFabric& fabric, std::shared_ptr<SimFabric::Link> link, int side)
      : fabric_(fabric), link_(std::move(link)), side_(side) {}
  ~SimStream() override { close(); }

  Task<Result<std::size_t>> read_some(MutableBytes into) override {
    const std::shared_ptr<SimFabric::Link> link = link_;
    SimFabric::Pipe& pipe = *link->pipes[1 - side_];
    while (true) {
      if (closed_ || pipe.reset) co_return fail(Code::kConnectionLost, "simulated reset");
      if (!pipe.arrived.empty()) break;
      if (pipe.ended && pipe.wire.empty()) co_return std::size_t{0};
      CHECK(!pipe.read_waiter.has_value());
      pipe.read_waiter.emplace(*pipe.reader);
      runtime::Completion<bool> waiter = *pipe.read_waiter;
      co_await waiter.wait();
    }
    const std::size_t count = std::min(into.size(), pipe.arrived.size());
    std::copy_n(pipe.arrived.begin(), count, into.begin());
    pipe.arrived.erase(pipe.arrived.begin(),
                       pipe.arrived.begin() + static_cast<std::ptrdiff_t>(count));
    if (pipe.write_waiter) std::exchange(pipe.write_waiter, std::nullopt)->set(true);
    co_return count;
  }

  Task<Status> write_all(std::vector<Bytes> parts) override {
    const std::shared_ptr<SimFabric::Link> link = link_;
    SimFabric::Pipe& pipe = *link->pipes[side_];
    if (fabric_.tap_) fabric_.tap_(parts);
    for (const Bytes part : parts) {
      while (!closed_ && !pipe.reset && pipe.wire_bytes + pipe.arrived.size() > kPipeBytesMax) {
        CHECK(!pipe.write_waiter.has_value());
        pipe.write_waiter.emplace(*pipe.writer);
        runtime::Completion<bool> waiter = *pipe.write_waiter;
        co_await waiter.wait();
      }
      if (closed_ || pipe.reset) co_return fail(Code::kConnectionLost, "simulated reset");
      pipe.wire.emplace_back(part.begin(), part.end());
      pipe.wire_bytes += part.size();
      pipe.sent_bytes += part.size();
      fabric_.deliver(link, side_);
    }
    co_return Status();
  }

  void close() override {
    if (closed_) return;
    closed_ = true;
    link_->pipes[side_]->ended = true;
    link_->pipes[1 - side_]->reset = true;
    fabric_.deliver(link_, side_);
    link_->pipes[0]->wake();
    link_->pipes[1]->wake();
  }
  std::string peer() const override { return link_->hosts[1 - side_]; }

 private:
  SimFabric& fabric_;
  std::shared_ptr<SimFabric::Link> link_;
  int side_;
  bool closed_ = false;
};

class SimListener final : public net::Listener {
 public:
  SimListener(SimFabric& fabric, net::Address address)
      : fabric_(fabric), address_(std::move(address)) {}
  ~SimListener() override { close(); }
  net::Address address() const override { return address_; }
  void close() override {
    if (std::exchange(open_, false)) fabric_.listeners_.erase(address_);
  }

 private:
  SimFabric& fabric_;
  net::Address address_;
  bool open_ = true;
};

void SimFabric::cut_one_way(const std::string& from, const std::string& to) {
  cuts_.insert({from, to});
}
void SimFabric::cut(const std::string& a, const std::string& b) {
  cut_one_way(a, b);
  cut_one_way(b, a);
}
void SimFabric::heal(const std::string& a, const std::string& b) {
  cuts_.erase({a, b});
  cuts_.erase({b, a});
  for (const std::weak_ptr<Link>& weak : links_) {
    const std::shared_ptr<Link> link = weak.lock();
    if (link == nullptr) continue;
    deliver(link, 0);
    deliver(link, 1);
  }
}
void SimFabric::heal_all() {
  const auto cuts = cuts_;
  for (const auto& [a, b] : cuts) heal(a, b);
}
void SimFabric::set_delay(Duration low, Duration high) {
  CHECK(low <= high);
  delay_low_ = low;
  delay_high_ = high;
}
void SimFabric::slow_down(const std::string& host, Duration extra) {
  if (extra == Duration()) {
    slow_.erase(host);
  } else {
    slow_[host] = extra;
  }
}
Duration SimFabric::extra_delay(const Link& link) const {
  Duration extra{};
  for (const std::string& host : link.hosts) {
    const auto it = slow_.find(host);
    if (it != slow_.end()) extra += it->second;
  }
  return extra;
}
Duration SimFabric::draw_delay() {
  const auto low = static_cast<std::uint64_t>(delay_low_.count());
  const auto high = static_cast<std::uint64_t>(delay_high_.count());
  return Duration(static_cast<std::int64_t>(world_.prng().between(low, high)));
}

SimFabric::Words SimFabric::words(const std::string& from, const std::string& to) const {
  Words words;
  for (const std::weak_ptr<Link>& weak : links_) {
    const std::shared_ptr<Link> link = weak.lock();
    if (link == nullptr) continue;
    for (int side = 0; side < 2; ++side) {
      const bool this_way = link->hosts[side] == from && link->hosts[1 - side] == to;
      if (!this_way) continue;
      words.under_way += link->pipes[side]->wire_bytes;
      words.sent += link->pipes[side]->sent_bytes;
    }
  }
  return words;
}

// The peer reads to the end, and finds it closed.
void SimFabric::speak_late(const std::shared_ptr<Link>& link, int direction, Duration after) {
  Pipe& pipe = *link->pipes[direction];
  pipe.late = world_.now() + after;
  pipe.reader->schedule(pipe.reader->now() + after, [this, link, direction] {
    link->pipes[direction]->ended = true;
    deliver(link, direction);
  });
}

void SimFabric::host_died(const std::string& host, const Late& late) {
  std::erase_if(listeners_, [&](const auto& entry) { return entry.second.host == host; });
  for (const std::weak_ptr<Link>& weak : links_) {
    const std::shared_ptr<Link> link = weak.lock();
    if (link == nullptr) continue;
    for (int side = 0; side < 2; ++side) {
      if (link->hosts[side] != host) continue;
      const std::optional<Duration> after = late ? late(link->hosts[1 - side]) : std::nullopt;
      if (after.has_value()) {
        speak_late(link, side, *after);
        continue;
      }
      if (!may_arrive(*link, side)) link->pipes[side]->wire.clear();
      SimRuntime* peer = link->pipes[side]->reader;
      peer->schedule(peer->now() + draw_delay(), [link] {
        for (const std::unique_ptr<Pipe>& pipe : link->pipes) {
          pipe->reset = true;
          pipe->wake();
        }
      });
    }
  }
}

bool SimFabric::may_arrive(const Link& link, int direction) const {
  const std::optional<Instant>& late = link.pipes[direction]->late;
  if (late.has_value()) return world_.now() >= *late;
  return passes(link.hosts[direction], link.hosts[1 - direction]);
}

// Plans the arrival of what is on the wire. One delivery at a time keeps the order.
void SimFabric::deliver(std::shared_ptr<Link> link, int direction) {
  Pipe& pipe = *link->pipes[direction];
  if (pipe.delivery_planned) return;
  if (!may_arrive(*link, direction)) return;
  if (pipe.wire.empty() && !pipe.ended) return;
  pipe.delivery_planned = true;
  const Duration delay = draw_delay() + extra_delay(*link);
  pipe.reader->schedule(pipe.reader->now() + delay, [this, link, direction] {
    Pipe& arriving = *link->pipes[direction];
    arriving.delivery_planned = false;
    if (!may_arrive(*link, direction)) return;
    while (!arriving.wire.empty()) {
      const std::vector<std::byte> bytes = std::move(arriving.wire.front());
      arriving.wire.pop_front();
      arriving.wire_bytes -= bytes.size();
      arriving.arrived.insert(arriving.arrived.end(), bytes.begin(), bytes.end());
    }
    arriving.wake();
  });
}

Task<Result<std::unique_ptr<net::Stream>>> SimNetwork::connect(net::Address to, Deadline deadline) {
  while (true) {
    const auto it = fabric_.listeners_.find(to);
    const bool cut = it != fabric_.listeners_.end() && !(fabric_.passes(host_, it->second.host) &&
                                                         fabric_.passes(it->second.host, host_));
    if (!cut) break;
    if (runtime_.now() >= deadline)
      co_return fail(Code::kTimeout, "simulated cut to " + to.to_string());
    co_await runtime::sleep_until(runtime_, std::min(deadline, runtime_.now() + Duration(1ms)));
  }
  co_await runtime::sleep_for(runtime_, fabric_.draw_delay());
  const auto it = fabric_.listeners_.find(to);
  if (it == fabric_.listeners_.end() || !it->second.runtime->alive()) {
    co_return fail(Code::kUnavailable, "connection refused by " + to.to_string());
  }
  SimFabric::Endpoint& endpoint = it->second;
  auto link = std::make_shared<SimFabric::Link>();
  link->hosts[0] = host_;
  link->hosts[1] = endpoint.host;
  link->pipes[0] = std::make_unique<SimFabric::Pipe>(endpoint.runtime, &runtime_);
  link->pipes[1] = std::make_unique<SimFabric::Pipe>(&runtime_, endpoint.runtime);
  std::erase_if(fabric_.links_, [](const auto& weak) { return weak.expired(); });
  fabric_.links_.push_back(link);
  // The accept runs on the listener's own loop: a dead one never sees it.
  auto accepted =
      std::make_shared<std::unique_ptr<net::Stream>>(std::make_unique<SimStream>(fabric_, link, 1));
  SimFabric* fabric = &fabric_;
  endpoint.runtime->post([fabric, to, accepted] {
    const auto listener = fabric->listeners_.find(to);
    if (listener != fabric->listeners_.end()) listener->second.on_accept(std::move(*accepted));
  });
  std::unique_ptr<net::Stream> stream = std::make_unique<SimStream>(fabric_, link, 0);
  co_return stream;
}

Result<std::unique_ptr<net::Listener>> SimNetwork::listen(net::Address at, OnAccept on_accept) {
  if (at.port == 0) {
    at.port = 20000;
    while (fabric_.listeners_.contains(at)) ++at.port;
  }
  if (fabric_.listeners_.contains(at)) {
    return fail(Code::kBusy, "port " + std::to_string(at.port) + " is in use");
  }
  fabric_.listeners_.emplace(at, SimFabric::Endpoint{&runtime_, std::move(on_accept), host_});
  std::unique_ptr<net::Listener> listener = std::make_unique<SimListener>(fabric_, at);
  return listener;
}

}  // namespace cairn::sim
