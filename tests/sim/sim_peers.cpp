#include "tests/sim/sim_peers.h"

#include "common/base/limits.h"

namespace cairn::sim {

SimPeers::SimPeers(SimPeerNet& net, SimRuntime& runtime, std::string host, NodeId self)
    : net_(net), runtime_(runtime), host_(std::move(host)), self_(self), life_(++net.lives_) {
  const SimPeerNet::End end{.peers = this, .host = host_, .life = life_, .under_way = 0};
  const bool added = net_.ends_.emplace(self_, end).second;
  CHECK(added);
}

void SimPeers::leave() {
  const auto at = net_.ends_.find(self_);
  if (at != net_.ends_.end() && at->second.life == life_) net_.ends_.erase(at);
}

void SimPeers::send(NodeId to, std::shared_ptr<const std::string> bytes) {
  if (to != self_ && peers_.contains(to)) net_.send(*this, to, std::move(bytes));
}

bool SimPeers::connected(NodeId to) const {
  return peers_.contains(to) && net_.connected(host_, to);
}

bool SimPeerNet::connected(const std::string& from_host, NodeId to) const {
  const auto end = ends_.find(to);
  return end != ends_.end() && fabric_.passes(from_host, end->second.host) &&
         fabric_.passes(end->second.host, from_host);
}

void SimPeerNet::send(const SimPeers& from, NodeId to, std::shared_ptr<const std::string> bytes) {
  const auto at = ends_.find(to);
  if (at == ends_.end() || !fabric_.passes(from.host_, at->second.host)) return;
  End& end = at->second;
  const int copies = world_.prng().chance(weather_.repeated_per_mille) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    if (world_.prng().chance(weather_.lost_per_mille)) continue;
    if (end.under_way + bytes->size() > limits::kPeerQueueBytesMax) continue;
    end.under_way += bytes->size();
    const Duration delay(static_cast<std::int64_t>(
        world_.prng().between(static_cast<std::uint64_t>(weather_.low.count()),
                              static_cast<std::uint64_t>(weather_.high.count()))));
    SimRuntime& receiver = end.peers->runtime_;
    receiver.schedule(receiver.now() + delay,
                      [this, from_id = from.self_, host = from.host_, to, life = end.life, bytes] {
                        deliver(from_id, host, to, life, *bytes);
                      });
  }
}

void SimPeerNet::deliver(NodeId from, const std::string& from_host, NodeId to, std::uint64_t life,
                         const std::string& bytes) {
  const auto at = ends_.find(to);
  if (at == ends_.end() || at->second.life != life) return;
  End& end = at->second;
  end.under_way -= bytes.size();
  if (!fabric_.passes(from_host, end.host)) return;
  ++delivered_;
  SimPeers& peers = *end.peers;
  if (peers.met_.insert(from).second && peers.on_meet_) peers.on_meet_(from);
  if (peers.on_message_) peers.on_message_(from, bytes);
}

}  // namespace cairn::sim
