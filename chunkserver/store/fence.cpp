#include "chunkserver/store/fence.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::chunkserver::store {
namespace {

Error missing() { return Error(Code::kPieceMissing, "there is no such piece here"); }

Error stale_version(const FenceState& state, ChunkVersion version) {
  return Error(Code::kStaleVersion, fmt::format("version {}, but the piece has seen {}",
                                                version.raw(), state.version.raw()));
}
Error stale_epoch(const FenceState& state, LeaseEpoch epoch) {
  return Error(Code::kStaleEpoch,
               fmt::format("epoch {}, but the piece has seen {}", epoch.raw(), state.epoch.raw()));
}

// A request that names a version is of the map, or of a repair. A repair's version becomes the
// map's only when the piece is current, and what follows the map comes only to current pieces: that
// version, or a newer one, from there confirms the copy.
void see(FenceState& state, ChunkVersion version, bool copy) {
  if (version < state.version) return;
  state.version = version;
  state.copy = copy;
}

}  // namespace

bool is_settled(const FenceState& state, OpId op) { return op < state.settled; }

Result<PrepareVerdict> check_prepare(const FenceState& state, const PrepareTicket& ticket) {
  if (!state.exists) {
    if (!ticket.create) return fail(missing());
    return PrepareVerdict::kTake;
  }
  if (ticket.version < state.version) return fail(stale_version(state, ticket.version));
  if (ticket.op.epoch < state.epoch) return fail(stale_epoch(state, ticket.op.epoch));
  if (is_settled(state, ticket.op)) return PrepareVerdict::kSettledBefore;
  return PrepareVerdict::kTake;
}

FenceState after_prepare(FenceState state, const PrepareTicket& ticket) {
  state.exists = true;
  see(state, ticket.version, ticket.copy);
  state.epoch = std::max(state.epoch, ticket.op.epoch);
  // Seq counts from 1: a first op of a new epoch settles all older epochs and nothing of its own.
  // Its own op is never below the mark, whatever the writer claims.
  const OpSeq below = std::clamp(ticket.settled_below, OpSeq(1), std::max(OpSeq(1), ticket.op.seq));
  state.settled = std::max(state.settled, OpId{ticket.op.epoch, below});
  return state;
}

OpId mark_of_settle(const FenceState& state, OpId below) {
  return below.epoch > state.epoch ? OpId() : below;
}

Result<bool> check_settle(const FenceState& state, OpId below, ChunkVersion version) {
  if (!state.exists) return fail(missing());
  if (below.epoch < state.epoch) return fail(stale_epoch(state, below.epoch));
  return after_settle(state, mark_of_settle(state, below), version) != state;
}

FenceState after_settle(FenceState state, OpId below, ChunkVersion version) {
  if (version != ChunkVersion()) see(state, version, false);
  // Only recovery sees a mark of a newer epoch: the op that brought the epoch was not whole.
  state.epoch = std::max(state.epoch, below.epoch);
  state.settled = std::max(state.settled, below);
  return state;
}

Result<bool> check_seal(const FenceState& state, ChunkVersion version, LeaseEpoch epoch,
                        bool copy) {
  if (!state.exists) return fail(missing());
  if (version < state.version) return fail(stale_version(state, version));
  if (epoch < state.epoch) return fail(stale_epoch(state, epoch));
  return after_seal(state, version, epoch, copy) != state;
}

FenceState after_seal(FenceState state, ChunkVersion version, LeaseEpoch epoch, bool copy) {
  see(state, version, copy);
  state.epoch = std::max(state.epoch, epoch);
  return state;
}

Status check_resolve(const FenceState& state, ChunkVersion version, LeaseEpoch epoch) {
  if (!state.exists) return fail(missing());
  if (version < state.version) return fail(stale_version(state, version));
  if (epoch < state.epoch) return fail(stale_epoch(state, epoch));
  if (version > state.version || epoch > state.epoch) {
    return fail(Code::kRefusedForSafety,
                fmt::format("the piece was sealed at version {} epoch {}, not at {} {}",
                            state.version.raw(), state.epoch.raw(), version.raw(), epoch.raw()));
  }
  return {};
}

}  // namespace cairn::chunkserver::store
