#include "mds/service/cluster_service.h"

#include "mds/state/machine.h"

namespace cairn::mds::service {

namespace {
constexpr std::uint32_t kTierMax = 3;

master::CsFailure failure_of(const std::string& why, const std::string& letter) {
  return {.why = why, .letter = letter.size() == 1 ? letter[0] : '\0'};
}
}  // namespace

void ClusterService::add_to(rpc::Dispatcher& dispatcher) {
  dispatcher.add<pb::RegisterCsRequest, pb::RegisterCsReply>(
      "/cairn.pb.Cluster/RegisterCs",
      [this](pb::RegisterCsRequest request) { return register_cs(this, std::move(request)); });
  dispatcher.add<pb::HeartbeatRequest, pb::HeartbeatReply>(
      "/cairn.pb.Cluster/Heartbeat",
      [this](pb::HeartbeatRequest request) { return heartbeat(this, std::move(request)); });
  dispatcher.add<pb::LookupChunkRequest, pb::LookupChunkReply>(
      "/cairn.pb.Cluster/LookupChunk",
      [this](pb::LookupChunkRequest request) { return lookup_chunk(this, std::move(request)); });
}

Status ClusterService::check(const Caller& caller) const {
  const master::Settings& settings = master_.environment().settings;
  if (caller.cluster_id != settings.cluster_id.raw()) {
    return fail(
        Code::kWrongCluster,
        fmt::format("CS {} was made for cluster {:016x}, this MDS serves {} ({:016x}): start "
                    "it with the address of its own cluster in bs.list",
                    caller.cs_id, caller.cluster_id, settings.cluster, settings.cluster_id.raw()));
  }
  const master::CsEntry* entry = master_.cs_board().find(caller.cs_id);
  if (entry == nullptr) {
    return fail(Code::kNotFound,
                fmt::format("CS {} is not known in cluster {}: it was removed, or never made; run "
                            "cairn make-cs for a new repository",
                            caller.cs_id, settings.cluster));
  }
  if (caller.repo_uuid == 0 && caller.failed) return check_nameless(caller, *entry);
  if (entry->record.repo_uuid() != caller.repo_uuid) {
    return fail(
        Code::kRefusedForSafety,
        fmt::format("CS id {} was given to repository {:016x}, not to {:016x}: the pieces of one "
                    "must not be taken for those of the other",
                    caller.cs_id, entry->record.repo_uuid(), caller.repo_uuid));
  }
  return {};
}

// A drive that was moved leaves a service behind that finds no repository: it must not take out
// the one that has it now.
Status ClusterService::check_nameless(const Caller& caller, const master::CsEntry& entry) const {
  const Instant now = master_.environment().runtime.now();
  const bool serves = master_.cs_board().state(entry, now) == master::CsState::kActive;
  const bool elsewhere = caller.host_id != 0 && caller.host_id != entry.record.host_id();
  if (!serves && !elsewhere) return {};
  return fail(Code::kRefusedForSafety,
              fmt::format("CS {} {} {}: the failure of another one is not its own", caller.cs_id,
                          serves ? "serves at" : "belongs to",
                          serves ? entry.record.address() : entry.record.host()));
}

Task<Result<pb::RegisterCsReply>> ClusterService::register_cs(ClusterService* self,
                                                              pb::RegisterCsRequest request) {
  const bool failed = !request.failure().empty();
  CO_TRY_VOID(self->check({.cluster_id = request.cluster_id(),
                           .cs_id = request.cs_id(),
                           .repo_uuid = request.repo_uuid(),
                           .failed = failed,
                           .host_id = request.host_id()}));
  if (!failed) {
    Status updated = co_await self->update_record(&request);
    if (!updated.has_value()) co_return fail(updated.error());
  }
  const master::Environment& env = self->master_.environment();
  self->master_.cs_board().registered(request.cs_id(),
                                      {.version = request.version(),
                                       .engine = request.engine(),
                                       .repository = request.repository(),
                                       .failure = failure_of(request.failure(), request.trouble())},
                                      env.runtime.now());
  self->master_.repairs().restarted(request.cs_id());
  if (failed) {
    env.log.warning("CS {} on {} registered and cannot serve: {}", request.cs_id(), request.host(),
                    request.failure());
  } else {
    env.log.info("CS {} registered: {} on {}, tier {}, engine {}, version {}", request.cs_id(),
                 request.address(), request.host(), request.tier(), request.engine(),
                 request.version());
  }
  pb::RegisterCsReply reply;
  reply.set_heartbeat_ms(env.settings.heartbeat / 1ms);
  self->add_addresses(&reply);
  co_return reply;
}

// Where it is now, into the tables.
Task<Status> ClusterService::update_record(const pb::RegisterCsRequest* request) {
  CO_TRY(const net::Address address, net::Address::parse(request->address()));
  if (request->tier() > kTierMax) {
    co_return fail(Code::kInvalidArgument, fmt::format("tier {}: 0 to 3 exist", request->tier()));
  }
  const master::Environment& env = master_.environment();
  pb::CsRecord record = master_.cs_board().find(request->cs_id())->record;
  const bool changed = record.address() != request->address() || record.host() != request->host() ||
                       record.host_id() != request->host_id() || record.tier() != request->tier();
  if (!changed) co_return Status();
  record.set_address(address.to_string());
  record.set_host(request->host());
  record.set_host_id(request->host_id());
  record.set_tier(request->tier());
  pb::Command command;
  pb::UpdateCs* update = command.mutable_update_cs();
  update->set_cs_id(record.id());
  update->set_address(record.address());
  update->set_host(record.host());
  update->set_host_id(record.host_id());
  update->set_tier(record.tier());
  const Result<pb::CommandReply> updated = co_await env.commands.run(std::move(command));
  if (!updated.has_value()) co_return fail(updated.error());
  master_.cs_board().put(std::move(record), env.runtime.now());
  co_return Status();
}

Task<Result<pb::HeartbeatReply>> ClusterService::heartbeat(ClusterService* self,
                                                           pb::HeartbeatRequest request) {
  const bool failed = !request.failure().empty();
  CO_TRY_VOID(self->check({.cluster_id = request.cluster_id(),
                           .cs_id = request.cs_id(),
                           .repo_uuid = request.repo_uuid(),
                           .failed = failed}));
  const master::Environment& env = self->master_.environment();
  pb::HeartbeatReply reply;
  if (!self->master_.cs_board().find(request.cs_id())->registered) {
    reply.set_unknown(true);
    co_return reply;
  }
  std::optional<pb::CsStatistics> statistics;
  if (request.has_statistics()) statistics = std::move(*request.mutable_statistics());
  self->master_.cs_board().heartbeat(request.cs_id(), std::move(statistics),
                                     failure_of(request.failure(), request.trouble()),
                                     env.runtime.now());
  for (const pb::ScrubDone& done : request.scrubbed()) {
    CO_TRY_VOID(self->master_.scrubs().answered(request.cs_id(), done));
  }
  if (request.removed_size() != 0) {
    pb::Command command;
    command.mutable_pieces_removed()->set_cs_id(request.cs_id());
    command.mutable_pieces_removed()->mutable_pieces()->Swap(request.mutable_removed());
    const Result<pb::CommandReply> removed = co_await env.commands.run(std::move(command));
    if (!removed.has_value()) co_return fail(removed.error());
  }
  if (!failed) {
    CO_TRY_VOID(self->add_work(request.cs_id(), &reply));
  }
  self->add_addresses(&reply);
  co_return reply;
}

Status ClusterService::add_work(std::uint32_t cs_id, pb::HeartbeatReply* reply) const {
  const kv::Reader& tables = master_.environment().tables;
  TRY(const std::uint64_t verify, state::queries::setting(tables, state::settings::kVerifyChunks));
  reply->set_verify_chunks(static_cast<std::uint32_t>(verify));
  TRY(const std::vector<pb::PieceRef> removals,
      state::queries::removals(tables, NodeId::from_raw(cs_id), kRemovalsPerHeartbeat));
  for (const pb::PieceRef& piece : removals) {
    // What is being copied there may come to life after its removal: when the copy has ended.
    const ChunkId chunk = ChunkId::from_raw(piece.chunk());
    if (master_.repairs().copying_to(cs_id, chunk, piece.piece())) continue;
    *reply->add_remove() = piece;
  }
  reply->set_convert(master_.conversions().wants(cs_id));
  for (const pb::ScrubTask& task : master_.scrubs().tasks(cs_id)) *reply->add_scrub() = task;
  return {};
}

Task<Result<pb::LookupChunkReply>> ClusterService::lookup_chunk(ClusterService* self,
                                                                pb::LookupChunkRequest request) {
  CO_TRY_VOID(self->check({.cluster_id = request.cluster_id(),
                           .cs_id = request.cs_id(),
                           .repo_uuid = request.repo_uuid()}));
  pb::LookupChunkReply reply;
  Result<pb::Chunk> chunk =
      state::queries::chunk(self->master_.environment().tables, ChunkId::from_raw(request.chunk()));
  if (chunk.has_value()) {
    *reply.mutable_chunk() = std::move(*chunk);
    self->master_.cs_board().fill_addresses(reply.mutable_chunk());
  } else if (chunk.error().code() != Code::kNotFound) {
    co_return fail(std::move(chunk).error());
  }
  co_return reply;
}

}  // namespace cairn::mds::service
