#include "common/base/limits.h"
#include "mds/state/inodes.h"
#include "mds/state/names.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {

Status link(Tables& tables, Caller caller, const pb::Link& op, pb::ClientReply& reply) {
  TRY_VOID(check_name(op.new_name()));
  TRY(pb::InodeRecord inode, load_inode(tables, InodeId::from_raw(op.inode())));
  pb::Attributes& attributes = *inode.mutable_attributes();
  if (is_directory(inode)) return fail(Code::kNotPermitted, "link: a directory has one name only");
  // An orphan never comes back: its purge may be half done.
  if (attributes.nlink() == 0) return fail(Code::kNotFound, "link: the file was unlinked");
  const InodeId parent = InodeId::from_raw(op.new_parent());
  TRY_VOID(load_directory(tables, parent));
  TRY(const bool taken, dentry_exists(tables, parent, op.new_name()));
  if (taken) return fail(Code::kExists, "link: the name is taken");
  if (attributes.nlink() >= limits::kLinksMax) {
    return fail(Code::kTooManyLinks, "link: the file has " + std::to_string(attributes.nlink()) +
                                         " names, the most there can be");
  }

  attributes.set_nlink(attributes.nlink() + 1);
  attributes.set_ctime_ns(caller.time_ns);
  store_inode(tables, inode);
  store_dentry(tables, parent, op.new_name(), attributes);
  TRY_VOID(touch_directory(tables, parent, 0, caller.time_ns));
  *reply.mutable_attributes() = attributes;
  return {};
}

}  // namespace cairn::mds::state::ops
