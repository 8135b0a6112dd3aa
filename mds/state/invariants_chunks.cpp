// The chunk map against its indexes, and the pieces of each chunk.
#include "common/layout/regions.h"
#include "mds/state/chunks.h"
#include "mds/state/invariants_walk.h"

namespace cairn::mds::state::invariants {
namespace {

using keys::Table;

Status read_places(Walk& walk, Table table, std::map<Place, std::uint64_t>& rows) {
  return each_key(walk, table, [&](std::string_view key, std::string_view value) {
    const auto place = keys::decode_place(table, key);
    const auto chunk = keys::decode_number(value);
    if (!place || !chunk) return false;
    rows.emplace(Place{place->inode.raw(), place->index}, *chunk);
    return true;
  });
}

Status read_pieces(Walk& walk, Table table, std::set<Piece>& rows) {
  return each_key(walk, table, [&](std::string_view key, std::string_view value) {
    const auto place = keys::decode_piece(table, key);
    if (place) rows.emplace(place->cs.raw(), place->chunk.raw(), place->piece);
    const bool version = table == Table::kRemoval && keys::decode_removal(value).value_or(0) != 0;
    return place.has_value() && (value.empty() || version);
  });
}

void check_piece(Walk& walk, const pb::Chunk& chunk, const pb::Piece& piece) {
  const std::uint64_t id = chunk.id();
  const bool missing = piece.state() == pb::PIECE_MISSING;
  walk.expect(pb::PieceState_IsValid(piece.state()), "a piece has no state", id);
  walk.expect(missing || piece.missed() == 0, "a piece misses regions and is not missing", id);
  walk.expect(piece.address().empty(), "an address is stored", id);
  if (piece.cs_id() == 0) {
    walk.expect(missing && piece.missed() == layout::kAllRegions,
                "a piece without a place is not wholly missing", id);
    return;
  }
  walk.expect(walk.chunk_servers.contains(piece.cs_id()), "a piece is on an unknown CS", id);
  for (const pb::Piece& other : chunk.pieces()) {
    walk.expect(!walk.removals.contains(Piece{piece.cs_id(), id, other.index()}),
                "a piece is to be removed where one is in use", id);
  }
}

// The pieces of one chunk; those with a place are added to `placed`.
void check_pieces(Walk& walk, const pb::Chunk& chunk, std::set<Piece>& placed) {
  const pb::Encoding& encoding = chunk.encoding();
  const auto pieces = static_cast<std::size_t>(chunk.pieces_size());
  walk.expect(pieces == std::size_t{encoding.data()} + encoding.parity(),
              "a chunk has not all its pieces", chunk.id());
  walk.expect(live_pieces(chunk, 0) >= encoding.data(), "a chunk cannot be read", chunk.id());
  walk.expect(is_degraded(chunk) == walk.degraded.contains(chunk.id()),
              "the degraded row of a chunk is wrong", chunk.id());
  std::uint32_t index = 0;
  std::set<std::uint32_t> servers;
  for (const pb::Piece& piece : chunk.pieces()) {
    walk.expect(piece.index() == index++, "pieces are not in order", chunk.id());
    check_piece(walk, chunk, piece);
    if (piece.cs_id() == 0) continue;
    placed.insert(Piece{piece.cs_id(), chunk.id(), piece.index()});
    walk.expect(servers.insert(piece.cs_id()).second, "a CS has two pieces of a chunk", chunk.id());
  }
}

void check_chunk(Walk& walk, const pb::Chunk& chunk) {
  const Place place{chunk.inode(), chunk.index()};
  const auto row = walk.map_rows.find(place);
  walk.expect(row != walk.map_rows.end() && row->second == chunk.id(), "a chunk has no map row",
              chunk.id());
  const auto open = walk.open_rows.find(place);
  walk.expect((chunk.writer_epoch() != 0) == (open != walk.open_rows.end()),
              "the open row of a chunk is wrong", chunk.id());
  if (open != walk.open_rows.end()) {
    walk.expect(open->second == chunk.id(), "an open row names another chunk", chunk.id());
  }
  const auto inode = walk.inodes.find(chunk.inode());
  if (inode == walk.inodes.end()) {
    walk.blame("a chunk of no inode: " + std::to_string(chunk.id()));
    return;
  }
  walk.expect(inode->second.layout().SerializeAsString() == layout_of(chunk).SerializeAsString(),
              "a chunk has another layout than its file", chunk.id());
  walk.expect(chunk.writer_epoch() <= inode->second.lease_epoch(),
              "a chunk is open under an epoch its file never had", chunk.id());
  walk.expect(chunk.id() < walk.counters.next_chunk(), "a chunk is past the counter", chunk.id());
  walk.expect(chunk.version() > 0, "a chunk has no version", chunk.id());
  walk.expect(chunk.seq_floor() <= kSeqsMax, "the floor of a chunk is past all numbers",
              chunk.id());
}

}  // namespace

Status read_chunks(Walk& walk) {
  TRY_VOID(each_key(walk, Table::kChunk, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_chunk(Table::kChunk, key);
    pb::Chunk chunk;
    if (!id || !parse_into(chunk, value) || chunk.id() != id->raw()) return false;
    walk.chunks.emplace(id->raw(), std::move(chunk));
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kChunkServer, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_cs(Table::kChunkServer, key);
    pb::CsRecord cs;
    if (!id || !parse_into(cs, value) || cs.id() != id->raw()) return false;
    walk.chunk_servers.insert(cs.id());
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kPieceCount, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_cs(Table::kPieceCount, key);
    const auto count = keys::decode_number(value);
    if (!id || !count || *count == 0) return false;
    walk.piece_counts.emplace(id->raw(), *count);
    return true;
  }));
  TRY_VOID(each_key(walk, Table::kDegraded, [&](std::string_view key, std::string_view value) {
    const auto id = keys::decode_chunk(Table::kDegraded, key);
    if (id) walk.degraded.insert(id->raw());
    return id.has_value() && value.empty();
  }));
  TRY_VOID(read_places(walk, Table::kChunkAt, walk.map_rows));
  TRY_VOID(read_places(walk, Table::kOpenChunk, walk.open_rows));
  TRY_VOID(read_pieces(walk, Table::kPieceOn, walk.pieces));
  return read_pieces(walk, Table::kRemoval, walk.removals);
}

void check_chunks(Walk& walk) {
  std::set<Piece> placed;
  std::map<std::uint64_t, std::uint64_t> per_inode;
  for (const auto& [id, chunk] : walk.chunks) {
    check_chunk(walk, chunk);
    check_pieces(walk, chunk, placed);
    ++per_inode[chunk.inode()];
  }
  for (const auto& [id, inode] : walk.inodes) {
    walk.expect(inode.chunk_count() == count_of(per_inode, id), "a chunk count is wrong", id);
  }
  walk.expect(walk.map_rows.size() == walk.chunks.size(), "map rows without a chunk",
              walk.map_rows.size());
  for (const auto& [place, chunk] : walk.open_rows) {
    walk.expect(walk.chunks.contains(chunk), "an open row without a chunk", chunk);
  }
  for (const std::uint64_t chunk : walk.degraded) {
    walk.expect(walk.chunks.contains(chunk), "a degraded row without a chunk", chunk);
  }
  if (placed != walk.pieces) walk.blame("the reverse index differs from the chunks' places");
  std::map<std::uint32_t, std::uint64_t> counts;
  for (const auto& [cs, chunk, piece] : placed) ++counts[cs];
  if (counts != walk.piece_counts) walk.blame("the piece counts differ from the reverse index");
  walk.expect(walk.counters.chunks() == walk.chunks.size(), "the chunk counter is wrong",
              walk.counters.chunks());
}

}  // namespace cairn::mds::state::invariants
