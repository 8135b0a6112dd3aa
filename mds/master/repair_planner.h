// RepairPlanner: what is done about chunks with missing pieces, in which order, and why. Pure.
// docs/protocols/data-path.md, "Repair".
//
// Rules: chunks with the fewest pieces to spare first, those below their minimum (pending) before
// all. A missing piece whose CS is active is brought up to date there (rejoin). One whose CS is
// inactive is waited for, unless the chunk is pending; one whose CS is offline, or that has no
// place, gets another one. A place that failed too often (`unfit`) is used again only when there is
// no other. A new place lies on no CS, and in no failure domain, of another piece of the chunk, and
// on no CS that has yet to remove a piece of it.
// Limits: RepairLimits; one piece of a chunk at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "common/base/ids.h"
#include "common/layout/regions.h"
#include "mds/master/chunk_health.h"
#include "mds/placement/planner.h"
#include "proto/types.pb.h"

namespace cairn::mds::master {

struct RepairServer {
  placement::Candidate place;
  CsState state = CsState::kOffline;
  bool suspect = false;  // active as far as its heartbeats tell, but it did not answer a moment ago
  bool awaited = false;  // not heard of since the master began; it may come any moment
  unsigned repairs = 0;  // under way to it
};
using RepairServers = std::map<std::uint32_t, RepairServer>;

// Order of chunks: smaller first.
struct RepairRank {
  bool at_minimum = true;  // false: pending
  int spare = 0;           // pieces that may still be lost
  ChunkId chunk;
  friend auto operator<=>(const RepairRank&, const RepairRank&) = default;
};
// nullopt: no piece is missing.
std::optional<RepairRank> rank_of(const pb::Chunk& chunk);
// Fewer pieces than the minimum in the map.
bool is_pending(const pb::Chunk& chunk);

struct RepairRequest {
  pb::Chunk chunk;
  std::uint32_t tier = 0;
  placement::Domain domain = placement::Domain::kHost;
  std::uint32_t unfit = 0;  // a CS where this chunk's repair failed too often; 0: none
};

struct RepairLimits {
  unsigned chunks = 4;
  unsigned per_server = 2;
};

struct RepairInputs {
  const RepairServers& servers;
  // The CS has yet to remove a piece of this chunk.
  const std::function<bool(ChunkId chunk, NodeId cs)>& removal_queued;
  std::uint64_t seed = 0;
  unsigned under_way = 0;  // chunks
  RepairLimits limits = {};
};

enum class RepairKind : std::uint8_t { kRejoin, kPlace };

struct RepairAction {
  ChunkId chunk;
  unsigned piece = 0;
  RepairKind kind = RepairKind::kRejoin;
  NodeId cs;             // where the piece will be
  bool pending = false;  // the chunk is
  std::string why;
};

enum class RepairWait : std::uint8_t {
  kNothing,       // no piece is missing
  kTooFewPieces,  // fewer than the data needs can be read
  kServerAway,    // the CS of the piece is inactive and may come back
  kNoPlace,
  kBusy,  // of the limits
};
std::string_view repair_wait_text(RepairWait wait);

struct RepairPlan {
  struct Waiting {
    ChunkId chunk;
    RepairWait wait = RepairWait::kNothing;
    std::string why;
  };
  std::vector<RepairAction> actions;  // most urgent first
  std::vector<Waiting> waiting;
};

RepairPlan plan_repairs(const std::vector<RepairRequest>& chunks, const RepairInputs& inputs);

// Could anything be done about this chunk, limits aside? nullopt: yes. Cheaper than a plan; it does
// not ask for queued removals.
std::optional<RepairWait> why_waiting(const RepairRequest& request, const RepairServers& servers);

}  // namespace cairn::mds::master
