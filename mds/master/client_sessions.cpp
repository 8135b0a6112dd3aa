// Sessions: open, resume, close, reclaim, and those that a dead process left behind.
#include "mds/master/client_service.h"

namespace cairn::mds::master {

namespace {
constexpr std::uint32_t kProtocol = 1;

void add_addresses(const Settings& settings, pb::OpenSessionReply* reply) {
  if (!settings.mds_addresses) return;
  for (std::string& address : settings.mds_addresses()) reply->add_mds(std::move(address));
}
}  // namespace

Task<ClientService::Reply> ClientService::open_session(std::shared_ptr<Connection> connection,
                                                       pb::OpenSession request) {
  if (request.protocol() != kProtocol) {
    co_return fail(Code::kUnsupported, fmt::format("this MDS speaks protocol {}, the client {}",
                                                   kProtocol, request.protocol()));
  }
  if (request.resume() != 0) co_return resume_session(connection, request);
  parts_.ender.noticed(request.process(), request.host_id());
  end_abandoned(request);
  pb::Command command;
  *command.mutable_open_session()->mutable_request() = request;
  Result<pb::CommandReply> opened = co_await env_.commands.run(std::move(command));
  if (!opened.has_value()) co_return fail(std::move(opened).error());
  pb::ClientReply reply;
  *reply.mutable_open_session() = std::move(*opened->mutable_open_session());
  const std::int64_t lease_ms = lease_of(request, env_.settings.lease) / 1ms;
  reply.mutable_open_session()->set_lease_ms(lease_ms);
  reply.mutable_open_session()->set_reclaim(false);
  add_addresses(env_.settings, reply.mutable_open_session());
  pb::SessionRecord record;
  record.set_id(reply.open_session().session());
  record.set_client_id(reply.open_session().client_id());
  *record.mutable_request() = std::move(request);
  env_.log.info("client {} opened session {} from {} ({})", record.client_id(), record.id(),
                record.request().host(), record.request().mount_point());
  Session& session = parts_.sessions.put(std::move(record), false, env_.runtime.now());
  parts_.sessions.attach(session, connection, env_.runtime.now());
  const std::uint32_t converter = session.record.request().converter();
  if (converter != 0) {
    parts_.conversions.opened(SessionId::from_raw(session.record.id()), converter, false);
  }
  co_return reply;
}

// A process has one session. One that it opened and whose answer was lost would stand for leases
// that nobody
// reclaims, after a failover.
void ClientService::end_abandoned(const pb::OpenSession& request) {
  std::vector<SessionId> abandoned;
  for (const auto& [id, session] : parts_.sessions.all()) {
    const pb::OpenSession& other = session.record.request();
    const bool same = other.process() == request.process() &&
                      other.host_id() == request.host_id() && !request.process().empty();
    if (same && !session.ending && session.channel() == nullptr) abandoned.push_back(id);
  }
  for (const SessionId id : abandoned) {
    parts_.ender.begin(id, "its process opened another one", false);
  }
}

ClientService::Reply ClientService::resume_session(const std::shared_ptr<Connection>& connection,
                                                   const pb::OpenSession& request) {
  const SessionId id = SessionId::from_raw(request.resume());
  Session* session = parts_.sessions.find(id);
  if (session == nullptr || session->ending) {
    return fail(Code::kSessionGone, "the session has ended: open a new one");
  }
  if (session->record.request().process() != request.process() ||
      session->record.request().host_id() != request.host_id()) {
    return fail(Code::kSessionGone, "the session belongs to another process");
  }
  parts_.sessions.attach(*session, connection, env_.runtime.now());
  parts_.leases.connected(id);
  parts_.holds.connected(id);
  pb::ClientReply reply;
  pb::OpenSessionReply* opened = reply.mutable_open_session();
  opened->set_session(id.raw());
  opened->set_client_id(session->record.client_id());
  opened->set_cluster_id(env_.settings.cluster_id.raw());
  opened->set_lease_ms(lease_of(session->record.request(), env_.settings.lease) / 1ms);
  opened->set_root(kRootInode.raw());
  opened->set_reclaim(session->expected);
  add_addresses(env_.settings, opened);
  return reply;
}

// The client flushed everything: what is left (leases it kept for its cache) needs no recovery, so
// this is quick; it is bounded all the same.
Task<ClientService::Reply> ClientService::close_session(SessionId session) {
  parts_.ender.begin(session, "it was unmounted", false);
  const Deadline deadline = env_.runtime.after(env_.settings.cs_call);
  co_await parts_.ender.wait(session, deadline);
  co_return pb::ClientReply();
}

ClientService::Reply ClientService::reclaim(SessionId id, const pb::Reclaim& request) {
  Session* session = parts_.sessions.find(id);
  if (!session->expected) return pb::ClientReply();
  for (const pb::Reclaim::Held& held : request.held()) {
    const InodeId inode = InodeId::from_raw(held.inode());
    if (held.pins() != 0) parts_.pins.add(inode, id);
    // Exclusive leases are in the tables.
    if (held.mode() == pb::LEASE_SHARED) parts_.leases.reclaim_shared(inode, id);
  }
  session->expected = false;
  parts_.on_reclaimed();
  return pb::ClientReply();
}

ClientService::Reply ClientService::list_host_sessions(const pb::ListHostSessions& request) const {
  pb::ClientReply reply;
  pb::ListHostSessionsReply* list = reply.mutable_list_host_sessions();
  for (const auto& [id, session] : parts_.sessions.all()) {
    if (session.ending || session.record.request().host_id() != request.host_id()) continue;
    pb::ListHostSessionsReply::Entry* entry = list->add_sessions();
    entry->set_session(id.raw());
    entry->set_process(session.record.request().process());
  }
  return reply;
}

ClientService::Reply ClientService::next_conversion(SessionId session,
                                                    const pb::NextConversion& request) {
  TRY(pb::NextConversionReply next, parts_.conversions.next(session, request));
  pb::ClientReply reply;
  *reply.mutable_next_conversion() = std::move(next);
  return reply;
}

ClientService::Reply ClientService::end_dead_session(const pb::EndDeadSession& request) {
  const SessionId id = SessionId::from_raw(request.session());
  const Session* session = parts_.sessions.find(id);
  if (session == nullptr || session->ending) return pb::ClientReply();
  const pb::OpenSession& record = session->record.request();
  if (record.host_id() != request.host_id() || record.process() != request.process()) {
    return fail(Code::kNotPermitted, "the session belongs to another host or process");
  }
  parts_.ender.begin(id, "its process is gone", true);
  return pb::ClientReply();
}

}  // namespace cairn::mds::master
