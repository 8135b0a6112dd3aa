#include "mds/state/inodes.h"
#include "mds/state/names.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {

Status unlink(Tables& tables, Caller caller, const pb::Unlink& op, pb::ClientReply& reply) {
  TRY_VOID(check_name(op.name()));
  const InodeId parent = InodeId::from_raw(op.parent());
  TRY_VOID(load_directory(tables, parent));
  TRY(const pb::DentryRecord dentry, load_dentry(tables, parent, op.name()));
  const InodeId victim = InodeId::from_raw(dentry.inode());
  const bool directory = dentry.type() == pb::TYPE_DIRECTORY;
  if (directory && !op.directory()) {
    return fail(Code::kIsDirectory, "unlink: the name is a directory");
  }
  if (!directory && op.directory()) {
    return fail(Code::kNotDirectory, "rmdir: the name is not a directory");
  }
  if (directory) {
    TRY(const bool empty, is_empty_directory(tables, victim));
    if (!empty) return fail(Code::kNotEmpty, "rmdir: the directory is not empty");
  }

  tables.erase(keys::dentry(parent, op.name()));
  TRY_VOID(touch_directory(tables, parent, directory ? -1 : 0, caller.time_ns));
  TRY(const pb::Attributes left, drop_name(tables, victim, caller.time_ns));
  *reply.mutable_attributes() = left;
  return {};
}

}  // namespace cairn::mds::state::ops
