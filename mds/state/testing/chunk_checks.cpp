#include "mds/state/testing/chunk_checks.h"

namespace cairn::mds::state::testing {
namespace {

ChunkModel::Coding coding_of(const pb::Encoding& e) {
  return {.data = e.data(), .min = e.min(), .pieces = e.data() + e.parity()};
}

void expect_chunk(const pb::Chunk& chunk, const ChunkModel::Chunk& wanted) {
  const std::uint64_t id = chunk.id();
  EXPECT_EQ(chunk.inode(), wanted.inode) << id;
  EXPECT_EQ(chunk.index(), wanted.index) << id;
  EXPECT_EQ(chunk.version(), wanted.version) << id;
  EXPECT_EQ(chunk.writer_epoch(), wanted.writer) << id;
  EXPECT_EQ(chunk.seq_floor(), wanted.floor) << id;
  EXPECT_EQ(chunk.opened(), wanted.opened) << id;
  ASSERT_EQ(static_cast<std::size_t>(chunk.pieces_size()), wanted.pieces.size());
  for (const pb::Piece& piece : chunk.pieces()) {
    const ChunkModel::Piece& of = wanted.pieces[piece.index()];
    EXPECT_EQ(static_cast<int>(piece.state()), static_cast<int>(of.state)) << id;
    EXPECT_EQ(piece.cs_id(), of.cs) << id;
    EXPECT_EQ(piece.missed(), of.missed) << id;
  }
}

void expect_removals(const Cluster& c, const ChunkModel& model,
                     const std::vector<std::uint32_t>& servers) {
  std::size_t queued = 0;
  for (const std::uint32_t cs : servers) {
    const auto removals = queries::removals(c.kv(), NodeId::from_raw(cs), 1'000'000);
    ASSERT_TRUE(removals.has_value());
    for (const pb::PieceRef& ref : *removals) {
      const auto wanted = model.removals().find({cs, ref.chunk(), ref.piece()});
      ASSERT_NE(wanted, model.removals().end());
      EXPECT_EQ(ref.version(), wanted->second);
    }
    queued += removals->size();
  }
  EXPECT_EQ(queued, model.removals().size());
}

void expect_file(const Cluster& c, const ChunkModel& model, std::uint64_t id,
                 const ChunkModel::File& wanted) {
  const pb::InodeRecord file = c.inode(id);
  EXPECT_EQ(coding_of(file.policy().encoding()), wanted.policy) << id;
  ASSERT_EQ(file.has_layout(), wanted.layout.has_value()) << id;
  if (wanted.layout) {
    EXPECT_EQ(coding_of(file.layout().encoding()), *wanted.layout) << id;
  }
  EXPECT_EQ(file.attributes().size(), wanted.size) << id;
  EXPECT_EQ(file.attributes().nlink(), wanted.named ? 1U : 0U) << id;
  EXPECT_EQ(file.lease_session(), wanted.holder) << id;
  EXPECT_EQ(file.shadow_of(), wanted.shadow_of) << id;
  EXPECT_EQ(file.chunk_count(), model.chunk_count(id)) << id;
  const std::optional<pb::ConversionRecord> row = c.conversion(id);
  ASSERT_EQ(row.has_value(), wanted.wanted.has_value()) << id;
  if (row) {
    EXPECT_EQ(coding_of(row->encoding()), *wanted.wanted) << id;
  }
}

}  // namespace

std::map<std::uint64_t, pb::Chunk> stored_chunks(const Cluster& c) {
  std::map<std::uint64_t, pb::Chunk> chunks;
  EXPECT_TRUE(queries::each_chunk(c.kv(), [&](const pb::Chunk& chunk) {
                chunks.emplace(chunk.id(), chunk);
                return true;
              }).has_value());
  return chunks;
}

void expect_as_modelled(const Cluster& c, const ChunkModel& model,
                        const std::vector<std::uint32_t>& servers,
                        const std::map<std::uint64_t, pb::Chunk>& stored) {
  ASSERT_EQ(stored.size(), model.chunks().size());
  for (const auto& [id, chunk] : stored) {
    const auto wanted = model.chunks().find(id);
    ASSERT_NE(wanted, model.chunks().end()) << id;
    expect_chunk(chunk, wanted->second);
  }
  expect_removals(c, model, servers);
  EXPECT_EQ(c.counters().files(), model.files().size());
  std::uint64_t waiting = 0;
  for (const auto& [id, file] : model.files()) {
    expect_file(c, model, id, file);
    waiting += file.wanted ? 1U : 0U;
  }
  EXPECT_EQ(queries::conversion_count(c.kv()).value_or(UINT64_MAX), waiting);
}

void expect_promises(Act act, const pb::Chunk& before, const pb::Chunk& after) {
  unsigned live = 0;
  bool set_changed = false;
  for (const pb::Piece& piece : after.pieces()) {
    const pb::Piece& old = before.pieces(static_cast<int>(piece.index()));
    if (piece.state() != pb::PIECE_MISSING) ++live;
    if (piece.state() == pb::PIECE_CURRENT && old.state() != pb::PIECE_CURRENT) {
      const bool touched = act == Act::kOpen && old.state() == pb::PIECE_UNWRITTEN;
      EXPECT_TRUE(touched || act == Act::kRepair) << "a piece became current";
    }
    const bool was_missing = old.state() == pb::PIECE_MISSING;
    set_changed |= was_missing != (piece.state() == pb::PIECE_MISSING);
    set_changed |= old.cs_id() != piece.cs_id();
    const bool forgets = (old.missed() & ~piece.missed()) != 0;
    EXPECT_TRUE(!forgets || act == Act::kRepair) << "regions were forgotten";
  }
  EXPECT_GE(live, after.encoding().data()) << "the chunk cannot be read any more";
  EXPECT_GE(after.version(), before.version());
  EXPECT_TRUE(!set_changed || after.version() > before.version()) << "no new version";
  EXPECT_GE(after.seq_floor(), before.seq_floor());
  EXPECT_TRUE(before.inode() == after.inode() || act == Act::kSwap) << "it has another file";
  const bool opens = before.writer_epoch() == 0 && after.writer_epoch() != 0;
  EXPECT_EQ(after.opened(), before.opened() + (opens ? 1 : 0)) << "a wrong stamp";
}

}  // namespace cairn::mds::state::testing
