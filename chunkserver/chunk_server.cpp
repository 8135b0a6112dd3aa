#include "chunkserver/chunk_server.h"

namespace cairn::chunkserver {

pb::RegisterCsRequest registration_of(const cairn::cluster::CsRepository& repository,
                                      const std::string& directory, const std::string& version) {
  pb::RegisterCsRequest request;
  request.set_cluster_id(repository.cluster_id.raw());
  request.set_cs_id(repository.cs_id.raw());
  request.set_repo_uuid(repository.repo_uuid);
  request.set_host_id(repository.host_id.raw());
  request.set_host(repository.host);
  request.set_tier(repository.tier);
  request.set_version(version);
  request.set_repository(directory);
  return request;
}

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
      address_(options_.repository.address) {}

ChunkServer::~ChunkServer() = default;

void ChunkServer::start_care() {
  care_door_ = std::make_unique<care::PieceStoreDoor>(*store_);
  care::ScrubberOptions scrub;
  scrub.state_path = options_.scrub_state_path;
  scrub.offload = options_.store.offload;
  scrub.busy = [this] { return service_->figures().active != 0; };
  scrubber_ = std::make_unique<care::Scrubber>(runtime_, *care_door_, log_, std::move(scrub));
  care::HealerOptions heal;
  heal.cluster_id = options_.repository.cluster_id.raw();
  heal.cs_id = options_.repository.cs_id.raw();
  heal.repo_uuid = options_.repository.repo_uuid;
  healer_ = std::make_unique<care::Healer>(runtime_, network_, options_.credentials, mds_,
                                           *care_door_, log_, heal);
  checks_ = std::make_unique<care::BlockChecks>(runtime_, *care_door_, log_);
  repairer_ = std::make_unique<care::RepairWorker>(runtime_, network_, options_.credentials,
                                                   *store_, log_, options_.repository.cs_id.raw());
  scrubber_->start();
  healer_->start();
}

void ChunkServer::start_duties() {
  convert::ConversionDuty::Hooks hooks;
  hooks.make = options_.make_converter;
  hooks.trouble = [this] { return store_->failure().has_value(); };
  conversion_ = std::make_unique<convert::ConversionDuty>(runtime_, log_, std::move(hooks));
  duties_ =
      std::make_unique<StoreDuties>(StoreDuties::Parts{.store = *store_,
                                                       .device = device_,
                                                       .service = *service_,
                                                       .scrubber = *scrubber_,
                                                       .conversion = *conversion_,
                                                       .ring_errors = options_.ring_errors,
                                                       .checks = options_.store.verify_on_read});
}

data::ServiceHooks ChunkServer::hooks() {
  data::ServiceHooks hooks;
  hooks.repair = [this](pb::Repair request) { return repairer_->repair(std::move(request)); };
  hooks.check = [this](PieceId piece, std::vector<store::BlockRange> ranges) {
    checks_->add(piece, ranges);
  };
  return hooks;
}

Status ChunkServer::listen() {
  net::Address at = options_.repository.address;
  if (at.port == 0 && options_.preferred_port != 0) {
    at.port = options_.preferred_port;
    const Result<net::Address> again = server_->start(at);
    if (again.has_value()) {
      address_ = *again;
      return {};
    }
    at.port = 0;  // somebody else has it by now
  }
  TRY(address_, server_->start(at));
  return {};
}

Task<Status> ChunkServer::start() {
  store::StoreOptions store_options = options_.store;
  CO_TRY(store_, co_await store::PieceStore::open(&runtime_, &device_, &kv_, &log_,
                                                  std::move(store_options)));
  service_ = std::make_unique<data::DataService>(*store_, hooks());
  start_care();
  server_ =
      std::make_unique<data::DataServer>(runtime_, network_, options_.credentials, *service_, log_);
  CO_TRY_VOID(listen());
  start_duties();
  pb::RegisterCsRequest identity =
      registration_of(options_.repository, options_.directory, options_.version);
  identity.set_address(address_.to_string());
  identity.set_engine(device_.engine());
  keeper_ = std::make_unique<cluster::Keeper>(runtime_, mds_, std::move(identity), *duties_, log_,
                                              options_.on_mds_members);
  keeper_->start();
  co_return Status();
}

Task<Status> ChunkServer::stop() {
  // Its session says good-bye while the keeper ends, and before our own pieces are gone.
  if (conversion_ != nullptr) conversion_->interrupt();
  if (keeper_ != nullptr) co_await keeper_->stop();
  if (conversion_ != nullptr) co_await conversion_->stop();
  // Whoever asked for a repair would hold up the end of its connection.
  if (repairer_ != nullptr) repairer_->interrupt();
  if (server_ != nullptr) co_await server_->stop();
  if (repairer_ != nullptr) co_await repairer_->stop();
  if (checks_ != nullptr) co_await checks_->stop();
  if (healer_ != nullptr) co_await healer_->stop();
  if (scrubber_ != nullptr) co_await scrubber_->stop();
  if (store_ == nullptr) co_return Status();
  co_return co_await store_->close();
}

}  // namespace cairn::chunkserver
