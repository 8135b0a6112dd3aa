// Random programs of records: what the rows say is what a naive model says.
#include <gtest/gtest.h>

#include "chunkserver/store/piece_program_fixture.h"

namespace cairn::chunkserver::store {
namespace {

std::set<OpId> undecided(const PieceRow* row) {
  std::set<OpId> open;
  if (row == nullptr) return open;
  for (const PendingOp& op : row->pending) {
    if (!op.decided) open.insert(op.op);
  }
  return open;
}

// Nothing waits that need not, and the decided ones come first.
void expect_orderly(const PieceRow& row) {
  if (row.pending.empty()) return;
  EXPECT_FALSE(row.pending[0].decided && row.pending[0].deltas.empty());
  for (std::size_t i = 1; i < row.pending.size(); ++i) {
    EXPECT_LT(row.pending[i - 1].op, row.pending[i].op);
    EXPECT_GE(row.pending[i - 1].decided, row.pending[i].decided);
  }
}

// What a restart does to the rows.
void through_bytes(FakeRows& rows) {
  for (auto& [id, row] : rows.pieces) {
    const Result<PieceRow> back = decode_piece_row(encode(row));
    ASSERT_TRUE(back.has_value());
    ASSERT_EQ(*back, row);
  }
  for (auto& [key, segment] : rows.segments) {
    const Result<Segment> back = decode_segment(encode(segment));
    ASSERT_TRUE(back.has_value());
    ASSERT_EQ(*back, segment);
    segment = *back;
  }
}

void expect_model(FakeRows& rows, const PieceProgram& program) {
  EXPECT_EQ(disagreement(rows, program), "");
  EXPECT_EQ(rows.counters().pieces, program.pieces());
  for (std::uint64_t p = 0; p < PieceProgram::kPieces; ++p) {
    const PieceId id = piece_id(10 + p);
    const PieceRow* const row = rows.piece(id).value();
    EXPECT_EQ(undecided(row), program.undecided(id));
    ASSERT_EQ(program.located(rows, id), program.content(id));
    if (row == nullptr) continue;
    EXPECT_EQ(row->fence.version, program.version(id));
    EXPECT_EQ(row->fence.copy, program.is_copy(id));
    expect_orderly(*row);
    for (const PendingOp& op : row->pending) {
      ASSERT_EQ(program.located(rows, id, op.op), program.content(id, op.op));
    }
    std::vector<std::uint64_t> stored;
    const Result<std::vector<BlockRange>> ranges = stored_ranges(rows, id, *row, 0, UINT64_MAX);
    ASSERT_TRUE(ranges.has_value());
    for (const BlockRange& range : *ranges) {
      for (std::uint64_t b = range.first; b < range.end(); ++b) stored.push_back(b);
    }
    std::vector<std::uint64_t> expected;
    for (const auto& [block, value] : program.content(id)) expected.push_back(block);
    EXPECT_EQ(stored, expected);
  }
}

TEST(PieceModel, RowsAgreeWithItAfterEveryRecord) {
  std::map<std::string, int> made;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    PieceProgram program(seed);
    FakeRows rows;
    PieceIndex index(rows);
    for (int step = 0; step < 600; ++step) {
      const Record record = program.next(rows);
      const Status applied = index.apply(record);
      ASSERT_TRUE(applied.has_value()) << applied.error().to_string();
      ASSERT_TRUE(program.freed(index.take_freed()));
      if (step % 10 != 0) continue;
      through_bytes(rows);
      expect_model(rows, program);
      if (::testing::Test::HasFailure()) FAIL() << "step " << step;
    }
    for (const auto& [kind, count] : program.made()) made[kind] += count;
  }
  // The program makes every kind often enough to mean something.
  for (const char* kind : {"prepare", "settle", "seal", "resolve", "remove", "fold", "heal"}) {
    EXPECT_GT(made[kind], 30) << kind;
  }
}

TEST(PieceModel, TheSameRecordsMakeTheSameRows) {
  PieceProgram program(77);
  FakeRows rows;
  FakeRows again;
  PieceIndex index(rows);
  PieceIndex replay(again);
  for (int step = 0; step < 1000; ++step) {
    const Record record = program.next(rows);
    ASSERT_TRUE(index.apply(record).has_value());
    ASSERT_TRUE(replay.apply(record).has_value());
    const std::vector<Extent> freed = index.take_freed();
    ASSERT_EQ(freed, replay.take_freed());
    ASSERT_TRUE(program.freed(freed));
  }
  EXPECT_EQ(rows.pieces, again.pieces);
  EXPECT_EQ(rows.regions, again.regions);
  EXPECT_EQ(rows.counters(), again.counters());
}

// Removing everything gives every block back.
TEST(PieceModel, NothingIsLeftWhenAllPiecesAreRemoved) {
  for (std::uint64_t seed = 100; seed < 105; ++seed) {
    PieceProgram program(seed);
    FakeRows rows;
    PieceIndex index(rows);
    for (int step = 0; step < 300; ++step) {
      ASSERT_TRUE(index.apply(program.next(rows)).has_value());
      ASSERT_TRUE(program.freed(index.take_freed()));
    }
    for (std::uint64_t p = 0; p < PieceProgram::kPieces; ++p) {
      ASSERT_TRUE(index.apply(RemoveRecord{piece_id(10 + p)}).has_value());
      ASSERT_TRUE(program.freed(index.take_freed()));
    }
    EXPECT_EQ(rows.counters(), Counters());
    EXPECT_EQ(program.space().used_blocks(), 0U);
    for (const auto& [number, region] : rows.regions) EXPECT_TRUE(region.empty());
    for (const auto& [key, segment] : rows.segments) EXPECT_TRUE(segment.empty());
  }
}

}  // namespace
}  // namespace cairn::chunkserver::store
