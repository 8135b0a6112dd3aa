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

// A writer that tells only regions must know which pieces are missing. That pieces are missing
// already may be told with any version: the answer is the new map.
Status check_version(const pb::DropPieces& op, const pb::Chunk& chunk, bool drops) {
  const bool right = op.pieces() == 0 ? op.version() >= chunk.version()
                                      : !drops || op.version() == chunk.version();
  if (right) return {};
  return fail(Code::kStaleVersion, "drop_pieces: the chunk has version " +
                                       std::to_string(chunk.version()) + ", not " +
                                       std::to_string(op.version()));
}

// One who drops pieces has ops under way. If he does not say where, they may be anywhere.
layout::RegionMask regions_of(const pb::DropPieces& op, bool drops) {
  return drops && op.regions() == 0 ? layout::kAllRegions : op.regions();
}

}  // namespace

Status drop_pieces(Tables& tables, Caller caller, const pb::DropPieces& op,
                   pb::ClientReply& reply) {
  const InodeId id = InodeId::from_raw(op.inode());
  TRY_VOID(load_leased(tables, {caller.session, id, op.epoch()}));
  TRY(pb::Chunk chunk, load_chunk(tables, ChunkId::from_raw(op.chunk())));
  TRY_VOID(check_request(op, chunk));
  const bool drops = !all_missing(chunk, op.pieces());
  TRY_VOID(check_version(op, chunk, drops));
  if (drops) {
    TRY_VOID(check_enough_stay(chunk, op.pieces()));
    chunk.set_version(chunk.version() + 1);
  }
  if (lose_pieces(tables, chunk, op.pieces(), regions_of(op, drops))) store_chunk(tables, chunk);
  *reply.mutable_open_chunk()->mutable_layout() = layout_of(chunk);
  *reply.mutable_open_chunk()->mutable_chunk() = std::move(chunk);
  return {};
}

}  // namespace cairn::mds::state::ops
