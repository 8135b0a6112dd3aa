#include "common/base/units.h"
#include "mds/state/inodes.h"
#include "mds/state/names.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

constexpr std::uint32_t kModeMask = 07777;
constexpr std::uint32_t kSetGid = 02000;

Status check_request(const pb::MakeNode& op) {
  TRY_VOID(check_name(op.name()));
  if (!pb::FileType_IsValid(op.type()) || op.type() == pb::TYPE_UNSET) {
    return fail(Code::kInvalidArgument, "make_node: unknown type of file");
  }
  if (op.type() == pb::TYPE_SYMLINK) return check_target(op.target());
  return {};
}

// Owner, mode and the rest of what a new inode is born with.
pb::InodeRecord born(const pb::InodeRecord& parent, const pb::MakeNode& op, std::int64_t time_ns) {
  pb::InodeRecord inode;
  pb::Attributes& a = *inode.mutable_attributes();
  const bool directory = op.type() == pb::TYPE_DIRECTORY;
  const bool heir = (parent.attributes().mode() & kSetGid) != 0;
  a.set_type(op.type());
  a.set_mode(op.type() == pb::TYPE_SYMLINK ? 0777 : op.mode() & kModeMask);
  if (directory && heir) a.set_mode(a.mode() | kSetGid);
  a.set_uid(op.owner().uid());
  a.set_gid(heir ? parent.attributes().gid() : op.owner().gid());
  a.set_nlink(directory ? 2 : 1);
  a.set_atime_ns(time_ns);
  a.set_mtime_ns(time_ns);
  a.set_ctime_ns(time_ns);
  if (op.type() == pb::TYPE_CHAR || op.type() == pb::TYPE_BLOCK) a.set_rdev(op.rdev());
  if (op.type() == pb::TYPE_SYMLINK) {
    inode.set_target(op.target());
    a.set_size(op.target().size());
  }
  if (directory) {
    inode.set_parent(parent.attributes().inode());
    a.set_size(kBlockBytes);
    a.set_blocks(kBlockBytes / 512);
  }
  if (directory || op.type() == pb::TYPE_REGULAR) *inode.mutable_policy() = parent.policy();
  return inode;
}

}  // namespace

Status make_node(Tables& tables, Caller caller, const pb::MakeNode& op, pb::ClientReply& reply) {
  TRY_VOID(check_request(op));
  const InodeId parent_id = InodeId::from_raw(op.parent());
  TRY(const pb::InodeRecord parent, load_directory(tables, parent_id));
  TRY(const bool taken, dentry_exists(tables, parent_id, op.name()));
  if (taken) return fail(Code::kExists, "make_node: the name is taken");

  pb::InodeRecord inode = born(parent, op, caller.time_ns);
  number_inode(tables, inode);
  if (is_regular(inode) && op.exclusive_lease()) {
    give_lease(tables, inode, caller.session);
    reply.mutable_make_node()->set_epoch(inode.lease_epoch());
  }
  store_inode(tables, inode);
  store_dentry(tables, parent_id, op.name(), inode.attributes());
  TRY_VOID(touch_directory(tables, parent_id, is_directory(inode) ? 1 : 0, caller.time_ns));
  *reply.mutable_make_node()->mutable_attributes() = inode.attributes();
  return {};
}

}  // namespace cairn::mds::state::ops
