#include "common/base/limits.h"
#include "common/base/units.h"
#include "mds/state/chunks.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

constexpr std::uint32_t kModeMask = 07777;
constexpr std::uint32_t kSetUid = 04000;
constexpr std::uint32_t kSetGid = 02000;
constexpr std::uint32_t kGroupExecute = 0010;

void change_owner(pb::InodeRecord& inode, const pb::SetAttr& op) {
  pb::Attributes& a = *inode.mutable_attributes();
  if (op.has_uid()) a.set_uid(op.uid());
  if (op.has_gid()) a.set_gid(op.gid());
  if (!is_regular(inode)) return;
  std::uint32_t mode = a.mode() & ~kSetUid;
  if ((mode & kGroupExecute) != 0) mode &= ~kSetGid;
  a.set_mode(mode);
}

// Chunks that lie wholly past the new size go. What is left of the last one past the size may hold
// bytes: the writer has to trim them before the file grows. That is so whenever the file shrinks,
// and also when the chunk is open, for then the writer may have written past the size that we know.
Status cut(Tables& tables, pb::InodeRecord& inode, std::uint64_t size) {
  if (!inode.has_layout()) return {};
  const std::uint64_t bytes = chunk_bytes(inode.layout());
  const InodeId id = id_of(inode);
  TRY(const std::vector<pb::Chunk> past, chunks_from(tables, id, div_ceil(size, bytes), SIZE_MAX));
  for (const pb::Chunk& chunk : past) {
    TRY_VOID(remove_chunk(tables, inode, chunk));
  }
  const std::uint64_t before = inode.attributes().size();
  TRY(const std::optional<pb::Chunk> last, chunk_at(tables, {id, size / bytes}));
  if (last && size % bytes != 0) {
    if (size < before || last->writer_epoch() != 0) inode.set_trim_pending(true);
  } else if (size <= before) {
    inode.set_trim_pending(false);  // nothing is left past the size
  }
  return {};
}

Status change_size(Tables& tables, Caller caller, const pb::SetAttr& op, pb::InodeRecord& inode) {
  const LeaseClaim claim{caller.session, InodeId::from_raw(op.inode()), op.epoch()};
  TRY_VOID(load_leased(tables, claim));
  if (op.size() > limits::kFileBytesMax) {
    return fail(Code::kFileTooBig,
                "a file has at most " + std::to_string(limits::kFileBytesMax) + " bytes");
  }
  TRY_VOID(cut(tables, inode, op.size()));
  set_size(tables, inode, op.size());
  inode.mutable_attributes()->set_mtime_ns(caller.time_ns);
  return {};
}

}  // namespace

Status set_attr(Tables& tables, Caller caller, const pb::SetAttr& op, pb::ClientReply& reply) {
  TRY(pb::InodeRecord inode, load_inode(tables, InodeId::from_raw(op.inode())));
  if (op.has_size()) {
    TRY_VOID(change_size(tables, caller, op, inode));
  }
  if (op.has_uid() || op.has_gid()) change_owner(inode, op);
  pb::Attributes& a = *inode.mutable_attributes();
  if (op.has_mode()) a.set_mode(op.mode() & kModeMask);
  if (op.has_atime_ns()) a.set_atime_ns(op.atime_ns());
  if (op.has_mtime_ns()) a.set_mtime_ns(op.mtime_ns());
  a.set_ctime_ns(caller.time_ns);
  store_inode(tables, inode);
  *reply.mutable_attributes() = a;
  return {};
}

}  // namespace cairn::mds::state::ops
