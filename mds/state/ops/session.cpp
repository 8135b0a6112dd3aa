#include "common/base/limits.h"
#include "mds/state/chunks.h"
#include "mds/state/inodes.h"
#include "mds/state/names.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

Status check_request(const pb::OpenSession& request) {
  TRY_VOID(check_text("host", request.host()));
  TRY_VOID(check_text("process", request.process()));
  return check_text("mount_point", request.mount_point());
}

// The session goes on for the process that opened it, for nobody else.
Result<pb::SessionRecord> resumed(Tables& tables, const pb::OpenSession& request) {
  const SessionId id = SessionId::from_raw(request.resume());
  TRY(std::optional<pb::SessionRecord> session, tables.find<pb::SessionRecord>(keys::session(id)));
  if (!session || session->ending() || session->request().process() != request.process() ||
      session->request().host_id() != request.host_id()) {
    return fail(Code::kSessionGone, "session " + std::to_string(id.raw()) + " has ended");
  }
  return std::move(*session);
}

Result<pb::SessionRecord> opened(Tables& tables, const pb::OpenSession& request) {
  pb::Counters& counters = tables.counters();
  if (counters.next_client() == UINT32_MAX) {
    return fail(Code::kOverloaded, "all client ids have been used");
  }
  pb::SessionRecord session;
  session.set_id(counters.next_session());
  session.set_client_id(counters.next_client());
  *session.mutable_request() = request;
  session.mutable_request()->clear_resume();
  session.set_answered_below(1);
  counters.set_next_session(counters.next_session() + 1);
  counters.set_next_client(counters.next_client() + 1);
  tables.put(keys::session(SessionId::from_raw(session.id())), session);
  return session;
}

// Refuses while a chunk of the inode is open: its ops are not decided yet.
Status end_lease(Tables& tables, InodeId id) {
  TRY(const bool open, has_open_chunks(tables, id));
  if (open) {
    return fail(Code::kBusy, "chunks of inode " + std::to_string(id.raw()) +
                                 " are open and must be recovered before the session ends");
  }
  TRY(pb::InodeRecord inode, load_inode(tables, id));
  TRY_VOID(remove_uncommitted(tables, inode));
  clear_lease(tables, inode);
  store_inode(tables, inode);
  return {};
}

}  // namespace

Status open_session(Tables& tables, const pb::OpenSessionCommand& op, pb::CommandReply& reply) {
  const pb::OpenSession& request = op.request();
  TRY_VOID(check_request(request));
  TRY(const std::optional<pb::ClusterRecord> cluster,
      tables.find<pb::ClusterRecord>(keys::cluster()));
  if (!cluster) return tables.corrupt(keys::Table::kCluster);
  Result<pb::SessionRecord> session =
      request.resume() != 0 ? resumed(tables, request) : opened(tables, request);
  if (!session) return fail(std::move(session).error());
  pb::OpenSessionReply& answer = *reply.mutable_open_session();
  answer.set_session(session->id());
  answer.set_client_id(session->client_id());
  answer.set_cluster_id(cluster->cluster_id());
  answer.set_lease_ms(limits::kLeaseMsDefault);
  answer.set_root(kRootInode.raw());
  return {};
}

Status end_session(Tables& tables, const pb::EndSession& op) {
  const SessionId id = SessionId::from_raw(op.session());
  TRY(std::optional<pb::SessionRecord> session, tables.find<pb::SessionRecord>(keys::session(id)));
  if (!session) {
    return fail(Code::kSessionGone, "session " + std::to_string(id.raw()) + " has ended");
  }
  if (op.begin()) {
    session->set_ending(true);
    tables.put(keys::session(id), *session);
    return {};
  }
  TRY(const Tables::Rows leases,
      tables.scan(Tables::Range{.prefix = keys::of_session(keys::Table::kLease, id)}));
  for (const auto& [key, value] : leases) {
    const std::optional<keys::SessionInode> lease = keys::decode_lease(key);
    if (!lease) return tables.corrupt(keys::Table::kLease);
    TRY_VOID(end_lease(tables, lease->inode));
  }
  TRY(const Tables::Rows replies,
      tables.scan(Tables::Range{.prefix = keys::of_session(keys::Table::kReply, id)}));
  for (const auto& [key, value] : replies) tables.erase(key);
  tables.erase(keys::session(id));
  return {};
}

}  // namespace cairn::mds::state::ops
