#include "chunkserver/chunk_server.h"

namespace cairn::chunkserver {

ChunkServer::ChunkServer(runtime::Runtime& runtime, net::Network& network, rpc::Caller& mds,
                         std::unique_ptr<io::BlockDevice> device, kv::Kv& kv, observe::Log& log,
                         ChunkServerOptions options)
    : runtime_(runtime),
      network_(network),
      mds_(mds),
      device_(runtime, std::move(device)),
      kv_(kv),
      log_(log),
      options_(std::move(options)),
      address_(options_.repository.address) {
  if (options_.store.size_bytes == 0) options_.store.size_bytes = options_.repository.size_bytes;
}

ChunkServer::~ChunkServer() = default;

Task<Status> ChunkServer::start() {
  store::StoreOptions store_options = options_.store;
  CO_TRY(store_, co_await store::PieceStore::open(&runtime_, &device_, &kv_, &log_,
                                                  std::move(store_options)));
  service_ = std::make_unique<data::DataService>(*store_);
  server_ =
      std::make_unique<data::DataServer>(runtime_, network_, options_.credentials, *service_, log_);
  CO_TRY(address_, server_->start(options_.repository.address));
  keeper_ = std::make_unique<cluster::Keeper>(
      runtime_, mds_, identity(), *store_, [this] { return statistics(); }, log_,
      options_.on_mds_members);
  keeper_->start();
  co_return Status();
}

Task<Status> ChunkServer::stop() {
  if (keeper_ != nullptr) co_await keeper_->stop();
  if (server_ != nullptr) co_await server_->stop();
  if (store_ == nullptr) co_return Status();
  co_return co_await store_->close();
}

pb::RegisterCsRequest ChunkServer::identity() const {
  const cairn::cluster::CsRepository& repository = options_.repository;
  pb::RegisterCsRequest request;
  request.set_cluster_id(repository.cluster_id.raw());
  request.set_cs_id(repository.cs_id.raw());
  request.set_repo_uuid(repository.repo_uuid);
  request.set_host_id(repository.host_id.raw());
  request.set_host(repository.host);
  request.set_address(address_.to_string());
  request.set_tier(repository.tier);
  request.set_version(options_.version);
  request.set_engine(device_.engine());
  return request;
}

pb::CsStatistics ChunkServer::statistics() {
  const store::StoreStatistics stored = store_->statistics();
  const io::DeviceFigures disk = device_.figures();
  const data::ServiceFigures& served = service_->figures();
  pb::CsStatistics statistics;
  statistics.set_space_bytes(stored.space_bytes);
  statistics.set_free_bytes(stored.free_bytes);
  statistics.set_pieces(stored.pieces);
  statistics.set_used_bytes(stored.used_bytes);
  statistics.set_bytes_read(served.bytes_read);
  statistics.set_bytes_written(served.bytes_written);
  statistics.set_reads(served.reads);
  statistics.set_writes(served.writes);
  statistics.set_flushes(disk.flushes);
  statistics.set_queue_depth(disk.queue_depth);
  statistics.set_io_latency_avg_us(disk.latency_avg_us);
  statistics.set_io_latency_max_us(disk.latency_max_us);
  statistics.set_io_wait(disk.io_wait);
  statistics.set_checksum_errors(stored.checksum_errors + served.damaged);
  // Letters of the guide: C checksums, D direct I/O, H the disk is broken.
  std::string flags = device_.direct() ? "CD" : "C";
  if (store_->failure().has_value()) flags += "H";
  statistics.set_flags(std::move(flags));
  return statistics;
}

}  // namespace cairn::chunkserver
