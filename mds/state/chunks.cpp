#include "mds/state/chunks.h"

#include <algorithm>

#include "common/base/units.h"
#include "mds/state/inodes.h"

namespace cairn::mds::state {
namespace {

std::string number(std::uint64_t n) { return std::to_string(n); }

Status count_piece(Tables& tables, NodeId cs, bool more) {
  const std::string key = keys::piece_count(cs);
  TRY(const std::optional<std::uint64_t> stored, tables.get_number(key));
  const std::uint64_t before = stored.value_or(0);
  if (more) {
    tables.put_number(key, before + 1);
  } else if (before > 1) {
    tables.put_number(key, before - 1);
  } else {
    tables.erase(key);
  }
  return {};
}

Status place_piece(Tables& tables, const pb::Chunk& chunk, const pb::Piece& piece) {
  const NodeId cs = NodeId::from_raw(piece.cs_id());
  tables.put_bytes(keys::piece_on({cs, id_of(chunk), piece.index()}), {});
  return count_piece(tables, cs, true);
}

// `up_to`: the newest version of it that is to be removed, 0: any. Of an unwritten piece no disk
// has anything; of a missing one it may, even if it was unwritten before: a repair may have begun.
Status unplace_piece(Tables& tables, const pb::Chunk& chunk, const pb::Piece& piece,
                     std::uint64_t up_to) {
  if (piece.cs_id() == 0) return {};
  const NodeId cs = NodeId::from_raw(piece.cs_id());
  const keys::PiecePlace place{cs, id_of(chunk), piece.index()};
  tables.erase(keys::piece_on(place));
  if (piece.state() != pb::PIECE_UNWRITTEN) {
    tables.put_bytes(keys::removal(place), keys::encode_removal(up_to));
  }
  return count_piece(tables, cs, false);
}

// Rows of M, of which the chunks shall belong to `to`.
Status move_chunks(Tables& tables, const Tables::Rows& rows, InodeId to) {
  for (const auto& [key, value] : rows) {
    const std::optional<keys::ChunkPlace> place = keys::decode_place(keys::Table::kChunkAt, key);
    const std::optional<std::uint64_t> raw = keys::decode_number(value);
    if (!place || !raw) return tables.corrupt(keys::Table::kChunkAt);
    const std::string chunk_key = keys::chunk(ChunkId::from_raw(*raw));
    TRY(std::optional<pb::Chunk> chunk, tables.find<pb::Chunk>(chunk_key));
    if (!chunk) return tables.corrupt(keys::Table::kChunk);
    chunk->set_inode(to.raw());
    tables.put(chunk_key, *chunk);
    tables.put_number(keys::chunk_at({to, place->index}), *raw);
  }
  return {};
}

Result<std::vector<pb::Chunk>> load_all(Tables& tables, keys::Table table,
                                        const Tables::Range& range) {
  TRY(const Tables::Rows rows, tables.scan(range));
  std::vector<pb::Chunk> chunks;
  for (const auto& [key, value] : rows) {
    const std::optional<std::uint64_t> id = keys::decode_number(value);
    if (!id) return tables.corrupt(table);
    TRY(std::optional<pb::Chunk> chunk,
        tables.find<pb::Chunk>(keys::chunk(ChunkId::from_raw(*id))));
    if (!chunk) return tables.corrupt(keys::Table::kChunk);
    chunks.push_back(std::move(*chunk));
  }
  return chunks;
}

}  // namespace

std::uint64_t chunk_bytes(const pb::Layout& layout) {
  return layout.encoding().data() * layout.piece_bytes();
}

std::uint64_t bytes_within(const pb::Chunk& chunk, std::uint64_t size) {
  const std::uint64_t bytes = chunk_bytes(layout_of(chunk));
  const std::uint64_t begin = chunk.index() * bytes;
  return size <= begin ? 0 : std::min(bytes, size - begin);
}

pb::Layout layout_of(const pb::Chunk& chunk) {
  pb::Layout layout;
  *layout.mutable_encoding() = chunk.encoding();
  layout.set_cell_bytes(chunk.cell_bytes());
  layout.set_piece_bytes(chunk.piece_bytes());
  return layout;
}

unsigned live_pieces(const pb::Chunk& chunk, std::uint32_t without_mask) {
  return static_cast<unsigned>(std::ranges::count_if(chunk.pieces(), [&](const pb::Piece& piece) {
    return piece.state() != pb::PIECE_MISSING && (without_mask >> piece.index() & 1U) == 0;
  }));
}

bool is_degraded(const pb::Chunk& chunk) {
  return live_pieces(chunk, 0) < static_cast<unsigned>(chunk.pieces_size());
}

unsigned least_pieces(const pb::Encoding& encoding) {
  return std::max(encoding.min(), encoding.data());
}

Status check_enough_stay(const pb::Chunk& chunk, std::uint32_t mask) {
  const unsigned left = live_pieces(chunk, mask);
  if (left >= chunk.encoding().data()) return {};
  return fail(Code::kTooFewPieces, "chunk " + number(chunk.id()) + " would keep " + number(left) +
                                       " pieces, it cannot be read from fewer than " +
                                       number(chunk.encoding().data()));
}

void raise_seq_floor(pb::Chunk& chunk, std::uint64_t next_seq) {
  chunk.set_seq_floor(std::max(chunk.seq_floor(), next_seq));
}

Result<pb::Chunk> load_chunk(Tables& tables, ChunkId id) {
  TRY(std::optional<pb::Chunk> chunk, tables.find<pb::Chunk>(keys::chunk(id)));
  if (!chunk) return fail(Code::kNotFound, "chunk " + number(id.raw()) + " does not exist");
  return std::move(*chunk);
}

Result<std::optional<pb::Chunk>> chunk_at(Tables& tables, keys::ChunkPlace place) {
  TRY(const std::optional<std::uint64_t> id, tables.get_number(keys::chunk_at(place)));
  if (!id) return std::optional<pb::Chunk>();
  TRY(std::optional<pb::Chunk> chunk, tables.find<pb::Chunk>(keys::chunk(ChunkId::from_raw(*id))));
  if (!chunk) return tables.corrupt(keys::Table::kChunk);
  return chunk;
}

Result<std::vector<pb::Chunk>> chunks_from(Tables& tables, InodeId inode, std::uint64_t first,
                                           std::size_t limit) {
  const Tables::Range range{.prefix = keys::of_inode(keys::Table::kChunkAt, inode),
                            .from = keys::chunk_at({inode, first}),
                            .limit = limit};
  return load_all(tables, keys::Table::kChunkAt, range);
}

Result<std::vector<pb::Chunk>> open_chunks_of(Tables& tables, InodeId inode) {
  const Tables::Range range{.prefix = keys::of_inode(keys::Table::kOpenChunk, inode)};
  return load_all(tables, keys::Table::kOpenChunk, range);
}

Result<bool> has_open_chunks(Tables& tables, InodeId inode) {
  const Tables::Range first{.prefix = keys::of_inode(keys::Table::kOpenChunk, inode), .limit = 1};
  TRY(const Tables::Rows rows, tables.scan(first));
  return !rows.empty();
}

Status insert_chunk(Tables& tables, const pb::Chunk& chunk) {
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.cs_id() == 0) continue;
    TRY_VOID(place_piece(tables, chunk, piece));
  }
  tables.put_number(keys::chunk_at(place_of(chunk)), chunk.id());
  if (is_degraded(chunk)) tables.put_bytes(keys::degraded(id_of(chunk)), {});
  store_chunk(tables, chunk);
  tables.counters().set_chunks(tables.counters().chunks() + 1);
  return {};
}

void store_chunk(Tables& tables, const pb::Chunk& chunk) {
  tables.put(keys::chunk(id_of(chunk)), chunk);
  if (chunk.writer_epoch() != 0) {
    tables.put_number(keys::open_chunk(place_of(chunk)), chunk.id());
  } else {
    tables.erase(keys::open_chunk(place_of(chunk)));
  }
}

Status remove_chunk(Tables& tables, pb::InodeRecord& inode, const pb::Chunk& chunk) {
  for (const pb::Piece& piece : chunk.pieces()) {
    // The id is never used again: whatever is left of it anywhere is meant.
    TRY_VOID(unplace_piece(tables, chunk, piece, 0));
  }
  if (is_degraded(chunk)) tables.erase(keys::degraded(id_of(chunk)));
  tables.erase(keys::chunk(id_of(chunk)));
  tables.erase(keys::chunk_at(place_of(chunk)));
  tables.erase(keys::open_chunk(place_of(chunk)));
  tables.counters().set_chunks(tables.counters().chunks() - 1);
  inode.set_chunk_count(inode.chunk_count() - 1);
  count_written(inode, 0);
  return {};
}

Status exchange_chunks(Tables& tables, InodeId a, InodeId b) {
  TRY(const Tables::Rows of_a,
      tables.scan(Tables::Range{.prefix = keys::of_inode(keys::Table::kChunkAt, a)}));
  TRY(const Tables::Rows of_b,
      tables.scan(Tables::Range{.prefix = keys::of_inode(keys::Table::kChunkAt, b)}));
  for (const auto& [key, value] : of_a) tables.erase(key);
  for (const auto& [key, value] : of_b) tables.erase(key);
  TRY_VOID(move_chunks(tables, of_a, b));
  return move_chunks(tables, of_b, a);
}

Status remove_uncommitted(Tables& tables, pb::InodeRecord& inode) {
  if (!inode.has_layout()) return {};
  const std::uint64_t bytes = chunk_bytes(inode.layout());
  const std::uint64_t first = div_ceil(inode.attributes().size(), bytes);
  const InodeId id = InodeId::from_raw(inode.attributes().inode());
  TRY(const std::vector<pb::Chunk> past, chunks_from(tables, id, first, SIZE_MAX));
  for (const pb::Chunk& chunk : past) {
    if (chunk.writer_epoch() != 0) continue;
    TRY_VOID(remove_chunk(tables, inode, chunk));
  }
  if (inode.attributes().size() % bytes != 0) {
    TRY(const std::optional<pb::Chunk> last, chunk_at(tables, {id, first - 1}));
    if (last.has_value() && last->writer_epoch() == 0) inode.set_trim_pending(true);
  }
  return {};
}

bool lose_pieces(Tables& tables, pb::Chunk& chunk, std::uint32_t mask, layout::RegionMask regions) {
  bool changed = false;
  for (pb::Piece& piece : *chunk.mutable_pieces()) {
    const pb::PieceState before = piece.state();
    if (before != pb::PIECE_MISSING) {
      if ((mask >> piece.index() & 1U) == 0) continue;
      piece.set_state(pb::PIECE_MISSING);
      piece.set_missed(before == pb::PIECE_UNWRITTEN ? layout::kAllRegions : 0);
      tables.put_bytes(keys::degraded(id_of(chunk)), {});
      changed = true;
    }
    changed = changed || (regions & ~piece.missed()) != 0;
    piece.set_missed(piece.missed() | regions);
  }
  return changed;
}

Status move_piece(Tables& tables, pb::Chunk& chunk, unsigned piece, NodeId cs) {
  pb::Piece& moved = *chunk.mutable_pieces(static_cast<int>(piece));
  TRY_VOID(unplace_piece(tables, chunk, moved, chunk.version()));
  moved.set_cs_id(cs.raw());
  moved.set_missed(layout::kAllRegions);
  return place_piece(tables, chunk, moved);
}

void restore_piece(Tables& tables, pb::Chunk& chunk, unsigned piece) {
  pb::Piece& restored = *chunk.mutable_pieces(static_cast<int>(piece));
  restored.set_state(pb::PIECE_CURRENT);
  restored.set_missed(0);
  if (!is_degraded(chunk)) tables.erase(keys::degraded(id_of(chunk)));
}

}  // namespace cairn::mds::state
