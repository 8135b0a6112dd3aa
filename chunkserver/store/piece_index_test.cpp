// What each kind of record does to the rows.
#include "chunkserver/store/piece_index.h"

#include <gtest/gtest.h>

#include "chunkserver/store/rows_fixture.h"

namespace cairn::chunkserver::store {
namespace {

const PieceId kPiece = piece_id(7);

// An op whose homes begin at `home` and whose checksums are those numbers.
PrepareRecord prepare(OpId op, std::vector<BlockRange> writes, std::vector<BlockRange> deltas,
                      std::uint64_t home) {
  PrepareRecord record;
  record.piece = kPiece;
  record.version = ChunkVersion(1);
  record.op = op;
  record.participants = 7;
  record.facts = {1, 4, 2, 1 << 20, 77, 8};
  record.writes = std::move(writes);
  record.deltas = std::move(deltas);
  const std::uint64_t blocks = total_blocks(record.writes) + total_blocks(record.deltas);
  if (blocks != 0) record.payload.extents = {{home, blocks}};
  for (std::uint64_t i = 0; i < blocks; ++i) {
    record.payload.crcs.push_back(static_cast<std::uint32_t>(home + i));
  }
  return record;
}
PrepareRecord zero(OpId op, std::vector<BlockRange> zeroes) {
  PrepareRecord record = prepare(op, {}, {}, 0);
  record.zeroes = std::move(zeroes);
  return record;
}
Payload payload(std::uint64_t home, std::uint64_t blocks, std::uint32_t crc) {
  Payload payload;
  payload.extents = {{home, blocks}};
  for (std::uint32_t i = 0; i < blocks; ++i) payload.crcs.push_back(crc + i);
  return payload;
}

class PieceIndexTest : public ::testing::Test {
 protected:
  void apply(const Record& record) {
    const Status status = index_.apply(record);
    ASSERT_TRUE(status.has_value()) << status.error().to_string();
  }
  Code refused(const Record& record) {
    const Status status = index_.apply(record);
    EXPECT_FALSE(status.has_value());
    return status.has_value() ? Code::kInternal : status.error().code();
  }
  const PieceRow& row() { return rows_.pieces.at(kPiece); }
  BlockPlace settled(std::uint64_t block) {
    return rows_.segments[{kPiece, static_cast<std::uint32_t>(block / kSegmentBlocks)}].get(
        block % kSegmentBlocks);
  }
  LocatedBlock located(std::uint64_t block, std::optional<OpId> through = {}) {
    const std::vector<LocatedBlock> blocks =
        locate(rows_, kPiece, row(), {{block, 1}}, through).value();
    return blocks.empty() ? LocatedBlock() : blocks[0];
  }
  std::vector<Extent> freed() { return index_.take_freed(); }
  std::uint64_t used() { return rows_.counters().used_blocks; }
  bool is_used(std::uint64_t disk) {
    return rows_.regions[disk / kRegionBlocks].get(disk % kRegionBlocks);
  }

  FakeRows rows_;
  PieceIndex index_{rows_};
};

TEST_F(PieceIndexTest, AFirstPrepareMakesThePieceAndKeepsTheOpApart) {
  apply(prepare(op_id(5, 1), {{10, 2}}, {}, 100));
  EXPECT_EQ(rows_.counters(), (Counters{1, 2}));
  EXPECT_EQ(row().facts.inode, 77U);
  EXPECT_EQ(row().fence, (FenceState{true, ChunkVersion(1), LeaseEpoch(5), op_id(5, 1)}));
  EXPECT_EQ(row().blocks, 0U);
  ASSERT_EQ(row().pending.size(), 1U);
  EXPECT_FALSE(row().pending[0].decided);
  EXPECT_EQ(settled(10).disk, 0U);
  EXPECT_EQ(located(11).base, (BlockPlace{101, 101}));
  EXPECT_TRUE(is_used(101));
  EXPECT_FALSE(is_used(102));
}

TEST_F(PieceIndexTest, SettlingReplacesAndFreesWhatWasThere) {
  apply(prepare(op_id(5, 1), {{10, 4}}, {}, 100));
  apply(SettleRecord{kPiece, op_id(5, 2)});
  EXPECT_EQ(row().blocks, 4U);
  EXPECT_TRUE(row().pending.empty());
  EXPECT_EQ(settled(13), (BlockPlace{103, 103}));
  EXPECT_TRUE(freed().empty());
  apply(prepare(op_id(5, 2), {{12, 4}}, {}, 200));
  EXPECT_EQ(used(), 8U);
  apply(SettleRecord{kPiece, op_id(5, 3)});
  EXPECT_EQ(row().blocks, 6U);
  EXPECT_EQ(used(), 6U);
  EXPECT_EQ(freed(), (std::vector<Extent>{{102, 2}}));
  EXPECT_EQ(settled(12).disk, 200U);
  EXPECT_FALSE(is_used(102));
}

TEST_F(PieceIndexTest, ALaterPrepareSettlesWhatItSaysAndANewEpochAllBefore) {
  apply(prepare(op_id(5, 1), {{10, 1}}, {}, 100));
  apply(prepare(op_id(5, 2), {{11, 1}}, {}, 110));
  PrepareRecord third = prepare(op_id(5, 3), {{12, 1}}, {}, 120);
  third.settled_below = OpSeq(2);
  apply(third);
  EXPECT_EQ(row().pending.size(), 2U);
  EXPECT_EQ(settled(10).disk, 100U);
  EXPECT_EQ(settled(11).disk, 0U);
  apply(prepare(op_id(6, 1), {{13, 1}}, {}, 130));
  ASSERT_EQ(row().pending.size(), 1U);
  EXPECT_EQ(row().pending[0].op, op_id(6, 1));
  EXPECT_EQ(row().blocks, 3U);
}

TEST_F(PieceIndexTest, AWriteOverSegmentsAndExtentsPutsEachBlockWhereItsHomeIs) {
  PrepareRecord record = prepare(op_id(5, 1), {{254, 4}, {600, 2}}, {}, 0);
  record.payload.extents = {{500, 3}, {kRegionBlocks - 1, 2}, {40, 1}};
  record.payload.crcs = {1, 2, 3, 4, 5, 6};
  apply(record);
  apply(SettleRecord{kPiece, op_id(5, 2)});
  EXPECT_EQ(settled(254), (BlockPlace{500, 1}));
  EXPECT_EQ(settled(256), (BlockPlace{502, 3}));
  EXPECT_EQ(settled(257), (BlockPlace{kRegionBlocks - 1, 4}));
  EXPECT_EQ(settled(600), (BlockPlace{kRegionBlocks, 5}));
  EXPECT_EQ(settled(601), (BlockPlace{40, 6}));
  EXPECT_TRUE(is_used(kRegionBlocks));
}

TEST_F(PieceIndexTest, ZeroesMakeHolesAndFreeTheirBlocks) {
  apply(prepare(op_id(5, 1), {{250, 12}}, {}, 100));
  apply(zero(op_id(5, 2), {{252, kPieceBlocksMax - 252}}));
  EXPECT_EQ(located(253).base.disk, 0U);
  EXPECT_EQ(located(251).base.disk, 101U);
  EXPECT_EQ(located(253, op_id(5, 1)).base.disk, 103U);
  apply(SettleRecord{kPiece, op_id(5, 3)});
  EXPECT_EQ(row().blocks, 2U);
  EXPECT_EQ(used(), 2U);
  EXPECT_EQ(freed(), (std::vector<Extent>{{102, 10}}));
  EXPECT_EQ(settled(256).disk, 0U);
}

TEST_F(PieceIndexTest, ADecidedDeltaWaitsForAFoldAndHoldsBackWhatIsBehindIt) {
  apply(prepare(op_id(5, 1), {{10, 1}}, {}, 100));
  apply(prepare(op_id(5, 2), {{20, 1}}, {{10, 1}}, 200));
  apply(prepare(op_id(5, 3), {{30, 1}}, {}, 300));
  EXPECT_FALSE(plan_fold(row()).has_value());
  EXPECT_EQ(unfolded_ops(row()), 0U);
  apply(SettleRecord{kPiece, op_id(5, 4)});
  EXPECT_EQ(settled(10).disk, 100U);
  EXPECT_EQ(settled(20).disk, 0U);
  ASSERT_EQ(row().pending.size(), 2U);
  EXPECT_TRUE(row().pending[0].decided);
  EXPECT_TRUE(row().pending[1].decided);
  const LocatedBlock block = located(10);
  EXPECT_EQ(block.base, (BlockPlace{100, 100}));
  EXPECT_EQ(block.deltas, (std::vector<BlockPlace>{{201, 201}}));
  const std::optional<FoldPlan> plan = plan_fold(row());
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->through, op_id(5, 3));
  EXPECT_EQ(plan->blocks, (std::vector<BlockRange>{{10, 1}}));
  EXPECT_EQ(plan->delta_ops, 1U);
  EXPECT_EQ(unfolded_ops(row()), 1U);
}

TEST_F(PieceIndexTest, AFoldSettlesThePrefixPutsItsBlocksAndFreesBasesAndDeltas) {
  apply(prepare(op_id(5, 1), {{10, 3}}, {}, 100));
  apply(prepare(op_id(5, 2), {}, {{10, 2}}, 200));
  apply(prepare(op_id(5, 3), {{11, 1}}, {{10, 1}, {50, 1}}, 300));
  apply(prepare(op_id(5, 4), {{12, 1}}, {}, 400));
  apply(prepare(op_id(5, 5), {{13, 1}}, {}, 500));
  apply(SettleRecord{kPiece, op_id(5, 4)});
  // The newest layer of 11 is the write of op 3.
  const std::optional<FoldPlan> plan = plan_fold(row());
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->through, op_id(5, 3));
  EXPECT_EQ(plan->blocks, (std::vector<BlockRange>{{10, 1}, {50, 1}}));
  EXPECT_EQ(plan->delta_ops, 2U);
  EXPECT_EQ(located(10).deltas.size(), 2U);
  EXPECT_EQ(located(50).base.disk, 0U);
  EXPECT_EQ(located(50).deltas.size(), 1U);
  EXPECT_EQ(located(11, op_id(5, 2)).deltas.size(), 1U);
  EXPECT_TRUE(located(11).deltas.empty());
  // Decided after the plan was made: settled with the fold, being without deltas.
  apply(SettleRecord{kPiece, op_id(5, 5)});
  apply(FoldRecord{kPiece, op_id(5, 3), plan->blocks, payload(600, 2, 60)});
  EXPECT_EQ(settled(10), (BlockPlace{600, 60}));
  EXPECT_EQ(settled(50), (BlockPlace{601, 61}));
  EXPECT_EQ(settled(11).disk, 300U);
  EXPECT_EQ(settled(12).disk, 400U);
  ASSERT_EQ(row().pending.size(), 1U);
  EXPECT_EQ(row().pending[0].op, op_id(5, 5));
  EXPECT_EQ(row().blocks, 4U);
  EXPECT_EQ(used(), 5U);
  std::uint64_t freed_blocks = total_blocks(freed());
  EXPECT_EQ(freed_blocks, 7U);
}

TEST_F(PieceIndexTest, AFoldPlanStopsWhereItWouldReadTooMuch) {
  PrepareRecord big = prepare(op_id(5, 1), {}, {{0, kFoldBlocksMax}}, 1000);
  apply(big);
  apply(prepare(op_id(5, 2), {{9000, 1}}, {}, 5000));
  apply(prepare(op_id(5, 3), {}, {{0, 1}}, 5001));
  apply(SettleRecord{kPiece, op_id(5, 4)});
  const std::optional<FoldPlan> plan = plan_fold(row());
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->through, op_id(5, 2));
  apply(FoldRecord{kPiece, plan->through, plan->blocks, payload(6000, kFoldBlocksMax, 1)});
  EXPECT_EQ(plan_fold(row())->through, op_id(5, 3));
}

TEST_F(PieceIndexTest, FoldsThatContradictTheRowsAreCorrupt) {
  apply(prepare(op_id(5, 1), {{10, 1}}, {}, 100));
  apply(prepare(op_id(5, 2), {}, {{10, 1}}, 200));
  apply(prepare(op_id(5, 3), {}, {{11, 1}}, 300));
  apply(SettleRecord{kPiece, op_id(5, 3)});
  const FakeRows before = rows_;
  const std::vector<FoldRecord> wrong = {
      {kPiece, op_id(5, 3), {{10, 2}}, payload(600, 2, 60)},      // not decided
      {kPiece, op_id(5, 4), {{10, 1}}, payload(600, 1, 60)},      // not there
      {kPiece, op_id(5, 1), {}, {}},                              // settled before
      {kPiece, op_id(5, 2), {{11, 1}}, payload(600, 1, 60)},      // another block
      {kPiece, op_id(5, 2), {}, {}},                              // none
      {kPiece, op_id(5, 2), {{10, 2}}, payload(600, 2, 60)},      // one more
      {piece_id(8), op_id(5, 2), {{10, 1}}, payload(600, 1, 60)}  // another piece
  };
  for (const FoldRecord& record : wrong) {
    EXPECT_EQ(refused(record), Code::kCorrupt);
    EXPECT_EQ(rows_.pieces, before.pieces);
  }
  apply(FoldRecord{kPiece, op_id(5, 2), {{10, 1}}, payload(600, 1, 60)});
}

TEST_F(PieceIndexTest, ResolveForwardsForGoodAndDropsTheRest) {
  apply(prepare(op_id(5, 1), {{10, 1}}, {}, 100));
  apply(prepare(op_id(5, 2), {{11, 1}}, {}, 110));
  apply(prepare(op_id(5, 3), {{12, 1}}, {{10, 1}}, 120));
  apply(SealRecord{kPiece, ChunkVersion(2), LeaseEpoch(6)});
  EXPECT_EQ(row().fence.settled, op_id(5, 1));
  apply(ResolveRecord{kPiece, LeaseEpoch(6), {op_id(5, 1), op_id(5, 3)}});
  EXPECT_EQ(freed(), (std::vector<Extent>{{110, 1}}));
  EXPECT_EQ(settled(10).disk, 100U);
  // Forwarded and decided, but its delta has to be folded.
  ASSERT_EQ(row().pending.size(), 1U);
  EXPECT_TRUE(row().pending[0].decided);
  EXPECT_EQ(row().forwarded, (std::vector<ForwardedOp>{{op_id(5, 1), 7}, {op_id(5, 3), 7}}));
  // A recovery that begins anew may not drop what was forwarded, nor does it count twice.
  apply(SealRecord{kPiece, ChunkVersion(3), LeaseEpoch(7)});
  apply(ResolveRecord{kPiece, LeaseEpoch(7), {}});
  EXPECT_EQ(row().pending.size(), 1U);
  EXPECT_EQ(row().forwarded.size(), 2U);
  apply(ResolveRecord{kPiece, LeaseEpoch(7), {op_id(5, 1), op_id(5, 3)}});
  EXPECT_EQ(row().forwarded.size(), 2U);
  apply(FoldRecord{kPiece, op_id(5, 3), {{10, 1}}, payload(600, 1, 60)});
  EXPECT_EQ(row().forwarded.size(), 2U);
  // The next writer's first op ends the memory.
  apply(prepare(op_id(8, 1), {{14, 1}}, {}, 140));
  EXPECT_TRUE(row().forwarded.empty());
  EXPECT_EQ(row().blocks, 2U);
}

TEST_F(PieceIndexTest, RemovalFreesEverything) {
  apply(prepare(op_id(5, 1), {{10, 600}}, {}, 100));
  apply(SettleRecord{kPiece, op_id(5, 2)});
  apply(prepare(op_id(5, 2), {{10, 1}}, {{700, 2}}, 1000));
  apply(prepare(op_id(5, 3), {}, {{700, 2}}, 1100));
  apply(SettleRecord{kPiece, op_id(5, 3)});
  apply(RemoveRecord{kPiece});
  EXPECT_EQ(rows_.counters(), Counters());
  EXPECT_EQ(total_blocks(freed()), 605U);
  EXPECT_TRUE(rows_.pieces.empty());
  for (const auto& [key, segment] : rows_.segments) EXPECT_TRUE(segment.empty());
  apply(RemoveRecord{kPiece});
  EXPECT_EQ(rows_.counters(), Counters());
}

TEST_F(PieceIndexTest, HealingMovesSettledAndPendingBlocksOnlyFromTheirOldHomes) {
  apply(prepare(op_id(5, 1), {{10, 4}}, {}, 100));
  apply(SettleRecord{kPiece, op_id(5, 2)});
  apply(prepare(op_id(5, 2), {{11, 3}}, {{10, 1}}, 200));
  HealRecord record;
  record.piece = kPiece;
  record.blocks = {{10, 5}};
  // Settled; pending; another checksum; overwritten meanwhile; never there.
  record.old_homes = {100, 200, 201, 103, 0};
  record.payload.extents = {{600, 5}};
  record.payload.crcs = {100, 200, 999, 100, 0};
  apply(record);
  EXPECT_EQ(settled(10), (BlockPlace{600, 100}));
  EXPECT_EQ(located(11).base, (BlockPlace{601, 200}));
  EXPECT_EQ(located(12).base, (BlockPlace{201, 201}));
  EXPECT_EQ(located(13).base, (BlockPlace{202, 202}));
  EXPECT_EQ(settled(13).disk, 103U);
  EXPECT_EQ(row().pending[0].extents, (std::vector<Extent>{{601, 1}, {201, 3}}));
  EXPECT_EQ(located(10).deltas, (std::vector<BlockPlace>{{203, 203}}));
  EXPECT_EQ(freed(), (std::vector<Extent>{{100, 1}, {200, 1}, {602, 3}}));
  EXPECT_EQ(used(), 8U);
  // A block that lies under a newer write is healed where it is.
  apply(HealRecord{kPiece, {{12, 1}}, {102}, payload(700, 1, 102)});
  EXPECT_EQ(settled(12), (BlockPlace{700, 102}));
  apply(SettleRecord{kPiece, op_id(5, 3)});
  apply(HealRecord{piece_id(9), {{1, 1}}, {5}, payload(800, 1, 1)});
  EXPECT_FALSE(is_used(800));
}

TEST_F(PieceIndexTest, DoubleUseAndDoubleFreeAreCorrupt) {
  apply(prepare(op_id(5, 1), {{10, 2}}, {}, 100));
  EXPECT_EQ(refused(prepare(op_id(5, 2), {{20, 1}}, {}, 101)), Code::kCorrupt);
  rows_.pieces.at(kPiece).pending[0].extents = {{300, 2}};
  EXPECT_EQ(refused(RemoveRecord{kPiece}), Code::kCorrupt);
}

TEST_F(PieceIndexTest, RecordsThatContradictTheRowsAreCorrupt) {
  EXPECT_EQ(refused(SettleRecord{kPiece, op_id(5, 1)}), Code::kCorrupt);
  EXPECT_EQ(refused(SealRecord{kPiece, ChunkVersion(1), LeaseEpoch(1)}), Code::kCorrupt);
  EXPECT_EQ(refused(ResolveRecord{kPiece, LeaseEpoch(1), {}}), Code::kCorrupt);
  apply(prepare(op_id(5, 3), {{10, 1}}, {}, 100));
  EXPECT_EQ(refused(prepare(op_id(5, 3), {{11, 1}}, {}, 110)), Code::kCorrupt);
  apply(SettleRecord{kPiece, op_id(5, 4)});
  EXPECT_EQ(refused(prepare(op_id(5, 2), {{11, 1}}, {}, 120)), Code::kCorrupt);
  EXPECT_EQ(refused(prepare(op_id(4, 9), {{11, 1}}, {}, 130)), Code::kCorrupt);
  // Counters that are too small.
  rows_.counters() = Counters();
  EXPECT_EQ(refused(RemoveRecord{kPiece}), Code::kCorrupt);
}

TEST_F(PieceIndexTest, AnOpBeforeOneThatIsDecidedIsCorrupt) {
  apply(prepare(op_id(5, 3), {}, {{10, 1}}, 100));
  apply(SealRecord{kPiece, ChunkVersion(2), LeaseEpoch(6)});
  apply(ResolveRecord{kPiece, LeaseEpoch(6), {op_id(5, 3)}});
  EXPECT_EQ(refused(prepare(op_id(5, 2), {{11, 1}}, {}, 110)), Code::kCorrupt);
}

TEST_F(PieceIndexTest, StoredRangesSeeTheNewestState) {
  apply(prepare(op_id(5, 1), {{10, 20}, {300, 2}, {100'000, 1}}, {}, 100));
  apply(SettleRecord{kPiece, op_id(5, 2)});
  apply(zero(op_id(5, 2), {{12, 3}}));
  apply(prepare(op_id(5, 3), {{13, 1}, {2000, 1}}, {{40, 1}}, 200));
  const auto stored = [&](std::uint64_t first, std::uint64_t most) {
    return stored_ranges(rows_, kPiece, row(), first, most).value();
  };
  EXPECT_EQ(stored(0, 1000),
            (std::vector<BlockRange>{
                {10, 2}, {13, 1}, {15, 15}, {40, 1}, {300, 2}, {2000, 1}, {100'000, 1}}));
  EXPECT_EQ(stored(16, 15), (std::vector<BlockRange>{{16, 14}, {40, 1}}));
  EXPECT_EQ(stored(2001, 9), (std::vector<BlockRange>{{100'000, 1}}));
  EXPECT_TRUE(stored(100'001, 9).empty());
  EXPECT_TRUE(stored(0, 0).empty());
}

TEST_F(PieceIndexTest, StoredRangesOfAPieceWithNothingSettled) {
  apply(prepare(op_id(5, 1), {{5, 1}, {5000, 1}}, {{300, 1}}, 100));
  EXPECT_EQ(stored_ranges(rows_, kPiece, row(), 0, 10).value(),
            (std::vector<BlockRange>{{5, 1}, {300, 1}, {5000, 1}}));
  EXPECT_EQ(stored_ranges(rows_, kPiece, row(), 301, 10).value(),
            (std::vector<BlockRange>{{5000, 1}}));
}

TEST_F(PieceIndexTest, LocateGivesAskedBlocksInOrderAndLeavesHolesOut) {
  apply(prepare(op_id(5, 1), {{254, 4}}, {}, 100));
  apply(SettleRecord{kPiece, op_id(5, 2)});
  apply(prepare(op_id(5, 2), {{256, 1}, {900, 1}}, {{255, 1}, {258, 1}}, 200));
  const std::vector<LocatedBlock> blocks =
      locate(rows_, kPiece, row(), {{200, 56}, {256, 3}, {890, 20}}).value();
  std::vector<std::uint64_t> numbers;
  for (const LocatedBlock& block : blocks) numbers.push_back(block.block);
  EXPECT_EQ(numbers, (std::vector<std::uint64_t>{254, 255, 256, 257, 258, 900}));
  EXPECT_EQ(blocks[0].base, (BlockPlace{100, 100}));
  EXPECT_EQ(blocks[1].base, (BlockPlace{101, 101}));
  EXPECT_EQ(blocks[1].deltas, (std::vector<BlockPlace>{{202, 202}}));
  EXPECT_EQ(blocks[2].base, (BlockPlace{200, 200}));
  EXPECT_EQ(blocks[3].base, (BlockPlace{103, 103}));
  EXPECT_EQ(blocks[4].base, BlockPlace());
  EXPECT_EQ(blocks[4].deltas, (std::vector<BlockPlace>{{203, 203}}));
  EXPECT_EQ(blocks[5].base, (BlockPlace{201, 201}));
}

}  // namespace
}  // namespace cairn::chunkserver::store
