// Resolver: which undecided write ops of a lost writer go forward and which are dropped. Pure.
// docs/protocols/data-path.md, "When the writer is lost".
//
// Promises: an op that every reachable participant has is forwarded; so is one that some piece
//           cannot undo any more: a participant that lacks it is stale then. Every other op is
//           dropped. If fewer than `least` pieces would stay so, an op that was only rolled forward
//           by attempts that were not finished, and that some participant lacks, may be dropped all
//           the same: those that cannot undo it are stale then. It was never acknowledged. So an
//           acknowledged op (all participants have it) is never dropped, and at the pieces that are
//           not stale no op ends as a mixture.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/result.h"

namespace cairn::mds::master {

struct OpName {
  std::uint64_t epoch = 0;
  std::uint64_t seq = 0;
  friend auto operator<=>(const OpName&, const OpName&) = default;
};

// What one reachable piece answered to Seal.
struct PieceReport {
  struct Undecided {
    OpName op;
    std::uint32_t participants = 0;  // bit i: piece i
    bool forwarded = false;          // an attempt that was not finished rolled it forward here
  };
  unsigned piece = 0;
  std::vector<Undecided> undecided;
  std::uint64_t settled_epoch = 0;  // ops of older epochs are settled here, and of this one
  std::uint64_t settled_below = 0;  // those with a smaller seq

  enum class Stand { kLacks, kHolds, kKeeps };
  // kKeeps: forwarded, or settled (so it was decided): this piece cannot drop it any more.
  Stand stand(const OpName& op) const;
  bool settled(const OpName& op) const;
};

struct Resolution {
  std::vector<OpName> forward;  // in (epoch, seq) order
  std::uint32_t stale = 0;      // pieces that must not stay current
};

// Errors: kCorrupt when pieces disagree about the participants of an op, or one reports an op it
// does not take part in: nothing may be resolved then.
Result<Resolution> resolve_ops(const std::vector<PieceReport>& reachable, unsigned least);

}  // namespace cairn::mds::master
