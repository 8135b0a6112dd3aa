// SimWriters: draws the calls of the writers of all pieces, one writer at a time each: prepares
// that lean on what was answered before, settles, seals, resolves and removals, repeats, and ghosts
// of older lives that must be refused.
#pragma once

#include "chunkserver/testing/sim_step.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::testing {

class SimWriters {
 public:
  SimWriters(std::uint64_t seed, bool deltas) : prng_(seed), deltas_(deltas) {}

  // These prepares were answered as done: what has no gap before it counts as decided.
  void answered(const std::vector<std::pair<PieceId, ModelOp>>& done);
  ModelCall draw(PieceId piece, const PieceModel& model);
  ModelRead draw_read();

 private:
  struct Writer {
    std::uint64_t version = 1;
    std::uint64_t epoch = 1;
    std::uint64_t seq = 0;
    std::uint64_t decided = 0;                   // ops up to here were answered
    std::map<std::uint64_t, ModelPrepare> open;  // not answered yet, by seq
    std::set<std::uint64_t> early;               // answered, behind open ones
    bool sealed = false;
    std::optional<ModelPrepare> last;
    void begin_epoch() {
      ++epoch;
      seq = 0;
      decided = 0;
      open.clear();
      early.clear();
    }
  };

  ModelPrepare prepare(Writer* writer, const PieceModel& model);
  ModelSettle settle(Writer* writer);
  void draw_blocks(ModelPrepare* prepare);
  ModelPrepare ghost(const Writer& writer, const PieceModel& model);

  Prng prng_;
  bool deltas_;
  std::map<PieceId, Writer> writers_;
  std::uint64_t ghosts_ = 0;
};

}  // namespace cairn::chunkserver::testing
