// SimMds: one MDS of a simulated group: what survives its process (log, tables, identity), and the
// process that runs now, if one does: the production MdsServer on SimRuntime.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "mds/replication/mem_log_store.h"
#include "mds/replication/mem_vault.h"
#include "mds/server/mds_server.h"
#include "tests/sim/sim_peers.h"
#include "tests/sim/sim_rpc.h"

namespace cairn::sim {

inline constexpr const char* kSimCluster = "sim";
inline constexpr ClusterId kSimClusterId = ClusterId::from_raw(77);
inline constexpr Duration kSimLogLatency = 80us;
inline net::Credentials sim_credentials() { return {.cluster = kSimCluster, .key = "k"}; }

class SimMds {
 public:
  struct Surroundings {
    SimWorld& world;
    SimFabric& fabric;
    SimControlPlane& control;
    SimPeerNet& peers;
    observe::Log& log;
  };
  struct Identity {
    unsigned index = 0;  // names its host and address
    NodeId id;
    bool founder = false;
    std::map<NodeId, net::Address> peers;  // of the group, when it joined
  };
  struct Tuning {
    Duration lease = 5s;
    mds::replication::Applier::Options tables;
    std::int64_t drift_ppm = 0;
    bool lying_log = false;
    std::uint32_t cell_bytes = 0;  // of new files; 0: the default
    std::uint64_t piece_bytes = 0;
    mds::master::Sabotage sabotage;
  };
  // The process says that it must end; it is killed by the one who hears this.
  using OnEnd = std::function<void(const Error& error)>;

  SimMds(Surroundings surroundings, Identity identity, Tuning tuning, OnEnd on_end);
  ~SimMds();

  static std::string host_of(unsigned index) { return "mds" + std::to_string(index); }
  static net::Address address_of(unsigned index) {
    return {.host = "10.0.0." + std::to_string(index + 1), .port = 2510};
  }
  static net::Address session_door_of(unsigned index) {
    return {.host = "10.0.0." + std::to_string(index + 1), .port = 2511};
  }
  static std::uint64_t repo_uuid_of(unsigned index) { return 500 + index; }

  void start();
  // A power cut: appends under way are lost, and what the tables had since their last flush.
  void kill();
  // kill(), and the drive is replaced by an empty one.
  void wipe();
  // The drive fails: the process ends when it writes to its log. wipe() replaces it.
  void fail_drive();
  bool drive_failed() const { return drive_failed_; }
  // How long a write of the log takes from now on.
  void set_log_latency(Duration latency) { store_.set_latency(latency); }
  void pause();
  void resume();
  // As SIGTERM: hands over, flushes. The process must run.
  Task<void> stop();
  // The objects of a stopped process go.
  void end();

  bool runs() const { return life_ != nullptr; }
  bool paused() const;
  NodeId id() const { return identity_.id; }
  unsigned index() const { return identity_.index; }
  std::string host() const { return host_of(identity_.index); }
  // It was taken out of the group, and must not be started again.
  bool removed() const { return removed_; }
  void set_removed() { removed_ = true; }
  // Its log is gone (or about to), and the group did not yet tell it what it may have promised.
  bool lost();

  // Of the process that runs.
  mds::server::MdsServer& server();
  bool is_master() const;
  // It would answer reads from its tables now.
  bool may_serve() const;

  kv::Kv& tables() { return vault_.tables(); }
  const mds::replication::MemVault& vault() const { return vault_; }
  mds::replication::MemLogStore& store() { return store_; }

 private:
  struct Life;
  mds::server::MdsServer::Options options();
  void keep_peers(const mds::paxos::Membership& members);

  const Surroundings surroundings_;
  Identity identity_;
  const Tuning tuning_;
  const OnEnd on_end_;
  mds::replication::MemVault vault_;
  mds::replication::MemLogStore store_;
  std::shared_ptr<Life> life_;
  bool removed_ = false;
  bool lost_ = false;
  bool drive_failed_ = false;
};

}  // namespace cairn::sim
