#include "chunkserver/inspect/op_decisions.h"

#include <gtest/gtest.h>

namespace cairn::chunkserver::inspect {
namespace {

constexpr store::OpId kOp{LeaseEpoch(3), OpSeq(9)};

store::PieceRow with_op(std::uint32_t participants, bool decided = false) {
  store::PieceRow row;
  row.fence.exists = true;
  row.fence.epoch = LeaseEpoch(3);
  row.fence.settled = {LeaseEpoch(3), OpSeq(9)};
  store::PendingOp op;
  op.op = kOp;
  op.participants = participants;
  op.decided = decided;
  op.writes = {{4, 2}};
  op.deltas = {{9, 1}};
  row.pending.push_back(op);
  return row;
}
store::PieceRow without_op() {
  store::PieceRow row = with_op(0);
  row.pending.clear();
  return row;
}
store::PieceRow settled() {
  store::PieceRow row = without_op();
  row.fence.settled.seq = OpSeq(10);
  return row;
}

UndecidedOp decide(const std::vector<std::pair<unsigned, store::PieceRow>>& pieces, unsigned data,
                   erasure::PieceMask unwritten = 0) {
  std::vector<PieceOps> ops;
  for (const auto& [index, row] : pieces) ops.push_back({index, &row});
  const std::vector<UndecidedOp> decided = decide_ops(ops, data, unwritten);
  EXPECT_EQ(decided.size(), 1U);
  return decided.empty() ? UndecidedOp() : decided[0];
}

TEST(OpDecisions, CountsWhatAllItsPiecesHave) {
  const UndecidedOp op = decide({{0, with_op(0b1001)}, {1, without_op()}, {3, with_op(0b1001)}}, 3);
  EXPECT_TRUE(op.counts);
  EXPECT_EQ(op.with, 0b1001U);
  EXPECT_EQ(op.without, 0U);
  EXPECT_EQ(op.touched, (std::vector<store::BlockRange>{{4, 2}, {4, 2}, {9, 1}, {9, 1}}));
}

TEST(OpDecisions, CountsWhatOneCannotUndo) {
  EXPECT_TRUE(decide({{0, with_op(0b111, true)}, {1, without_op()}, {2, without_op()}}, 3).counts);
  const UndecidedOp one = decide({{0, with_op(0b111)}, {1, settled()}, {2, without_op()}}, 3);
  EXPECT_TRUE(one.counts);
  EXPECT_EQ(one.with, 0b011U);
  EXPECT_EQ(one.without, 0b100U);
  store::PieceRow forwarded = without_op();
  forwarded.forwarded.push_back({kOp, 0b111});
  EXPECT_TRUE(decide({{0, with_op(0b111)}, {1, forwarded}, {2, without_op()}}, 3).counts);
}

TEST(OpDecisions, OneThatSomeLackCountsOnlyWhereItCanBeMadeWhole) {
  EXPECT_TRUE(decide({{0, with_op(0b111)}, {1, without_op()}, {2, with_op(0b111)}}, 2).counts);
  EXPECT_FALSE(decide({{0, with_op(0b111)}, {1, without_op()}, {2, without_op()}}, 2).counts);
  // Those that were never written are whole.
  EXPECT_TRUE(decide({{0, without_op()}, {4, with_op(0b110001)}}, 4, 0b1110).counts);
  EXPECT_FALSE(decide({{0, without_op()}, {4, with_op(0b110001)}}, 4).counts);
}

// A piece of an older version may lack it because it was dropped, or because nobody has it yet.
TEST(OpDecisions, OlderPiecesTellWhatTheyHaveAndHelpWithNothingElse) {
  const store::PieceRow with = with_op(0b111);
  const store::PieceRow without = without_op();
  const std::vector<UndecidedOp> ops =
      decide_ops({{0, &with, true}, {1, &without, false}, {2, &without, false}}, 2, 0);
  ASSERT_EQ(ops.size(), 1U);
  EXPECT_EQ(ops[0].without, 0b110U);
  EXPECT_FALSE(ops[0].counts);
  EXPECT_FALSE(ops[0].sure);
  EXPECT_TRUE(
      decide_ops({{0, &with, true}, {1, &without, false}, {2, &with, false}}, 2, 0)[0].counts);
  // One that does not take part is no help when it is old.
  const store::PieceRow of_two = with_op(0b011);
  EXPECT_TRUE(decide_ops({{0, &of_two}, {1, &without}, {2, &without}}, 2, 0)[0].counts);
  EXPECT_FALSE(decide_ops({{0, &of_two}, {1, &without}, {2, &without, false}}, 2, 0)[0].counts);
}

// A recovery may have dropped it there: such a piece says nothing.
TEST(OpDecisions, WhatNewerEpochsSettledIsNoWitness) {
  const store::PieceRow with = with_op(0b011);
  store::PieceRow newer = without_op();
  newer.fence.settled = {LeaseEpoch(4), OpSeq(1)};
  const UndecidedOp op = decide_ops({{0, &with, false}, {1, &newer, true}}, 2, 0)[0];
  EXPECT_EQ(op.with, 0b01U);
  EXPECT_EQ(op.without, 0U);
}

}  // namespace
}  // namespace cairn::chunkserver::inspect
