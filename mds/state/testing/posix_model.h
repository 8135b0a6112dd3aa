// PosixModel: what a POSIX namespace does, written as plainly as possible and without a look at the
// state machine. The random test compares both after every step.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/base/error.h"
#include "common/base/result.h"

namespace cairn::mds::state::testing {

class PosixModel {
 public:
  enum class Kind { kFile, kDirectory, kSymlink };
  struct Node {
    Kind kind = Kind::kFile;
    std::uint64_t parent = 0;                      // directories
    std::map<std::string, std::uint64_t> entries;  // directories
    std::uint64_t names = 0;
  };
  struct Name {
    std::uint64_t parent;
    std::string name;
  };

  PosixModel() { nodes_[1] = Node{Kind::kDirectory, 1, {}, 0}; }

  Status make(const Name& at, Kind kind);
  Status link(std::uint64_t inode, const Name& at);
  Status unlink(const Name& at, bool directory);
  enum class Flag { kNone, kNoReplace, kExchange };
  Status rename(const Name& from, const Name& to, Flag flag);
  void purge(std::uint64_t inode) { nodes_.erase(inode); }

  // Nodes that exist, unlinked files too.
  const std::map<std::uint64_t, Node>& nodes() const { return nodes_; }
  std::uint64_t links(std::uint64_t inode) const;

 private:
  Node* find(std::uint64_t inode);
  Result<Node*> directory(std::uint64_t inode);
  bool is_below(std::uint64_t inode, std::uint64_t ancestor) const;
  void forget_name(std::uint64_t inode);
  Status check_replace(const Node& moved, const Node& target) const;

  std::map<std::uint64_t, Node> nodes_;
  std::uint64_t next_ = 2;
};

}  // namespace cairn::mds::state::testing
