// Resolver: which undecided write ops of a lost writer go forward and which are dropped. Pure.
// docs/protocols/data-path.md, "When the writer is lost".
//
// Promises: an op that every reachable participant has is forwarded, every other one is dropped; so
// an
//           acknowledged op (all participants have it) is never dropped, and no op ends as a
//           mixture.
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
  };
  unsigned piece = 0;
  std::vector<Undecided> undecided;
  std::uint64_t settled_epoch = 0;  // ops of older epochs are settled here, and of this one
  std::uint64_t settled_below = 0;  // those with a smaller seq
  // A settled op was decided, so this piece has it.
  bool has(const OpName& op) const;
};

// In (epoch, seq) order. Errors: kCorrupt when pieces disagree about the participants of an op, or
// one reports an op it does not take part in: nothing may be resolved then.
Result<std::vector<OpName>> ops_to_forward(const std::vector<PieceReport>& reachable);

}  // namespace cairn::mds::master
