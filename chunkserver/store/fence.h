// Fence: who may still change a piece. Pure: version and epoch checks of
// docs/protocols/data-path.md.
//
// A piece remembers the newest version and epoch it has seen, and up to where its ops are settled.
#pragma once

#include <string>

#include "chunkserver/store/types.h"
#include "common/base/result.h"

namespace cairn::chunkserver::store {

struct FenceState {
  bool exists = false;
  ChunkVersion version;
  LeaseEpoch epoch;
  OpId settled;  // everything of older epochs, and of this epoch with a smaller seq, is settled
  friend bool operator==(const FenceState&, const FenceState&) = default;
};

struct PrepareTicket {
  ChunkVersion version;
  OpId op;
  OpSeq settled_below;
  bool create = false;
};

enum class PrepareVerdict {
  kTake,
  kSettledBefore,  // a repeat of an op that was settled: done already
};

// Errors: kPieceMissing, kStaleVersion, kStaleEpoch.
Result<PrepareVerdict> check_prepare(const FenceState& state, const PrepareTicket& ticket);
// What the piece knows after it took the op.
FenceState after_prepare(FenceState state, const PrepareTicket& ticket);

// Errors: kPieceMissing, kStaleEpoch. False: nothing new in it.
Result<bool> check_settle(const FenceState& state, OpId below);
FenceState after_settle(FenceState state, OpId below);

// Errors: kPieceMissing, kStaleVersion, kStaleEpoch. False: sealed so already.
Result<bool> check_seal(const FenceState& state, ChunkVersion version, LeaseEpoch epoch);
FenceState after_seal(FenceState state, ChunkVersion version, LeaseEpoch epoch);

// Only a piece that was sealed at just this version and epoch may be resolved: the decision knew
// its ops.
// Errors:   kPieceMissing, kStaleVersion, kStaleEpoch, kRefusedForSafety.
Status check_resolve(const FenceState& state, ChunkVersion version, LeaseEpoch epoch);

bool is_settled(const FenceState& state, OpId op);

}  // namespace cairn::chunkserver::store
