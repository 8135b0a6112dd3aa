#include "mds/state/invariants.h"

#include <algorithm>
#include <set>

#include "common/base/limits.h"
#include "common/base/units.h"
#include "mds/state/chunks.h"
#include "mds/state/client_mutation.h"
#include "mds/state/conversions.h"
#include "mds/state/invariants_walk.h"
#include "mds/state/keys.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::state {
namespace {

using invariants::count_of;
using invariants::each_key;
using invariants::parse_into;
using invariants::Walk;
using keys::Table;

Status read_namespace(Walk& walk) {
  TRY_VOID(each_key(walk, Table::kInode, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_inode(Table::kInode, key);
    pb::InodeRecord inode;
    if (!id || !parse_into(inode, value) || inode.attributes().inode() != id->raw()) return false;
    walk.inodes.emplace(id->raw(), std::move(inode));
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kDentry, [&](std::string_view key, std::string_view value) {
    const auto at = keys::decode_name(Table::kDentry, key);
    pb::DentryRecord dentry;
    if (!at || !parse_into(dentry, value)) return false;
    const std::uint64_t parent = at->inode.raw();
    ++walk.names[dentry.inode()];
    if (dentry.type() == pb::TYPE_DIRECTORY) {
      ++walk.subdirectories[parent];
      walk.named_by[dentry.inode()] = parent;
    }
    const auto inode = walk.inodes.find(dentry.inode());
    const bool there = inode != walk.inodes.end();
    walk.expect(there, "a name leads to no inode", dentry.inode());
    if (there) {
      walk.expect(inode->second.attributes().type() == dentry.type(),
                  "a name has another type than its inode", dentry.inode());
    }
    const auto directory = walk.inodes.find(parent);
    walk.expect(directory != walk.inodes.end() &&
                    directory->second.attributes().type() == pb::TYPE_DIRECTORY,
                "a name lies in no directory", parent);
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kXattr, [&](std::string_view key, std::string_view value) {
    const auto at = keys::decode_name(Table::kXattr, key);
    if (!at) return false;
    walk.xattr_bytes[at->inode.raw()] += at->name.size() + value.size();
    walk.expect(walk.inodes.contains(at->inode.raw()), "an xattr of no inode", at->inode.raw());
    return true;
  }));
  return each_key(walk, Table::kOrphan, [&](std::string_view key, std::string_view) {
    const auto id = keys::decode_inode(Table::kOrphan, key);
    if (id) walk.orphans.insert(id->raw());
    return id.has_value();
  });
}

Status read_sessions(Walk& walk) {
  TRY_VOID(each_key(walk, Table::kSession, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_session(key);
    pb::SessionRecord session;
    if (!id || !parse_into(session, value) || session.id() != id->raw()) return false;
    walk.sessions.emplace(id->raw(), std::move(session));
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kLease, [&](std::string_view key, std::string_view) {
    const auto lease = keys::decode_lease(key);
    if (lease) walk.leases.emplace(lease->session.raw(), lease->inode.raw());
    return lease.has_value();
  }));
  return each_key(walk, Table::kReply, [&](std::string_view key, std::string_view value) {
    const auto at = keys::decode_reply(key);
    pb::ClientReply reply;
    if (!at || !parse_into(reply, value)) return false;
    const auto session = walk.sessions.find(at->session.raw());
    walk.expect(session != walk.sessions.end() &&
                    at->seq.raw() >= session->second.answered_below() &&
                    at->seq.raw() - session->second.answered_below() < kReplyWindow,
                "a stored reply of no session or outside its window", at->session.raw());
    return true;
  });
}

Status read_settings(Walk& walk) {
  return each_key(walk, Table::kSetting, [&](std::string_view key, std::string_view value) {
    return keys::decode_setting(key).has_value() && !value.empty();
  });
}

Status read_conversions(Walk& walk) {
  return each_key(walk, Table::kConversion, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_inode(Table::kConversion, key);
    pb::ConversionRecord row;
    if (!id || !parse_into(row, value)) return false;
    walk.conversions.emplace(id->raw(), std::move(row));
    return true;
  });
}

void check_conversions(Walk& walk) {
  for (const auto& [id, row] : walk.conversions) {
    const auto inode = walk.inodes.find(id);
    if (inode == walk.inodes.end()) {
      walk.blame("no inode is to be converted: " + std::to_string(id));
      continue;
    }
    const pb::InodeRecord& file = inode->second;
    walk.expect(file.attributes().type() == pb::TYPE_REGULAR && file.attributes().nlink() > 0,
                "what is no file with a name is to be converted", id);
    walk.expect(file.has_layout() && !same_encoding(file.layout().encoding(), row.encoding()),
                "a file is to be converted that needs it not", id);
    walk.expect(same_encoding(file.policy().encoding(), row.encoding()),
                "a file is to be converted into another encoding than its policy has", id);
  }
}

// Follows the parents to the root: everything that does is marked in `rooted`.
bool reaches_root(const Walk& walk, std::uint64_t id, std::set<std::uint64_t>& rooted) {
  std::vector<std::uint64_t> path;
  std::set<std::uint64_t> seen;
  while (!rooted.contains(id)) {
    const auto up = walk.named_by.find(id);
    if (up == walk.named_by.end() || !seen.insert(id).second) return false;
    path.push_back(id);
    id = up->second;
  }
  rooted.insert(path.begin(), path.end());
  return true;
}

void check_directory(Walk& walk, std::uint64_t id, const pb::InodeRecord& inode,
                     std::set<std::uint64_t>& rooted) {
  const bool root = id == kRootInode.raw();
  walk.expect(count_of(walk.names, id) == (root ? 0 : 1), "a directory has not one name", id);
  walk.expect(inode.attributes().nlink() == 2 + count_of(walk.subdirectories, id),
              "the link count of a directory is wrong", id);
  const std::uint64_t parent = root ? id : count_of(walk.named_by, id);
  walk.expect(inode.parent() == parent, "the parent of a directory is wrong", id);
  walk.expect(reaches_root(walk, id, rooted), "a directory does not hang on the root", id);
}

void check_inode(Walk& walk, std::uint64_t id, const pb::InodeRecord& inode) {
  const pb::Attributes& a = inode.attributes();
  const bool regular = a.type() == pb::TYPE_REGULAR;
  walk.expect(id < walk.counters.next_inode(), "an inode is past the counter", id);
  walk.expect(inode.xattr_bytes() == count_of(walk.xattr_bytes, id), "xattr bytes are wrong", id);
  walk.expect(regular || (inode.lease_session() == 0 && inode.chunk_count() == 0),
              "something else than a regular file has a lease or chunks", id);
  if (a.type() != pb::TYPE_DIRECTORY) {
    walk.expect(a.nlink() == count_of(walk.names, id), "a link count is wrong", id);
    walk.expect(regular || a.nlink() > 0, "an unlinked special file is left", id);
  }
  if (regular) {
    const std::uint64_t room = inode.chunk_count() * chunk_bytes(inode.layout());
    const std::uint64_t most = std::min(align_up(a.size(), kBlockBytes), room);
    walk.expect(a.blocks() * 512 <= most && a.blocks() * 512 % kBlockBytes == 0,
                "a file shows more blocks than it can have", id);
  }
  const bool orphan = regular && a.nlink() == 0;
  walk.expect(inode.shadow_of() == 0 || orphan, "a shadow has a name or is no file", id);
  walk.expect(orphan == walk.orphans.contains(id), "the orphan row is wrong", id);
  if (inode.lease_session() != 0) {
    walk.expect(walk.leases.contains({inode.lease_session(), id}), "a lease has no row", id);
    walk.expect(walk.sessions.contains(inode.lease_session()), "a lease of no session", id);
  }
  walk.expect(inode.lease_epoch() < walk.counters.next_epoch(), "an epoch is past the counter", id);
}

void check_namespace(Walk& walk) {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::set<std::uint64_t> rooted{kRootInode.raw()};
  for (const auto& [id, inode] : walk.inodes) {
    check_inode(walk, id, inode);
    if (inode.attributes().type() == pb::TYPE_DIRECTORY) check_directory(walk, id, inode, rooted);
    if (inode.attributes().type() != pb::TYPE_REGULAR) continue;
    ++files;
    bytes += inode.attributes().size();
  }
  for (const std::uint64_t id : walk.orphans) {
    walk.expect(walk.inodes.contains(id), "an orphan row of no inode", id);
  }
  for (const auto& [session, id] : walk.leases) {
    const auto inode = walk.inodes.find(id);
    walk.expect(inode != walk.inodes.end() && inode->second.lease_session() == session,
                "a lease row of no lease", id);
  }
  walk.expect(walk.counters.inodes() == walk.inodes.size(), "the inode counter is wrong",
              walk.counters.inodes());
  walk.expect(walk.counters.files() == files, "the file counter is wrong", walk.counters.files());
  walk.expect(walk.counters.file_bytes() == bytes, "the byte counter is wrong",
              walk.counters.file_bytes());
}

}  // namespace

Result<std::vector<std::string>> check_invariants(const kv::Reader& reader, std::size_t limit) {
  Walk walk(reader, limit);
  TRY(const std::optional<pb::Counters> counters,
      rows::find<pb::Counters>(reader, keys::counters()));
  if (!counters) return std::vector<std::string>();
  walk.counters = *counters;
  TRY_VOID(read_namespace(walk));
  TRY_VOID(invariants::read_chunks(walk));
  TRY_VOID(read_sessions(walk));
  TRY_VOID(read_settings(walk));
  TRY_VOID(read_conversions(walk));
  walk.expect(walk.inodes.contains(kRootInode.raw()), "there is no root", kRootInode.raw());
  check_namespace(walk);
  invariants::check_chunks(walk);
  check_conversions(walk);
  return std::move(walk.wrong);
}

}  // namespace cairn::mds::state
