// Recovery of a chunk whose writer was lost (docs/protocols/data-path.md, "When the writer is
// lost").
//
// Begin makes a new version and takes a new epoch from the counter: the answer carries both for the
// Seal. The epoch becomes the newest of the inode, so whatever the lost writer still sends is stale
// at the master as it is at the chunk servers; a writer that is still alive asks for the lease
// again and goes on with the new epoch once its chunks are recovered.
#include <algorithm>

#include "mds/state/chunks.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

std::string number(std::uint64_t n) { return std::to_string(n); }

// What lies past the size was never committed: the next writer has to trim it, and a chunk that
// lies wholly there goes, once the lost writer cannot commit a size any more. While it still has
// the lease, that is done when the lease ends.
Status forget_uncommitted(Tables& tables, pb::InodeRecord& inode, const pb::Chunk& chunk) {
  const std::uint64_t bytes = chunk_bytes(layout_of(chunk));
  const std::uint64_t size = inode.attributes().size();
  const bool wholly = chunk.index() * bytes >= size;
  if (wholly && inode.lease_session() == 0) {
    TRY_VOID(remove_chunk(tables, inode, chunk));
  } else if ((chunk.index() + 1) * bytes > size) {
    inode.set_trim_pending(true);
  }
  store_inode(tables, inode);
  return {};
}

std::uint32_t current_of(const pb::Chunk& chunk, std::uint32_t mask) {
  std::uint32_t current = 0;
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.state() == pb::PIECE_CURRENT) current |= 1U << piece.index();
  }
  return current & mask;
}

}  // namespace

Status begin_recovery(Tables& tables, const pb::BeginRecovery& op, pb::CommandReply& reply) {
  TRY(pb::Chunk chunk, load_chunk(tables, ChunkId::from_raw(op.chunk())));
  if (chunk.writer_epoch() == 0) {
    return fail(Code::kInvalidArgument,
                "chunk " + number(chunk.id()) + " is settled: there is nothing to recover");
  }
  TRY(pb::InodeRecord inode, load_inode(tables, InodeId::from_raw(chunk.inode())));
  inode.set_lease_epoch(take_epoch(tables));
  store_inode(tables, inode);
  chunk.set_version(chunk.version() + 1);
  store_chunk(tables, chunk);
  reply.set_lease_epoch(inode.lease_epoch());
  *reply.mutable_chunk() = std::move(chunk);
  return {};
}

Status finish_recovery(Tables& tables, const pb::FinishRecovery& op, pb::CommandReply& reply) {
  TRY(pb::Chunk chunk, load_chunk(tables, ChunkId::from_raw(op.chunk())));
  if (chunk.version() != op.version()) {
    return fail(Code::kStaleVersion, "chunk " + number(chunk.id()) + " has version " +
                                         number(chunk.version()) + ", not " + number(op.version()));
  }
  if (chunk.writer_epoch() != 0) {
    TRY(pb::InodeRecord inode, load_inode(tables, InodeId::from_raw(chunk.inode())));
    if (inode.lease_epoch() <= chunk.writer_epoch()) {
      return fail(Code::kInvalidArgument,
                  "the recovery of chunk " + number(chunk.id()) + " was not begun");
    }
    const std::uint32_t lost = current_of(chunk, op.unreachable());
    TRY_VOID(check_enough_stay(chunk, lost));
    lose_pieces(tables, chunk, lost, op.regions());
    if (lost != 0) chunk.set_version(chunk.version() + 1);
    chunk.set_writer_epoch(0);
    store_chunk(tables, chunk);
    // What a lost writer did not live to tell may be anywhere in its chunk.
    count_written(inode, bytes_within(chunk, inode.attributes().size()));
    TRY_VOID(forget_uncommitted(tables, inode, chunk));
  }
  *reply.mutable_chunk() = std::move(chunk);
  return {};
}

}  // namespace cairn::mds::state::ops
