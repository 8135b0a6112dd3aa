// FakeMaster and chunks that lost pieces: drops, regions, holds, and the copy of a piece.
#include <algorithm>

#include "client/core/testing/fake_cluster.h"
#include "common/erasure/codec.h"
#include "common/layout/regions.h"

namespace cairn::client::testing {

Result<pb::Chunk*> FakeMaster::open_for(const pb::ClientRequest& request, std::uint64_t inode,
                                        std::uint64_t epoch, std::uint64_t id) {
  Node& node = nodes.at(inode);
  if (node.holder != request.session() || node.epoch != epoch) return fail(Code::kStaleEpoch);
  for (auto& [index, chunk] : node.chunks) {
    if (chunk.id() == id) return &chunk;
  }
  return fail(Code::kNotFound);
}

Result<pb::ClientReply> FakeMaster::drop_pieces(const pb::ClientRequest& request) {
  const pb::DropPieces& drop = request.drop_pieces();
  TRY(pb::Chunk* const chunk, open_for(request, drop.inode(), drop.epoch(), drop.chunk()));
  if (chunk->writer_epoch() != drop.epoch()) return fail(Code::kStaleEpoch, "closed");
  if (chunk->version() != drop.version()) return fail(Code::kStaleVersion);
  std::uint32_t left = 0;
  for (const pb::Piece& piece : chunk->pieces()) {
    const bool dropped = (drop.pieces() >> piece.index() & 1U) != 0;
    if (!dropped && piece.state() != pb::PIECE_MISSING) ++left;
  }
  const Shape is = shape_of(drop.inode());
  if (below_minimum || (!repairs && left < is.min)) return fail(Code::kBelowMinimum);
  if (left < is.data) return fail(Code::kTooFewPieces);
  for (pb::Piece& piece : *chunk->mutable_pieces()) {
    const bool dropped = (drop.pieces() >> piece.index() & 1U) != 0;
    if (dropped && piece.state() != pb::PIECE_MISSING) {
      piece.set_missed(piece.state() == pb::PIECE_UNWRITTEN ? layout::kAllRegions : 0);
      piece.set_state(pb::PIECE_MISSING);
      if (!repairs) piece.set_cs_id(0);
    }
    if (piece.state() == pb::PIECE_MISSING) piece.set_missed(piece.missed() | drop.regions());
  }
  if (drop.pieces() != 0) {
    ++drops;
    chunk->set_version(chunk->version() + 1);
  } else {
    marks.push_back(drop.regions());
  }
  pb::ClientReply reply;
  *reply.mutable_open_chunk()->mutable_chunk() = *chunk;
  return reply;
}

Result<pb::ClientReply> FakeMaster::close_chunk(const pb::ClientRequest& request) {
  const pb::CloseChunk& close = request.close_chunk();
  TRY(pb::Chunk* const chunk, open_for(request, close.inode(), close.epoch(), close.chunk()));
  ++closes;
  chunk->set_writer_epoch(0);
  chunk->set_seq_floor(std::max(chunk->seq_floor(), close.next_seq()));
  released_.notify_all();
  pb::ClientReply reply;
  *reply.mutable_open_chunk()->mutable_chunk() = *chunk;
  return reply;
}

bool FakeMaster::is_held(const pb::OpenChunk& open) const {
  return held_.contains({open.inode(), open.index()});
}

Task<void> FakeMaster::send_hold(ChannelPtr to, pb::HoldChunk hold) {
  net::Payload payload;
  payload.meta = hold.SerializeAsString();
  const Deadline deadline = runtime_.after(5s);
  const Result<net::Payload> told =
      co_await to->call(pb::OP_HOLD_CHUNK, std::move(payload), deadline);
  ignore(told, "the hold ends some time");
}

Task<bool> FakeMaster::hold(std::uint64_t inode, std::uint64_t index, Duration patience) {
  held_.emplace(inode, index);
  const Deadline deadline = runtime_.after(patience);
  const std::uint64_t id = chunk(inode, index).id();
  const auto is_open = [this, inode, index, id] {
    const pb::Chunk* const now = find_chunk(inode, index, id);
    return now != nullptr && now->writer_epoch() != 0;
  };
  while (is_open() && runtime_.now() < deadline) {
    const Node& node = nodes.at(inode);
    const auto client = clients_.find(node.holder);
    const ChannelPtr to =
        client == clients_.end() ? nullptr : channel_of(client->second.connection);
    pb::HoldChunk message;
    message.set_inode(inode);
    message.set_epoch(node.epoch);
    message.set_index(index);
    message.set_chunk(id);
    if (to != nullptr) tasks().spawn(send_hold(to, std::move(message)));
    const Deadline again = std::min(deadline, runtime_.after(2s));
    while (is_open() && runtime_.now() < again) {
      co_await released_.wait_until(again);
    }
  }
  const bool closed = !is_open() && find_chunk(inode, index, id) != nullptr;
  if (!closed) release(inode, index);
  co_return closed;
}

pb::Chunk* FakeMaster::find_chunk(std::uint64_t inode, std::uint64_t index, std::uint64_t id) {
  const auto node = nodes.find(inode);
  if (node == nodes.end()) return nullptr;
  const auto found = node->second.chunks.find(index);
  if (found == node->second.chunks.end()) return nullptr;
  return id == 0 || found->second.id() == id ? &found->second : nullptr;
}

void FakeMaster::release(std::uint64_t inode, std::uint64_t index) {
  held_.erase({inode, index});
  released_.notify_all();
}

// From M current pieces, as they are now. False: there are fewer.
bool FakeCluster::copy_piece(const pb::Chunk& chunk, std::uint32_t piece, std::uint64_t epoch) {
  const Shape is = master->shape_of(chunk.inode());
  const std::uint64_t piece_blocks = is.piece_bytes / kBlockBytes;
  const pb::Piece& target = chunk.pieces(static_cast<int>(piece));
  const auto codec = erasure::Codec::get(is.data, is.parity);
  FakeCs::Piece& into = cs.at(target.cs_id() - 1025)->pieces[{chunk.id(), piece}];
  for (const layout::BlockRun& run : layout::blocks_of(target.missed(), piece_blocks)) {
    for (std::uint64_t block = run.first; block < run.first + run.count; ++block) {
      std::vector<Block> blocks(is.data + is.parity);
      std::vector<std::byte*> pointers;
      for (Block& one : blocks) pointers.push_back(one.data());
      erasure::PieceMask got = 0;
      for (const pb::Piece& from : chunk.pieces()) {
        if (from.state() == pb::PIECE_MISSING) continue;
        if (std::popcount(got) == static_cast<int>(is.data)) break;
        const auto& held = cs.at(from.cs_id() - 1025)->pieces;
        const auto source = held.find({chunk.id(), from.index()});
        if (from.state() == pb::PIECE_CURRENT && source == held.end()) continue;
        got |= erasure::PieceMask{1} << from.index();
        if (from.state() == pb::PIECE_UNWRITTEN) continue;
        const auto found = source->second.blocks.find(block);
        if (found != source->second.blocks.end()) blocks[from.index()] = found->second;
      }
      const erasure::PieceMask wanted = erasure::PieceMask{1} << piece;
      if (!codec->rebuild(got, wanted, pointers, kBlockBytes).has_value()) return false;
      into.blocks[block] = blocks[piece];
    }
  }
  into.version = chunk.version() + 1;
  into.epoch = epoch;
  into.seen.clear();
  return true;
}

std::uint32_t FakeCluster::piece_on(InodeId inode, std::uint64_t index, std::size_t server) const {
  for (const pb::Piece& piece : master->chunk(inode.raw(), index).pieces()) {
    if (piece.cs_id() == 1025 + server) return piece.index();
  }
  return static_cast<std::uint32_t>(master->chunk(inode.raw(), index).pieces_size());
}

Task<bool> FakeCluster::repair(InodeId inode, std::uint64_t index, std::uint32_t piece,
                               Duration copy) {
  const std::uint64_t id = master->chunk(inode.raw(), index).id();
  const bool closed = co_await master->hold(inode.raw(), index, 15s);
  if (!closed) co_return false;
  const pb::Chunk* const before = master->find_chunk(inode.raw(), index, id);
  CHECK(before != nullptr);
  CHECK_EQ(before->pieces(static_cast<int>(piece)).state(), pb::PIECE_MISSING);
  if (!copy_piece(*before, piece, master->nodes.at(inode.raw()).epoch)) {
    master->release(inode.raw(), index);
    co_return false;
  }
  co_await runtime::sleep_for(runtime, copy);
  pb::Chunk* const after = master->find_chunk(inode.raw(), index, id);
  if (after == nullptr) {
    master->release(inode.raw(), index);
    co_return false;
  }
  pb::Chunk& chunk = *after;
  CHECK_EQ(chunk.writer_epoch(), 0U);
  pb::Piece& repaired = *chunk.mutable_pieces(static_cast<int>(piece));
  repaired.set_state(pb::PIECE_CURRENT);
  repaired.set_missed(0);
  chunk.set_version(chunk.version() + 1);
  chunk.set_seq_floor(chunk.seq_floor() + 10);
  master->release(inode.raw(), index);
  co_return true;
}

}  // namespace cairn::client::testing
