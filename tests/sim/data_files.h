// DataFiles: the files that the players of the data-path workload share: their names, their models,
// who works on which, and whom they may not believe any more. One for a run.
//
// A file has one player at a time, except for what a client did not finish when it was struck
// (stopped or cut off for long): its lock is broken, and what it was doing becomes a ghost.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/core/file_system.h"
#include "tests/sim/data_model.h"
#include "tests/sim/sim_runtime.h"

namespace cairn::sim {

// One mount from start to death.
struct ClientLife {
  LifeId id = 0;
  unsigned index = 0;  // of the client
  client::FileSystem* fs = nullptr;
  SimRuntime* runtime = nullptr;
  bool mounted = false;
  bool dead = false;
  // Until then its operations may fail: it was struck, or lost what it had delayed.
  Instant excused_until;
  // And until then its session may end: what it only delays may be lost, also what it writes now.
  Instant at_risk_until;
  struct Open {
    unsigned generation = 0;
    InodeId inode;
    bool writes = false;
  };
  std::map<unsigned, Open> open;  // by slot
  unsigned running = 0;           // operations
  unsigned players = 0;           // tasks that do one after the other
};
using LifePtr = std::shared_ptr<ClientLife>;

// A change under way.
struct DataOp {
  LifePtr life;
  unsigned generation = 0;
  bool changes = false;
  bool broken = false;  // its lock was taken away
  bool ghost = false;   // and it counts as a ghost of the model
};
using DataOpPtr = std::shared_ptr<DataOp>;

struct FileSlot {
  unsigned index = 0;
  unsigned generation = 0;  // grows when the file is unlinked and made anew
  DataModel model;
  DataOpPtr holder;
  std::vector<DataOpPtr> ghosts;
  // Who may hold what nobody else has; nullptr: nobody.
  LifePtr writer;
  bool touched = false;   // by another one than `writer`, since that one was struck
  std::uint64_t hot = 0;  // sector where the newest write began
  // Lives that lost changes from that number on and were not told yet.
  std::map<LifeId, ChangeNumber> untold;
  // Lives that heard an error: what they changed up to that number may be lost, and they know.
  std::map<LifeId, ChangeNumber> told;

  std::string name() const {
    return "file" + std::to_string(index) + "." + std::to_string(generation);
  }
};

class DataFiles {
 public:
  DataFiles(SimWorld& world, unsigned count);

  unsigned count() const { return static_cast<unsigned>(slots_.size()); }
  FileSlot& slot(unsigned index) { return slots_[index]; }
  Tag next_tag() { return ++tags_; }

  // nullptr: somebody else works on it.
  DataOpPtr lock(FileSlot& slot, const LifePtr& life);
  // The operation ended.
  void unlock(FileSlot& slot, const DataOpPtr& op);
  // A new file takes the place of this one; the old name waits in doomed().
  void replace(FileSlot& slot);
  std::set<std::string>& doomed() { return doomed_; }

  // The client stops for so long or loses the master: it may lose what it has not made durable.
  void struck(const LifePtr& life, Duration outage);
  // And it never does anything again.
  void killed(const LifePtr& life);
  // It says that it lost what it had delayed of this inode.
  void declared_loss(const LifePtr& life, InodeId inode);

  // With CAIRN_SIM_LOG=1: what the players do and see.
  void note(const FileSlot& slot, const LifePtr& life, const std::string& what) const;

  // The first thing that is wrong.
  void fail_run(const std::string& what) {
    if (failure_.empty()) failure_ = what;
  }
  void explain(const std::string& more) { failure_ += more; }
  const std::string& failure() const { return failure_; }

 private:
  void suspect(FileSlot& slot, const LifePtr& life);

  SimWorld& world_;
  std::vector<FileSlot> slots_;
  std::set<std::string> doomed_;
  Tag tags_ = 0;
  const bool notes_;
  std::string failure_;
};

}  // namespace cairn::sim
