// PieceModel: what one piece should be, told in the plainest way: maps of block -> value. An
// independent second opinion on fence, index and overlay.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "chunkserver/store/types.h"
#include "common/base/error.h"

namespace cairn::chunkserver::testing {

struct ModelPrepare {
  std::uint64_t version;
  std::pair<std::uint64_t, std::uint64_t> op;  // epoch, seq
  std::uint64_t settled_below;
  bool create;
  std::map<std::uint64_t, std::uint64_t> writes;  // block -> value
  std::set<std::uint64_t> zeroes;
};
struct ModelSettle {
  std::uint64_t epoch;
  std::uint64_t below;
};
struct ModelSeal {
  std::uint64_t version;
  std::uint64_t epoch;
};
struct ModelResolve {
  std::uint64_t version;
  std::uint64_t epoch;
  std::set<std::pair<std::uint64_t, std::uint64_t>> forward;
};
struct ModelRemove {};
using ModelCall = std::variant<ModelPrepare, ModelSettle, ModelSeal, ModelResolve, ModelRemove>;

class PieceModel {
 public:
  using Op = std::pair<std::uint64_t, std::uint64_t>;

  // What the call answers (nullopt: done); changes the state when it is done.
  std::optional<Code> call(const ModelCall& call);

  // What recovery makes of a settle whose epoch came with an op that was not whole.
  void settle_after_loss(const ModelSettle& call);

  bool exists() const { return exists_; }
  std::uint64_t version() const { return version_; }
  std::uint64_t epoch() const { return epoch_; }
  Op settled() const { return settled_; }
  std::uint64_t removed_version() const { return removed_version_; }
  // A tombstone is memory: a restart forgets it.
  void restart() { removed_version_ = 0; }
  std::map<std::uint64_t, std::uint64_t> newest() const;
  std::size_t settled_blocks() const { return base_.size(); }
  std::size_t undecided() const { return pending_.size(); }
  // Pending and forwarded: what a seal lists.
  std::set<Op> listed() const;

 private:
  std::optional<Code> apply(const ModelPrepare& call);
  std::optional<Code> apply(const ModelSettle& call);
  std::optional<Code> apply(const ModelSeal& call);
  std::optional<Code> apply(const ModelResolve& call);
  std::optional<Code> apply(const ModelRemove& call);
  void raise_mark(Op mark);
  static void put(std::map<std::uint64_t, std::uint64_t>& to, const ModelPrepare& op);

  bool exists_ = false;
  std::uint64_t version_ = 0;
  std::uint64_t epoch_ = 0;
  Op settled_;
  std::uint64_t removed_version_ = 0;
  std::map<std::uint64_t, std::uint64_t> base_;
  std::map<Op, ModelPrepare> pending_;
  std::set<Op> forwarded_;
};

}  // namespace cairn::chunkserver::testing
