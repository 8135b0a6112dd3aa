// MemPeers: a PeerTransport between objects of one process, for tests of groups: messages take a
// while, and may be lost, repeated, or cut off. Deterministic for the seed of the runtime.
//
// Owns:     PeerHub: who is reachable, the weather. MemPeers: one member's end.
// Promises: messages of one direction arrive in order (repetitions apart), each in a turn of its
//           own; nothing arrives at a MemPeers that died, nor at one that took its id later and was
//           not meant.
// Requires: the hub outlives its MemPeers; one runtime.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "common/base/check.h"
#include "common/runtime/runtime.h"
#include "mds/replication/peer_transport.h"

namespace cairn::mds::testing {

class MemPeers;

class PeerHub {
 public:
  struct Weather {
    Duration delay = 200us;
    Duration jitter{0};  // added, up to this
    std::uint64_t lost_per_mille = 0;
    std::uint64_t repeated_per_mille = 0;
  };

  explicit PeerHub(runtime::Runtime& runtime) : runtime_(runtime) {}
  PeerHub(runtime::Runtime& runtime, Weather weather) : runtime_(runtime), weather_(weather) {}

  void set_weather(Weather weather) { weather_ = weather; }
  // One direction. What is under way is lost too.
  void cut(NodeId from, NodeId to) { cut_.emplace(from, to); }
  void heal(NodeId from, NodeId to) { cut_.erase({from, to}); }
  // Both directions between `node` and everybody.
  void isolate(NodeId node) { isolated_.insert(node); }
  void rejoin(NodeId node) { isolated_.erase(node); }
  void heal_all() {
    cut_.clear();
    isolated_.clear();
  }
  std::uint64_t sent() const { return sent_; }
  std::uint64_t delivered() const { return delivered_; }

 private:
  friend class MemPeers;
  using Way = std::pair<NodeId, NodeId>;
  struct End {
    MemPeers* peers = nullptr;
    std::uint64_t life = 0;
  };

  bool passes(NodeId from, NodeId to) const {
    return !cut_.contains({from, to}) && !isolated_.contains(from) && !isolated_.contains(to) &&
           ends_.contains(to);
  }
  bool chance(std::uint64_t per_mille) {
    return per_mille > 0 && runtime_.random() % 1000 < per_mille;
  }
  inline void send(NodeId from, NodeId to, const std::shared_ptr<const std::string>& bytes);
  inline void deliver(NodeId from, NodeId to, std::uint64_t life, const std::string& bytes);

  runtime::Runtime& runtime_;
  Weather weather_;
  std::map<NodeId, End> ends_;
  std::set<Way> cut_;
  std::set<NodeId> isolated_;
  std::map<Way, Instant> last_;  // arrival of the newest message of a direction
  std::uint64_t lives_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t delivered_ = 0;
  std::shared_ptr<PeerHub*> self_ = std::make_shared<PeerHub*>(this);  // for what is under way
};

class MemPeers final : public replication::PeerTransport {
 public:
  MemPeers(PeerHub& hub, NodeId self) : hub_(hub), self_(self) {
    const bool added = hub_.ends_.emplace(self, PeerHub::End{this, ++hub_.lives_}).second;
    CHECK(added);
  }
  ~MemPeers() override { hub_.ends_.erase(self_); }
  MemPeers(const MemPeers&) = delete;
  MemPeers& operator=(const MemPeers&) = delete;

  void start(OnMessage on_message) override {
    CHECK(on_message_ == nullptr && on_message != nullptr);
    on_message_ = std::move(on_message);
  }
  void set_peers(const std::map<NodeId, net::Address>& peers) override { peers_ = peers; }
  void send(NodeId to, std::shared_ptr<const std::string> bytes) override {
    if (to != self_ && peers_.contains(to)) hub_.send(self_, to, bytes);
  }
  bool connected(NodeId to) const override {
    return peers_.contains(to) && hub_.passes(self_, to) && hub_.passes(to, self_);
  }

 private:
  friend class PeerHub;
  PeerHub& hub_;
  const NodeId self_;
  OnMessage on_message_;
  std::map<NodeId, net::Address> peers_;
};

inline void PeerHub::send(NodeId from, NodeId to, const std::shared_ptr<const std::string>& bytes) {
  ++sent_;
  if (!passes(from, to)) return;
  const std::uint64_t life = ends_.at(to).life;
  const int copies = chance(weather_.repeated_per_mille) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    if (chance(weather_.lost_per_mille)) continue;
    Duration delay = weather_.delay;
    if (weather_.jitter > Duration{0}) {
      delay += Duration(static_cast<std::int64_t>(
          runtime_.random() % static_cast<std::uint64_t>(weather_.jitter.count() + 1)));
    }
    // Each a nanosecond after the one before: timers of one instant need not keep their order.
    Instant& last = last_[{from, to}];
    last = std::max(runtime_.now() + delay, last + Duration{1});
    runtime_.schedule(last, [hub = std::weak_ptr(self_), from, to, life, bytes] {
      if (const std::shared_ptr<PeerHub*> alive = hub.lock()) {
        (*alive)->deliver(from, to, life, *bytes);
      }
    });
  }
}

inline void PeerHub::deliver(NodeId from, NodeId to, std::uint64_t life, const std::string& bytes) {
  if (!passes(from, to)) return;
  const End end = ends_.at(to);
  if (end.life != life || end.peers->on_message_ == nullptr) return;
  ++delivered_;
  // A copy: the receiver may destroy its end inside.
  const replication::PeerTransport::OnMessage on_message = end.peers->on_message_;
  on_message(from, bytes);
}

}  // namespace cairn::mds::testing
