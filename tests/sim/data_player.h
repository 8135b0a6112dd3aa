// DataPlayer: the operations of the clients of the data-path workload: writes of all kinds,
// truncates, fsyncs, reads, hand-overs, unlinks. Each answer is judged by the model of its file.
//
// Requires: outlives the tasks; tasks of killed clients never go on.
#pragma once

#include "tests/sim/coverage_data.h"
#include "tests/sim/data_files.h"

namespace cairn::sim {

struct PlayShape {
  std::uint64_t cell_bytes = 0;
  std::uint64_t stripe_bytes = 0;
  std::uint64_t file_bytes_max = 0;
  std::uint64_t think_ms_max = 0;
  std::uint64_t loyal_per_mille = 0;  // that a client stays with the files it wrote
};

struct OpCounts {
  std::uint64_t writes = 0;
  std::uint64_t appends = 0;
  std::uint64_t truncates = 0;
  std::uint64_t fsyncs = 0;
  std::uint64_t reads = 0;
  std::uint64_t takeovers = 0;  // a client looked at what another one had not made durable
  std::uint64_t unlinks = 0;
  std::uint64_t ghosts = 0;   // changes whose client was struck in the middle
  std::uint64_t excused = 0;  // operations that failed, and might
  std::uint64_t losses = 0;   // somebody saw that a client had lost changes
  std::uint64_t told = 0;     // and that client heard of it
  std::uint64_t total() const { return writes + appends + truncates + fsyncs + reads + unlinks; }
  void tell(DataCoverage& coverage) const;
};

class DataPlayer {
 public:
  DataPlayer(SimWorld& world, DataFiles& files, PlayShape shape)
      : world_(world), files_(files), shape_(shape) {}

  void go() { playing_ = true; }
  void stop() { playing_ = false; }

  static Task<void> mount(DataPlayer* self, LifePtr life);
  // Mounted: operations one after the other, until stop().
  static Task<void> play(DataPlayer* self, LifePtr life);
  // Reads a whole file and judges it. Requires: nobody else works on it.
  static Task<void> verify(DataPlayer* self, LifePtr life, unsigned slot, const char* when);
  static Task<void> sync(DataPlayer* self, LifePtr life, unsigned slot);
  // All names that were replaced are gone.
  static Task<void> clean(DataPlayer* self, LifePtr life);
  // And all that are there.
  static Task<void> unlink_all(DataPlayer* self, LifePtr life);

  const OpCounts& counts() const { return counts_; }
  Duration longest() const { return longest_; }

 private:
  struct Step {
    FileSlot* slot = nullptr;
    DataOpPtr op;
    LifePtr life;
    InodeId inode;
    bool writes = false;
  };
  // Counts an operation that runs, and how long it took.
  struct Timing {
    Timing(DataPlayer* owner, LifePtr of);
    ~Timing();
    Timing(const Timing&) = delete;
    Timing& operator=(const Timing&) = delete;
    DataPlayer* self;
    LifePtr life;
    Instant begun;
  };

  Task<Status> ensure_open(Step* step);
  Task<Status> open_or_make(LifePtr life, std::string name, InodeId* inode);
  Task<void> one(LifePtr life);
  Task<void> act(Step* step);
  Task<bool> look(Step* step, const char* when);
  Task<Result<bool>> read_part(Step* step, std::uint64_t offset, ByteCount length,
                               std::vector<Tag>* tags);
  Task<void> check_part(Step* step);
  Task<void> write(Step* step);
  Task<void> truncate(Step* step);
  Task<void> fsync(Step* step);
  Task<void> unlink(Step* step);
  DataModel::Change draw_write(const FileSlot& slot, bool* append);
  void begin_change(Step* step, const DataModel::Change& change);
  void end_change(Step* step, ChangeNumber before, const Status& status, const char* what);
  void judge_sync(Step* step, ChangeNumber mark, const Status& status);
  void seen(Step* step, const Observed& seen, bool settled);
  // False when the run failed by it.
  bool excused(const Step& step, const Error& error, const char* what);
  bool broken(const Step& step) const {
    return step.op->broken || step.op->generation != step.slot->generation;
  }
  std::string where(const Step& step) const;

  SimWorld& world_;
  DataFiles& files_;
  const PlayShape shape_;
  bool playing_ = false;
  OpCounts counts_;
  Duration longest_{0};
};

}  // namespace cairn::sim
