// PieceModel: what one piece should be, told in the plainest way: maps of block -> value. An
// independent second opinion on fence, table, folds and overlays. A delta is a value that is XORed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/error.h"

namespace cairn::chunkserver::testing {

using ModelOp = std::pair<std::uint64_t, std::uint64_t>;  // epoch, seq
using BlockValues = std::map<std::uint64_t, std::uint64_t>;

struct ModelPrepare {
  std::uint64_t version = 0;
  ModelOp op;
  std::uint64_t settled_below = 0;
  bool create = true;
  BlockValues writes;
  std::set<std::uint64_t> zeroes;
  BlockValues deltas;
  friend bool operator==(const ModelPrepare&, const ModelPrepare&) = default;
};
struct ModelSettle {
  std::uint64_t epoch = 0;
  std::uint64_t below = 0;
  std::uint64_t version = 0;  // 0: unknown
};
struct ModelSeal {
  std::uint64_t version = 0;
  std::uint64_t epoch = 0;
};
struct ModelResolve {
  std::uint64_t version = 0;
  std::uint64_t epoch = 0;
  std::set<ModelOp> forward;
};
struct ModelRemove {};
struct ModelRead {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;  // first, count
};
using ModelCall =
    std::variant<ModelPrepare, ModelSettle, ModelSeal, ModelResolve, ModelRemove, ModelRead>;

// All that can be seen of a piece from outside.
struct PieceSight {
  bool exists = false;
  std::uint64_t version = 0;
  std::uint64_t epoch = 0;
  ModelOp settled;
  BlockValues blocks;              // the newest state, holes absent
  std::map<ModelOp, bool> listed;  // by a seal; true: forwarded
  std::uint64_t undecided = 0;
  friend bool operator==(const PieceSight&, const PieceSight&) = default;
};
std::string describe(const PieceSight& sight);
std::string describe(const ModelCall& call);

class PieceModel {
 public:
  // What the call answers (nullopt: done); changes the state when it is done.
  std::optional<Code> call(const ModelCall& call);
  // What recovery makes of a record whose predecessors in the same torn batch were not whole: it
  // was checked when they were thought to come, and the epoch to be that one.
  void call_after_loss(const ModelCall& call, std::uint64_t epoch_then);

  bool exists() const { return exists_; }
  std::uint64_t version() const { return version_; }
  std::uint64_t epoch() const { return epoch_; }
  ModelOp settled() const { return settled_; }
  std::uint64_t removed_version() const { return removed_version_; }
  // A seal at `version` came right before the removal, or right after it: nobody saw. The tombstone
  // may say this or that.
  void may_have_been_sealed(std::uint64_t version) {
    removed_at_most_ = std::max(removed_at_most_, version);
    removed_version_ = std::min(removed_version_, version - 1);
  }
  std::uint64_t removed_at_most() const { return removed_at_most_; }
  // A tombstone is memory: a restart forgets it.
  void restart() { removed_version_ = removed_at_most_ = 0; }
  BlockValues newest() const;
  // Pending and forwarded: what a seal lists.
  std::map<ModelOp, bool> listed() const;
  PieceSight sight() const;
  // Blocks the piece takes on the disk when everything decided is folded.
  std::uint64_t stored_blocks() const;
  std::size_t settled_blocks() const { return base_.size(); }
  std::size_t undecided() const { return pending_.size(); }

 private:
  std::optional<Code> apply(const ModelPrepare& call);
  std::optional<Code> apply(const ModelSettle& call);
  std::optional<Code> apply(const ModelSeal& call);
  std::optional<Code> apply(const ModelResolve& call);
  std::optional<Code> apply(const ModelRemove& call);
  std::optional<Code> apply(const ModelRead& call);
  void take(const ModelPrepare& call);
  void raise_mark(ModelOp mark);
  static void put(BlockValues& to, const ModelPrepare& op);

  bool exists_ = false;
  std::uint64_t version_ = 0;
  std::uint64_t epoch_ = 0;
  ModelOp settled_;
  std::uint64_t removed_version_ = 0;
  std::uint64_t removed_at_most_ = 0;
  BlockValues base_;
  std::map<ModelOp, ModelPrepare> pending_;
  std::set<ModelOp> forwarded_;
};

}  // namespace cairn::chunkserver::testing
