// The exclusive lease: granted, used to commit what the writer delayed, given back.
//
// A release always ends the lease. A settled one also settles the chunks; an unsettled one leaves
// them open (writer_epoch set), and then nobody gets the lease until each was recovered
// (ops/recovery.cpp).
#include <algorithm>

#include "common/base/limits.h"
#include "mds/state/chunks.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

// `size` never shrinks by this; 0 as a time means that it did not change.
Status update(Tables& tables, pb::InodeRecord& inode, const pb::FileUpdate& change,
              std::int64_t time_ns) {
  if (change.size() > limits::kFileBytesMax) {
    return fail(Code::kFileTooBig,
                "a file has at most " + std::to_string(limits::kFileBytesMax) + " bytes");
  }
  pb::Attributes& a = *inode.mutable_attributes();
  const pb::Attributes before = a;
  set_size(tables, inode, std::max(a.size(), change.size()));
  count_written(inode, change.written_bytes());
  if (change.mtime_ns() != 0) a.set_mtime_ns(change.mtime_ns());
  if (change.atime_ns() != 0) a.set_atime_ns(change.atime_ns());
  if (a.size() != before.size() || a.mtime_ns() != before.mtime_ns()) a.set_ctime_ns(time_ns);
  if (change.trimmed()) inode.set_trim_pending(false);
  return {};
}

}  // namespace

Status grant_lease(Tables& tables, const pb::GrantLease& op, pb::CommandReply& reply) {
  const InodeId id = InodeId::from_raw(op.inode());
  const SessionId session = SessionId::from_raw(op.session());
  TRY(const std::optional<pb::SessionRecord> holder,
      tables.find<pb::SessionRecord>(keys::session(session)));
  if (!holder) {
    return fail(Code::kSessionGone, "session " + std::to_string(session.raw()) + " has ended");
  }
  if (holder->request().read_only()) {
    return fail(Code::kReadOnly, "the session is read-only: it gets no exclusive lease");
  }
  TRY(pb::InodeRecord inode, load_regular(tables, id));
  if (inode.lease_session() != session.raw()) {
    if (inode.lease_session() != 0) {
      return fail(Code::kBusy, "session " + std::to_string(inode.lease_session()) +
                                   " holds inode " + std::to_string(id.raw()) + " exclusively");
    }
    TRY(const bool open, has_open_chunks(tables, id));
    if (open) {
      return fail(Code::kBusy, "chunks of inode " + std::to_string(id.raw()) +
                                   " are open and must be recovered first");
    }
    give_lease(tables, inode, session);
    store_inode(tables, inode);
  }
  reply.set_lease_epoch(inode.lease_epoch());
  return {};
}

Status commit_file(Tables& tables, Caller caller, const pb::CommitFile& op,
                   pb::ClientReply& reply) {
  const InodeId id = InodeId::from_raw(op.inode());
  TRY(pb::InodeRecord inode, load_leased(tables, {caller.session, id, op.epoch()}));
  TRY_VOID(update(tables, inode, op.update(), caller.time_ns));
  store_inode(tables, inode);
  *reply.mutable_attributes() = inode.attributes();
  return {};
}

Status release_lease(Tables& tables, Caller caller, const pb::ReleaseLease& op,
                     pb::ClientReply& reply) {
  const InodeId id = InodeId::from_raw(op.inode());
  TRY(pb::InodeRecord inode, load_leased(tables, {caller.session, id, op.epoch()}));
  if (op.has_update()) {
    TRY_VOID(update(tables, inode, op.update(), caller.time_ns));
  }
  if (!op.unsettled()) {
    TRY(std::vector<pb::Chunk> open, open_chunks_of(tables, id));
    for (pb::Chunk& chunk : open) {
      // One of an older epoch was left behind by a lost writer: this holder never had it.
      if (chunk.writer_epoch() != op.epoch()) continue;
      chunk.set_writer_epoch(0);
      store_chunk(tables, chunk);
    }
  } else {
    TRY_VOID(remove_uncommitted(tables, inode));
  }
  clear_lease(tables, inode);
  store_inode(tables, inode);
  *reply.mutable_attributes() = inode.attributes();
  return {};
}

}  // namespace cairn::mds::state::ops
