// The model and its judge: what they accept and, above all, what they do not.
#include "chunkserver/testing/judge.h"

#include <gtest/gtest.h>

namespace cairn::chunkserver::testing {
namespace {

ModelPrepare write(std::uint64_t seq, BlockValues blocks, std::uint64_t below = 0) {
  return {.version = 1,
          .op = {1, seq},
          .settled_below = below,
          .create = true,
          .writes = std::move(blocks),
          .zeroes = {},
          .deltas = {}};
}
ModelPrepare delta(std::uint64_t seq, BlockValues blocks) {
  ModelPrepare prepare = write(seq, {});
  prepare.deltas = std::move(blocks);
  return prepare;
}
ModelPrepare punch(std::uint64_t seq, std::set<std::uint64_t> blocks) {
  ModelPrepare prepare = write(seq, {});
  prepare.zeroes = std::move(blocks);
  return prepare;
}

TimedCall done(ModelCall call, std::uint64_t begun, std::uint64_t ended) {
  return {std::move(call), begun, ended, CallAnswer()};
}
TimedCall refused(ModelCall call, Code code, std::uint64_t begun, std::uint64_t ended) {
  CallAnswer answer;
  answer.code = code;
  return {std::move(call), begun, ended, answer};
}
TimedCall open(ModelCall call, std::uint64_t begun) { return {std::move(call), begun, 0, {}}; }
TimedCall saw(BlockValues view, std::uint64_t begun, std::uint64_t ended) {
  CallAnswer answer;
  answer.view = std::move(view);
  return {ModelRead{{{0, 100}}}, begun, ended, answer};
}

PieceModel after(std::initializer_list<ModelCall> calls) {
  PieceModel model;
  for (const ModelCall& call : calls) EXPECT_EQ(model.call(call), std::nullopt);
  return model;
}
bool explained(const PieceModel& before, std::vector<TimedCall> calls, const PieceModel& now,
               Ending ending = Ending::kCrashed) {
  return explain(before, calls, now.sight(), ending).has_value();
}

TEST(PieceModel, LaysOpsUponEachOtherByTheirNumbers) {
  const PieceModel model = after({write(3, {{1, 30}, {2, 30}}), write(1, {{1, 10}, {5, 10}}),
                                  delta(4, {{2, 1}, {7, 9}}), punch(2, {5})});
  EXPECT_EQ(model.newest(), (BlockValues{{1, 30}, {2, 31}, {7, 9}}));
  EXPECT_EQ(model.stored_blocks(), 6U);
}

TEST(PieceModel, FoldsWhatIsSettled) {
  PieceModel model = after({write(1, {{1, 8}}), delta(2, {{1, 3}, {2, 5}}), punch(3, {2})});
  EXPECT_EQ(model.settled_blocks(), 0U);
  EXPECT_EQ(model.call(ModelSettle{1, 3}), std::nullopt);
  EXPECT_EQ(model.settled_blocks(), 2U);
  EXPECT_EQ(model.undecided(), 1U);
  EXPECT_EQ(model.newest(), (BlockValues{{1, 11}}));
  EXPECT_EQ(model.call(write(2, {{1, 77}})), std::nullopt);  // a repeat: done before
  EXPECT_EQ(model.newest(), (BlockValues{{1, 11}}));
}

TEST(PieceModel, ResolvesByTheListAndRemembersIt) {
  PieceModel model = after({write(1, {{1, 1}}), write(2, {{2, 2}}), ModelSeal{2, 2}});
  EXPECT_EQ(model.call(ModelResolve{3, 2, {}}), Code::kRefusedForSafety);
  EXPECT_EQ(model.call(ModelResolve{2, 2, {{1, 2}}}), std::nullopt);
  EXPECT_EQ(model.newest(), (BlockValues{{2, 2}}));
  EXPECT_EQ(model.listed(), (std::map<ModelOp, bool>{{{1, 2}, true}}));
  EXPECT_EQ(model.call(write(3, {{3, 3}})), Code::kStaleVersion);
}

TEST(Judge, FindsTheOrderOfCallsThatRanTogether) {
  const PieceModel empty;
  const ModelPrepare first = write(1, {{1, 1}});
  const ModelPrepare second = write(2, {{1, 2}}, 2);
  // The read saw the second op without the first, so the second came before it.
  EXPECT_TRUE(explained(empty, {done(first, 1, 9), done(second, 2, 8), saw({{1, 2}}, 3, 7)},
                        after({second, first}), Ending::kAlive));
  // It began when the first had ended.
  EXPECT_FALSE(
      explained(empty, {done(first, 1, 2), saw({}, 3, 4)}, after({first}), Ending::kAlive));
  EXPECT_FALSE(
      explained(empty, {done(first, 1, 2), saw({{1, 7}}, 3, 4)}, after({first}), Ending::kAlive));
}

TEST(Judge, ReadsSeeWhatIsDurableAndRefusalsWhatWasTaken) {
  const PieceModel before = after({write(1, {{1, 1}})});
  const TimedCall removal = done(ModelRemove{}, 1, 9);
  const TimedCall late = refused(write(2, {{1, 2}}), Code::kPieceMissing, 2, 3);
  EXPECT_TRUE(
      explained(before, {removal, late, saw({{1, 1}}, 4, 5)}, PieceModel(), Ending::kAlive));
  EXPECT_FALSE(
      explained(before, {removal, late, saw({{1, 1}}, 10, 11)}, PieceModel(), Ending::kAlive));
  // What was once seen does not go.
  const ModelPrepare op = write(2, {{1, 2}});
  PieceModel with = before;
  ASSERT_EQ(with.call(op), std::nullopt);
  EXPECT_TRUE(explained(before, {done(op, 1, 9), saw({{1, 1}}, 2, 3), saw({{1, 2}}, 4, 5)}, with,
                        Ending::kAlive));
  EXPECT_FALSE(explained(before, {done(op, 1, 9), saw({{1, 2}}, 2, 3), saw({{1, 1}}, 4, 5)}, with,
                         Ending::kAlive));
  // A refusal may lean on what is lost in a crash; a read may not.
  EXPECT_TRUE(explained(before, {open(ModelRemove{}, 1), late, saw({{1, 1}}, 4, 5)}, before));
  EXPECT_FALSE(explained(before, {open(op, 1), saw({{1, 2}}, 2, 3)}, before));
}

TEST(Judge, HoldsRefusalsAgainstTheModel) {
  const PieceModel sealed = after({write(1, {{1, 1}}), ModelSeal{2, 2}});
  EXPECT_TRUE(explained(sealed, {refused(write(2, {{1, 2}}), Code::kStaleVersion, 1, 2)}, sealed,
                        Ending::kAlive));
  EXPECT_FALSE(explained(sealed, {done(write(2, {{1, 2}}), 1, 2)}, sealed, Ending::kAlive));
  EXPECT_FALSE(explained(sealed, {refused(write(2, {{1, 2}}), Code::kStaleEpoch, 1, 2)}, sealed,
                         Ending::kAlive));
}

TEST(Judge, AnAnsweredOpIsThereAfterACrash) {
  const PieceModel before = after({write(1, {{1, 1}, {2, 1}})});
  const ModelPrepare op = write(2, {{1, 2}, {2, 2}});
  PieceModel with = before;
  ASSERT_EQ(with.call(op), std::nullopt);
  EXPECT_TRUE(explained(before, {done(op, 1, 2)}, with));
  EXPECT_FALSE(explained(before, {done(op, 1, 2)}, before));
  EXPECT_TRUE(explained(before, {open(op, 1)}, with));
  EXPECT_TRUE(explained(before, {open(op, 1)}, before));
  EXPECT_TRUE(explained(before, {refused(op, Code::kDiskFailed, 1, 2)}, with));
}

TEST(Judge, HalfAnOpIsNothingLegal) {
  const PieceModel before = after({write(1, {{1, 1}, {2, 1}})});
  const ModelPrepare op = write(2, {{1, 2}, {2, 2}});
  PieceModel half = before;
  ASSERT_EQ(half.call(write(2, {{1, 2}})), std::nullopt);
  EXPECT_FALSE(explained(before, {open(op, 1)}, half));
  PieceSight bytes_only = before.sight();
  bytes_only.blocks[1] = 2;
  EXPECT_FALSE(explain(before, {open(op, 1)}, bytes_only, Ending::kCrashed).has_value());
}

TEST(Judge, ARemovedPieceDoesNotComeBack) {
  const PieceModel before = after({write(1, {{1, 1}})});
  EXPECT_TRUE(explained(before, {done(ModelRemove{}, 1, 2)}, PieceModel()));
  EXPECT_FALSE(explained(before, {done(ModelRemove{}, 1, 2)}, before));
  EXPECT_TRUE(explained(before, {open(ModelRemove{}, 1)}, before));
  // Nor does a piece go that nobody removed.
  EXPECT_FALSE(explained(before, {}, PieceModel()));
}

TEST(Judge, ASettleMayBeLostAndNothingElseThatWasAnswered) {
  const PieceModel before = after({write(1, {{1, 1}})});
  PieceModel settled = before;
  ASSERT_EQ(settled.call(ModelSettle{1, 2}), std::nullopt);
  EXPECT_TRUE(explained(before, {done(ModelSettle{1, 2}, 1, 2)}, settled));
  EXPECT_TRUE(explained(before, {done(ModelSettle{1, 2}, 1, 2)}, before));
  EXPECT_FALSE(explained(before, {done(ModelSettle{1, 2}, 1, 2)}, before, Ending::kAlive));
  EXPECT_FALSE(explained(before, {done(ModelSeal{5, 5}, 1, 2)}, before));
}

TEST(Judge, ADeltaIsTakenOnce) {
  const PieceModel before = after({write(1, {{1, 8}})});
  PieceModel once = before;
  ASSERT_EQ(once.call(delta(2, {{1, 3}})), std::nullopt);
  EXPECT_TRUE(explained(before, {done(delta(2, {{1, 3}}), 1, 2)}, once));
  PieceSight twice = once.sight();
  twice.blocks[1] = 8;
  EXPECT_FALSE(explain(before, {done(delta(2, {{1, 3}}), 1, 2)}, twice, Ending::kCrashed));
}

TEST(Judge, ASealListsTheOpsOfItsPlaceOrOfALaterOne) {
  const PieceModel before = after({write(1, {{1, 1}})});
  CallAnswer answer;
  answer.listed = {{{1, 1}, false}};
  answer.settled = {1, 1};
  const TimedCall seal{ModelSeal{2, 2}, 1, 2, answer};
  PieceModel sealed = before;
  ASSERT_EQ(sealed.call(ModelSeal{2, 2}), std::nullopt);
  EXPECT_TRUE(explained(before, {seal}, sealed, Ending::kAlive));
  const TimedCall gone = refused(ModelSeal{2, 2}, Code::kPieceMissing, 1, 2);
  EXPECT_TRUE(explained(before, {gone, done(ModelRemove{}, 1, 2)}, PieceModel(), Ending::kAlive));
  EXPECT_FALSE(explained(before, {gone}, sealed, Ending::kAlive));
  TimedCall silent = seal;
  silent.answer->listed.clear();
  EXPECT_FALSE(explained(before, {silent}, sealed, Ending::kAlive));
  EXPECT_TRUE(explained(before, {silent, done(ModelRemove{}, 1, 3)}, PieceModel(), Ending::kAlive));
}

TEST(Judge, WhatWasCheckedBesideALostOpStands) {
  // The op that brought epoch 2 was torn; a settle of that epoch in the same batch was not.
  const PieceModel before = after({write(1, {{1, 1}})});
  ModelPrepare lost = write(1, {{1, 2}});
  lost.op = {2, 1};
  PieceModel now = before;
  now.call_after_loss(ModelSettle{2, 1}, 2);
  EXPECT_EQ(now.epoch(), 2U);
  EXPECT_EQ(now.undecided(), 0U);
  EXPECT_TRUE(explained(before, {open(lost, 1), done(ModelSettle{2, 1}, 2, 3)}, now));
  EXPECT_FALSE(explained(before, {done(ModelSettle{2, 1}, 2, 3)}, now));
}

TEST(Judge, ASettleRaisesTheVersionAlsoWhereItSettlesNothing) {
  const PieceModel before = after({write(1, {{1, 1}})});
  for (const std::uint64_t epoch : {1U, 2U}) {
    const ModelSettle settle{epoch, 2, 5};
    PieceModel now = before;
    ASSERT_EQ(now.call(settle), std::nullopt);
    EXPECT_EQ(now.version(), 5U);
    EXPECT_EQ(now.epoch(), 1U);
    EXPECT_EQ(now.undecided(), epoch == 1 ? 0U : 1U);
    EXPECT_TRUE(explained(before, {done(settle, 1, 2)}, now, Ending::kAlive));
    EXPECT_FALSE(explained(before, {done(settle, 1, 2)}, before, Ending::kAlive));
    // What is older comes too late.
    const ModelPrepare late = write(2, {{1, 2}});
    EXPECT_TRUE(explained(before, {done(settle, 1, 2), refused(late, Code::kStaleVersion, 3, 4)},
                          now, Ending::kAlive));
  }
}

TEST(Judge, WhatHadNoRoomDidNothing) {
  const PieceModel before = after({write(1, {{1, 1}})});
  const ModelPrepare op = write(2, {{1, 2}});
  PieceModel with = before;
  ASSERT_EQ(with.call(op), std::nullopt);
  EXPECT_TRUE(explained(before, {refused(op, Code::kNoSpace, 1, 2)}, before, Ending::kAlive));
  EXPECT_FALSE(explained(before, {refused(op, Code::kNoSpace, 1, 2)}, with, Ending::kAlive));
}

}  // namespace
}  // namespace cairn::chunkserver::testing
