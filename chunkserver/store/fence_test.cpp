#include "chunkserver/store/fence.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "chunkserver/store/rows_fixture.h"

namespace cairn::chunkserver::store {
namespace {

TEST(Fence, Table) {
  const FenceState none;
  const FenceState seen{true, ChunkVersion(5), LeaseEpoch(7), op_id(7, 4)};
  struct Row {
    const char* name;
    FenceState state;
    PrepareTicket ticket;
    std::optional<Code> error;
    PrepareVerdict verdict = PrepareVerdict::kTake;
  };
  const ChunkVersion v5(5);
  const std::vector<Row> rows = {
      {"absent, not to be made", none, {v5, op_id(7, 9), OpSeq(), false}, Code::kPieceMissing},
      {"absent, to be made", none, {v5, op_id(7, 9), OpSeq(), true}, std::nullopt},
      {"the same version and epoch", seen, {v5, op_id(7, 9), OpSeq(), false}, std::nullopt},
      {"older version", seen, {ChunkVersion(4), op_id(7, 9), OpSeq(), true}, Code::kStaleVersion},
      {"older version of a newer epoch",
       seen,
       {ChunkVersion(4), op_id(8, 1), OpSeq(), true},
       Code::kStaleVersion},
      {"older epoch", seen, {v5, op_id(6, 9), OpSeq(), true}, Code::kStaleEpoch},
      {"newer version, older epoch",
       seen,
       {ChunkVersion(6), op_id(6, 9), OpSeq(), true},
       Code::kStaleEpoch},
      {"newer both", seen, {ChunkVersion(6), op_id(8, 1), OpSeq(), false}, std::nullopt},
      {"a settled op again",
       seen,
       {v5, op_id(7, 3), OpSeq(), false},
       std::nullopt,
       PrepareVerdict::kSettledBefore},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const Result<PrepareVerdict> verdict = check_prepare(row.state, row.ticket);
    ASSERT_EQ(verdict.has_value(), !row.error.has_value());
    if (row.error.has_value()) {
      EXPECT_EQ(verdict.error().code(), *row.error);
    } else {
      EXPECT_EQ(*verdict, row.verdict);
    }
  }
}

TEST(Fence, MarksGrowAndNeverCoverTheOpThatCarriesThem) {
  FenceState state{true, ChunkVersion(5), LeaseEpoch(7), op_id(7, 4)};
  state = after_prepare(state, {ChunkVersion(5), op_id(7, 9), OpSeq(20), false});
  EXPECT_EQ(state.settled, op_id(7, 9));
  state = after_prepare(state, {ChunkVersion(6), op_id(8, 1), OpSeq(0), false});
  EXPECT_EQ(state, (FenceState{true, ChunkVersion(6), LeaseEpoch(8), op_id(8, 1)}));
  EXPECT_TRUE(is_settled(state, op_id(7, 1000)));
  EXPECT_FALSE(is_settled(state, op_id(8, 1)));
  const ChunkVersion unknown;
  EXPECT_TRUE(check_settle(state, op_id(8, 2), unknown).value());
  EXPECT_FALSE(check_settle(state, op_id(8, 1), unknown).value());
  EXPECT_FALSE(check_settle(state, op_id(9, 1), unknown).value());
  EXPECT_EQ(check_settle(state, op_id(7, 2), unknown).error().code(), Code::kStaleEpoch);
  EXPECT_EQ(check_settle(FenceState(), op_id(7, 2), unknown).error().code(), Code::kPieceMissing);
}

TEST(Fence, ASettleBringsTheVersionOfTheMap) {
  const FenceState state{true, ChunkVersion(5), LeaseEpoch(7), op_id(7, 4)};
  const auto settled = [&](OpId below, std::uint64_t version) {
    const ChunkVersion at(version);
    const FenceState after = after_settle(state, mark_of_settle(state, below), at);
    EXPECT_EQ(check_settle(state, below, at).value(), after != state);
    return after;
  };
  EXPECT_EQ(settled(op_id(7, 6), 6),
            (FenceState{true, ChunkVersion(6), LeaseEpoch(7), op_id(7, 6)}));
  // Nothing to settle, but it is current in that map.
  EXPECT_EQ(settled(op_id(7, 4), 6),
            (FenceState{true, ChunkVersion(6), LeaseEpoch(7), op_id(7, 4)}));
  EXPECT_EQ(settled(op_id(9, 4), 6),
            (FenceState{true, ChunkVersion(6), LeaseEpoch(7), op_id(7, 4)}));
  // What was decided stays so, however old the map was.
  EXPECT_EQ(settled(op_id(7, 6), 3),
            (FenceState{true, ChunkVersion(5), LeaseEpoch(7), op_id(7, 6)}));
  EXPECT_EQ(settled(op_id(7, 4), 5), state);
  const FenceState raised = settled(op_id(7, 4), 6);
  EXPECT_EQ(check_prepare(raised, {ChunkVersion(5), op_id(7, 9), OpSeq(), false}).error().code(),
            Code::kStaleVersion);
}

// What follows the map comes only to current pieces: it confirms the copy.
TEST(Fence, ACopyIsUnconfirmedUntilItsVersionComesFromTheMap) {
  const FenceState state{true, ChunkVersion(5), LeaseEpoch(7), op_id(7, 4)};
  const ChunkVersion v6(6);
  const FenceState sealed = after_seal(state, v6, LeaseEpoch(7), true);
  EXPECT_TRUE(sealed.copy);
  EXPECT_FALSE(check_seal(sealed, v6, LeaseEpoch(7), true).value());
  const FenceState covered = after_prepare(sealed, {v6, op_id(7, 9), OpSeq(9), false, true});
  EXPECT_TRUE(covered.copy);
  EXPECT_TRUE(after_settle(covered, op_id(7, 10), ChunkVersion()).copy);
  EXPECT_TRUE(after_settle(covered, op_id(7, 10), ChunkVersion(5)).copy);
  for (const ChunkVersion version : {v6, ChunkVersion(7)}) {
    EXPECT_FALSE(after_settle(covered, op_id(7, 10), version).copy);
    EXPECT_TRUE(check_settle(covered, op_id(7, 1), version).value());
    EXPECT_FALSE(after_prepare(covered, {version, op_id(8, 1), OpSeq(1), false}).copy);
    EXPECT_TRUE(check_seal(covered, version, LeaseEpoch(7)).value());
    EXPECT_FALSE(after_seal(covered, version, LeaseEpoch(7)).copy);
  }
  // The cover makes the piece.
  EXPECT_TRUE(after_prepare(FenceState(), {v6, op_id(7, 9), OpSeq(9), true, true}).copy);
  // The next attempt.
  EXPECT_TRUE(after_seal(covered, ChunkVersion(8), LeaseEpoch(7), true).copy);
}

TEST(Fence, SealsOnceAndResolvesOnlyWhatWasSealed) {
  const FenceState state{true, ChunkVersion(5), LeaseEpoch(7), op_id(7, 4)};
  EXPECT_TRUE(check_seal(state, ChunkVersion(6), LeaseEpoch(9)).value());
  EXPECT_EQ(check_seal(state, ChunkVersion(4), LeaseEpoch(9)).error().code(), Code::kStaleVersion);
  EXPECT_EQ(check_seal(state, ChunkVersion(6), LeaseEpoch(6)).error().code(), Code::kStaleEpoch);
  EXPECT_EQ(check_seal(FenceState(), ChunkVersion(6), LeaseEpoch(9)).error().code(),
            Code::kPieceMissing);
  const FenceState sealed = after_seal(state, ChunkVersion(6), LeaseEpoch(9));
  EXPECT_FALSE(check_seal(sealed, ChunkVersion(6), LeaseEpoch(9)).value());
  EXPECT_EQ(sealed.settled, op_id(7, 4));
  EXPECT_TRUE(check_resolve(sealed, ChunkVersion(6), LeaseEpoch(9)).has_value());
  EXPECT_EQ(check_resolve(sealed, ChunkVersion(7), LeaseEpoch(9)).error().code(),
            Code::kRefusedForSafety);
  EXPECT_EQ(check_resolve(sealed, ChunkVersion(5), LeaseEpoch(9)).error().code(),
            Code::kStaleVersion);
  EXPECT_EQ(check_prepare(sealed, {ChunkVersion(5), op_id(7, 9), OpSeq(), false}).error().code(),
            Code::kStaleVersion);
}

}  // namespace
}  // namespace cairn::chunkserver::store
