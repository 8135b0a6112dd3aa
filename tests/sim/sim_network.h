// SimNetwork: byte streams between simulated nodes, with delay, cuts and dead hosts.
//
// One SimFabric for the world; every node has a SimNetwork (its host name and its Runtime). Bytes
// arrive
// in order after a delay drawn from the seed, or never: a cut link keeps its bytes until it heals
// or a
// side closes; a killed node's streams end at the peer after a delay (reset), as the kernel would
// do.
// Limits: 4 MiB in flight per direction; a writer waits beyond that.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/net/stream.h"
#include "tests/sim/sim_runtime.h"

namespace cairn::sim {

class SimNetwork;

class SimFabric {
 public:
  explicit SimFabric(SimWorld& world) : world_(world) {}

  // Messages between the hosts stop (both ways, or one) until heal(). Streams stay open.
  void cut(const std::string& a, const std::string& b);
  void cut_one_way(const std::string& from, const std::string& to);
  void heal(const std::string& a, const std::string& b);
  void heal_all();
  // The process on `host` died: its listeners vanish, its peers see a reset. `late`: its kernel
  // goes on sending what is on the wire to a peer, and it arrives so much later; nullopt: it is
  // lost.
  using Late = std::function<std::optional<Duration>(const std::string& peer)>;
  void host_died(const std::string& host, const Late& late = nullptr);
  // Between two hosts, on the connections they have: bytes that are on the wire, and all that were
  // sent.
  struct Words {
    std::size_t under_way = 0;
    std::size_t sent = 0;
  };
  Words words(const std::string& from, const std::string& to) const;
  // Delay of one delivery: uniform in [low, high].
  void set_delay(Duration low, Duration high);
  Duration draw_delay();
  // Everything from and to that host takes so much longer; zero: as usual.
  void slow_down(const std::string& host, Duration extra);
  void slow_none() { slow_.clear(); }
  // Sees all that is sent; null: nobody does.
  using Tap = std::function<void(const std::vector<Bytes>& parts)>;
  void set_tap(Tap tap) { tap_ = std::move(tap); }
  bool passes(const std::string& from, const std::string& to) const {
    return !cuts_.contains({from, to});
  }

 private:
  friend class SimNetwork;
  friend class SimStream;
  friend class SimListener;
  struct Pipe;
  struct Link;
  struct Endpoint {
    SimRuntime* runtime;
    net::Network::OnAccept on_accept;
    std::string host;
  };

  void deliver(std::shared_ptr<Link> link, int direction);
  bool may_arrive(const Link& link, int direction) const;
  void speak_late(const std::shared_ptr<Link>& link, int direction, Duration after);
  Duration extra_delay(const Link& link) const;

  SimWorld& world_;
  Duration delay_low_ = 20us;
  Duration delay_high_ = 200us;
  std::map<net::Address, Endpoint> listeners_;
  std::set<std::pair<std::string, std::string>> cuts_;  // from, to
  std::map<std::string, Duration> slow_;
  Tap tap_;
  std::vector<std::weak_ptr<Link>> links_;
};

class SimNetwork final : public net::Network {
 public:
  SimNetwork(SimFabric& fabric, SimRuntime& runtime, std::string host)
      : fabric_(fabric), runtime_(runtime), host_(std::move(host)) {}

  Task<Result<std::unique_ptr<net::Stream>>> connect(net::Address to, Deadline deadline) override;
  Result<std::unique_ptr<net::Listener>> listen(net::Address at, OnAccept on_accept) override;

 private:
  SimFabric& fabric_;
  SimRuntime& runtime_;
  std::string host_;
};

}  // namespace cairn::sim
