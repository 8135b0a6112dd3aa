#include "mds/master/chunk_health.h"

#include <algorithm>

namespace cairn::mds::master {

std::string_view chunk_state_text(ChunkState state) {
  switch (state) {
    case ChunkState::kHealthy:
      return "healthy";
    case ChunkState::kStandby:
      return "standby";
    case ChunkState::kReplicating:
      return "replicating";
    case ChunkState::kDegraded:
      return "degraded";
    case ChunkState::kUrgent:
      return "urgent";
    case ChunkState::kBlocked:
      return "blocked";
    case ChunkState::kPending:
      return "pending";
    case ChunkState::kOffline:
      return "offline";
  }
  return "unknown";
}

ChunkState chunk_state(const pb::Chunk& chunk,
                       const std::function<CsState(std::uint32_t cs)>& state_of) {
  std::uint32_t active = 0;
  std::uint32_t inactive = 0;
  std::uint32_t left = 0;
  bool stale = false;
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.state() == pb::PIECE_MISSING) {
      stale = stale || (piece.cs_id() != 0 && piece.missed() != 0);
      continue;
    }
    ++left;
    const CsState state = state_of(piece.cs_id());
    if (state == CsState::kActive) ++active;
    if (state == CsState::kInactive) ++inactive;
  }
  const std::uint32_t data = chunk.encoding().data();
  const std::uint32_t all = data + chunk.encoding().parity();
  if (active < data) return ChunkState::kOffline;
  if (left < std::max(data, chunk.encoding().min())) return ChunkState::kPending;
  if (active < chunk.encoding().min()) return ChunkState::kBlocked;
  if (active == all) return ChunkState::kHealthy;
  if (stale) return ChunkState::kUrgent;
  return active + inactive == all ? ChunkState::kStandby : ChunkState::kDegraded;
}

void count(ChunkState state, pb::ChunkStates* counts) {
  switch (state) {
    case ChunkState::kHealthy:
      counts->set_healthy(counts->healthy() + 1);
      break;
    case ChunkState::kStandby:
      counts->set_standby(counts->standby() + 1);
      break;
    case ChunkState::kReplicating:
      counts->set_replicating(counts->replicating() + 1);
      break;
    case ChunkState::kDegraded:
      counts->set_degraded(counts->degraded() + 1);
      break;
    case ChunkState::kUrgent:
      counts->set_urgent(counts->urgent() + 1);
      break;
    case ChunkState::kBlocked:
      counts->set_blocked(counts->blocked() + 1);
      break;
    case ChunkState::kPending:
      counts->set_pending(counts->pending() + 1);
      break;
    case ChunkState::kOffline:
      counts->set_offline(counts->offline() + 1);
      break;
  }
}

}  // namespace cairn::mds::master
