// The shadow of a file: a nameless inode that gets the same bytes in another encoding. It is an
// orphan from the first moment: what a lost converter leaves is purged like any unlinked file.
#include "mds/state/conversions.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

// Only the session that makes it ever opens it: the mode lets nobody else in.
constexpr std::uint32_t kShadowMode = 0600;

pb::InodeRecord shadow_of(const pb::InodeRecord& source, const pb::Encoding& encoding,
                          std::int64_t time_ns) {
  pb::InodeRecord shadow;
  pb::Attributes& a = *shadow.mutable_attributes();
  a.set_type(pb::TYPE_REGULAR);
  a.set_mode(kShadowMode);
  a.set_atime_ns(time_ns);
  a.set_mtime_ns(time_ns);
  a.set_ctime_ns(time_ns);
  *shadow.mutable_policy() = source.policy();
  *shadow.mutable_policy()->mutable_encoding() = encoding;
  shadow.set_shadow_of(id_of(source).raw());
  return shadow;
}

}  // namespace

Status make_shadow(Tables& tables, Caller caller, const pb::MakeShadow& op,
                   pb::ClientReply& reply) {
  const InodeId id = InodeId::from_raw(op.inode());
  TRY(const pb::InodeRecord source, load_regular(tables, id));
  TRY(const pb::ConversionRecord row, load_conversion(tables, id));
  // It may have grown since it was queued: better told now than after the copy.
  TRY_VOID(check_convertible(source, row.encoding()));

  pb::InodeRecord shadow = shadow_of(source, row.encoding(), caller.time_ns);
  number_inode(tables, shadow);
  give_lease(tables, shadow, caller.session);
  tables.put_bytes(keys::orphan(id_of(shadow)), {});
  store_inode(tables, shadow);
  *reply.mutable_make_node()->mutable_attributes() = shadow.attributes();
  reply.mutable_make_node()->set_epoch(shadow.lease_epoch());
  return {};
}

}  // namespace cairn::mds::state::ops
