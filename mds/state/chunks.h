// Chunks: the chunk map and its indexes, changed together.
//
// Rows of a chunk: K (the chunk), M (its place in the file), W (its place again, while writer_epoch
// is set), B while a piece is missing, and for each piece with a chunk server, missing or not, one
// P row; T counts the P rows of a server; R are pieces that a server shall remove. Invariants:
// check_invariants() in mds/state/invariants.h.
//
// Pieces change their state only here and in OpenChunk: lost, moved, restored. That every change of
// the set makes a new version is up to the operations.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/ids.h"
#include "common/layout/regions.h"
#include "mds/state/tables.h"

namespace cairn::mds::state {

inline ChunkId id_of(const pb::Chunk& chunk) { return ChunkId::from_raw(chunk.id()); }
inline keys::ChunkPlace place_of(const pb::Chunk& chunk) {
  return {InodeId::from_raw(chunk.inode()), chunk.index()};
}

// File bytes of one chunk; `layout` must be set.
std::uint64_t chunk_bytes(const pb::Layout& layout);
// Bytes of the chunk below a file size.
std::uint64_t bytes_within(const pb::Chunk& chunk, std::uint64_t size);
// Fields that travel with every answer of the chunk.
pb::Layout layout_of(const pb::Chunk& chunk);

// Numbers of write ops end long before they could wrap.
inline constexpr std::uint64_t kSeqsMax = 1ULL << 62;

// Pieces that are not missing and not in the mask: they can still take or have taken every write.
unsigned live_pieces(const pb::Chunk& chunk, std::uint32_t without_mask);
// A piece is missing.
bool is_degraded(const pb::Chunk& chunk);
// What a new chunk must have places for: the minimum of its encoding, never fewer than can be read.
unsigned least_pieces(const pb::Encoding& encoding);
// Refuses (kTooFewPieces) when fewer pieces than can be read would stay without those of `mask`.
Status check_enough_stay(const pb::Chunk& chunk, std::uint32_t mask);
// Numbers of a later opener count from `next_seq` at least.
void raise_seq_floor(pb::Chunk& chunk, std::uint64_t next_seq);

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
// Writes K and W of a chunk that is there; the other rows are those of its pieces already.
void store_chunk(Tables& tables, const pb::Chunk& chunk);
// Takes all rows away; pieces that a disk may have are queued for removal, whatever their version.
// Counts it off `inode`, which the caller stores.
Status remove_chunk(Tables& tables, pb::InodeRecord& inode, const pb::Chunk& chunk);
// Exchanges the chunks of two files: rows M, and the inode in each chunk. What else tells of them
// in the inodes (layout, chunk_count, blocks) is the caller's.
// Requires: none of them is open.
Status exchange_chunks(Tables& tables, InodeId a, InodeId b);
// What a lost writer left past the committed size: its settled chunks that lie wholly there go, and
// what is there in the chunk at the size is to be trimmed, also where a repair had closed the chunk
// and no recovery came by. The caller stores the inode.
// Requires: nobody can commit a bigger size any more.
Status remove_uncommitted(Tables& tables, pb::InodeRecord& inode);
// The pieces of `mask` become missing where they are: current ones with what they had, unwritten
// ones with nothing. All missing pieces, the older ones too, miss `regions` from now on. True if
// anything changed: the caller stores the chunk.
bool lose_pieces(Tables& tables, pb::Chunk& chunk, std::uint32_t mask, layout::RegionMask regions);
// The missing piece has another place and nothing there; the old one is queued for removal, up to
// the version of the chunk. The caller stores the chunk.
Status move_piece(Tables& tables, pb::Chunk& chunk, unsigned piece, NodeId cs);
// The missing piece is current again. The caller stores the chunk.
void restore_piece(Tables& tables, pb::Chunk& chunk, unsigned piece);

}  // namespace cairn::mds::state
