#include <set>

#include "common/base/limits.h"
#include "common/erasure/encoding.h"
#include "common/layout/file_layout.h"
#include "mds/state/chunks.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

constexpr auto kCellBytes = static_cast<std::uint32_t>(limits::kCellBytesDefault);

// The layout of a file is fixed when it gets its first chunk.
Result<pb::Layout> layout_for(const pb::InodeRecord& inode, const pb::Layout& shape) {
  if (inode.has_layout()) return inode.layout();
  pb::Layout layout;
  *layout.mutable_encoding() = inode.policy().encoding();
  layout.set_cell_bytes(shape.cell_bytes() != 0 ? shape.cell_bytes() : kCellBytes);
  layout.set_piece_bytes(shape.piece_bytes() != 0 ? shape.piece_bytes()
                                                  : limits::kPieceBytesDefault);
  const pb::Encoding& e = layout.encoding();
  TRY(const erasure::Encoding encoding, erasure::Encoding::make(e.data(), e.parity(), e.min()));
  TRY_VOID(layout::FileLayout::make(encoding, layout.cell_bytes(), layout.piece_bytes()));
  return layout;
}

// All pieces, not yet written, at the chosen chunk servers; those without a place are missing.
Status place_pieces(Tables& tables, const Placements& placements, pb::Chunk& chunk) {
  const unsigned pieces = chunk.encoding().data() + chunk.encoding().parity();
  for (unsigned i = 0; i < pieces; ++i) {
    pb::Piece& piece = *chunk.add_pieces();
    piece.set_index(i);
    piece.set_state(pb::PIECE_MISSING);
    piece.set_missed(layout::kAllRegions);
  }
  std::set<std::uint32_t> used;
  for (const pb::Placement& placement : placements) {
    if (placement.piece() >= pieces || placement.cs_id() == 0) {
      return fail(Code::kInvalidArgument, "open_chunk: a placement names no piece or no CS");
    }
    pb::Piece& piece = *chunk.mutable_pieces(static_cast<int>(placement.piece()));
    if (piece.cs_id() != 0 || !used.insert(placement.cs_id()).second) {
      return fail(Code::kInvalidArgument, "open_chunk: a piece or a CS is placed twice");
    }
    const NodeId cs = NodeId::from_raw(placement.cs_id());
    TRY(const std::optional<std::string> known, tables.get(keys::chunk_server(cs)));
    if (!known) {
      return fail(Code::kNotFound, "open_chunk: CS " + std::to_string(cs.raw()) + " is unknown");
    }
    piece.set_cs_id(placement.cs_id());
    piece.set_state(pb::PIECE_UNWRITTEN);
    piece.set_missed(0);
  }
  return {};
}

Result<pb::Chunk> new_chunk(Tables& tables, const pb::OpenChunk& op, const pb::Layout& layout,
                            const Placements& placements) {
  pb::Chunk chunk;
  chunk.set_inode(op.inode());
  chunk.set_index(op.index());
  chunk.set_version(1);
  *chunk.mutable_encoding() = layout.encoding();
  chunk.set_cell_bytes(layout.cell_bytes());
  chunk.set_piece_bytes(layout.piece_bytes());
  TRY_VOID(place_pieces(tables, placements, chunk));
  const unsigned placed = live_pieces(chunk, 0);
  const unsigned least = least_pieces(layout.encoding());
  if (placed < least) {
    return fail(Code::kNoSpace, "a chunk needs places for at least " + std::to_string(least) +
                                    " of its " + std::to_string(chunk.pieces_size()) +
                                    " pieces, only " + std::to_string(placed) + " were found");
  }
  pb::Counters& counters = tables.counters();
  chunk.set_id(counters.next_chunk());
  counters.set_next_chunk(counters.next_chunk() + 1);
  return chunk;
}

// Touched pieces that were never written are from now on, and who looked at the settled chunk
// before can tell that its bytes may be others. True if anything changed.
bool open_for(pb::Chunk& chunk, const pb::OpenChunk& op) {
  bool changed = chunk.writer_epoch() != op.epoch();
  if (chunk.writer_epoch() == 0) chunk.set_opened(chunk.opened() + 1);
  chunk.set_writer_epoch(op.epoch());
  for (pb::Piece& piece : *chunk.mutable_pieces()) {
    if ((op.touch() >> piece.index() & 1U) == 0 || piece.state() != pb::PIECE_UNWRITTEN) continue;
    piece.set_state(pb::PIECE_CURRENT);
    changed = true;
  }
  return changed;
}

// As open_for(). A settled chunk with missing pieces gets a new version: a repair that copied from
// what it was until now must not be finished.
bool reopen_for(pb::Chunk& chunk, const pb::OpenChunk& op) {
  if (chunk.writer_epoch() == 0 && is_degraded(chunk)) chunk.set_version(chunk.version() + 1);
  return open_for(chunk, op);
}

Status check_request(const pb::OpenChunk& op, const pb::Layout& layout) {
  const unsigned pieces = layout.encoding().data() + layout.encoding().parity();
  if ((op.touch() >> pieces) != 0) {
    return fail(Code::kInvalidArgument,
                "open_chunk: the chunk has only " + std::to_string(pieces) + " pieces");
  }
  if (op.index() >= limits::kFileBytesMax / chunk_bytes(layout)) {
    return fail(Code::kFileTooBig, "open_chunk: past the end of the biggest file");
  }
  return {};
}

}  // namespace

Status open_chunk(Tables& tables, Caller caller, const pb::ClientMutation& mutation,
                  pb::ClientReply& reply) {
  const pb::OpenChunk& op = mutation.request().open_chunk();
  const InodeId id = InodeId::from_raw(op.inode());
  TRY(pb::InodeRecord inode, load_leased(tables, {caller.session, id, op.epoch()}));
  TRY(const pb::Layout layout, layout_for(inode, mutation.shape()));
  TRY_VOID(check_request(op, layout));
  TRY(std::optional<pb::Chunk> chunk, chunk_at(tables, {id, op.index()}));
  if (!chunk) {
    TRY(chunk, new_chunk(tables, op, layout, mutation.placement()));
    open_for(*chunk, op);
    *inode.mutable_layout() = layout;
    inode.set_chunk_count(inode.chunk_count() + 1);
    store_inode(tables, inode);
    TRY_VOID(insert_chunk(tables, *chunk));
  } else if (chunk->writer_epoch() != 0 && chunk->writer_epoch() != op.epoch()) {
    return fail(Code::kBusy, "chunk " + std::to_string(chunk->id()) + " is open under epoch " +
                                 std::to_string(chunk->writer_epoch()) +
                                 " and must be recovered first");
  } else if (reopen_for(*chunk, op)) {
    store_chunk(tables, *chunk);
  }
  *reply.mutable_open_chunk()->mutable_layout() = layout;
  *reply.mutable_open_chunk()->mutable_chunk() = *chunk;
  return {};
}

}  // namespace cairn::mds::state::ops
