// Fence: who may still change a piece. Pure: version and epoch checks of
// docs/protocols/data-path.md.
//
// A piece remembers the newest version and epoch it has seen, up to where its ops are settled, and
// whether it is an unconfirmed copy: its version is one that a repair gave it, and nobody who goes
// by the map has used that version here yet. (For whoever has only the drives.)
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
  bool copy = false;  // it has `version` from a repair that nobody confirmed
  friend bool operator==(const FenceState&, const FenceState&) = default;
};

struct PrepareTicket {
  ChunkVersion version;
  OpId op;
  OpSeq settled_below;
  bool create = false;
  bool copy = false;  // of a repair
};

enum class PrepareVerdict {
  kTake,
  kSettledBefore,  // a repeat of an op that was settled: done already
};

// Errors: kPieceMissing, kStaleVersion, kStaleEpoch.
Result<PrepareVerdict> check_prepare(const FenceState& state, const PrepareTicket& ticket);
// What the piece knows after it took the op.
FenceState after_prepare(FenceState state, const PrepareTicket& ticket);

// `version`: of the map in which the piece is current; 0: unknown. Nothing is refused because of
// it: an op that was decided stays so.
// Errors: kPieceMissing, kStaleEpoch. False: nothing new in it.
Result<bool> check_settle(const FenceState& state, OpId below, ChunkVersion version);
// What there is to settle: nothing where the piece took no op of that epoch.
OpId mark_of_settle(const FenceState& state, OpId below);
FenceState after_settle(FenceState state, OpId below, ChunkVersion version);

// `copy`: a repair begins.
// Errors: kPieceMissing, kStaleVersion, kStaleEpoch. False: sealed so already.
Result<bool> check_seal(const FenceState& state, ChunkVersion version, LeaseEpoch epoch,
                        bool copy = false);
FenceState after_seal(FenceState state, ChunkVersion version, LeaseEpoch epoch, bool copy = false);

// Only a piece that was sealed at just this version and epoch may be resolved: the decision knew
// its ops.
// Errors:   kPieceMissing, kStaleVersion, kStaleEpoch, kRefusedForSafety.
Status check_resolve(const FenceState& state, ChunkVersion version, LeaseEpoch epoch);

bool is_settled(const FenceState& state, OpId op);

}  // namespace cairn::chunkserver::store
