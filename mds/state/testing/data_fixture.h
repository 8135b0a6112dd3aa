// A file under the exclusive lease and short ways to change its chunks. For tests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/limits.h"
#include "mds/state/testing/cluster.h"

namespace cairn::mds::state::testing {

inline constexpr Code kDone = static_cast<Code>(0);

// A file of 4+2:5 that session s_ holds, and six chunk servers.
class DataFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    s_ = c_.open_session();
    for (std::uint64_t i = 1; i <= 6; ++i) places_.push_back(c_.add_cs(i));
    c_.set_policy(Cluster::kRoot, 4, 2, 5);
    const pb::ClientReply made = c_.make(s_, Cluster::kRoot, "f", pb::TYPE_REGULAR, true);
    file_ = made.make_node().attributes().inode();
    epoch_ = made.make_node().epoch();
  }
  void TearDown() override { c_.expect_sound(); }

  pb::ClientReply open(std::uint64_t index, std::uint32_t touch) {
    return open_as(index, touch, epoch_, places_);
  }
  pb::ClientReply open_as(std::uint64_t index, std::uint32_t touch, std::uint64_t epoch,
                          const std::vector<std::uint32_t>& places) {
    pb::OpenChunk op;
    op.set_inode(file_);
    op.set_epoch(epoch);
    op.set_index(index);
    op.set_touch(touch);
    return c_.open_chunk(s_, op, places);
  }
  // Regions 0: none are told.
  pb::ClientReply drop(const pb::Chunk& chunk, std::uint32_t pieces, std::uint64_t regions = 0) {
    pb::ClientRequest request;
    pb::DropPieces& op = *request.mutable_drop_pieces();
    op.set_inode(file_);
    op.set_epoch(epoch_);
    op.set_chunk(chunk.id());
    op.set_version(chunk.version());
    op.set_pieces(pieces);
    op.set_regions(regions);
    return c_.mutate(s_, request);
  }
  pb::ClientReply close(const pb::Chunk& chunk, std::uint64_t next_seq) {
    pb::ClientRequest request;
    pb::CloseChunk& op = *request.mutable_close_chunk();
    op.set_inode(file_);
    op.set_epoch(epoch_);
    op.set_chunk(chunk.id());
    op.set_next_seq(next_seq);
    return c_.mutate(s_, request);
  }
  pb::CommandReply place(const pb::Chunk& chunk, unsigned piece, std::uint32_t cs) {
    pb::Command command;
    pb::PlacePiece& op = *command.mutable_place_piece();
    op.set_chunk(chunk.id());
    op.set_version(chunk.version());
    op.set_piece(piece);
    op.set_cs_id(cs);
    return c_.apply(command);
  }
  pb::CommandReply finish_repair(const pb::Chunk& chunk, unsigned piece, std::uint32_t cs,
                                 std::uint64_t next_seq = 0) {
    pb::Command command;
    pb::FinishRepair& op = *command.mutable_finish_repair();
    op.set_chunk(chunk.id());
    op.set_version(chunk.version());
    op.set_piece(piece);
    op.set_cs_id(cs);
    op.set_next_seq(next_seq);
    return c_.apply(command);
  }
  pb::Chunk stored(const pb::Chunk& chunk) {
    return queries::chunk(c_.kv(), ChunkId::from_raw(chunk.id())).value_or(pb::Chunk());
  }
  std::vector<pb::PieceRef> removals_of(std::uint32_t cs) {
    return queries::removals(c_.kv(), NodeId::from_raw(cs), 100).value();
  }
  std::vector<std::uint64_t> degraded(std::uint64_t after = 0, std::size_t limit = 100) {
    const auto chunks = queries::degraded_chunks(c_.kv(), ChunkId::from_raw(after), limit);
    EXPECT_TRUE(chunks.has_value());
    std::vector<std::uint64_t> ids;
    for (const pb::Chunk& chunk : *chunks) ids.push_back(chunk.id());
    return ids;
  }
  std::size_t removals_at(std::size_t piece) {
    return queries::removals(c_.kv(), NodeId::from_raw(places_[piece]), 100)->size();
  }
  std::size_t open_chunks() {
    return queries::open_chunks(c_.kv(), InodeId::from_raw(file_))->size();
  }
  bool chunk_exists(std::uint64_t id) {
    return queries::chunk(c_.kv(), ChunkId::from_raw(id)).has_value();
  }

  Cluster c_ = Cluster::made();
  std::uint64_t s_ = 0;
  std::vector<std::uint32_t> places_;
  std::uint64_t file_ = 0;
  std::uint64_t epoch_ = 0;
  static constexpr std::uint64_t kChunkBytes = 4 * limits::kPieceBytesDefault;
};

}  // namespace cairn::mds::state::testing
