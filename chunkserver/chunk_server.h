// ChunkServer: one repository at work: store, data plane, keeper, scrub, healing, repair and
// conversion of files. The same object in cairn-csd and in the simulator; main.cpp and the
// simulator only choose runtime, network, device and Kv.
//
// Owns:     the device and everything above it. The Kv, the network, the caller and the log outlive
//           it.
// Promises: start() returns when the data plane listens; the keeper registers in the background. A
//           store that is fenced later serves nothing more; all the rest goes on and says why.
// Requires: co_await stop() before it dies, also after a failed start().
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "chunkserver/care/block_checks.h"
#include "chunkserver/care/healer.h"
#include "chunkserver/care/repair_worker.h"
#include "chunkserver/care/scrubber.h"
#include "chunkserver/cluster/keeper.h"
#include "chunkserver/convert/conversion_duty.h"
#include "chunkserver/data/data_server.h"
#include "chunkserver/io/metered_device.h"
#include "chunkserver/store/piece_store.h"
#include "chunkserver/store_duties.h"
#include "common/cluster/repository.h"
#include "common/net/channel.h"
#include "common/rpc/rpc.h"

namespace cairn::chunkserver {

// What RegisterCs says of a repository in that directory, wherever that serves.
pb::RegisterCsRequest registration_of(const cairn::cluster::CsRepository& repository,
                                      const std::string& directory, const std::string& version);

struct ChunkServerOptions {
  cairn::cluster::CsRepository repository;
  std::string directory;  // of it, for people
  net::Credentials credentials;
  std::string version;
  store::StoreOptions store;  // see store_options_of()
  // Where the scrub notes how far it is; empty: nowhere.
  std::string scrub_state_path;
  // When any port will do: this one, if it is free. Clients that know a chunk server from before a
  // restart then find it again at once. 0: none.
  std::uint16_t preferred_port = 0;
  // Failures of a journal outside the data file; empty: there is none.
  std::function<std::uint64_t()> ring_errors;
  // What converts files when the master asks for it; empty: nothing does.
  convert::MakeConverter make_converter;
  // What the master says of the members of its group; see Keeper.
  cluster::Keeper::OnMembers on_mds_members;
};

class ChunkServer {
 public:
  ChunkServer(runtime::Runtime& runtime, net::Network& network, rpc::Caller& mds,
              std::unique_ptr<io::BlockDevice> device, kv::Kv& kv, observe::Log& log,
              ChunkServerOptions options);
  ~ChunkServer();
  ChunkServer(const ChunkServer&) = delete;
  ChunkServer& operator=(const ChunkServer&) = delete;

  Task<Status> start();
  // Takes nothing new, finishes what runs, makes a last checkpoint.
  Task<Status> stop();

  // Where the data plane listens. Requires: started.
  const net::Address& address() const { return address_; }
  bool registered() const { return keeper_ != nullptr && keeper_->registered(); }
  // Requires: started.
  store::PieceStore& store() { return *store_; }
  // nullptr: not open, or not any more.
  store::PieceStore* open_store() { return store_.get(); }
  io::MeteredDevice& device() { return device_; }
  std::string engine() const { return device_.engine(); }

 private:
  void start_care();
  void start_duties();
  data::ServiceHooks hooks();
  Status listen();

  runtime::Runtime& runtime_;
  net::Network& network_;
  rpc::Caller& mds_;
  io::MeteredDevice device_;
  kv::Kv& kv_;
  observe::Log& log_;
  ChunkServerOptions options_;
  net::Address address_;
  std::unique_ptr<store::PieceStore> store_;
  std::unique_ptr<care::PieceStoreDoor> care_door_;
  std::unique_ptr<care::Scrubber> scrubber_;
  std::unique_ptr<care::Healer> healer_;
  std::unique_ptr<care::BlockChecks> checks_;
  std::unique_ptr<care::RepairWorker> repairer_;
  std::unique_ptr<data::DataService> service_;
  std::unique_ptr<data::DataServer> server_;
  std::unique_ptr<convert::ConversionDuty> conversion_;
  std::unique_ptr<StoreDuties> duties_;
  std::unique_ptr<cluster::Keeper> keeper_;
};

}  // namespace cairn::chunkserver
