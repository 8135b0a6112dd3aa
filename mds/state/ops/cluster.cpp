// The cluster itself: its birth, its chunk servers and events.
#include <algorithm>

#include "common/base/limits.h"
#include "common/base/units.h"
#include "mds/state/inodes.h"
#include "mds/state/names.h"
#include "mds/state/ops/ops.h"
#include "mds/state/policies.h"

namespace cairn::mds::state::ops {
namespace {

pb::InodeRecord root(std::int64_t time_ns) {
  pb::InodeRecord inode;
  pb::Attributes& a = *inode.mutable_attributes();
  a.set_inode(kRootInode.raw());
  a.set_type(pb::TYPE_DIRECTORY);
  a.set_mode(0755);
  a.set_nlink(2);
  a.set_size(kBlockBytes);
  a.set_blocks(kBlockBytes / 512);
  a.set_atime_ns(time_ns);
  a.set_mtime_ns(time_ns);
  a.set_ctime_ns(time_ns);
  inode.set_parent(kRootInode.raw());
  *inode.mutable_policy() = root_policy();
  return inode;
}

Result<std::optional<pb::CsRecord>> cs_of_repository(Tables& tables, std::uint64_t repo_uuid) {
  TRY(const Tables::Rows rows,
      tables.scan(Tables::Range{.prefix = keys::all_of(keys::Table::kChunkServer)}));
  for (const auto& [key, value] : rows) {
    Result<pb::CsRecord> cs = rows::parse<pb::CsRecord>(key, value);
    if (!cs) return tables.failed(std::move(cs).error());
    if (cs->repo_uuid() == repo_uuid) return std::optional<pb::CsRecord>(std::move(*cs));
  }
  return std::optional<pb::CsRecord>();
}

}  // namespace

Status init_cluster(Tables& tables, const pb::InitCluster& op, std::int64_t time_ns) {
  if (tables.initialised()) return fail(Code::kExists, "the cluster was made before");
  if (op.cluster_id() == 0) return fail(Code::kInvalidArgument, "a cluster needs an id");
  TRY_VOID(check_text("name", op.name()));
  pb::ClusterRecord cluster;
  cluster.set_cluster_id(op.cluster_id());
  cluster.set_name(op.name());
  cluster.set_created_ns(time_ns);
  tables.put(keys::cluster(), cluster);
  pb::Counters& counters = tables.counters();
  counters.set_next_inode(kRootInode.raw() + 1);
  counters.set_next_chunk(1);
  counters.set_next_session(1);
  counters.set_next_client(kFirstClientId.raw());
  counters.set_next_cs(kFirstCsId.raw());
  counters.set_next_event(1);
  counters.set_next_epoch(1);
  counters.set_inodes(1);
  store_inode(tables, root(time_ns));
  return {};
}

Status add_cs(Tables& tables, const pb::AddCs& op, pb::CommandReply& reply) {
  const pb::AddCsRequest& request = op.request();
  TRY(const std::optional<pb::ClusterRecord> cluster,
      tables.find<pb::ClusterRecord>(keys::cluster()));
  if (!cluster) return tables.corrupt(keys::Table::kCluster);
  if (!request.cluster().empty() && request.cluster() != cluster->name()) {
    return fail(Code::kWrongCluster, "this is cluster '" + cluster->name() + "'");
  }
  if (request.repo_uuid() == 0) return fail(Code::kInvalidArgument, "a repository needs a uuid");
  TRY_VOID(check_text("host", request.host()));
  TRY(std::optional<pb::CsRecord> cs, cs_of_repository(tables, request.repo_uuid()));
  if (!cs) {
    pb::Counters& counters = tables.counters();
    if (counters.next_cs() == UINT32_MAX) return fail(Code::kOverloaded, "no CS id is left");
    cs.emplace();
    cs->set_id(counters.next_cs());
    cs->set_repo_uuid(request.repo_uuid());
    cs->set_host_id(request.host_id());
    cs->set_host(request.host());
    cs->set_tier(request.tier());
    counters.set_next_cs(counters.next_cs() + 1);
    tables.put(keys::chunk_server(NodeId::from_raw(cs->id())), *cs);
  }
  reply.mutable_add_cs()->set_cs_id(cs->id());
  reply.mutable_add_cs()->set_cluster_id(cluster->cluster_id());
  return {};
}

Status update_cs(Tables& tables, const pb::UpdateCs& op) {
  TRY_VOID(check_text("host", op.host()));
  TRY_VOID(check_text("address", op.address()));
  const std::string key = keys::chunk_server(NodeId::from_raw(op.cs_id()));
  TRY(std::optional<pb::CsRecord> cs, tables.find<pb::CsRecord>(key));
  if (!cs) return fail(Code::kNotFound, "CS " + std::to_string(op.cs_id()) + " is unknown");
  cs->set_address(op.address());
  cs->set_host(op.host());
  cs->set_host_id(op.host_id());
  cs->set_tier(op.tier());
  tables.put(key, *cs);
  return {};
}

Status add_event(Tables& tables, const pb::AddEvent& op, std::int64_t time_ns) {
  pb::Counters& counters = tables.counters();
  pb::Event event;
  event.set_id(counters.next_event());
  event.set_time_ns(op.event().time_ns() != 0 ? op.event().time_ns() : time_ns);
  event.set_subsystem(clean_text(op.event().subsystem()));
  event.set_severity(clean_text(op.event().severity()));
  event.set_message(clean_text(op.event().message()));
  counters.set_next_event(event.id() + 1);
  tables.put(keys::event(event.id()), event);
  if (event.id() > limits::kEventsKeptMax) {
    tables.erase(keys::event(event.id() - limits::kEventsKeptMax));
  }
  return {};
}

}  // namespace cairn::mds::state::ops
