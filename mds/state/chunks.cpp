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

Status unplace_piece(Tables& tables, const pb::Chunk& chunk, const pb::Piece& piece) {
  if (piece.cs_id() == 0) return {};
  const NodeId cs = NodeId::from_raw(piece.cs_id());
  const keys::PiecePlace place{cs, id_of(chunk), piece.index()};
  tables.erase(keys::piece_on(place));
  if (piece.state() == pb::PIECE_CURRENT) tables.put_bytes(keys::removal(place), {});
  return count_piece(tables, cs, false);
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

unsigned least_pieces(const pb::Encoding& encoding) {
  return std::max(encoding.min(), encoding.data());
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
    TRY_VOID(unplace_piece(tables, chunk, piece));
  }
  tables.erase(keys::chunk(id_of(chunk)));
  tables.erase(keys::chunk_at(place_of(chunk)));
  tables.erase(keys::open_chunk(place_of(chunk)));
  tables.counters().set_chunks(tables.counters().chunks() - 1);
  inode.set_chunk_count(inode.chunk_count() - 1);
  count_written(inode, 0);
  return {};
}

Status remove_uncommitted(Tables& tables, pb::InodeRecord& inode) {
  if (!inode.has_layout()) return {};
  const std::uint64_t first = div_ceil(inode.attributes().size(), chunk_bytes(inode.layout()));
  const InodeId id = InodeId::from_raw(inode.attributes().inode());
  TRY(const std::vector<pb::Chunk> past, chunks_from(tables, id, first, SIZE_MAX));
  for (const pb::Chunk& chunk : past) {
    if (chunk.writer_epoch() != 0) continue;
    TRY_VOID(remove_chunk(tables, inode, chunk));
  }
  return {};
}

Status lose_pieces(Tables& tables, pb::Chunk& chunk, std::uint32_t mask) {
  for (pb::Piece& piece : *chunk.mutable_pieces()) {
    if ((mask >> piece.index() & 1U) == 0 || piece.state() == pb::PIECE_MISSING) continue;
    TRY_VOID(unplace_piece(tables, chunk, piece));
    piece.set_cs_id(0);
    piece.set_state(pb::PIECE_MISSING);
  }
  return {};
}

}  // namespace cairn::mds::state
