// Reads of the chunk map and what hangs on it.
#include <algorithm>

#include "mds/state/keys.h"
#include "mds/state/machine.h"
#include "mds/state/rows.h"

namespace cairn::mds::state::queries {
namespace {

// Chunks of one answer: they must fit one frame's meta, 21 pieces with addresses each.
constexpr std::size_t kChunksPerReplyMax = 1024;

// Chunks that other rows point at: they must be there.
Result<std::vector<pb::Chunk>> load_all(const kv::Reader& reader, const std::vector<ChunkId>& ids) {
  std::vector<pb::Chunk> chunks;
  chunks.reserve(ids.size());
  for (const ChunkId id : ids) {
    TRY(std::optional<pb::Chunk> chunk, rows::find<pb::Chunk>(reader, keys::chunk(id)));
    if (!chunk) return rows::corrupt(static_cast<char>(keys::Table::kChunk));
    chunks.push_back(std::move(*chunk));
  }
  return chunks;
}

// The chunks that rows of M or W point at.
Result<std::vector<pb::Chunk>> chunks_of(const kv::Reader& reader, const std::string& prefix,
                                         const std::string& from, std::size_t limit) {
  std::vector<ChunkId> ids;
  bool bad = false;
  TRY_VOID(rows::scan(reader, prefix, from, [&](std::string_view, std::string_view value) {
    if (ids.size() == limit) return false;
    const std::optional<std::uint64_t> id = keys::decode_number(value);
    bad = !id.has_value();
    if (bad) return false;
    ids.push_back(ChunkId::from_raw(*id));
    return true;
  }));
  if (bad) return rows::corrupt(prefix[0]);
  return load_all(reader, ids);
}

}  // namespace

Result<pb::GetChunksReply> chunks(const kv::Reader& reader, InodeId id, std::uint64_t first,
                                  std::uint32_t count) {
  TRY(const pb::InodeRecord file, inode(reader, id));
  if (file.attributes().type() != pb::TYPE_REGULAR) {
    return fail(Code::kInvalidArgument,
                "inode " + std::to_string(id.raw()) + " is not a regular file");
  }
  pb::GetChunksReply reply;
  if (file.has_layout()) *reply.mutable_layout() = file.layout();
  const std::size_t limit = std::min<std::size_t>(count, kChunksPerReplyMax);
  TRY(std::vector<pb::Chunk> found, chunks_of(reader, keys::of_inode(keys::Table::kChunkAt, id),
                                              keys::chunk_at({id, first}), limit));
  for (pb::Chunk& chunk : found) *reply.add_chunks() = std::move(chunk);
  return reply;
}

Result<pb::Chunk> chunk(const kv::Reader& reader, ChunkId id) {
  TRY(std::optional<pb::Chunk> chunk, rows::find<pb::Chunk>(reader, keys::chunk(id)));
  if (!chunk) {
    return fail(Code::kNotFound, "chunk " + std::to_string(id.raw()) + " does not exist");
  }
  return std::move(*chunk);
}

Result<std::vector<pb::Chunk>> open_chunks(const kv::Reader& reader, InodeId inode) {
  return chunks_of(reader, keys::of_inode(keys::Table::kOpenChunk, inode), {}, SIZE_MAX);
}

Result<std::vector<InodeId>> inodes_with_open_chunks(const kv::Reader& reader, InodeId after,
                                                     std::size_t limit) {
  std::vector<InodeId> found;
  if (limit == 0 || after.raw() == UINT64_MAX) return found;
  bool bad = false;
  const std::string prefix = keys::all_of(keys::Table::kOpenChunk);
  const std::string from =
      keys::of_inode(keys::Table::kOpenChunk, InodeId::from_raw(after.raw() + 1));
  TRY_VOID(rows::scan(reader, prefix, from, [&](std::string_view key, std::string_view) {
    const auto place = keys::decode_place(keys::Table::kOpenChunk, key);
    bad = !place.has_value();
    if (bad) return false;
    if (!found.empty() && found.back() == place->inode) return true;
    if (found.size() == limit) return false;
    found.push_back(place->inode);
    return true;
  }));
  if (bad) return rows::corrupt(prefix[0]);
  return found;
}

Status each_chunk(const kv::Reader& reader, const std::function<bool(const pb::Chunk&)>& visit) {
  return rows::each<pb::Chunk>(
      reader, keys::all_of(keys::Table::kChunk), {},
      [&](std::string_view, const pb::Chunk& chunk) { return visit(chunk); });
}

Status each_chunk_after(const kv::Reader& reader, ChunkId after,
                        const std::function<bool(const pb::Chunk&)>& visit) {
  if (after.raw() == UINT64_MAX) return {};
  return rows::each<pb::Chunk>(
      reader, keys::all_of(keys::Table::kChunk), keys::chunk(ChunkId::from_raw(after.raw() + 1)),
      [&](std::string_view, const pb::Chunk& chunk) { return visit(chunk); });
}

Result<std::vector<pb::Chunk>> degraded_chunks(const kv::Reader& reader, ChunkId after,
                                               std::size_t limit) {
  std::vector<pb::Chunk> found;
  if (limit == 0 || after.raw() == UINT64_MAX) return found;
  std::vector<ChunkId> ids;
  bool bad = false;
  const std::string prefix = keys::all_of(keys::Table::kDegraded);
  const std::string from = keys::degraded(ChunkId::from_raw(after.raw() + 1));
  TRY_VOID(rows::scan(reader, prefix, from, [&](std::string_view key, std::string_view) {
    const auto id = keys::decode_chunk(keys::Table::kDegraded, key);
    bad = !id.has_value();
    if (bad) return false;
    ids.push_back(*id);
    return ids.size() < limit;
  }));
  if (bad) return rows::corrupt(prefix[0]);
  return load_all(reader, ids);
}

Result<std::vector<pb::PieceRef>> removals(const kv::Reader& reader, NodeId cs, std::size_t limit) {
  std::vector<pb::PieceRef> found;
  if (limit == 0) return found;
  bool bad = false;
  const std::string prefix = keys::of_cs(keys::Table::kRemoval, cs);
  TRY_VOID(rows::scan(reader, prefix, {}, [&](std::string_view key, std::string_view up_to) {
    const auto place = keys::decode_piece(keys::Table::kRemoval, key);
    const auto version = keys::decode_removal(up_to);
    bad = !place.has_value() || !version.has_value();
    if (bad) return false;
    pb::PieceRef& piece = found.emplace_back();
    piece.set_chunk(place->chunk.raw());
    piece.set_piece(place->piece);
    piece.set_version(*version);
    return found.size() < limit;
  }));
  if (bad) return rows::corrupt(prefix[0]);
  return found;
}

Result<std::uint64_t> pieces_on(const kv::Reader& reader, NodeId cs) {
  TRY(const std::optional<std::string> value, reader.get(keys::piece_count(cs)));
  if (!value) return std::uint64_t{0};
  const std::optional<std::uint64_t> pieces = keys::decode_number(*value);
  if (!pieces) return rows::corrupt(static_cast<char>(keys::Table::kPieceCount));
  return *pieces;
}

}  // namespace cairn::mds::state::queries
