// ChunkHealth: the state of one chunk, given which chunk servers answer. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "proto/admin.pb.h"
#include "proto/types.pb.h"

namespace cairn::mds::master {

enum class CsState : std::uint8_t { kActive, kInactive, kOffline };

// Ordered from best to worst.
enum class ChunkState : std::uint8_t {
  kHealthy,      // every piece is there
  kStandby,      // a piece lies on a CS that is inactive for a moment
  kReplicating,  // a missing piece is being copied right now; writes wait for that
  kDegraded,     // a piece has no place, or its CS is offline; reads and writes go on
  kUrgent,   // degraded, and a piece missed writes: it is stale, and is to be brought up to date
  kBlocked,  // fewer pieces than the minimum can be reached: a write waits
  kPending,  // fewer pieces than the minimum are left: they are replaced at once
  kOffline,  // fewer pieces than a read needs
};
std::string_view chunk_state_text(ChunkState state);

// What its pieces make of it. Unwritten ones of a reachable CS count as there. Never kReplicating:
// the map does not tell that.
ChunkState chunk_state(const pb::Chunk& chunk,
                       const std::function<CsState(std::uint32_t cs)>& state_of);

void count(ChunkState state, pb::ChunkStates* counts);

}  // namespace cairn::mds::master
