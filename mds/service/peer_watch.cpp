#include "mds/service/peer_watch.h"

#include <fmt/format.h>

namespace cairn::mds::service {

namespace {
constexpr Duration kResyncRepeat = 60s;
std::uint64_t lag_of(const paxos::PeerProgress& peer, Slot tip) {
  return tip > peer.chosen ? tip - peer.chosen : 0;
}
}  // namespace

const char* mds_state_text(MdsState state) {
  switch (state) {
    case MdsState::kAvail:
      return "avail";
    case MdsState::kUnavail:
      return "unavail";
    case MdsState::kStale:
      return "stale";
  }
  return "unavail";
}

MdsState PeerWatch::state(const paxos::PeerProgress& peer, Slot tip, Instant now) const {
  if (now - peer.last_heard > kUnavailAfter) return MdsState::kUnavail;
  const auto at = peers_.find(peer.id);
  if (at != peers_.end() && at->second.resyncing) return MdsState::kStale;
  if (now - peer.last_accept > kStaleAfter) return MdsState::kStale;
  return lag_of(peer, tip) > kLagEvent ? MdsState::kStale : MdsState::kAvail;
}

std::vector<PeerWatch::Event> PeerWatch::look(const paxos::PeerProgress& peer, Slot tip,
                                              Instant now) {
  std::vector<Event> events;
  Peer& known = peers_[peer.id];
  const std::uint64_t lag = lag_of(peer, tip);
  if (known.resyncing && lag < kLagOver) known.resyncing = false;
  if (!known.lagging && lag > kLagEvent) {
    known.lagging = true;
    events.push_back({observe::Severity::kError, peer.id,
                      fmt::format("lags behind for more than {} rounds", kLagEvent)});
  } else if (known.lagging && lag < kLagOver) {
    known.lagging = false;
    events.push_back({observe::Severity::kInfo, peer.id, "caught up"});
  }
  const Duration quiet = now - peer.last_accept;
  if (!known.silent && quiet > kStaleAfter) {
    known.silent = true;
    events.push_back({observe::Severity::kError, peer.id,
                      fmt::format("didn't accept commits for {} sec", quiet / 1s)});
  } else if (known.silent && quiet < kUnavailAfter) {
    known.silent = false;
    events.push_back({observe::Severity::kInfo, peer.id, "accepts commits again"});
  }
  return events;
}

std::optional<PeerWatch::Event> PeerWatch::resync(NodeId member, Instant now) {
  Peer& known = peers_[member];
  if (known.resyncing && now - known.resync_said < kResyncRepeat) return std::nullopt;
  known.resyncing = true;
  known.resync_said = now;
  return Event{observe::Severity::kError, member, "state is outdated and will do a full resync"};
}

}  // namespace cairn::mds::service
