// SimCluster: a whole Cairn in one thread: one MDS, some chunk servers, clients. The production
// objects of all
// daemons over SimRuntime, SimNetwork, SimDisk, MemKv and MemLogStore. Every node can be killed and
// started again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chunkserver/io/sim_disk.h"
#include "client/core/file_system.h"
#include "common/kv/mem_kv.h"
#include "mds/replication/log_store.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_rpc.h"

namespace cairn::sim {

class SimCluster {
 public:
  struct Options {
    unsigned chunk_servers = 6;
    std::uint32_t data = 4;
    std::uint32_t parity = 2;
    std::uint32_t min = 5;
    ByteCount disk_bytes = 512_MiB;
    Duration lease = 5s;
  };
  SimCluster(SimWorld& world, Options options);
  ~SimCluster();

  // Starts the MDS and all chunk servers and sets the root's policy. False: it did not come up.
  bool bring_up();
  // Ends everything in order, as SIGTERM would.
  void take_down();

  void start_mds();
  void kill_mds();
  bool mds_runs() const { return mds_ != nullptr; }

  void start_cs(unsigned index);
  // kill -9: what was written to the drive stays. `power`: unflushed sectors are lost or torn as
  // well.
  void kill_cs(unsigned index, bool power);
  bool cs_runs(unsigned index) const;

  // A new mount (client `index`); its FileSystem is started by the caller.
  client::FileSystem& start_client(unsigned index);
  void kill_client(unsigned index);
  client::FileSystem* client(unsigned index);
  SimRuntime& client_runtime(unsigned index);

  SimFabric& fabric() { return fabric_; }
  const kv::MemKv& tables() const { return tables_; }
  // Runs one task on a client's runtime until it ends; false when `limit` of virtual time passed.
  bool run(unsigned client_index, Task<void> task, Duration limit);
  const Options& options() const { return options_; }

 private:
  struct MdsLife;
  struct CsLife;
  struct ClientLife;
  struct CsNode;

  bool add_chunk_servers();
  bool set_root_policy();
  template <class Request, class Reply>
  Result<Reply> ask_mds(const std::string& method, Request request);

  SimWorld& world_;
  const Options options_;
  SimFabric fabric_;
  SimControlPlane control_;
  SimRuntime& admin_runtime_;
  std::unique_ptr<observe::Log> log_;
  kv::MemKv tables_;
  mds::replication::MemLogStore store_;
  std::shared_ptr<MdsLife> mds_;
  std::vector<std::unique_ptr<CsNode>> chunk_servers_;
  std::vector<std::shared_ptr<ClientLife>> clients_;
};

}  // namespace cairn::sim
