#include "mds/service/cluster_service.h"

#include "mds/state/machine.h"

namespace cairn::mds::service {

namespace {
constexpr std::uint32_t kTierMax = 3;
}

void ClusterService::add_to(rpc::Dispatcher& dispatcher) {
  dispatcher.add<pb::RegisterCsRequest, pb::RegisterCsReply>(
      "/cairn.pb.Cluster/RegisterCs",
      [this](pb::RegisterCsRequest request) { return register_cs(this, std::move(request)); });
  dispatcher.add<pb::HeartbeatRequest, pb::HeartbeatReply>(
      "/cairn.pb.Cluster/Heartbeat",
      [this](pb::HeartbeatRequest request) { return heartbeat(this, std::move(request)); });
}

Status ClusterService::check(std::uint64_t cluster_id, std::uint32_t cs_id,
                             std::uint64_t repo_uuid) const {
  const master::Settings& settings = master_.environment().settings;
  if (cluster_id != settings.cluster_id.raw()) {
    return fail(
        Code::kWrongCluster,
        fmt::format("CS {} was made for cluster {:016x}, this MDS serves {} ({:016x}): start "
                    "it with the address of its own cluster in bs.list",
                    cs_id, cluster_id, settings.cluster, settings.cluster_id.raw()));
  }
  const master::CsEntry* entry = master_.cs_board().find(cs_id);
  if (entry == nullptr) {
    return fail(Code::kNotFound,
                fmt::format("CS {} is not known in cluster {}: it was removed, or never made; run "
                            "cairn make-cs for a new repository",
                            cs_id, settings.cluster));
  }
  if (entry->record.repo_uuid() != repo_uuid) {
    return fail(
        Code::kRefusedForSafety,
        fmt::format("CS id {} was given to repository {:016x}, not to {:016x}: the pieces of one "
                    "must not be taken for those of the other",
                    cs_id, entry->record.repo_uuid(), repo_uuid));
  }
  return {};
}

Task<Result<pb::RegisterCsReply>> ClusterService::register_cs(ClusterService* self,
                                                              pb::RegisterCsRequest request) {
  CO_TRY_VOID(self->check(request.cluster_id(), request.cs_id(), request.repo_uuid()));
  CO_TRY(const net::Address address, net::Address::parse(request.address()));
  if (request.tier() > kTierMax) {
    co_return fail(Code::kInvalidArgument, fmt::format("tier {}: 0 to 3 exist", request.tier()));
  }
  const master::Environment& env = self->master_.environment();
  pb::CsRecord record = self->master_.cs_board().find(request.cs_id())->record;
  const bool changed = record.address() != request.address() || record.host() != request.host() ||
                       record.host_id() != request.host_id() || record.tier() != request.tier();
  record.set_address(address.to_string());
  record.set_host(request.host());
  record.set_host_id(request.host_id());
  record.set_tier(request.tier());
  if (changed) {
    pb::Command command;
    pb::UpdateCs* update = command.mutable_update_cs();
    update->set_cs_id(request.cs_id());
    update->set_address(record.address());
    update->set_host(record.host());
    update->set_host_id(record.host_id());
    update->set_tier(record.tier());
    const Result<pb::CommandReply> updated = co_await env.commands.run(std::move(command));
    if (!updated.has_value()) co_return fail(updated.error());
    self->master_.cs_board().put(std::move(record), env.runtime.now());
  }
  self->master_.cs_board().registered(request.cs_id(), request.version(), env.runtime.now());
  env.log.info("CS {} registered: {} on {}, tier {}, engine {}, version {}", request.cs_id(),
               request.address(), request.host(), request.tier(), request.engine(),
               request.version());
  pb::RegisterCsReply reply;
  reply.set_heartbeat_ms(env.settings.heartbeat / 1ms);
  self->add_addresses(&reply);
  co_return reply;
}

Task<Result<pb::HeartbeatReply>> ClusterService::heartbeat(ClusterService* self,
                                                           pb::HeartbeatRequest request) {
  CO_TRY_VOID(self->check(request.cluster_id(), request.cs_id(), request.repo_uuid()));
  const master::Environment& env = self->master_.environment();
  pb::HeartbeatReply reply;
  if (!self->master_.cs_board().find(request.cs_id())->registered) {
    reply.set_unknown(true);
    co_return reply;
  }
  self->master_.cs_board().heartbeat(request.cs_id(), std::move(*request.mutable_statistics()),
                                     std::move(*request.mutable_failure()), env.runtime.now());
  if (request.removed_size() != 0) {
    pb::Command command;
    command.mutable_pieces_removed()->set_cs_id(request.cs_id());
    command.mutable_pieces_removed()->mutable_pieces()->Swap(request.mutable_removed());
    const Result<pb::CommandReply> removed = co_await env.commands.run(std::move(command));
    if (!removed.has_value()) co_return fail(removed.error());
  }
  CO_TRY(const std::vector<pb::PieceRef> removals,
         state::queries::removals(env.tables, NodeId::from_raw(request.cs_id()),
                                  kRemovalsPerHeartbeat));
  for (const pb::PieceRef& piece : removals) *reply.add_remove() = piece;
  self->add_addresses(&reply);
  co_return reply;
}

}  // namespace cairn::mds::service
