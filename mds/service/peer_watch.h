// PeerWatch: decides what is to be said about the other members: states for stat, events with the
// guide's texts.
// Pure; time enters as an argument.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/time.h"
#include "common/observe/log.h"
#include "mds/paxos/replica.h"

namespace cairn::mds::service {

enum class MdsState : std::uint8_t {
  kAvail,    // it answers and keeps up
  kUnavail,  // nothing is heard of it
  kStale,    // it answers, but does not accept, or has to be resynchronised
};
const char* mds_state_text(MdsState state);

class PeerWatch {
 public:
  static constexpr Duration kUnavailAfter = 3s;
  static constexpr Duration kStaleAfter = 10s;
  static constexpr std::uint64_t kLagEvent = 1000;  // rounds, as in the guide
  static constexpr std::uint64_t kLagOver = 100;    // said again only after it was below this

  struct Event {
    observe::Severity severity = observe::Severity::kInfo;
    NodeId member;
    std::string text;  // goes behind "MDS#N (ADDR) "
  };
  // One look at a member, from the master.
  std::vector<Event> look(const paxos::PeerProgress& peer, Slot tip, Instant now);
  // It needs a full resync; nullopt: that was said already.
  std::optional<Event> resync(NodeId member, Instant now);
  MdsState state(const paxos::PeerProgress& peer, Slot tip, Instant now) const;
  void forget() { peers_.clear(); }

 private:
  struct Peer {
    bool lagging = false;
    bool silent = false;
    bool resyncing = false;
    Instant resync_said;
  };
  std::map<NodeId, Peer> peers_;
};

}  // namespace cairn::mds::service
