// Members: what this MDS knows of its group beyond consensus: how every member is doing, for stat
// and events; and, on the master, the upkeep of the list: learners that caught up become voters,
// moved members get their new address.
//
// Requires: the loop thread; step() about once a second; Group outlives it.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "mds/master/event_writer.h"
#include "mds/master/rate_window.h"
#include "mds/replication/group.h"
#include "mds/service/peer_watch.h"
#include "mds/service/process_usage.h"
#include "proto/admin.pb.h"

namespace cairn::mds::service {

inline constexpr const char* kVersion = "0.1.0";

// Of this MDS, for stat.
struct Identity {
  NodeId mds_id;
  std::string host;
  net::Address address;  // gRPC door
  std::uint64_t repo_uuid = 0;
  std::string repository;
  std::function<ProcessUsage()> usage;
};

class Members {
 public:
  // A learner this close to the tip becomes a voter.
  static constexpr std::uint64_t kPromoteLag = 1000;
  static constexpr std::size_t kMembersMax = 9;
  // A member that lives reports once a second.
  static constexpr Duration kHeardWithin = 3s;

  Members(runtime::Runtime& runtime, observe::Log& log, replication::Group& group,
          Identity identity);

  void heard(NodeId from, pb::PeerReport report);
  // What a link of this member said of itself when it was opened.
  void met(NodeId from, std::string address, std::uint64_t repo_uuid);
  // A follower reports to the master. `events` and `tasks`: of the reign, null when there is none.
  void step(master::EventWriter* events, runtime::TaskGroup* tasks);
  void resync(NodeId member, master::EventWriter* events);
  // A new reign: nothing was heard of anybody yet.
  void begin_reign();

  // All members, by id.
  void fill(pb::StatReply* reply);
  // Addresses of all gRPC doors, the master's first; only those known.
  std::vector<std::string> addresses() const;
  // Empty: unknown.
  std::string master_address() const;
  std::string text_of(NodeId member) const;  // "MDS#3 (10.0.0.3:2510)"
  // Voters that are surely up and vote, the own one included; without `without`. Those of whom this
  // reign has not heard yet do not count: kHeardWithin after its begin all that live have been.
  std::size_t voters_up(NodeId without) const;

  const Identity& identity() const { return identity_; }

 private:
  struct Report {
    pb::MdsStat stat;
    Instant at;
  };
  struct Met {
    std::string address;
    std::uint64_t repo_uuid = 0;
  };
  pb::MdsStat own();
  MdsState state_of(const paxos::PeerProgress& peer) const;
  // It said so itself, not long ago: one that does not know what it promised gives no votes.
  bool surely_up(const paxos::PeerProgress& peer) const;
  void keep_members(runtime::TaskGroup& tasks);
  static Task<void> change(Members* self, replication::Group::Edit edit);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  replication::Group& group_;
  const Identity identity_;
  const Instant started_;
  PeerWatch watch_;
  std::map<NodeId, Report> reports_;
  std::map<NodeId, Met> met_;
  master::RateWindow<3> rates_;  // busy ns, commands, CPU ns
  bool changing_ = false;
};

}  // namespace cairn::mds::service
