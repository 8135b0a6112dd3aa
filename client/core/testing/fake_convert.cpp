// FakeMaster and files that get another encoding: shadows, the exchange, the queue; and the same
// done at once by FakeCluster.
#include <algorithm>

#include "client/core/testing/fake_cluster.h"
#include "common/erasure/codec.h"
#include "common/layout/file_layout.h"

namespace cairn::client::testing {

namespace {
constexpr std::uint64_t kNobodysSession = 1ULL << 40;
}

std::uint64_t FakeMaster::inode_of(const pb::ClientRequest& request) {
  switch (request.op_case()) {
    case pb::ClientRequest::kReleaseLease:
      return request.release_lease().inode();
    case pb::ClientRequest::kSetAttr:
      return request.set_attr().inode();
    case pb::ClientRequest::kGetChunks:
      return request.get_chunks().inode();
    case pb::ClientRequest::kOpenChunk:
      return request.open_chunk().inode();
    case pb::ClientRequest::kDropPieces:
      return request.drop_pieces().inode();
    case pb::ClientRequest::kCommitFile:
      return request.commit_file().inode();
    case pb::ClientRequest::kCloseChunk:
      return request.close_chunk().inode();
    case pb::ClientRequest::kMakeShadow:
      return request.make_shadow().inode();
    case pb::ClientRequest::kSwapData:
      return request.swap_data().inode();
    default:
      return 0;
  }
}

Result<pb::ClientReply> FakeMaster::make_shadow(const pb::ClientRequest& request) {
  const std::uint64_t source = request.make_shadow().inode();
  if (!wanted.contains(source)) return fail(Code::kNotFound, "not to be converted");
  const std::uint64_t id = next_inode_++;
  ++shadows;
  Node& node = nodes[id];
  node.attributes.set_inode(id);
  node.attributes.set_type(pb::TYPE_REGULAR);
  node.shape = wanted.at(source);
  node.shadow_of = source;
  node.pinned.insert(request.session());
  node.holder = request.session();
  node.epoch = next_epoch_++;
  pb::ClientReply reply;
  *reply.mutable_make_node()->mutable_attributes() = node.attributes;
  reply.mutable_make_node()->set_epoch(node.epoch);
  return reply;
}

Result<pb::ClientReply> FakeMaster::swap_data(const pb::ClientRequest& request) {
  const pb::SwapData& swap = request.swap_data();
  if (!nodes.contains(swap.shadow())) return fail(Code::kNotFound, "no such shadow");
  Node& node = nodes.at(swap.inode());
  Node& shadow = nodes.at(swap.shadow());
  if (node.holder != request.session() || node.epoch != swap.epoch()) {
    return fail(Code::kStaleEpoch);
  }
  CHECK(node.shared.empty());
  if (shadow.shadow_of != swap.inode() || !wanted.contains(swap.inode())) {
    return fail(Code::kNotFound, "not to be converted");
  }
  bool busy = shadow.holder != 0;
  for (const auto& [index, chunk] : node.chunks) busy = busy || chunk.writer_epoch() != 0;
  for (const auto& [index, chunk] : shadow.chunks) {
    busy = busy || chunk.writer_epoch() != 0;
    for (const pb::Piece& piece : chunk.pieces()) {
      busy = busy || piece.state() == pb::PIECE_MISSING;
    }
  }
  if (busy) {
    ++refused_swaps;
    return fail(Code::kBusy, "a chunk is open, or a piece missing");
  }
  if (node.attributes.size() != shadow.attributes.size()) {
    return fail(Code::kInvalidArgument, "the sizes differ");
  }
  std::swap(node.chunks, shadow.chunks);
  std::swap(node.shape, shadow.shape);
  std::swap(node.trim_pending, shadow.trim_pending);
  const std::uint64_t blocks = node.attributes.blocks();
  node.attributes.set_blocks(shadow.attributes.blocks());
  shadow.attributes.set_blocks(blocks);
  for (auto& [index, chunk] : node.chunks) chunk.set_inode(swap.inode());
  for (auto& [index, chunk] : shadow.chunks) chunk.set_inode(swap.shadow());
  wanted.erase(swap.inode());
  ++swaps;
  pb::ClientReply reply;
  *reply.mutable_attributes() = node.attributes;
  return reply;
}

pb::ClientReply FakeMaster::next_conversion(const pb::ClientRequest& request) {
  const pb::NextConversion& tell = request.next_conversion();
  const std::uint64_t session = request.session();
  progress.push_back(tell);
  converter_sessions.insert(session);
  if (tell.ended()) {
    converting_.erase(tell.inode());
    if (tell.has_trouble()) failed_.insert(tell.inode());
  }
  pb::ClientReply reply;
  pb::NextConversionReply& next = *reply.mutable_next_conversion();
  if (convert_paused) return reply;
  for (const auto& [inode, by] : converting_) {
    if (by != session) continue;
    next.set_inode(inode);
    return reply;
  }
  for (const auto& [inode, to] : wanted) {
    if (converting_.contains(inode) || failed_.contains(inode)) continue;
    converting_[inode] = session;
    next.set_inode(inode);
    next.mutable_encoding()->set_data(to.data);
    next.mutable_encoding()->set_parity(to.parity);
    next.mutable_encoding()->set_min(to.min);
    break;
  }
  return reply;
}

std::optional<std::uint32_t> FakeMaster::conversion_ended() const {
  for (const pb::NextConversion& tell : progress) {
    if (tell.ended()) return tell.trouble().code();
  }
  return std::nullopt;
}

void FakeMaster::unpin(std::uint64_t inode, std::uint64_t session) {
  const auto node = nodes.find(inode);
  if (node == nodes.end()) return;
  node->second.pinned.erase(session);
  if (node->second.shadow_of == 0 || !node->second.pinned.empty()) return;
  nodes.erase(node);
  ++purged;
}

namespace {

// Where a block of a file lies: index of the chunk, data piece, block of the piece.
struct Where {
  std::uint64_t index;
  std::uint32_t piece;
  std::uint64_t block;
};
Where where(const Shape& is, std::uint64_t file_block) {
  const std::uint64_t cell = is.cell_bytes / kBlockBytes;
  const std::uint64_t per_chunk = is.data * is.piece_bytes / kBlockBytes;
  const std::uint64_t in = file_block % per_chunk;
  const std::uint64_t stripe = in / (cell * is.data);
  const auto piece = static_cast<std::uint32_t>(in % (cell * is.data) / cell);
  return {file_block / per_chunk, piece, stripe * cell + in % cell};
}
std::uint64_t file_block(const Shape& is, const Where& at) {
  const std::uint64_t cell = is.cell_bytes / kBlockBytes;
  const std::uint64_t per_chunk = is.data * is.piece_bytes / kBlockBytes;
  return at.index * per_chunk + (at.block / cell * is.data + at.piece) * cell + at.block % cell;
}

}  // namespace

Task<bool> FakeCluster::convert(InodeId inode, Shape to) {
  co_await master->wait_free(inode.raw(), kNobodysSession, true);
  FakeMaster::Node& node = master->nodes.at(inode.raw());
  const Shape from = master->shape_of(inode.raw());
  std::map<std::uint64_t, Block> blocks;
  for (const auto& [index, chunk] : node.chunks) {
    CHECK_EQ(chunk.writer_epoch(), 0U);
    for (std::uint32_t piece = 0; piece < from.data; ++piece) {
      const pb::Piece& at = chunk.pieces(static_cast<int>(piece));
      CHECK_NE(at.state(), pb::PIECE_MISSING);
      const auto held = cs.at(at.cs_id() - 1025)->pieces.find({chunk.id(), piece});
      if (at.state() != pb::PIECE_CURRENT) continue;
      for (const auto& [block, bytes] : held->second.blocks) {
        blocks[file_block(from, {index, piece, block})] = bytes;
      }
    }
  }
  node.chunks.clear();
  node.shape = to;
  const auto codec = erasure::Codec::get(to.data, to.parity);
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::vector<Block>> rows;  // (chunk, block)
  for (const auto& [block, bytes] : blocks) {
    const Where at = where(to, block);
    std::vector<Block>& row = rows[{at.index, at.block}];
    row.resize(to.data + to.parity);
    row[at.piece] = bytes;
  }
  for (auto& [at, row] : rows) {
    std::vector<const std::byte*> data;
    std::vector<std::byte*> parity;
    for (std::uint32_t i = 0; i < to.data; ++i) data.push_back(row[i].data());
    for (std::uint32_t i = to.data; i < row.size(); ++i) parity.push_back(row[i].data());
    codec->encode(data, parity, kBlockBytes);
    if (!node.chunks.contains(at.first)) {
      pb::Chunk& made = master->allocate(inode.raw(), at.first);
      made.set_opened(1);
      for (pb::Piece& piece : *made.mutable_pieces()) piece.set_state(pb::PIECE_CURRENT);
    }
    const pb::Chunk& chunk = node.chunks.at(at.first);
    for (const pb::Piece& piece : chunk.pieces()) {
      FakeCs::Piece& into = cs.at(piece.cs_id() - 1025)->pieces[{chunk.id(), piece.index()}];
      into.version = chunk.version();
      into.blocks[at.second] = row[piece.index()];
    }
  }
  co_return true;
}

}  // namespace cairn::client::testing
