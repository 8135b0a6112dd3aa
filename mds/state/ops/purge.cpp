// What unlinked files leave behind is taken away in bounded steps.
#include <algorithm>

#include "mds/state/chunks.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

// One command must stay small enough for one batch of the log, whatever it asks.
constexpr std::size_t kChunksPerPurgeMax = 4096;

}  // namespace

Status purge_inode(Tables& tables, const pb::PurgeInode& op, pb::CommandReply& reply) {
  const InodeId id = InodeId::from_raw(op.inode());
  TRY(std::optional<pb::InodeRecord> inode, tables.find<pb::InodeRecord>(keys::inode(id)));
  if (!inode) {
    reply.set_purged(true);
    return {};
  }
  TRY(const std::optional<std::string> orphan, tables.get(keys::orphan(id)));
  if (!orphan) {
    return fail(Code::kRefusedForSafety,
                "inode " + std::to_string(id.raw()) + " has a name: it cannot be purged");
  }
  // From the first step on nobody may write it, and nobody may take what is left for a whole copy.
  clear_lease(tables, *inode);
  inode->clear_shadow_of();
  const std::size_t limit = std::clamp<std::size_t>(op.chunks_max(), 1, kChunksPerPurgeMax);
  TRY(const std::vector<pb::Chunk> chunks, chunks_from(tables, id, 0, limit));
  for (const pb::Chunk& chunk : chunks) {
    TRY_VOID(remove_chunk(tables, *inode, chunk));
  }
  if (inode->chunk_count() != 0) {
    store_inode(tables, *inode);
    return {};
  }
  TRY_VOID(remove_xattrs(tables, id));
  tables.erase(keys::orphan(id));
  remove_inode_row(tables, *inode);
  reply.set_purged(true);
  return {};
}

// A report that names a version is of a removal up to that one: one that was queued later stays.
Status pieces_removed(Tables& tables, const pb::PiecesRemoved& op) {
  for (const pb::PieceRef& piece : op.pieces()) {
    // The key has one byte for the piece: a bigger number is none of ours.
    if (piece.piece() > 0xff) continue;
    const std::string key = keys::removal(
        {NodeId::from_raw(op.cs_id()), ChunkId::from_raw(piece.chunk()), piece.piece()});
    TRY(const std::optional<std::string> queued, tables.get(key));
    if (!queued) continue;
    const std::optional<std::uint64_t> up_to = keys::decode_removal(*queued);
    if (!up_to) return tables.corrupt(keys::Table::kRemoval);
    const bool older = piece.version() != 0 && (*up_to == 0 || piece.version() < *up_to);
    if (!older) tables.erase(key);
  }
  return {};
}

}  // namespace cairn::mds::state::ops
