#include "mds/state/chunks.h"
#include "mds/state/inodes.h"
#include "mds/state/ops/ops.h"

namespace cairn::mds::state::ops {
namespace {

Status check_request(const pb::CloseChunk& op, const pb::Chunk& chunk) {
  if (chunk.inode() != op.inode()) {
    return fail(Code::kNotFound, "close_chunk: the chunk is not of this file");
  }
  if (op.next_seq() > kSeqsMax) {
    return fail(Code::kInvalidArgument, "close_chunk: next_seq is past the last number of an op");
  }
  if (chunk.writer_epoch() != 0 && chunk.writer_epoch() != op.epoch()) {
    return fail(Code::kStaleEpoch, "close_chunk: the chunk is open under epoch " +
                                       std::to_string(chunk.writer_epoch()) + ", not " +
                                       std::to_string(op.epoch()));
  }
  return {};
}

}  // namespace

Status close_chunk(Tables& tables, Caller caller, const pb::CloseChunk& op,
                   pb::ClientReply& reply) {
  const InodeId id = InodeId::from_raw(op.inode());
  TRY(pb::InodeRecord inode, load_leased(tables, {caller.session, id, op.epoch()}));
  TRY(pb::Chunk chunk, load_chunk(tables, ChunkId::from_raw(op.chunk())));
  TRY_VOID(check_request(op, chunk));
  if (chunk.writer_epoch() != 0) {
    // Should the writer be lost no recovery comes by to count what it did not tell.
    count_written(inode, bytes_within(chunk, inode.attributes().size()));
    store_inode(tables, inode);
  }
  chunk.set_writer_epoch(0);
  raise_seq_floor(chunk, op.next_seq());
  store_chunk(tables, chunk);
  *reply.mutable_open_chunk()->mutable_layout() = layout_of(chunk);
  *reply.mutable_open_chunk()->mutable_chunk() = std::move(chunk);
  return {};
}

}  // namespace cairn::mds::state::ops
