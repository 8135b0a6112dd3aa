// ChunkState: what this mount knows of one chunk of a file under its lease, and the numbers of the
// write ops it sent to it. A plain record; ChunkMap fills it, Reader and Writer use it.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/core/event.h"
#include "common/base/ids.h"
#include "common/base/time.h"
#include "common/erasure/codec.h"
#include "common/layout/regions.h"
#include "common/runtime/semaphore.h"
#include "proto/types.pb.h"

namespace cairn::client {

using erasure::PieceMask;

inline constexpr PieceMask piece_bit(unsigned piece) { return PieceMask{1} << piece; }

// One version of the chunk's map, immutable.
struct ChunkView {
  struct Place {
    NodeId cs;
    std::string address;
    pb::PieceState state = pb::PIECE_MISSING;
  };
  ChunkId id;
  ChunkVersion version;
  std::vector<Place> pieces;
  PieceMask current = 0;
  PieceMask unwritten = 0;
  // Regions that every missing piece is known to lack: ops on others are not decided yet. All of
  // them when nothing is missing, or when what is missing has no place to come back from.
  layout::RegionMask marked = layout::kAllRegions;
  unsigned minimum = 1;    // pieces that must not be missing when an op is decided
  OpSeq seq_floor{1};      // ops count from here at least
  unsigned live() const {  // pieces that are not missing
    return static_cast<unsigned>(std::popcount(current | unwritten));
  }
  bool all_live() const { return live() == pieces.size(); }

  static std::shared_ptr<const ChunkView> from(const pb::Chunk& chunk);
};

struct ChunkState {
  // A write op that is neither decided nor given up.
  struct OpenOp {
    layout::RegionMask regions = 0;
    PieceMask pending = 0;        // current pieces that did not say that they have it
    std::shared_ptr<Event> news;  // for whoever works on it: an answer, or notify()
  };

  ChunkState(runtime::Runtime& runtime, std::uint64_t at)
      : index(at), changed(runtime), lock(runtime), opening(runtime) {}

  const std::uint64_t index;              // in the file
  std::shared_ptr<const ChunkView> view;  // null: a hole
  LeaseEpoch opened;                      // OpenChunk was answered under this lease; 0: never
  bool holding = false;                   // the master asked for it: no op may begin
  bool must_open = false;                 // closed since it was opened
  std::uint64_t holds = 0;                // grows when a hold begins and when it ends
  PieceMask fresh = 0;                    // made current by our OpenChunk, not yet on its CS
  PieceMask stray = 0;                    // fresh by a wrong guess: some op has to make them
  // Write ops of (chunk, epoch).
  OpSeq next_seq{1};
  std::map<OpSeq, OpenOp> undecided;
  OpSeq settled_told{1};  // the mark that all chunk servers were told
  Instant last_op;
  layout::RegionMask last_regions = 0;  // of the newest op
  layout::RegionMask asked = 0;         // to be marked by a request that was not answered yet
  Instant
      hopeless_until;   // too few pieces answered for a whole read's time: do not wait again before
  Instant ask_again;    // a piece is missing or cannot be reached: the master is not asked before
  Event changed;        // notify(), or an op became quiet under a hold
  runtime::Mutex lock;  // DropPieces, CloseChunk: one at a time
  runtime::Mutex opening;  // OpenChunk: one at a time. It may wait for a hold that waits for `lock`

  // Ops may begin.
  bool is_open(LeaseEpoch epoch) const {
    return view != nullptr && epoch.raw() != 0 && opened == epoch && !must_open && !holding;
  }
  OpSeq settled_below() const { return undecided.empty() ? next_seq : undecided.begin()->first; }
  // The view changed, or a hold began or ended.
  void notify();
  // Every op under way is at all current pieces, and its regions are marked: it waits for more
  // pieces.
  bool quiet() const;
  // Regions of all ops under way.
  layout::RegionMask touched() const;
};

}  // namespace cairn::client
