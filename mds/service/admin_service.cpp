#include "mds/service/admin_service.h"

#include <algorithm>

#include "mds/state/machine.h"

namespace cairn::mds::service {

namespace {
constexpr std::uint32_t kTierMax = 3;
constexpr std::uint32_t kEventsPerAnswerMax = 10'000;
constexpr std::uint32_t kChunksPage = 1024;
}  // namespace

void AdminService::add_to(rpc::Dispatcher& dispatcher) {
  dispatcher.add<pb::AddCsRequest, pb::AddCsReply>(
      "/cairn.pb.Admin/AddCs",
      [this](pb::AddCsRequest request) { return add_cs(this, std::move(request)); });
  dispatcher.add<pb::StatRequest, pb::StatReply>(
      "/cairn.pb.Admin/Stat",
      [this](pb::StatRequest request) { return stat(this, std::move(request)); });
  dispatcher.add<pb::InfoRequest, pb::InfoReply>(
      "/cairn.pb.Admin/Info",
      [this](pb::InfoRequest request) { return info(this, std::move(request)); });
  dispatcher.add<pb::SetPolicyRequest, pb::SetPolicyReply>(
      "/cairn.pb.Admin/SetPolicy",
      [this](pb::SetPolicyRequest request) { return set_policy(this, std::move(request)); });
  dispatcher.add<pb::GetPolicyRequest, pb::GetPolicyReply>(
      "/cairn.pb.Admin/GetPolicy",
      [this](pb::GetPolicyRequest request) { return get_policy(this, std::move(request)); });
  dispatcher.add<pb::EventsRequest, pb::EventsReply>(
      "/cairn.pb.Admin/Events",
      [this](pb::EventsRequest request) { return events(this, std::move(request)); });
  dispatcher.add<pb::SetConfigRequest, pb::SetConfigReply>(
      "/cairn.pb.Admin/SetConfig",
      [this](pb::SetConfigRequest request) { return set_config(this, std::move(request)); });
  dispatcher.add<pb::GetConfigRequest, pb::GetConfigReply>(
      "/cairn.pb.Admin/GetConfig",
      [this](pb::GetConfigRequest request) { return get_config(this, std::move(request)); });
  dispatcher.add<pb::ScrubRequest, pb::ScrubReply>(
      "/cairn.pb.Admin/Scrub",
      [this](pb::ScrubRequest request) { return scrub(this, std::move(request)); });
  dispatcher.add<pb::ScrubStatusRequest, pb::ScrubReply>(
      "/cairn.pb.Admin/ScrubStatus",
      [this](pb::ScrubStatusRequest request) { return scrub_status(this, std::move(request)); });
}

Status AdminService::check_cluster(const std::string& name) const {
  const std::string& own = master_.environment().settings.cluster;
  if (name.empty() || name == own) return {};
  return fail(Code::kWrongCluster, fmt::format("this MDS serves cluster {}, not {}", own, name));
}

Result<pb::InodeRecord> AdminService::resolve(const pb::Target& target) const {
  const kv::Reader& tables = master_.environment().tables;
  if (target.inode() != 0) return state::queries::inode(tables, InodeId::from_raw(target.inode()));
  return state::queries::resolve(tables, target.path());
}

Task<Result<pb::AddCsReply>> AdminService::add_cs(AdminService* self, pb::AddCsRequest request) {
  CO_TRY_VOID(self->check_cluster(request.cluster()));
  if (request.repo_uuid() == 0 || request.host_id() == 0) {
    co_return fail(Code::kInvalidArgument,
                   "a CS needs the uuid of its repository and its host's id");
  }
  if (request.tier() > kTierMax) {
    co_return fail(
        Code::kInvalidArgument,
        fmt::format("tier {}: 0 to 3 exist (0 slow disks .. 3 fastest)", request.tier()));
  }
  const master::Environment& env = self->master_.environment();
  pb::Command command;
  *command.mutable_add_cs()->mutable_request() = request;
  Result<pb::CommandReply> added = co_await env.commands.run(std::move(command));
  if (!added.has_value()) co_return fail(std::move(added).error());
  pb::AddCsReply reply = std::move(*added->mutable_add_cs());
  reply.set_cluster_id(env.settings.cluster_id.raw());
  CO_TRY(std::vector<pb::CsRecord> servers, state::queries::chunk_servers(env.tables));
  for (pb::CsRecord& record : servers) {
    if (record.id() != reply.cs_id()) continue;
    const bool fresh = self->master_.cs_board().find(record.id()) == nullptr;
    if (fresh) {
      self->master_.events().write("CS", observe::Severity::kInfo,
                                   fmt::format("CS {} was made on {}", record.id(), record.host()));
    }
    self->master_.cs_board().put(std::move(record), env.runtime.now());
  }
  co_return reply;
}

Task<Result<pb::InfoReply>> AdminService::info(AdminService* self, pb::InfoRequest request) {
  const master::Environment& env = self->master_.environment();
  CO_TRY(pb::InodeRecord record, self->resolve(request.target()));
  const InodeId inode = InodeId::from_raw(record.attributes().inode());
  pb::InfoReply reply;
  *reply.mutable_attributes() = record.attributes();
  *reply.mutable_policy() = record.policy();
  if (record.has_layout()) *reply.mutable_layout() = record.layout();
  std::uint64_t first = 0;
  while (record.attributes().type() == pb::TYPE_REGULAR) {
    CO_TRY(const pb::GetChunksReply page,
           state::queries::chunks(env.tables, inode, first, kChunksPage));
    for (const pb::Chunk& chunk : page.chunks()) {
      pb::Chunk* shown = reply.add_chunks();
      *shown = chunk;
      self->master_.cs_board().fill_addresses(shown);
      reply.add_chunk_states(
          std::string(master::chunk_state_text(self->master_.census().state_of(chunk))));
    }
    if (page.chunks_size() < static_cast<int>(kChunksPage)) break;
    first = page.chunks(page.chunks_size() - 1).index() + 1;
    co_await runtime::yield_turn(env.runtime);
  }
  CO_TRY(std::optional<pb::ConversionStat::File> conversion, self->master_.conversions().of(inode));
  if (conversion.has_value()) *reply.mutable_conversion() = std::move(*conversion);
  if (record.lease_session() != 0) {
    reply.set_lease(fmt::format("exclusive: session {}, epoch {}", record.lease_session(),
                                record.lease_epoch()));
  } else {
    std::string holders;
    for (const SessionId session : self->master_.leases().core().shared_holders(inode)) {
      holders += fmt::format("{}{}", holders.empty() ? "shared: session " : ", ", session.raw());
    }
    reply.set_lease(holders.empty() ? "none" : holders);
  }
  co_return reply;
}

Task<Result<pb::GetPolicyReply>> AdminService::get_policy(AdminService* self,
                                                          pb::GetPolicyRequest request) {
  CO_TRY(pb::InodeRecord record, self->resolve(request.target()));
  pb::GetPolicyReply reply;
  reply.set_mds_id(self->master_.environment().settings.mds_id.raw());
  *reply.mutable_policy() = std::move(*record.mutable_policy());
  if (record.has_layout()) *reply.mutable_layout() = std::move(*record.mutable_layout());
  co_return reply;
}

Task<Result<pb::EventsReply>> AdminService::events(AdminService* self, pb::EventsRequest request) {
  const std::size_t limit =
      request.limit() == 0 ? kEventsPerAnswerMax : std::min(request.limit(), kEventsPerAnswerMax);
  CO_TRY(const std::vector<pb::Event> found,
         state::queries::events(self->master_.environment().tables, request.after(), limit));
  pb::EventsReply reply;
  for (const pb::Event& event : found) *reply.add_events() = event;
  co_return reply;
}

}  // namespace cairn::mds::service
