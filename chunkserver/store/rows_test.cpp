// Rows as bytes, and what they are made of.
#include "chunkserver/store/rows.h"

#include <gtest/gtest.h>

#include "chunkserver/store/op_blocks.h"
#include "chunkserver/store/rows_fixture.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::store {
namespace {

PendingOp pending(OpId id, bool decided) {
  PendingOp op;
  op.op = id;
  op.participants = 7;
  op.decided = decided;
  op.writes = {{10, 2}};
  op.zeroes = {{30, 100}};
  op.deltas = {{12, 1}, {500, 1}};
  op.extents = {{1000, 1}, {2000, 3}};
  op.crcs = {1, 2, 3, 4};
  return op;
}
PieceRow sample_row() {
  PieceRow row;
  row.fence = {true, ChunkVersion(3), LeaseEpoch(9), op_id(9, 2)};
  row.facts = {1, 4, 2, 1 << 20, 77, 8};
  row.blocks = 12;
  row.pending = {pending(op_id(9, 5), true), pending(op_id(9, 6), false)};
  row.forwarded = {{op_id(8, 1), 3}};
  return row;
}

TEST(Rows, PiecesComeBackAsTheyWere) {
  const PieceRow row = sample_row();
  EXPECT_EQ(decode_piece_row(encode(row)).value(), row);
  PieceRow copy = row;
  copy.fence.copy = true;
  EXPECT_EQ(decode_piece_row(encode(copy)).value(), copy);
  PieceRow bare;
  bare.fence.exists = true;
  EXPECT_EQ(decode_piece_row(encode(bare)).value(), bare);
}

TEST(Rows, SegmentsRegionsPositionsAndCountersComeBackAsTheyWere) {
  Prng prng(3);
  Segment segment;
  EXPECT_EQ(decode_segment(encode(segment)).value(), segment);
  for (std::size_t i = 0; i < kSegmentBlocks; ++i) {
    if (prng.chance(600)) {
      segment.set(i, {prng.between(1, 1ULL << 40), static_cast<std::uint32_t>(prng.next())});
    }
  }
  segment.set(4, {500, 1});
  segment.set(5, {501, 2});
  EXPECT_EQ(decode_segment(encode(segment)).value(), segment);
  // Neighbours cost their checksums only.
  Segment run;
  for (std::size_t i = 0; i < kSegmentBlocks; ++i) run.set(i, {i + 77, 5});
  EXPECT_EQ(encode(run).size(), 1 + 2 + 12 + 4 * kSegmentBlocks);
  EXPECT_EQ(decode_segment(encode(run)).value(), run);
  UsedRegion region;
  ASSERT_TRUE(region.mark(60, 70, true));
  EXPECT_EQ(decode_region(encode(region)).value(), region);
  const TablePosition position{7, 2, {9, 30, 1}, {5, 10, 2}};
  EXPECT_EQ(decode_position(encode(position)).value(), position);
  EXPECT_EQ(decode_counters(encode(Counters{3, 4})).value(), (Counters{3, 4}));
}

TEST(Rows, KeysOrderLikeTheirNumbers) {
  EXPECT_EQ(parse_piece_key(piece_key(piece_id(77))).value(), piece_id(77));
  EXPECT_LT(piece_key(piece_id(1)), piece_key(piece_id(256)));
  EXPECT_LT(piece_key(piece_id(1, 3)), piece_key(piece_id(1, 200)));
  EXPECT_LT(segment_key(piece_id(1), 255), segment_key(piece_id(1), 256));
  EXPECT_TRUE(segment_key(piece_id(1), 9).starts_with(segment_prefix(piece_id(1))));
  EXPECT_EQ(parse_segment_number(segment_key(piece_id(1), 4095)).value(), 4095U);
  EXPECT_FALSE(parse_segment_number(segment_key(piece_id(1), 4096)).has_value());
  EXPECT_FALSE(parse_segment_number(segment_prefix(piece_id(1))).has_value());
  EXPECT_EQ(parse_region_key(region_key(1ULL << 40)).value(), 1ULL << 40);
  EXPECT_FALSE(parse_region_key("u").has_value());
  EXPECT_FALSE(parse_piece_key(segment_prefix(piece_id(1))).has_value());
}

// The worked examples of docs/formats/cs-index.md.
TEST(Rows, GoldenBytes) {
  const auto hex = [](std::string_view bytes) {
    std::string out;
    for (const char c : bytes) {
      constexpr char kDigits[] = "0123456789abcdef";
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[static_cast<unsigned char>(c) & 15];
    }
    return out;
  };
  Segment segment;
  segment.set(3, {4096, 0x11111111});
  segment.set(4, {4097, 0x22222222});
  segment.set(9, {7, 0x33333333});
  EXPECT_EQ(hex(segment_key(piece_id(0x1234), 1)),
            "73000000000000123402"
            "00000001");
  EXPECT_EQ(hex(encode(segment)),
            "02"
            "0200"
            "0300"
            "0200"
            "0010000000000000"
            "0900"
            "0100"
            "0700000000000000"
            "11111111"
            "22222222"
            "33333333");
  EXPECT_EQ(hex(encode(TablePosition{0x51, 2, {9, 30, 1}, {5, 10, 2}})),
            "02"
            "5100000000000000"
            "0200000000000000"
            "0900000000000000"
            "1e00000000000000"
            "01000000"
            "0500000000000000"
            "0a00000000000000"
            "02000000");
}

// A fresh piece 2 of a 4+2 chunk, sealed by a repair.
TEST(Rows, GoldenBytesOfAPiece) {
  PieceRow row;
  row.fence = {true, ChunkVersion(3), LeaseEpoch(9), op_id(9, 5), true};
  row.facts = {1, 4, 2, 1 << 20, 77, 8};
  row.blocks = 2;
  const std::string front =
      std::string("\3\0\0\0\0\0\0\0", 8) + std::string("\11\0\0\0\0\0\0\0", 8) +
      std::string("\11\0\0\0\0\0\0\0", 8) + std::string("\5\0\0\0\0\0\0\0", 8);
  const std::string back = std::string("\1\0\0\0\4\0\0\0\2\0\0\0\0\0\20\0", 16) +
                           std::string("\115\0\0\0\0\0\0\0\10\0\0\0\0\0\0\0", 16) +
                           std::string("\2\0\0\0\0\0\0\0", 8) + std::string(8, '\0');
  EXPECT_EQ(encode(row), "\3" + front + "\1" + back);
  // The format before had no flags.
  row.fence.copy = false;
  EXPECT_EQ(encode(row), "\3" + front + std::string(1, '\0') + back);
  EXPECT_EQ(decode_piece_row("\2" + front + back).value(), row);
  EXPECT_EQ(decode_piece_row("\3" + front + "\2" + back).error().code(), Code::kCorrupt);
  EXPECT_EQ(decode_piece_row("\4" + front + "\1" + back).error().code(), Code::kUnsupported);
}

TEST(Rows, AnotherFormatIsUnsupported) {
  std::vector<std::string> rows = {encode(sample_row()), encode(Segment()), encode(UsedRegion()),
                                   encode(TablePosition()), encode(Counters())};
  for (std::string& bytes : rows) bytes[0] = '\x01';
  EXPECT_EQ(decode_piece_row(rows[0]).error().code(), Code::kUnsupported);
  EXPECT_EQ(decode_segment(rows[1]).error().code(), Code::kUnsupported);
  EXPECT_EQ(decode_region(rows[2]).error().code(), Code::kUnsupported);
  EXPECT_EQ(decode_position(rows[3]).error().code(), Code::kUnsupported);
  EXPECT_EQ(decode_counters(rows[4]).error().code(), Code::kUnsupported);
  EXPECT_EQ(decode_segment("").error().code(), Code::kCorrupt);
}

TEST(Rows, NonsenseIsCorrupt) {
  std::vector<PieceRow> wrong(6, sample_row());
  wrong[0].pending[1].op = op_id(9, 5);
  wrong[1].pending[0].decided = false;
  wrong[1].pending[1].decided = true;
  wrong[2].pending[0].crcs.pop_back();
  wrong[3].pending[0].extents = {{1000, 5}};
  wrong[4].pending[0].deltas = {{500, 1}, {12, 1}};
  wrong[5].pending[0].writes = {{kPieceBlocksMax, 2}};
  for (const PieceRow& row : wrong) {
    EXPECT_EQ(decode_piece_row(encode(row)).error().code(), Code::kCorrupt);
  }
  TablePosition position;
  position.tail.sequence = 2;
  position.applied.sequence = 1;
  EXPECT_EQ(decode_position(encode(position)).error().code(), Code::kCorrupt);
}

TEST(Rows, EveryTruncationIsCorrupt) {
  Segment segment;
  segment.set(3, {9, 9});
  segment.set(7, {19, 9});
  const std::string row = encode(sample_row());
  for (std::size_t size = 0; size < row.size(); ++size) {
    EXPECT_EQ(decode_piece_row(row.substr(0, size)).error().code(), Code::kCorrupt);
  }
  const std::string bytes = encode(segment);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(decode_segment(bytes.substr(0, size)).error().code(), Code::kCorrupt);
  }
  EXPECT_EQ(decode_segment(bytes + "x").error().code(), Code::kCorrupt);
}

TEST(Rows, DecodersSurviveNoise) {
  Prng prng(11);
  Segment segment;
  for (std::size_t i = 0; i < 40; i += 2) segment.set(i, {9 + i, 9});
  const std::string row = encode(sample_row());
  const std::string segment_bytes = encode(segment);
  for (int i = 0; i < 40000; ++i) {
    std::string bytes = prng.chance(500) ? row : segment_bytes;
    for (std::uint64_t c = prng.between(1, 4); c != 0; --c) {
      bytes[1 + prng.below(bytes.size() - 1)] = static_cast<char>(prng.next());
    }
    if (prng.chance(100)) bytes.resize(prng.between(0, bytes.size()));
    const Result<PieceRow> piece = decode_piece_row(bytes);
    if (piece.has_value()) {
      EXPECT_EQ(decode_piece_row(encode(*piece)).value(), *piece);
    }
    const Result<Segment> back = decode_segment(bytes);
    if (back.has_value()) {
      EXPECT_EQ(decode_segment(encode(*back)).value(), *back);
    }
    ignore(decode_region(bytes), "it may be anything");
    ignore(decode_position(bytes), "it may be anything");
    ignore(decode_counters(bytes), "it may be anything");
  }
}

TEST(Segment, KeepsOnlyWhatLiesBetweenItsFirstAndItsLastBlock) {
  Segment segment;
  EXPECT_TRUE(segment.empty());
  EXPECT_EQ(segment.heap_bytes(), 0U);
  segment.set(200, BlockPlace());
  EXPECT_EQ(segment.heap_bytes(), 0U);
  segment.set(200, {1ULL << 35, 7});
  EXPECT_LE(segment.heap_bytes(), 16U);
  EXPECT_EQ(segment.get(200), (BlockPlace{1ULL << 35, 7}));
  EXPECT_EQ(segment.get(199), BlockPlace());
  segment.set(198, {5, 1});
  segment.set(255, {6, 2});
  EXPECT_EQ(segment.stored(), 3U);
  EXPECT_EQ(segment.begin_index(), 198U);
  EXPECT_EQ(segment.end_index(), 256U);
  EXPECT_EQ(segment.get(200), (BlockPlace{1ULL << 35, 7}));
  segment.set(0, {1, 1});
  EXPECT_LE(segment.heap_bytes(), 12 * kSegmentBlocks);
  for (const std::size_t i : {std::size_t{0}, std::size_t{198}, std::size_t{200}}) {
    segment.set(i, BlockPlace());
  }
  segment.set(255, BlockPlace());
  EXPECT_TRUE(segment.empty());
  EXPECT_EQ(segment.heap_bytes(), 0U);
}

TEST(Segment, AgreesWithAnArrayOnRandomPrograms) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Prng prng(seed);
    Segment segment;
    std::array<BlockPlace, kSegmentBlocks> places;
    for (int i = 0; i < 400; ++i) {
      const std::size_t at = prng.below(kSegmentBlocks);
      BlockPlace place;
      if (prng.chance(500)) place = {prng.between(1, 1ULL << 40), 3};
      segment.set(at, place);
      places[at] = place;
      std::size_t stored = 0;
      for (std::size_t k = 0; k < kSegmentBlocks; ++k) {
        ASSERT_EQ(segment.get(k), places[k]);
        stored += places[k].disk != 0 ? 1U : 0U;
      }
      ASSERT_EQ(segment.stored(), stored);
    }
  }
}

TEST(UsedRegion, MarksRunsAndFindsContradictions) {
  UsedRegion region;
  ASSERT_TRUE(region.mark(0, kRegionBlocks, true));
  ASSERT_TRUE(region.mark(63, 2, false));
  EXPECT_TRUE(region.get(62));
  EXPECT_FALSE(region.get(63));
  EXPECT_FALSE(region.get(64));
  EXPECT_TRUE(region.get(65));
  EXPECT_FALSE(region.mark(64, 2, true));
  EXPECT_FALSE(region.mark(62, 2, false));
  ASSERT_TRUE(region.mark(63, 1, true));
  ASSERT_TRUE(region.mark(0, 64, false));
  ASSERT_TRUE(region.mark(65, kRegionBlocks - 65, false));
  EXPECT_TRUE(region.empty());
}

TEST(OpBlocks, HomesFollowTheirBlocks) {
  const std::vector<Extent> extents = {{100, 2}, {50, 1}, {51, 3}};
  EXPECT_EQ(home_at(extents, 0), 100U);
  EXPECT_EQ(home_at(extents, 2), 50U);
  EXPECT_EQ(home_at(extents, 5), 53U);
  EXPECT_EQ(home_at(extents, 6), 0U);
  EXPECT_EQ(with_home(extents, 3, 900),
            (std::vector<Extent>{{100, 2}, {50, 1}, {900, 1}, {52, 2}}));
  EXPECT_EQ(with_home(extents, 2, 102), (std::vector<Extent>{{100, 3}, {51, 3}}));
  const std::vector<BlockRange> ranges = {{10, 2}, {20, 3}};
  EXPECT_EQ(index_in(ranges, 11), 1U);
  EXPECT_EQ(index_in(ranges, 22), 4U);
  EXPECT_EQ(index_in(ranges, 12), std::nullopt);
  EXPECT_EQ(index_in(ranges, 23), std::nullopt);
  EXPECT_EQ(merged({{10, 2}, {12, 1}, {14, 1}}), (std::vector<BlockRange>{{10, 3}, {14, 1}}));
}

TEST(OpBlocks, DeltasHaveTheLastHomes) {
  PendingOp op = pending(op_id(1, 1), false);
  EXPECT_EQ(delta_homes(op), (std::vector<Extent>{{2001, 2}}));
  op.writes = {};
  EXPECT_EQ(delta_homes(op), op.extents);
  op.deltas = {};
  EXPECT_TRUE(delta_homes(op).empty());
}

}  // namespace
}  // namespace cairn::chunkserver::store
