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
  kHealthy,   // every piece is there
  kStandby,   // a piece lies on a CS that is inactive for a moment
  kDegraded,  // a piece is lost or its CS offline; more losses can be borne
  kUrgent,    // readable, and no further loss can be borne
  kBlocked,   // readable, but fewer pieces than a write needs
  kOffline,   // fewer pieces than a read needs
};
std::string_view chunk_state_text(ChunkState state);

// Unwritten pieces of a reachable CS count as there. A chunk without parity is never urgent while
// whole.
ChunkState chunk_state(const pb::Chunk& chunk,
                       const std::function<CsState(std::uint32_t cs)>& state_of);

void count(ChunkState state, pb::ChunkStates* counts);

}  // namespace cairn::mds::master
