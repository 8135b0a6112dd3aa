// Policies of inodes, and what becomes of data that has another encoding.
#include "mds/state/conversions.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"
#include "mds/state/policies.h"

namespace cairn::mds::state::ops {
namespace {

// So many files are named in one answer.
constexpr int kWarningsMax = 16;

// Unset fields of the command's policy stay. True if anything changed.
bool change_policy(pb::Policy& policy, const pb::SetPolicyCommand& op) {
  const std::string before = policy.SerializeAsString();
  if (op.policy().has_encoding()) *policy.mutable_encoding() = op.policy().encoding();
  if (op.policy().failure_domain() != pb::DOMAIN_UNSET) {
    policy.set_failure_domain(op.policy().failure_domain());
  }
  if (op.set_tier()) policy.set_tier(op.policy().tier());
  return policy.SerializeAsString() != before;
}

bool has_other_data(const pb::InodeRecord& inode, const pb::Encoding& encoding) {
  return inode.has_layout() && !same_encoding(encoding, inode.layout().encoding());
}

// Queues the file. One that waits for this encoding already keeps its turn.
Status queue(Tables& tables, InodeId id, const pb::Encoding& to, std::int64_t time_ns) {
  const std::string key = keys::conversion(id);
  TRY(const std::optional<pb::ConversionRecord> waits, tables.find<pb::ConversionRecord>(key));
  if (waits && same_encoding(waits->encoding(), to)) return {};
  pb::ConversionRecord row;
  *row.mutable_encoding() = to;
  row.set_since_ns(time_ns);
  tables.put(key, row);
  return {};
}

// The policy of the file has a new encoding: its data follows, or stays as it is. A file without a
// name has not long to live.
Status requeue(Tables& tables, const pb::InodeRecord& file, const pb::SetPolicyCommand& op,
               std::int64_t time_ns, pb::SetPolicyReply& answer) {
  const pb::Encoding& to = op.policy().encoding();
  if (!has_other_data(file, to)) return drop_conversion(tables, id_of(file));
  const bool stays = op.keep_data() || file.attributes().nlink() == 0;
  const Status can = stays ? Status() : check_convertible(file, to);
  if (!stays && can) {
    answer.set_converting(answer.converting() + 1);
    return queue(tables, id_of(file), to, time_ns);
  }
  answer.set_keep_layout(answer.keep_layout() + 1);
  if (!can && answer.warnings_size() < kWarningsMax) {
    answer.add_warnings(can.error().message() + "; it keeps its encoding");
  }
  return drop_conversion(tables, id_of(file));
}

}  // namespace

Status set_policy(Tables& tables, const pb::SetPolicyCommand& op, std::int64_t time_ns,
                  pb::CommandReply& reply) {
  TRY_VOID(check_policy(op.policy()));
  pb::SetPolicyReply& answer = *reply.mutable_set_policy();
  for (const std::uint64_t raw : op.inodes()) {
    TRY(std::optional<pb::InodeRecord> inode,
        tables.find<pb::InodeRecord>(keys::inode(InodeId::from_raw(raw))));
    // One that went away meanwhile, that has no policy, or whose policy is its source's, is passed
    // over.
    if (!inode || !(is_directory(*inode) || is_regular(*inode)) || inode->shadow_of() != 0) {
      continue;
    }
    if (change_policy(*inode->mutable_policy(), op)) {
      answer.set_changed(answer.changed() + 1);
      store_inode(tables, *inode);
    }
    if (!op.policy().has_encoding() || !is_regular(*inode)) continue;
    TRY_VOID(requeue(tables, *inode, op, time_ns, answer));
  }
  return {};
}

}  // namespace cairn::mds::state::ops
