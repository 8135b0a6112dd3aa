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
  EXPECT_TRUE(check_settle(state, op_id(8, 2)).value());
  EXPECT_FALSE(check_settle(state, op_id(8, 1)).value());
  EXPECT_FALSE(check_settle(state, op_id(9, 1)).value());
  EXPECT_EQ(check_settle(state, op_id(7, 2)).error().code(), Code::kStaleEpoch);
  EXPECT_EQ(check_settle(FenceState(), op_id(7, 2)).error().code(), Code::kPieceMissing);
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
