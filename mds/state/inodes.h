// Inodes: rules that several operations share. Each function reads and writes rows through Tables,
// so that operations that meet the same inode twice (a rename inside one directory) see their own
// changes.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/ids.h"
#include "mds/state/tables.h"

namespace cairn::mds::state {

inline InodeId id_of(const pb::InodeRecord& inode) {
  return InodeId::from_raw(inode.attributes().inode());
}
inline bool is_directory(const pb::InodeRecord& inode) {
  return inode.attributes().type() == pb::TYPE_DIRECTORY;
}
inline bool is_regular(const pb::InodeRecord& inode) {
  return inode.attributes().type() == pb::TYPE_REGULAR;
}

// Errors: kNotFound.
Result<pb::InodeRecord> load_inode(Tables& tables, InodeId id);
// Errors: kNotFound, kNotDirectory.
Result<pb::InodeRecord> load_directory(Tables& tables, InodeId id);
// Errors: kNotFound, kIsDirectory, kInvalidArgument (not a regular file).
Result<pb::InodeRecord> load_regular(Tables& tables, InodeId id);
// A regular file of which `session` holds the exclusive lease with `epoch`.
// Errors:   also kLeaseExpired (somebody else or nobody holds it), kStaleEpoch.
struct LeaseClaim {
  SessionId session;
  InodeId inode;
  std::uint64_t epoch = 0;
};
Result<pb::InodeRecord> load_leased(Tables& tables, LeaseClaim claim);

void store_inode(Tables& tables, const pb::InodeRecord& inode);
// A new inode, of the type it has, gets its number and is counted; the caller stores it.
void number_inode(Tables& tables, pb::InodeRecord& inode);
// The row and the counters; the caller has taken care of what hangs on it.
void remove_inode_row(Tables& tables, const pb::InodeRecord& inode);

// Errors: kNotFound when the name is absent.
Result<pb::DentryRecord> load_dentry(Tables& tables, InodeId parent, std::string_view name);
Result<bool> dentry_exists(Tables& tables, InodeId parent, std::string_view name);
void store_dentry(Tables& tables, InodeId parent, std::string_view name,
                  const pb::Attributes& attributes);
Result<bool> is_empty_directory(Tables& tables, InodeId id);

// An entry of the directory came or went: mtime, ctime, and its link count by `links`.
// Errors: kTooManyLinks.
Status touch_directory(Tables& tables, InodeId id, int links, std::int64_t time_ns);
// One name less. A regular file without a name becomes an orphan, which nobody converts any more;
// anything else is removed.
// Answers the attributes that are left.
Result<pb::Attributes> drop_name(Tables& tables, InodeId id, std::int64_t time_ns);
// Takes away all xattr rows of the inode.
Status remove_xattrs(Tables& tables, InodeId id);

// Size and the counter of bytes; blocks are never more than that.
void set_size(Tables& tables, pb::InodeRecord& inode, std::uint64_t size);
// So many more bytes of a regular file were written. Blocks never tell less than what is stored: a
// file that shows none is taken for one hole by those who copy it. They never tell more than the
// size, nor than what the chunks of the file can hold.
void count_written(pb::InodeRecord& inode, std::uint64_t bytes);

// Ends the exclusive lease: the field and the index row; the caller stores the inode.
void clear_lease(Tables& tables, pb::InodeRecord& inode);
// The next epoch of the cluster.
std::uint64_t take_epoch(Tables& tables);
// Gives the exclusive lease to `session` with a new epoch; the caller stores the inode.
void give_lease(Tables& tables, pb::InodeRecord& inode, SessionId session);

}  // namespace cairn::mds::state
