// Chunks: the chunk map and its indexes, changed together.
//
// Rows of a chunk: K (the chunk), M (its place in the file), W (its place again, while writer_epoch
// is set), and for each piece with a chunk server one P row; T counts the P rows of a server; R are
// pieces that a server shall remove. Invariants: check_invariants() in mds/state/invariants.h.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/ids.h"
#include "mds/state/tables.h"

namespace cairn::mds::state {

inline ChunkId id_of(const pb::Chunk& chunk) { return ChunkId::from_raw(chunk.id()); }
inline keys::ChunkPlace place_of(const pb::Chunk& chunk) {
  return {InodeId::from_raw(chunk.inode()), chunk.index()};
}

// File bytes of one chunk; `layout` must be set.
std::uint64_t chunk_bytes(const pb::Layout& layout);
// Fields that travel with every answer of the chunk.
pb::Layout layout_of(const pb::Chunk& chunk);

// Pieces that can still take or have taken every write.
unsigned live_pieces(const pb::Chunk& chunk, std::uint32_t without_mask);
// What a chunk must keep: the minimum of its encoding, never fewer than can be read.
unsigned least_pieces(const pb::Encoding& encoding);

// Errors: kNotFound.
Result<pb::Chunk> load_chunk(Tables& tables, ChunkId id);
// nullopt: a hole.
Result<std::optional<pb::Chunk>> chunk_at(Tables& tables, keys::ChunkPlace place);
// The chunks of a file from index `first`, at most `limit`, in order.
Result<std::vector<pb::Chunk>> chunks_from(Tables& tables, InodeId inode, std::uint64_t first,
                                           std::size_t limit);
// Its chunks with writer_epoch set.
Result<std::vector<pb::Chunk>> open_chunks_of(Tables& tables, InodeId inode);
Result<bool> has_open_chunks(Tables& tables, InodeId inode);

// Writes all rows of a chunk that was not there.
Status insert_chunk(Tables& tables, const pb::Chunk& chunk);
// Writes K and W of a chunk that is there; its places did not change.
void store_chunk(Tables& tables, const pb::Chunk& chunk);
// Takes all rows away; written pieces are queued for removal. Counts it off `inode`, which the
// caller stores.
Status remove_chunk(Tables& tables, pb::InodeRecord& inode, const pb::Chunk& chunk);
// What a lost writer left past the committed size: its settled chunks that lie wholly there go. The
// caller stores the inode.
// Requires: nobody can commit a bigger size any more.
Status remove_uncommitted(Tables& tables, pb::InodeRecord& inode);
// The pieces of `mask` that have a place lose it and become missing; current ones are queued for
// removal. The caller stores the chunk.
Status lose_pieces(Tables& tables, pb::Chunk& chunk, std::uint32_t mask);

}  // namespace cairn::mds::state
