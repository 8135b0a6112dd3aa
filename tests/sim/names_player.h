// NamesPlayer: one task of the names workload, and the model of its directory. Survives the mounts
// it runs on.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "client/core/file_system.h"
#include "common/base/prng.h"

namespace cairn::sim {

// The directory in which all players race for the same names.
struct CommonDirectory {
  struct Name {
    std::optional<unsigned> owner;  // who was told that he created it
    std::set<unsigned> trying;      // asked, and was not answered yet
    bool lost = false;              // one who asked was killed before he was answered
  };
  InodeId inode;
  std::map<std::uint64_t, Name> names;
  std::uint64_t next = 0;
};

class NamesPlayer {
 public:
  // `seed`: what it does.
  NamesPlayer(unsigned number, std::uint64_t seed, CommonDirectory& common)
      : number_(number), prng_(seed), common_(common) {}

  std::string directory_name() const { return "player" + std::to_string(number_); }
  void set_directory(InodeId inode) { directory_ = inode; }

  // Plays until `ending` turns true or something is wrong. On the runtime of the mount.
  static Task<void> play(NamesPlayer* self, runtime::Runtime* runtime, client::FileSystem* fs,
                         const bool* ending);
  // Its mount was killed in the middle.
  void killed();
  // Compares the directory with the model; `fs` may be another mount.
  static Task<void> verify(NamesPlayer* self, client::FileSystem* fs, bool* done);

  bool playing() const { return playing_; }
  // "" or what is wrong.
  const std::string& failure() const { return failure_; }
  std::uint64_t operations() const { return operations_; }
  Duration longest() const { return longest_; }

 private:
  enum class Kind { kCreate, kMakeDirectory, kUnlink, kRename, kLink, kLookup, kCommon };
  struct Operation {
    Kind kind = Kind::kLookup;
    std::string name;
    std::string target;  // rename, link
    std::uint64_t number = 0;
  };
  // Inode 0: created by an operation whose answer never came.
  using Model = std::map<std::string, std::pair<std::uint64_t, bool>>;  // inode, is a directory

  Operation draw();
  Task<Result<std::uint64_t>> perform(client::FileSystem* fs, Operation operation);
  // What the tables are after it; `inode` of what was made.
  Model after(const Operation& operation, std::uint64_t inode) const;
  void judge(const Operation& operation, const Result<std::uint64_t>& result);
  void judge_common(const Operation& operation, const Result<std::uint64_t>& result);
  Code expected(const Operation& operation) const;
  static bool equal(const Model& model, const Model& actual);

  const unsigned number_;
  Prng prng_;
  CommonDirectory& common_;
  InodeId directory_;
  Model model_;
  std::optional<Operation> pending_;
  bool playing_ = false;
  std::string failure_;
  std::uint64_t operations_ = 0;
  Duration longest_{0};
};

}  // namespace cairn::sim
