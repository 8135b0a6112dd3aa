// ChunkState: what this mount knows of one chunk of a file under its lease, and the numbers of the
// write ops it sent to it. A plain record; ChunkMap fills it, Reader and Writer use it.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/time.h"
#include "common/erasure/codec.h"
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

  static std::shared_ptr<const ChunkView> from(const pb::Chunk& chunk);
};

struct ChunkState {
  ChunkState(runtime::Runtime& runtime, std::uint64_t at) : index(at), lock(runtime) {}

  const std::uint64_t index;              // in the file
  std::shared_ptr<const ChunkView> view;  // null: a hole
  LeaseEpoch opened;                      // OpenChunk was answered under this lease; 0: never
  PieceMask fresh = 0;                    // made current by our OpenChunk, not yet on its CS
  PieceMask stray = 0;                    // fresh by a wrong guess: some op has to make them
  // Write ops of (chunk, epoch).
  OpSeq next_seq{1};
  std::set<OpSeq> undecided;
  OpSeq settled_told{1};  // the mark that all chunk servers were told
  Instant last_op;
  Instant
      hopeless_until;   // too few pieces answered for a whole read's time: do not wait again before
  Instant ask_again;    // one of the addresses cannot be reached: the master is not asked before
  runtime::Mutex lock;  // OpenChunk, DropPieces: one at a time

  OpSeq settled_below() const { return undecided.empty() ? next_seq : *undecided.begin(); }
};

}  // namespace cairn::client
