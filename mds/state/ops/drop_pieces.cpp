#include "mds/state/chunks.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

bool all_missing(const pb::Chunk& chunk, std::uint32_t mask) {
  for (const pb::Piece& piece : chunk.pieces()) {
    if ((mask >> piece.index() & 1U) != 0 && piece.state() != pb::PIECE_MISSING) return false;
  }
  return true;
}

Status check_request(const pb::DropPieces& op, const pb::Chunk& chunk) {
  if (chunk.inode() != op.inode()) {
    return fail(Code::kNotFound, "drop_pieces: the chunk is not of this file");
  }
  if ((op.pieces() >> chunk.pieces_size()) != 0) {
    return fail(Code::kInvalidArgument, "drop_pieces: the chunk has only " +
                                            std::to_string(chunk.pieces_size()) + " pieces");
  }
  if (chunk.writer_epoch() != op.epoch()) {
    return fail(Code::kStaleEpoch, "drop_pieces: the chunk is open under epoch " +
                                       std::to_string(chunk.writer_epoch()) + ", not " +
                                       std::to_string(op.epoch()));
  }
  return {};
}

}  // namespace

Status drop_pieces(Tables& tables, Caller caller, const pb::DropPieces& op,
                   pb::ClientReply& reply) {
  const InodeId id = InodeId::from_raw(op.inode());
  TRY_VOID(load_leased(tables, {caller.session, id, op.epoch()}));
  TRY(pb::Chunk chunk, load_chunk(tables, ChunkId::from_raw(op.chunk())));
  TRY_VOID(check_request(op, chunk));
  if (!all_missing(chunk, op.pieces())) {
    if (chunk.version() != op.version()) {
      return fail(Code::kStaleVersion, "drop_pieces: the chunk has version " +
                                           std::to_string(chunk.version()) + ", not " +
                                           std::to_string(op.version()));
    }
    const unsigned left = live_pieces(chunk, op.pieces());
    const unsigned least = least_pieces(chunk.encoding());
    if (left < least) {
      return fail(Code::kBelowMinimum, "chunk " + std::to_string(chunk.id()) + " would keep " +
                                           std::to_string(left) + " pieces, its minimum is " +
                                           std::to_string(least));
    }
    TRY_VOID(lose_pieces(tables, chunk, op.pieces()));
    chunk.set_version(chunk.version() + 1);
    store_chunk(tables, chunk);
  }
  *reply.mutable_open_chunk()->mutable_layout() = layout_of(chunk);
  *reply.mutable_open_chunk()->mutable_chunk() = std::move(chunk);
  return {};
}

}  // namespace cairn::mds::state::ops
