#include "common/base/limits.h"
#include "mds/state/inodes.h"
#include "mds/state/names.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

constexpr std::uint32_t kCreate = 1;
constexpr std::uint32_t kReplace = 2;

Status check_request(const pb::SetXattr& op) {
  TRY_VOID(check_xattr_name(op.name()));
  if (op.value().size() > limits::kXattrValueBytesMax) {
    return fail(Code::kTooBig, "the value of an attribute has at most " +
                                   std::to_string(limits::kXattrValueBytesMax) + " bytes");
  }
  if (op.flags() > kReplace) {
    return fail(Code::kInvalidArgument, "set_xattr: unknown or contradictory flags");
  }
  return {};
}

}  // namespace

Status set_xattr(Tables& tables, Caller caller, const pb::SetXattr& op, pb::ClientReply& reply) {
  TRY_VOID(check_request(op));
  const InodeId id = InodeId::from_raw(op.inode());
  TRY(pb::InodeRecord inode, load_inode(tables, id));
  const std::string key = keys::xattr(id, op.name());
  TRY(const std::optional<std::string> before, tables.get(key));
  if (op.flags() == kCreate && before) return fail(Code::kExists, "the attribute exists");
  if (op.flags() == kReplace && !before) return fail(Code::kNoAttribute, "no such attribute");
  const std::size_t freed = before ? op.name().size() + before->size() : 0;
  const std::size_t bytes = inode.xattr_bytes() - freed + op.name().size() + op.value().size();
  if (bytes > limits::kXattrsBytesPerInodeMax) {
    return fail(Code::kNoSpace, "the attributes of an inode have at most " +
                                    std::to_string(limits::kXattrsBytesPerInodeMax) +
                                    " bytes together");
  }

  tables.put_bytes(key, op.value());
  inode.set_xattr_bytes(static_cast<std::uint32_t>(bytes));
  inode.mutable_attributes()->set_ctime_ns(caller.time_ns);
  store_inode(tables, inode);
  *reply.mutable_attributes() = inode.attributes();
  return {};
}

Status remove_xattr(Tables& tables, Caller caller, const pb::RemoveXattr& op,
                    pb::ClientReply& reply) {
  TRY_VOID(check_xattr_name(op.name()));
  const InodeId id = InodeId::from_raw(op.inode());
  TRY(pb::InodeRecord inode, load_inode(tables, id));
  const std::string key = keys::xattr(id, op.name());
  TRY(const std::optional<std::string> before, tables.get(key));
  if (!before) return fail(Code::kNoAttribute, "no such attribute");

  tables.erase(key);
  const std::size_t freed = op.name().size() + before->size();
  inode.set_xattr_bytes(static_cast<std::uint32_t>(inode.xattr_bytes() - freed));
  inode.mutable_attributes()->set_ctime_ns(caller.time_ns);
  store_inode(tables, inode);
  *reply.mutable_attributes() = inode.attributes();
  return {};
}

}  // namespace cairn::mds::state::ops
