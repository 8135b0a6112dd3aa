// What one step of the store's simulator does: calls, side actions and a disaster, all at once.
#pragma once

#include "chunkserver/store/piece_store.h"
#include "chunkserver/testing/judge.h"
#include "chunkserver/testing/power.h"

namespace cairn::chunkserver::testing {

struct PlannedCall {
  PieceId piece;
  ModelCall call;
  Duration delay = {};
};

struct SideAction {
  enum class Kind { kCheckpoint, kCommit, kSwitch, kScrub, kHeal };
  Kind kind = Kind::kCheckpoint;
  store::RingPlan ring;
  Duration delay = {};
};

struct Disaster {
  enum class Kind { kNone, kPower, kFailWrites, kFailFlush, kFailIndex, kStall };
  Kind kind = Kind::kNone;
  std::uint64_t at = 1;       // kPower: the n-th operation
  Fate fate = Fate::kBySeed;  // kPower
  std::uint64_t seed = 0;
  bool at_ring = false;  // of the ring's disk, when it has one of its own
  Duration delay = {};
};

struct StepPlan {
  std::vector<PlannedCall> calls;
  std::vector<SideAction> sides;
  Disaster disaster;
};

}  // namespace cairn::chunkserver::testing
