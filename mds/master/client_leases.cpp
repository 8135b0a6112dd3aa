// Leases and pins.
#include <algorithm>

#include "mds/master/client_service.h"
#include "mds/state/machine.h"

namespace cairn::mds::master {

Task<ClientService::Reply> ClientService::acquire_lease(SessionId session,
                                                        pb::AcquireLease request) {
  const InodeId inode = InodeId::from_raw(request.inode());
  CO_TRY(const pb::InodeRecord present, state::queries::inode(env_.tables, inode));
  if (request.mode() == pb::LEASE_EXCLUSIVE && present.attributes().type() != pb::TYPE_REGULAR) {
    co_return fail(Code::kInvalidArgument, "only regular files have exclusive leases");
  }
  // Pinned first: it must not be purged while the request stands in line. A pin stays when the
  // lease is
  // refused, since it may be an older one of this session: the client takes it back.
  if (request.pin() != 0) parts_.pins.add(inode, session);
  if (request.mode() != pb::LEASE_NONE) {
    const Want want = request.mode() == pb::LEASE_EXCLUSIVE ? Want::kExclusive : Want::kShared;
    // Left open by a release of before a restart: not whole yet, so not to be read.
    const Status whole = co_await make_whole(session, present);
    if (!whole.has_value()) co_return fail(whole.error());
    const Status granted = co_await parts_.leases.acquire(inode, session, want);
    if (!granted.has_value()) co_return fail(granted.error());
  }
  co_return acquired(session, request);
}

// Nobody holds it, or this session does and a recovery took its epoch: the master died before it
// ended the session, and the session went on.
Task<Status> ClientService::make_whole(SessionId session, pb::InodeRecord record) {
  const bool own = record.lease_session() == session.raw();
  if ((record.lease_session() != 0 && !own) || record.chunk_count() == 0) co_return Status();
  const InodeId inode = InodeId::from_raw(record.attributes().inode());
  CO_TRY(const std::vector<pb::Chunk> open, state::queries::open_chunks(env_.tables, inode));
  const bool left = std::ranges::any_of(open, [&](const pb::Chunk& chunk) {
    return !own || chunk.writer_epoch() != record.lease_epoch();
  });
  if (!left) co_return Status();
  const Deadline deadline = env_.runtime.after(env_.settings.lease * 3);
  Status whole = co_await parts_.recovery.recover_inode(inode, deadline);
  co_return whole;
}

ClientService::Reply ClientService::acquired(SessionId session, const pb::AcquireLease& request) {
  TRY(pb::InodeRecord record,
      state::queries::inode(env_.tables, InodeId::from_raw(request.inode())));
  pb::ClientReply reply;
  pb::AcquireLeaseReply* lease = reply.mutable_acquire_lease();
  lease->set_mode(request.mode());
  if (request.mode() != pb::LEASE_NONE && record.lease_session() == session.raw()) {
    lease->set_mode(pb::LEASE_EXCLUSIVE);
    lease->set_epoch(record.lease_epoch());
  }
  *lease->mutable_attributes() = std::move(*record.mutable_attributes());
  if (record.has_layout()) *lease->mutable_layout() = std::move(*record.mutable_layout());
  lease->set_trim_pending(record.trim_pending());
  return reply;
}

Task<ClientService::Reply> ClientService::release_exclusive(SessionId session,
                                                            pb::ClientRequest request) {
  const pb::ReleaseLease release = request.release_lease();
  const InodeId inode = InodeId::from_raw(release.inode());
  CO_TRY(std::optional<pb::ClientReply> stored,
         state::queries::stored_reply(env_.tables, session, RequestSeq(request.seq())));
  if (stored.has_value()) co_return std::move(*stored);
  const bool unsettled = release.unsettled();
  parts_.leases.begin_release(inode);
  pb::ClientMutation mutation;
  *mutation.mutable_request() = std::move(request);
  Reply reply = co_await propose(std::move(mutation));
  parts_.holds.poke(inode);
  // A shadow is kept by its lease, too.
  if (parts_.conversions.is_converter(session)) parts_.purger.want();
  if (unsettled && reply.has_value() && reply->error().code() == 0) {
    // The lease is given back, its open chunks are not whole: nobody is served before they are.
    env_.tasks.spawn(settle_release(this, session, release));
  } else {
    parts_.leases.finish_release(inode, session, release.keep());
  }
  co_return reply;
}

Task<void> ClientService::settle_release(ClientService* self, SessionId session,
                                         pb::ReleaseLease release) {
  const InodeId inode = InodeId::from_raw(release.inode());
  const Status recovered = co_await self->parts_.recovery.recover_inode(inode);
  if (!recovered.has_value() && !self->env_.stopping) {
    self->env_.log.warning("inode {} was given back unsettled and cannot be recovered: {}",
                           inode.raw(), recovered.error().to_string());
  }
  self->parts_.leases.finish_release(inode, session, release.keep());
}

ClientService::Reply ClientService::release_shared(SessionId session,
                                                   const pb::ReleaseLease& request) {
  const InodeId inode = InodeId::from_raw(request.inode());
  if (request.keep() == pb::LEASE_NONE) parts_.leases.release_shared(inode, session);
  return pb::ClientReply();
}

ClientService::Reply ClientService::unpin(SessionId session, const pb::Unpin& request) {
  for (const pb::Unpin::One& one : request.inodes()) {
    if (one.pins() != 0) parts_.pins.remove(InodeId::from_raw(one.inode()), session);
  }
  parts_.purger.want();
  return pb::ClientReply();
}

}  // namespace cairn::mds::master
