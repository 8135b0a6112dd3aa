// SimPeers: the PeerTransport of a simulated MDS. Datagrams over the fabric: each takes its own
// time, so they overtake each other; any may be lost or come twice, as the weather is; a cut link
// loses them, also those under way. A paused receiver finds them when it goes on.
//
// Owns:     SimPeerNet: who is where, the weather. SimPeers: one life of one member.
// Limits:   limits::kPeerQueueBytesMax under way to one member; more is dropped.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "common/base/units.h"
#include "mds/replication/peer_transport.h"
#include "tests/sim/sim_network.h"

namespace cairn::sim {

class SimPeers;

class SimPeerNet {
 public:
  struct Weather {
    Duration low = 20us;
    Duration high = 200us;
    std::uint64_t lost_per_mille = 0;
    std::uint64_t repeated_per_mille = 0;
  };
  SimPeerNet(SimWorld& world, SimFabric& fabric) : world_(world), fabric_(fabric) {}
  void set_weather(Weather weather) { weather_ = weather; }
  std::uint64_t delivered() const { return delivered_; }

 private:
  friend class SimPeers;
  struct End {
    SimPeers* peers = nullptr;
    std::string host;
    std::uint64_t life = 0;
    ByteCount under_way = 0;
  };
  void send(const SimPeers& from, NodeId to, std::shared_ptr<const std::string> bytes);
  void deliver(NodeId from, const std::string& from_host, NodeId to, std::uint64_t life,
               const std::string& bytes);
  bool connected(const std::string& from_host, NodeId to) const;

  SimWorld& world_;
  SimFabric& fabric_;
  Weather weather_;
  std::map<NodeId, End> ends_;
  std::uint64_t lives_ = 0;
  std::uint64_t delivered_ = 0;
};

class SimPeers final : public mds::replication::PeerTransport {
 public:
  // Called when something comes from `peer` for the first time in this life: what GrpcPeers learns
  // from its hello.
  using OnMeet = std::function<void(NodeId peer)>;

  SimPeers(SimPeerNet& net, SimRuntime& runtime, std::string host, NodeId self);
  ~SimPeers() override { leave(); }
  SimPeers(const SimPeers&) = delete;
  SimPeers& operator=(const SimPeers&) = delete;
  void on_meet(OnMeet on_meet) { on_meet_ = std::move(on_meet); }
  // It is not there any more: the process was killed.
  void leave();

  void start(OnMessage on_message) override { on_message_ = std::move(on_message); }
  void set_peers(const std::map<NodeId, net::Address>& peers) override { peers_ = peers; }
  void send(NodeId to, std::shared_ptr<const std::string> bytes) override;
  bool connected(NodeId to) const override;

 private:
  friend class SimPeerNet;
  SimPeerNet& net_;
  SimRuntime& runtime_;
  const std::string host_;
  const NodeId self_;
  OnMessage on_message_;
  OnMeet on_meet_;
  std::map<NodeId, net::Address> peers_;
  std::set<NodeId> met_;
  std::uint64_t life_ = 0;
};

}  // namespace cairn::sim
