// ChunkMap: asks the master where the pieces of a file's chunks are, and remembers it in the inode
// as long as its lease lives; opens chunks for writing, tells which pieces failed and which regions
// change, closes chunks that the master holds.
//
// Promises: what belongs to another layout than the lease said is never used: then the lease is not
//           what we take it for, and `stale` gives it up.
// Requires: a lease on the inode (exclusive for open(), drop(), mark() and close()).
// Errors:   kLeaseExpired when the lease ended meanwhile; kNoSpace, kTooFewPieces, kBelowMinimum,
//           kStaleEpoch and others of the master.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "client/core/inode.h"
#include "client/core/session.h"

namespace cairn::client {

using ChunkPtr = std::shared_ptr<ChunkState>;

class ChunkMap {
 public:
  // Afterwards nothing that was known of the inode is left.
  using Stale = std::function<void(InodePtr inode)>;

  ChunkMap(runtime::Runtime& runtime, Session& session, Stale stale)
      : runtime_(runtime), session_(session), stale_(std::move(stale)) {}

  // The chunk as far as known, or asked for. A hole has no view.
  Task<Result<ChunkPtr>> find(InodePtr inode, std::uint64_t index, Deadline deadline);
  // Asks again: what was known did not work.
  Task<Status> refresh(InodePtr inode, ChunkPtr chunk, Deadline deadline);
  // The layout of a file without a chunk: opens the first one. `touch` comes from guess().
  Task<Status> learn_layout(InodePtr inode, PieceMask touch, Deadline deadline);
  // What the last file got.
  const std::optional<layout::FileLayout>& guess() const { return guess_; }
  // After it all `touch`ed pieces are current or missing, and the chunk is open under our epoch,
  // unless a hold came meanwhile: look at is_open(). Waits while the chunk is held.
  Task<Status> open(InodePtr inode, ChunkPtr chunk, PieceMask touch, Deadline deadline);
  // Pieces that did not take a write. The regions of all ops under way are told with them.
  Task<Status> drop(InodePtr inode, ChunkPtr chunk, ChunkVersion version, PieceMask pieces,
                    Deadline deadline);
  // After it the regions are in view->marked, unless the chunk was closed meanwhile. Requests that
  // come while another is under way are sent as one.
  Task<Status> mark(InodePtr inode, ChunkPtr chunk, layout::RegionMask regions, Deadline deadline);
  // The answer to a hold: no op under way needs a piece any more, later ones count from `next_seq`.
  // `chunk` may be null: then nothing is known of it here.
  Task<Status> close(InodePtr inode, ChunkPtr chunk, ChunkId id, OpSeq next_seq, Deadline deadline);

 private:
  Task<Result<pb::OpenChunkReply>> ask_open(InodePtr inode, std::uint64_t index, PieceMask touch,
                                            Deadline deadline);
  Task<Status> tell(InodePtr inode, ChunkPtr chunk, PieceMask pieces, layout::RegionMask regions,
                    Deadline deadline);
  Status accept_layout(const InodePtr& inode, const pb::Layout& layout);
  // Never goes back to an older state, nor to another chunk. `made`: pieces that must be our doing
  // when they are current and the chunk was not known at all.
  static void learn(ChunkState& chunk, const pb::Chunk& from, PieceMask made);

  runtime::Runtime& runtime_;
  Session& session_;
  const Stale stale_;
  std::optional<layout::FileLayout> guess_;
};

}  // namespace cairn::client
