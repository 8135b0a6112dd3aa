#include "mds/state/inodes.h"

#include <algorithm>

#include "common/base/limits.h"
#include "common/base/units.h"
#include "mds/state/chunks.h"
#include "mds/state/conversions.h"

namespace cairn::mds::state {
namespace {

// The unit of st_blocks.
constexpr std::uint64_t kBlocksUnit = 512;

std::string number(std::uint64_t n) { return std::to_string(n); }

}  // namespace

Result<pb::InodeRecord> load_inode(Tables& tables, InodeId id) {
  TRY(std::optional<pb::InodeRecord> inode, tables.find<pb::InodeRecord>(keys::inode(id)));
  if (!inode) return fail(Code::kNotFound, "inode " + number(id.raw()) + " does not exist");
  return std::move(*inode);
}

Result<pb::InodeRecord> load_directory(Tables& tables, InodeId id) {
  TRY(pb::InodeRecord inode, load_inode(tables, id));
  if (!is_directory(inode)) {
    return fail(Code::kNotDirectory, "inode " + number(id.raw()) + " is not a directory");
  }
  return inode;
}

Result<pb::InodeRecord> load_regular(Tables& tables, InodeId id) {
  TRY(pb::InodeRecord inode, load_inode(tables, id));
  if (is_directory(inode)) {
    return fail(Code::kIsDirectory, "inode " + number(id.raw()) + " is a directory");
  }
  if (!is_regular(inode)) {
    return fail(Code::kInvalidArgument, "inode " + number(id.raw()) + " is not a regular file");
  }
  return inode;
}

Result<pb::InodeRecord> load_leased(Tables& tables, LeaseClaim claim) {
  TRY(pb::InodeRecord inode, load_regular(tables, claim.inode));
  if (inode.lease_session() != claim.session.raw()) {
    return fail(Code::kLeaseExpired, "session " + number(claim.session.raw()) +
                                         " does not hold inode " + number(claim.inode.raw()) +
                                         " exclusively");
  }
  if (inode.lease_epoch() != claim.epoch) {
    return fail(Code::kStaleEpoch, "the exclusive lease of inode " + number(claim.inode.raw()) +
                                       " has epoch " + number(inode.lease_epoch()) + ", not " +
                                       number(claim.epoch));
  }
  return inode;
}

void store_inode(Tables& tables, const pb::InodeRecord& inode) {
  tables.put(keys::inode(id_of(inode)), inode);
}

void number_inode(Tables& tables, pb::InodeRecord& inode) {
  pb::Counters& counters = tables.counters();
  inode.mutable_attributes()->set_inode(counters.next_inode());
  counters.set_next_inode(counters.next_inode() + 1);
  counters.set_inodes(counters.inodes() + 1);
  if (is_regular(inode)) counters.set_files(counters.files() + 1);
}

void remove_inode_row(Tables& tables, const pb::InodeRecord& inode) {
  pb::Counters& counters = tables.counters();
  counters.set_inodes(counters.inodes() - 1);
  if (is_regular(inode)) {
    counters.set_files(counters.files() - 1);
    counters.set_file_bytes(counters.file_bytes() - inode.attributes().size());
  }
  tables.erase(keys::inode(id_of(inode)));
}

Result<pb::DentryRecord> load_dentry(Tables& tables, InodeId parent, std::string_view name) {
  TRY(std::optional<pb::DentryRecord> dentry,
      tables.find<pb::DentryRecord>(keys::dentry(parent, name)));
  if (!dentry) return fail(Code::kNotFound, "no such name in inode " + number(parent.raw()));
  return std::move(*dentry);
}

Result<bool> dentry_exists(Tables& tables, InodeId parent, std::string_view name) {
  TRY(const std::optional<std::string> row, tables.get(keys::dentry(parent, name)));
  return row.has_value();
}

void store_dentry(Tables& tables, InodeId parent, std::string_view name,
                  const pb::Attributes& attributes) {
  pb::DentryRecord dentry;
  dentry.set_inode(attributes.inode());
  dentry.set_type(attributes.type());
  tables.put(keys::dentry(parent, name), dentry);
}

Result<bool> is_empty_directory(Tables& tables, InodeId id) {
  const Tables::Range first{.prefix = keys::of_inode(keys::Table::kDentry, id), .limit = 1};
  TRY(const Tables::Rows rows, tables.scan(first));
  return rows.empty();
}

Status touch_directory(Tables& tables, InodeId id, int links, std::int64_t time_ns) {
  TRY(pb::InodeRecord inode, load_directory(tables, id));
  pb::Attributes& attributes = *inode.mutable_attributes();
  if (links > 0 && attributes.nlink() >= limits::kLinksMax) {
    return fail(Code::kTooManyLinks, "directory inode " + number(id.raw()) + " has " +
                                         number(attributes.nlink()) +
                                         " links, the most there can be");
  }
  attributes.set_nlink(
      static_cast<std::uint32_t>(static_cast<std::int64_t>(attributes.nlink()) + links));
  attributes.set_mtime_ns(time_ns);
  attributes.set_ctime_ns(time_ns);
  store_inode(tables, inode);
  return {};
}

Result<pb::Attributes> drop_name(Tables& tables, InodeId id, std::int64_t time_ns) {
  TRY(pb::InodeRecord inode, load_inode(tables, id));
  pb::Attributes& attributes = *inode.mutable_attributes();
  attributes.set_ctime_ns(time_ns);
  const bool last = is_directory(inode) || attributes.nlink() <= 1;
  attributes.set_nlink(last ? 0 : attributes.nlink() - 1);
  if (last && !is_regular(inode)) {
    TRY_VOID(remove_xattrs(tables, id));
    remove_inode_row(tables, inode);
    return attributes;
  }
  if (last) {
    tables.put_bytes(keys::orphan(id), {});
    TRY_VOID(drop_conversion(tables, id));
  }
  store_inode(tables, inode);
  return attributes;
}

Status remove_xattrs(Tables& tables, InodeId id) {
  TRY(const Tables::Rows rows,
      tables.scan(Tables::Range{.prefix = keys::of_inode(keys::Table::kXattr, id)}));
  for (const auto& [key, value] : rows) tables.erase(key);
  return {};
}

void set_size(Tables& tables, pb::InodeRecord& inode, std::uint64_t size) {
  pb::Attributes& attributes = *inode.mutable_attributes();
  pb::Counters& counters = tables.counters();
  counters.set_file_bytes(counters.file_bytes() - attributes.size() + size);
  attributes.set_size(size);
  count_written(inode, 0);
}

void count_written(pb::InodeRecord& inode, std::uint64_t bytes) {
  pb::Attributes& attributes = *inode.mutable_attributes();
  const std::uint64_t room = inode.chunk_count() * chunk_bytes(inode.layout());
  const std::uint64_t most = std::min(align_up(attributes.size(), kBlockBytes), room);
  const std::uint64_t known = std::min(attributes.blocks() * kBlocksUnit, most);
  const std::uint64_t more = align_up(std::min(bytes, most - known), kBlockBytes);
  attributes.set_blocks((known + more) / kBlocksUnit);
}

void clear_lease(Tables& tables, pb::InodeRecord& inode) {
  if (inode.lease_session() == 0) return;
  tables.erase(keys::lease({SessionId::from_raw(inode.lease_session()), id_of(inode)}));
  inode.set_lease_session(0);
}

std::uint64_t take_epoch(Tables& tables) {
  pb::Counters& counters = tables.counters();
  const std::uint64_t epoch = counters.next_epoch();
  counters.set_next_epoch(epoch + 1);
  return epoch;
}

void give_lease(Tables& tables, pb::InodeRecord& inode, SessionId session) {
  inode.set_lease_session(session.raw());
  inode.set_lease_epoch(take_epoch(tables));
  tables.put_bytes(keys::lease({session, id_of(inode)}), {});
}

}  // namespace cairn::mds::state
