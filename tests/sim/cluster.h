// SimCluster: a whole Cairn in one thread: a group of MDS, some chunk servers, clients. The
// production objects of all daemons over SimRuntime, SimNetwork, SimPeers, SimDisk, MemVault and
// MemLogStore. Every node can be killed and started again; MDS can be paused, wiped, removed,
// added.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chunkserver/chunk_server.h"
#include "chunkserver/io/sim_disk.h"
#include "client/core/file_system.h"
#include "common/kv/mem_kv.h"
#include "common/rpc/multi_caller.h"
#include "proto/admin.pb.h"
#include "tests/sim/sim_mds.h"

namespace cairn::sim {

class SimCluster {
 public:
  struct Options {
    unsigned mds = 3;
    unsigned chunk_servers = 6;
    std::uint32_t data = 4;
    std::uint32_t parity = 2;
    std::uint32_t min = 5;
    ByteCount disk_bytes = 512_MiB;
    std::uint32_t cell_bytes = 0;  // of new files; 0: the default
    std::uint64_t piece_bytes = 0;
    // Longer than any outage lasts, as the 60 s of real clusters: a recall that takes longer loses
    // what was not synced.
    Duration lease = 30s;
    // Small, so that members that were away need a snapshot.
    mds::replication::Applier::Options mds_tables = {.flush_every_bytes = 64_KiB,
                                                     .keep_slots = 300};
    // Clocks of MDS run up to this much faster or slower. The lease of the master allows 11 %
    // between two of them.
    std::int64_t drift_ppm_max = 30'000;
    // A planted bug: the drives of the MDS logs answer before they have written.
    bool lying_logs = false;
    // More of them.
    chunkserver::store::Sabotage store_sabotage;
    client::Sabotage client_sabotage;
    mds::master::Sabotage master_sabotage;
    // Every line that a client logs.
    std::function<void(unsigned client, const std::string& line)> on_client_log;
  };
  SimCluster(SimWorld& world, Options options);
  ~SimCluster();

  // Starts the MDS and all chunk servers and sets the root's policy. False: it did not come up.
  bool bring_up();
  // Ends everything in order, as SIGTERM would.
  void take_down();

  // All that ever were; indices stay.
  std::size_t mds_count() const { return mds_.size(); }
  SimMds& mds(std::size_t index) { return *mds_[index]; }
  // The one that serves; nullptr: none.
  SimMds* master();
  // A new member, or one less. The tasks of the admin tool: false when the group refused, or did
  // not answer for long.
  Task<bool> add_mds();
  Task<bool> remove_mds(std::size_t index);
  // As far as any MDS knows now that runs.
  mds::paxos::Membership newest_members();
  // An MDS ended by itself, and not because it was removed: "" or why.
  const std::string& mds_failure() const { return mds_failure_; }
  // All members run, vote, and have applied the same slots; the world runs until then.
  bool converge(Duration limit);
  // As the admin tool's check-mds: "" when all members have the same tables.
  std::string check_mds();

  // set-attr and set-config of the admin tool, asked until there is an answer, or for so long.
  Task<Result<pb::SetPolicyReply>> set_policy(pb::SetPolicyRequest request);
  Task<Result<pb::SetConfigReply>> set_config(pb::SetConfigRequest request);

  void start_cs(unsigned index);
  // kill -9: what was written to the drive stays. `power`: unflushed sectors are lost or torn as
  // well.
  void kill_cs(unsigned index, bool power);
  bool cs_runs(unsigned index) const;
  // SIGSTOP and SIGCONT.
  void pause_cs(unsigned index);
  void resume_cs(unsigned index);
  bool cs_paused(unsigned index) const;
  // It converts a file now.
  bool cs_converts(unsigned index) const;
  std::uint32_t cs_id(unsigned index) const;
  chunkserver::io::SimDisk& cs_disk(unsigned index);
  // nullptr: it does not run, or its store is not open.
  chunkserver::store::PieceStore* cs_store(unsigned index);
  static std::string cs_host(unsigned index) { return "cs" + std::to_string(index); }
  static std::string client_host(unsigned index) { return "client" + std::to_string(index); }

  // A new mount (client `index`); its FileSystem is started by the caller.
  client::FileSystem& start_client(unsigned index);
  // `late`: see SimFabric::host_died().
  void kill_client(unsigned index, const SimFabric::Late& late = nullptr);
  client::FileSystem* client(unsigned index);
  SimRuntime& client_runtime(unsigned index);

  SimFabric& fabric() { return fabric_; }
  SimPeerNet& peer_net() { return peer_net_; }
  // Of whoever tests: nemeses, admin tool.
  SimRuntime& admin_runtime() { return admin_runtime_; }
  // Starts a task on a client's runtime.
  void spawn(unsigned client_index, Task<void> task);
  // Runs one task on a client's runtime until it ends; false when `limit` of virtual time passed.
  bool run(unsigned client_index, Task<void> task, Duration limit);
  const Options& options() const { return options_; }

 private:
  struct CsLife;
  struct ClientLife;
  struct CsNode;

  bool add_group();
  bool add_chunk_servers();
  Result<std::uint32_t> register_cs(unsigned index, const std::string& host);
  bool set_root_policy();
  bool converged();
  SimMds& new_mds(NodeId id, bool founder, std::map<NodeId, net::Address> peers);
  void mds_ended(SimMds* node, const Error& error);
  std::vector<net::Address> mds_addresses() const;
  std::unique_ptr<rpc::MultiCaller> mds_caller(SimRuntime& from, const std::string& host,
                                               rpc::MultiCaller::Options options);
  template <class Request, class Reply>
  Task<Result<Reply>> ask_admin(std::string method, Request request);
  chunkserver::convert::MakeConverter make_converter(CsNode& node, CsLife& life);
  template <class Request, class Reply>
  Result<Reply> ask_mds(const std::string& method, Request request, Duration limit);

  SimWorld& world_;
  const Options options_;
  SimFabric fabric_;
  SimControlPlane control_;
  SimPeerNet peer_net_;
  SimRuntime& admin_runtime_;
  std::unique_ptr<observe::Log> log_;
  std::vector<std::unique_ptr<SimMds>> mds_;
  std::string mds_failure_;
  std::vector<std::unique_ptr<CsNode>> chunk_servers_;
  std::vector<std::shared_ptr<ClientLife>> clients_;
};

}  // namespace cairn::sim
