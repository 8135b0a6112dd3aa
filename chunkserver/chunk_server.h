// ChunkServer: one repository at work: store, data plane, keeper. The same object in cairn-csd and
// in the simulator; main.cpp and the simulator only choose runtime, network, device and Kv.
//
// Owns:     the device and everything above it. The Kv, the network, the caller and the log outlive
//           it.
// Promises: start() returns when the data plane listens; the keeper registers in the background.
// Requires: co_await stop() before it dies, also after a failed start().
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "chunkserver/cluster/keeper.h"
#include "chunkserver/data/data_server.h"
#include "chunkserver/io/metered_device.h"
#include "chunkserver/store/piece_store.h"
#include "common/cluster/repository.h"
#include "common/net/channel.h"
#include "common/rpc/rpc.h"

namespace cairn::chunkserver {

struct ChunkServerOptions {
  cairn::cluster::CsRepository repository;
  net::Credentials credentials;
  std::string version;
  store::StoreOptions store;
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
  store::PieceStore& store() { return *store_; }
  std::string engine() const { return device_.engine(); }

 private:
  pb::RegisterCsRequest identity() const;
  pb::CsStatistics statistics();

  runtime::Runtime& runtime_;
  net::Network& network_;
  rpc::Caller& mds_;
  io::MeteredDevice device_;
  kv::Kv& kv_;
  observe::Log& log_;
  ChunkServerOptions options_;
  net::Address address_;
  std::unique_ptr<store::PieceStore> store_;
  std::unique_ptr<data::DataService> service_;
  std::unique_ptr<data::DataServer> server_;
  std::unique_ptr<cluster::Keeper> keeper_;
};

}  // namespace cairn::chunkserver
