#include "mds/state/inodes.h"
#include "mds/state/names.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

constexpr std::uint32_t kNoReplace = 1;
constexpr std::uint32_t kExchange = 2;
// No path is longer; a walk that is has met a ring of parents, which only a broken store has.
constexpr unsigned kDepthMax = 1U << 20;

struct Name {
  InodeId parent;
  const std::string& name;
};
bool is_dir(const pb::DentryRecord& dentry) { return dentry.type() == pb::TYPE_DIRECTORY; }
InodeId inode_of(const pb::DentryRecord& dentry) { return InodeId::from_raw(dentry.inode()); }

// Refuses when `moved` (a directory) is `place` or one of its parents.
Status check_not_below(Tables& tables, InodeId moved, InodeId place) {
  InodeId at = place;
  for (unsigned depth = 0; depth < kDepthMax; ++depth) {
    if (at == moved) {
      return fail(Code::kInvalidArgument, "rename: a directory cannot move below itself");
    }
    if (at == kRootInode) return {};
    TRY(const pb::InodeRecord inode, load_inode(tables, at));
    at = InodeId::from_raw(inode.parent());
  }
  return tables.corrupt(keys::Table::kInode);
}

// The entry now stands for another inode (which keeps its link count).
Status point(Tables& tables, Name at, InodeId id, std::int64_t time_ns) {
  TRY(pb::InodeRecord inode, load_inode(tables, id));
  inode.mutable_attributes()->set_ctime_ns(time_ns);
  if (is_directory(inode)) inode.set_parent(at.parent.raw());
  store_inode(tables, inode);
  store_dentry(tables, at.parent, at.name, inode.attributes());
  return {};
}

struct Move {
  Name from;
  Name to;
  pb::DentryRecord moved;
  std::optional<pb::DentryRecord> target;
  std::int64_t time_ns = 0;

  bool across() const { return from.parent != to.parent; }
};

Status exchange(Tables& tables, const Move& move) {
  const pb::DentryRecord& other = *move.target;
  if (move.across() && is_dir(move.moved)) {
    TRY_VOID(check_not_below(tables, inode_of(move.moved), move.to.parent));
  }
  if (move.across() && is_dir(other)) {
    TRY_VOID(check_not_below(tables, inode_of(other), move.from.parent));
  }
  const int links = move.across() ? int{is_dir(move.moved)} - int{is_dir(other)} : 0;
  TRY_VOID(point(tables, move.to, inode_of(move.moved), move.time_ns));
  TRY_VOID(point(tables, move.from, inode_of(other), move.time_ns));
  TRY_VOID(touch_directory(tables, move.from.parent, -links, move.time_ns));
  return touch_directory(tables, move.to.parent, links, move.time_ns);
}

Status check_replace(Tables& tables, const Move& move) {
  const bool dir = is_dir(move.moved);
  if (dir && !is_dir(*move.target)) {
    return fail(Code::kNotDirectory, "rename: a directory cannot replace a file");
  }
  if (!dir && is_dir(*move.target)) {
    return fail(Code::kIsDirectory, "rename: a file cannot replace a directory");
  }
  if (!dir) return {};
  TRY(const bool empty, is_empty_directory(tables, inode_of(*move.target)));
  if (!empty) return fail(Code::kNotEmpty, "rename: the directory to replace is not empty");
  return {};
}

Status replace(Tables& tables, const Move& move) {
  const bool dir = is_dir(move.moved);
  if (dir && move.across()) {
    TRY_VOID(check_not_below(tables, inode_of(move.moved), move.to.parent));
  }
  if (move.target) {
    TRY_VOID(check_replace(tables, move));
    TRY_VOID(drop_name(tables, inode_of(*move.target), move.time_ns));
  }
  tables.erase(keys::dentry(move.from.parent, move.from.name));
  TRY_VOID(point(tables, move.to, inode_of(move.moved), move.time_ns));
  // Subdirectories that each parent loses and wins.
  TRY_VOID(touch_directory(tables, move.from.parent, dir ? -1 : 0, move.time_ns));
  const int won = dir && !move.target ? 1 : 0;
  return touch_directory(tables, move.to.parent, won, move.time_ns);
}

Status check_request(const pb::Rename& op) {
  TRY_VOID(check_name(op.old_name()));
  TRY_VOID(check_name(op.new_name()));
  const std::uint32_t both = kNoReplace | kExchange;
  if ((op.flags() & ~both) != 0 || op.flags() == both) {
    return fail(Code::kInvalidArgument, "rename: unknown or contradictory flags");
  }
  return {};
}

}  // namespace

Status rename(Tables& tables, Caller caller, const pb::Rename& op, pb::ClientReply& reply) {
  TRY_VOID(check_request(op));
  const Name from{InodeId::from_raw(op.old_parent()), op.old_name()};
  const Name to{InodeId::from_raw(op.new_parent()), op.new_name()};
  TRY_VOID(load_directory(tables, from.parent));
  TRY_VOID(load_directory(tables, to.parent));
  TRY(const pb::DentryRecord moved, load_dentry(tables, from.parent, from.name));
  TRY(std::optional<pb::DentryRecord> target,
      tables.find<pb::DentryRecord>(keys::dentry(to.parent, to.name)));
  if (op.flags() == kNoReplace && target) return fail(Code::kExists, "rename: the name is taken");
  if (op.flags() == kExchange && !target) {
    return fail(Code::kNotFound, "rename: there is nothing to exchange with");
  }
  const Move move{from, to, moved, std::move(target), caller.time_ns};
  // Two names of one file (or the same name twice): POSIX says nothing happens.
  const bool same = move.target && move.target->inode() == moved.inode();
  if (!same) {
    TRY_VOID(op.flags() == kExchange ? exchange(tables, move) : replace(tables, move));
  }
  TRY(const pb::InodeRecord inode, load_inode(tables, inode_of(moved)));
  *reply.mutable_attributes() = inode.attributes();
  return {};
}

}  // namespace cairn::mds::state::ops
