#include "mds/state/testing/posix_model.h"

#include <utility>

namespace cairn::mds::state::testing {

PosixModel::Node* PosixModel::find(std::uint64_t inode) {
  const auto it = nodes_.find(inode);
  return it == nodes_.end() ? nullptr : &it->second;
}

Result<PosixModel::Node*> PosixModel::directory(std::uint64_t inode) {
  Node* node = find(inode);
  if (node == nullptr) return fail(Code::kNotFound);
  if (node->kind != Kind::kDirectory) return fail(Code::kNotDirectory);
  return node;
}

std::uint64_t PosixModel::links(std::uint64_t inode) const {
  const Node& node = nodes_.at(inode);
  if (node.kind != Kind::kDirectory) return node.names;
  std::uint64_t links = 2;
  for (const auto& [name, child] : node.entries) {
    if (nodes_.at(child).kind == Kind::kDirectory) ++links;
  }
  return links;
}

bool PosixModel::is_below(std::uint64_t inode, std::uint64_t ancestor) const {
  while (inode != ancestor) {
    if (inode == 1) return false;
    inode = nodes_.at(inode).parent;
  }
  return true;
}

// Only regular files outlive their last name (somebody may have them open).
void PosixModel::forget_name(std::uint64_t inode) {
  Node& node = nodes_.at(inode);
  --node.names;
  if (node.names == 0 && node.kind != Kind::kFile) nodes_.erase(inode);
}

Status PosixModel::make(const Name& at, Kind kind) {
  TRY(Node* const parent, directory(at.parent));
  if (parent->entries.contains(at.name)) return fail(Code::kExists);
  parent->entries[at.name] = next_;
  nodes_[next_++] = Node{kind, at.parent, {}, 1};
  return {};
}

Status PosixModel::link(std::uint64_t inode, const Name& at) {
  Node* const node = find(inode);
  if (node == nullptr) return fail(Code::kNotFound);
  if (node->kind == Kind::kDirectory) return fail(Code::kNotPermitted);
  if (node->names == 0) return fail(Code::kNotFound);
  TRY(Node* const parent, directory(at.parent));
  if (parent->entries.contains(at.name)) return fail(Code::kExists);
  parent->entries[at.name] = inode;
  ++node->names;
  return {};
}

Status PosixModel::unlink(const Name& at, bool directory_wanted) {
  TRY(Node* const parent, directory(at.parent));
  const auto entry = parent->entries.find(at.name);
  if (entry == parent->entries.end()) return fail(Code::kNotFound);
  const std::uint64_t victim = entry->second;
  const Node& node = nodes_.at(victim);
  if (node.kind == Kind::kDirectory) {
    if (!directory_wanted) return fail(Code::kIsDirectory);
    if (!node.entries.empty()) return fail(Code::kNotEmpty);
  } else if (directory_wanted) {
    return fail(Code::kNotDirectory);
  }
  parent->entries.erase(entry);
  forget_name(victim);
  return {};
}

Status PosixModel::check_replace(const Node& moved, const Node& target) const {
  const bool directory = moved.kind == Kind::kDirectory;
  if (directory && target.kind != Kind::kDirectory) return fail(Code::kNotDirectory);
  if (!directory && target.kind == Kind::kDirectory) return fail(Code::kIsDirectory);
  if (directory && !target.entries.empty()) return fail(Code::kNotEmpty);
  return {};
}

Status PosixModel::rename(const Name& from, const Name& to, Flag flag) {
  TRY(Node* const source, directory(from.parent));
  TRY(Node* const destination, directory(to.parent));
  const auto old = source->entries.find(from.name);
  if (old == source->entries.end()) return fail(Code::kNotFound);
  const std::uint64_t moved = old->second;
  const auto existing = destination->entries.find(to.name);
  const std::uint64_t target = existing == destination->entries.end() ? 0 : existing->second;
  if (flag == Flag::kNoReplace && target != 0) return fail(Code::kExists);
  if (flag == Flag::kExchange && target == 0) return fail(Code::kNotFound);
  if (target == moved) return {};

  Node& node = nodes_.at(moved);
  const bool is_directory = node.kind == Kind::kDirectory;
  if (is_directory && is_below(to.parent, moved)) return fail(Code::kInvalidArgument);
  if (flag == Flag::kExchange) {
    Node& other = nodes_.at(target);
    if (other.kind == Kind::kDirectory && is_below(from.parent, target)) {
      return fail(Code::kInvalidArgument);
    }
    source->entries[from.name] = target;
    destination->entries[to.name] = moved;
    if (other.kind == Kind::kDirectory) other.parent = from.parent;
  } else {
    if (target != 0) {
      TRY_VOID(check_replace(node, nodes_.at(target)));
    }
    source->entries.erase(from.name);
    destination->entries[to.name] = moved;
    if (target != 0) forget_name(target);
  }
  if (is_directory) node.parent = to.parent;
  return {};
}

}  // namespace cairn::mds::state::testing
