// Repair of missing pieces (docs/protocols/data-path.md, "Repair"): another place, and the end.
//
// Both make a new version, so that the copy of an attempt that was overtaken cannot be finished,
// and so that the removal of what an older attempt left somewhere never means what is there later.
#include "mds/state/chunks.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

std::string number(std::uint64_t n) { return std::to_string(n); }

template <class Op>
Status check_version(const Op& op, const pb::Chunk& chunk) {
  if (op.version() == chunk.version()) return {};
  return fail(Code::kStaleVersion, "chunk " + number(chunk.id()) + " has version " +
                                       number(chunk.version()) + ", not " + number(op.version()));
}

template <class Op>
Status check_missing(const Op& op, const pb::Chunk& chunk) {
  if (op.piece() >= static_cast<unsigned>(chunk.pieces_size()) || op.cs_id() == 0) {
    return fail(Code::kInvalidArgument, "a repair names no piece or no CS");
  }
  if (chunk.pieces(static_cast<int>(op.piece())).state() == pb::PIECE_MISSING) return {};
  return fail(Code::kRefusedForSafety, "piece " + number(op.piece()) + " of chunk " +
                                           number(chunk.id()) + " is not missing");
}

// What is there or will still be removed there could be taken for the new piece.
Status check_free(Tables& tables, const pb::Chunk& chunk, NodeId cs) {
  TRY(const std::optional<std::string> known, tables.get(keys::chunk_server(cs)));
  if (!known) return fail(Code::kNotFound, "CS " + number(cs.raw()) + " is unknown");
  for (const pb::Piece& piece : chunk.pieces()) {
    TRY(const std::optional<std::string> queued,
        tables.get(keys::removal({cs, id_of(chunk), piece.index()})));
    if (!queued && piece.cs_id() != cs.raw()) continue;
    return fail(Code::kRefusedForSafety,
                "CS " + number(cs.raw()) + (queued ? " has yet to remove" : " has") + " piece " +
                    number(piece.index()) + " of chunk " + number(chunk.id()));
  }
  return {};
}

}  // namespace

Status place_piece(Tables& tables, const pb::PlacePiece& op, pb::CommandReply& reply) {
  TRY(pb::Chunk chunk, load_chunk(tables, ChunkId::from_raw(op.chunk())));
  TRY_VOID(check_version(op, chunk));
  TRY_VOID(check_missing(op, chunk));
  const NodeId cs = NodeId::from_raw(op.cs_id());
  const bool stays = chunk.pieces(static_cast<int>(op.piece())).cs_id() == op.cs_id();
  if (!stays) {
    TRY_VOID(check_free(tables, chunk, cs));
  }
  // A copy that was cut short at the old place has this version: the removal means it too.
  chunk.set_version(chunk.version() + 1);
  if (!stays) {
    TRY_VOID(move_piece(tables, chunk, op.piece(), cs));
  }
  store_chunk(tables, chunk);
  *reply.mutable_chunk() = std::move(chunk);
  return {};
}

Status finish_repair(Tables& tables, const pb::FinishRepair& op, pb::CommandReply& reply) {
  TRY(pb::Chunk chunk, load_chunk(tables, ChunkId::from_raw(op.chunk())));
  TRY_VOID(check_version(op, chunk));
  if (chunk.writer_epoch() != 0) {
    return fail(Code::kBusy, "chunk " + number(chunk.id()) + " is open under epoch " +
                                 number(chunk.writer_epoch()));
  }
  TRY_VOID(check_missing(op, chunk));
  if (chunk.pieces(static_cast<int>(op.piece())).cs_id() != op.cs_id()) {
    return fail(Code::kRefusedForSafety, "piece " + number(op.piece()) + " of chunk " +
                                             number(chunk.id()) + " has another place");
  }
  if (op.next_seq() > kSeqsMax) {
    return fail(Code::kInvalidArgument, "finish_repair: next_seq is past the last number of an op");
  }
  restore_piece(tables, chunk, op.piece());
  chunk.set_version(chunk.version() + 1);
  raise_seq_floor(chunk, op.next_seq());
  store_chunk(tables, chunk);
  *reply.mutable_chunk() = std::move(chunk);
  return {};
}

}  // namespace cairn::mds::state::ops
