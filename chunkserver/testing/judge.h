// Judge: is there an order of the calls on one piece that explains what they answered and what is
// to be seen afterwards? Pure: the search of Wing and Gong, small enough to try everything.
//
// Rules:  Calls that change something have one order; those that ended before another began come
//         before it. Whether one is taken or refused follows from all that were taken before it,
//         durable or not yet. Answered is only what is durable, and reads see only that: each sees
//         the state after some part of the order, with everything that had been answered when it
//         began. A seal lists the ops of its place or of a later one. kNoSpace and kOverloaded mean
//         that nothing happened.
//         Crashed: what was answered is there (settles are durable later: maybe not); what was not
//         answered, or with the error of a dying disk, is there wholly or not at all.
#pragma once

#include "chunkserver/testing/piece_model.h"

namespace cairn::chunkserver::testing {

struct CallAnswer {
  std::optional<Code> code;        // nullopt: done
  std::string text;                // of the error
  BlockValues view;                // of a read
  std::map<ModelOp, bool> listed;  // of a seal
  ModelOp settled;
};

struct TimedCall {
  ModelCall call;
  std::uint64_t begun = 0;
  std::uint64_t ended = 0;  // 0: it has not
  std::optional<CallAnswer> answer;
};
std::string describe(const TimedCall& call);

enum class Ending { kAlive, kCrashed };

// Codes that say that the store died under the call.
bool says_died(Code code);

// The piece as it is now. nullopt: nothing explains it. `after`: nullopt when nobody looked.
std::optional<PieceModel> explain(const PieceModel& before, const std::vector<TimedCall>& calls,
                                  const std::optional<PieceSight>& after, Ending ending);

}  // namespace cairn::chunkserver::testing
