// PieceTable: the rows in memory above a Kv, with checkpoints and loads in between.
#include "chunkserver/store/piece_table_fixture.h"

namespace cairn::chunkserver::store {
namespace {

const PieceId kA = piece_id(1);
const PieceId kB = piece_id(2);
const PieceId kC = piece_id(3);

TEST_F(PieceTableTest, ChangesAreSeenAtOnceAndReachTheKvWithACheckpoint) {
  EXPECT_FALSE(table_->dirty());
  EXPECT_EQ(inode_of(kA), std::nullopt);
  put_piece(kA, 5);
  put_block(kA, 300, 77);
  table_->change_region(0).value()->mark(77, 1, true);
  table_->counters() = {1, 1};
  EXPECT_TRUE(table_->dirty());
  EXPECT_EQ(inode_of(kA), 5U);
  EXPECT_EQ(disk_of(kA, 300), 77U);
  EXPECT_FALSE(stored(kA).has_value());
  const auto frozen = table_->freeze();
  EXPECT_FALSE(table_->dirty());
  const TablePosition position{4, 1, {9, 3, 1}, {8, 2, 1}};
  ASSERT_TRUE(kv_.write(frozen->batch(position)).has_value());
  table_->checkpointed();
  EXPECT_EQ(stored(kA)->facts.inode, 5U);
  EXPECT_EQ(load_segment(kv_, kA, 1)->get(44).disk, 77U);
  EXPECT_TRUE(load_region(kv_, 0)->get(77));
  EXPECT_EQ(load_counters(kv_).value(), (Counters{1, 1}));
  EXPECT_EQ(decode_position(kv_.get(kPositionKey)->value()).value(), position);
  // Another table finds it all.
  make(64_MiB);
  EXPECT_EQ(inode_of(kA), 5U);
  EXPECT_EQ(disk_of(kA, 300), 77U);
  EXPECT_EQ(table_->segments_of(kA).value(), std::vector<std::uint32_t>{1});
}

TEST_F(PieceTableTest, ChangesAfterAFreezeDoNotReachTheFrozenBatch) {
  put_piece(kA, 1);
  put_block(kA, 0, 50);
  table_->change_region(0).value()->mark(50, 1, true);
  table_->counters().pieces = 1;
  const auto frozen = table_->freeze();
  put_piece(kA, 2);
  table_->change_segment(kA, 0).value()->set(0, {51, 1});
  table_->change_region(0).value()->mark(51, 1, true);
  table_->counters().pieces = 9;
  put_piece(kB, 3);
  write(*frozen);
  EXPECT_EQ(stored(kA)->facts.inode, 1U);
  EXPECT_EQ(load_segment(kv_, kA, 0)->get(0).disk, 50U);
  EXPECT_FALSE(load_region(kv_, 0)->get(51));
  EXPECT_EQ(load_counters(kv_)->pieces, 1U);
  EXPECT_FALSE(stored(kB).has_value());
  // In memory the newest counts, before and after the end of the checkpoint.
  EXPECT_EQ(inode_of(kA), 2U);
  table_->checkpointed();
  EXPECT_EQ(inode_of(kA), 2U);
  EXPECT_EQ(disk_of(kA, 0), 51U);
  EXPECT_TRUE(table_->dirty());
  checkpoint();
  EXPECT_EQ(stored(kA)->facts.inode, 2U);
  EXPECT_EQ(stored(kB)->facts.inode, 3U);
  EXPECT_TRUE(load_region(kv_, 0)->get(51));
}

TEST_F(PieceTableTest, FrozenRowsAreAnsweredFromMemoryUntilTheyAreSaved) {
  put_piece(kA, 1);
  const auto frozen = table_->freeze();
  table_->trim();
  EXPECT_EQ(inode_of(kA), 1U);
  EXPECT_EQ(next(std::nullopt), kA);
  write(*frozen);
  table_->checkpointed();
  EXPECT_EQ(inode_of(kA), 1U);
}

TEST_F(PieceTableTest, ErasedPiecesStayErasedAndMayComeAgain) {
  put_piece(kA, 1);
  put_piece(kB, 2);
  checkpoint();
  ASSERT_TRUE(table_->erase_piece(kA).has_value());
  EXPECT_EQ(inode_of(kA), std::nullopt);
  EXPECT_TRUE(stored(kA).has_value());
  ASSERT_TRUE(load(kA, {{0, 10}}).has_value());
  EXPECT_EQ(inode_of(kA), std::nullopt);
  const auto frozen = table_->freeze();
  EXPECT_EQ(inode_of(kA), std::nullopt);
  EXPECT_EQ(next(std::nullopt), kB);
  // Made again while the checkpoint that erases it is under way.
  put_piece(kA, 7);
  write(*frozen);
  EXPECT_FALSE(stored(kA).has_value());
  table_->checkpointed();
  EXPECT_EQ(inode_of(kA), 7U);
  ASSERT_TRUE(table_->erase_piece(kA).has_value());
  put_piece(kA, 8);
  ASSERT_TRUE(table_->erase_piece(kB).has_value());
  checkpoint();
  EXPECT_EQ(stored(kA)->facts.inode, 8U);
  EXPECT_FALSE(stored(kB).has_value());
}

TEST_F(PieceTableTest, EmptySegmentsAndRegionsLoseTheirRows) {
  put_piece(kA, 1);
  put_block(kA, 0, 50);
  table_->change_region(0).value()->mark(50, 1, true);
  checkpoint();
  EXPECT_TRUE(kv_.get(segment_key(kA, 0))->has_value());
  table_->change_segment(kA, 0).value()->set(0, BlockPlace());
  table_->change_piece(kA).value()->blocks = 0;
  table_->change_region(0).value()->mark(50, 1, false);
  EXPECT_TRUE(table_->segments_of(kA)->empty());
  checkpoint();
  EXPECT_FALSE(kv_.get(segment_key(kA, 0))->has_value());
  EXPECT_FALSE(kv_.get(region_key(0))->has_value());
}

TEST_F(PieceTableTest, LoadReadsAllThatIsMissingInOneJob) {
  put_piece(kA, 1);
  for (std::uint64_t block = 0; block < 1000; block += 300) put_block(kA, block, 10 + block);
  forget();
  EXPECT_FALSE(table_->has(kA, {{0, 700}}));
  ASSERT_TRUE(load(kA, {{0, 700}}).has_value());
  EXPECT_EQ(jobs_, 1);
  EXPECT_TRUE(table_->has(kA, {{0, 700}}));
  EXPECT_FALSE(table_->has(kA, {{0, 1000}}));
  kv_.reads = 0;
  EXPECT_EQ(inode_of(kA), 1U);
  EXPECT_EQ(disk_of(kA, 600), 610U);
  EXPECT_EQ(disk_of(kA, 601), 0U);
  EXPECT_EQ(kv_.reads, 0);
  // What was not loaded is read on the spot.
  EXPECT_EQ(disk_of(kA, 900), 910U);
  EXPECT_EQ(kv_.reads, 1);
  // A piece that is not there is known as such.
  ASSERT_TRUE(load(kB, {{0, 700}}).has_value());
  EXPECT_TRUE(table_->has(kB, {{0, 10'000}}));
  kv_.reads = 0;
  EXPECT_EQ(inode_of(kB), std::nullopt);
  EXPECT_EQ(disk_of(kB, 5), 0U);
  EXPECT_EQ(kv_.reads, 0);
}

TEST_F(PieceTableTest, ANewPieceNeedsNoReadsForItsSegments) {
  put_piece(kA, 1);
  kv_.reads = 0;
  for (std::uint64_t block = 0; block < 2000; block += 100) put_block(kA, block, 10 + block);
  EXPECT_EQ(table_->segments_of(kA)->size(), 8U);
  EXPECT_TRUE(table_->has(kA, {{0, kPieceBlocksMax}}));
  EXPECT_EQ(kv_.reads, 0);
}

TEST_F(PieceTableTest, AWideLoadReadsThePieceWithOneScan) {
  put_piece(kA, 1);
  put_block(kA, 5, 10);
  put_block(kA, 500'000, 11);
  forget();
  kv_.reads = 0;
  ASSERT_TRUE(load(kA, {{0, kPieceBlocksMax}}).has_value());
  EXPECT_EQ(kv_.reads, 2);
  EXPECT_TRUE(table_->has(kA, {{0, kPieceBlocksMax}}));
  EXPECT_EQ(stored_ranges(*table_, kA, *table_->piece(kA).value(), 0, 10).value(),
            (std::vector<BlockRange>{{5, 1}, {500'000, 1}}));
  EXPECT_EQ(kv_.reads, 2);
}

TEST_F(PieceTableTest, LoadsOfOneRowAtATimeShareTheJob) {
  put_piece(kA, 1);
  put_block(kA, 0, 10);
  forget();
  held_ = true;
  int done = 0;
  runtime::TaskGroup group(loop_);
  for (int i = 0; i < 5; ++i) group.spawn(note_load(table_.get(), kA, {{0, 1}}, &done));
  loop_.run_for(10ms);
  EXPECT_EQ(jobs_, 1);
  held_ = false;
  loop_.run_for(10ms);
  EXPECT_EQ(done, 5);
  EXPECT_EQ(jobs_, 1);
}

TEST_F(PieceTableTest, ARowThatWasChangedWhileItWasLoadedWins) {
  put_piece(kA, 1);
  put_block(kA, 0, 10);
  forget();
  held_ = true;
  int done = 0;
  runtime::TaskGroup group(loop_);
  group.spawn(note_load(table_.get(), kA, {{0, 1}}, &done));
  loop_.run_for(10ms);
  table_->change_piece(kA).value()->facts.inode = 2;
  table_->change_segment(kA, 0).value()->set(0, {20, 1});
  held_ = false;
  loop_.run_for(10ms);
  EXPECT_EQ(done, 1);
  EXPECT_EQ(inode_of(kA), 2U);
  EXPECT_EQ(disk_of(kA, 0), 20U);
}

// The row came, was changed, saved and dropped while an older load was under way: what that one
// brings is too old.
TEST_F(PieceTableTest, ALoadThatACheckpointOvertookBringsNothingOld) {
  put_piece(kA, 1);
  put_block(kA, 0, 10);
  checkpoint();
  make(0);
  held_ = true;
  int done = 0;
  runtime::TaskGroup group(loop_);
  group.spawn(note_load(table_.get(), kA, {{0, 1}}, &done));
  loop_.run_for(10ms);
  table_->change_piece(kA).value()->facts.inode = 2;
  table_->change_segment(kA, 0).value()->set(0, {20, 1});
  checkpoint();
  table_->trim();
  held_ = false;
  loop_.run_for(10ms);
  EXPECT_EQ(done, 1);
  EXPECT_EQ(inode_of(kA), 2U);
  EXPECT_EQ(disk_of(kA, 0), 20U);
}

TEST_F(PieceTableTest, TrimDropsCleanRowsOnlyAndTheUsedOnesLast) {
  make(40'000);
  for (std::uint64_t i = 1; i <= 400; ++i) {
    put_piece(piece_id(i), i);
    put_block(piece_id(i), 0, i);
  }
  table_->trim();
  kv_.reads = 0;
  for (std::uint64_t i = 1; i <= 400; ++i) EXPECT_EQ(inode_of(piece_id(i)), i);
  EXPECT_EQ(kv_.reads, 0);
  checkpoint();
  put_piece(piece_id(3), 1003);
  table_->trim();
  table_->trim();
  // Everything was used alike: about as much is left as the limit says.
  std::uint64_t here = 0;
  for (std::uint64_t i = 1; i <= 400; ++i) {
    here += table_->has(piece_id(i), {{0, 1}}) ? 1U : 0U;
  }
  EXPECT_GT(here, 30U);
  EXPECT_LT(here, 200U);
  EXPECT_TRUE(table_->has(piece_id(3), {{0, 1}}));
  // What is used between the trims stays.
  ASSERT_TRUE(load(piece_id(200), {{0, 1}}).has_value());
  for (std::uint64_t i = 1; i <= 400; ++i) {
    EXPECT_EQ(disk_of(piece_id(200), 0), 200U);
    EXPECT_EQ(inode_of(piece_id(200)), 200U);
    EXPECT_EQ(inode_of(piece_id(i)), i == 3 ? 1003U : i);
    table_->trim();
    EXPECT_TRUE(table_->has(piece_id(200), {{0, 1}})) << i;
  }
}

TEST_F(PieceTableTest, APieceThatLostSegmentsToTrimStillFindsThem) {
  make(0);
  put_piece(kA, 1);
  put_block(kA, 0, 10);
  put_block(kA, 300, 11);
  checkpoint();
  table_->change_piece(kA).value()->facts.inode = 2;
  table_->trim();
  table_->trim();
  EXPECT_FALSE(table_->has(kA, {{0, 1}}));
  EXPECT_EQ(inode_of(kA), 2U);
  EXPECT_EQ(table_->segments_of(kA).value(), (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(disk_of(kA, 300), 11U);
}

TEST_F(PieceTableTest, DirtyBytesFollowWhatIsDirty) {
  EXPECT_EQ(table_->dirty_bytes(), 0U);
  put_piece(kA, 1);
  const ByteCount small = table_->dirty_bytes();
  EXPECT_GT(small, 200U);
  EXPECT_LT(small, 2000U);
  // A change through the pointer counts, also when nothing else is asked for.
  PendingOp op;
  op.crcs.resize(10'000);
  table_->change_piece(kA).value()->pending.push_back(op);
  EXPECT_GT(table_->dirty_bytes(), small + 40'000);
  for (std::uint64_t i = 0; i < 256; ++i) put_block(kA, i, 50 + i);
  EXPECT_GT(table_->dirty_bytes(), small + 43'000);
  EXPECT_LT(table_->dirty_bytes(), 200'000U);
  ASSERT_NE(table_->change_region(0).value(), nullptr);
  const ByteCount all = table_->dirty_bytes();
  const auto frozen = table_->freeze();
  EXPECT_EQ(table_->dirty_bytes(), 0U);
  table_->change_piece(kA).value()->pending.clear();
  EXPECT_GT(table_->dirty_bytes(), 0U);
  EXPECT_LT(table_->dirty_bytes(), all);
  write(*frozen);
  table_->checkpointed();
  checkpoint();
  EXPECT_EQ(table_->dirty_bytes(), 0U);
}

TEST_F(PieceTableTest, NextPieceMergesTheKvWithMemory) {
  EXPECT_EQ(next(std::nullopt), std::nullopt);
  put_piece(kB, 2);
  checkpoint();
  put_piece(kA, 1);
  EXPECT_EQ(next(std::nullopt), kA);
  EXPECT_EQ(next(kA), kB);
  EXPECT_EQ(next(kB), std::nullopt);
  const auto frozen = table_->freeze();
  put_piece(kC, 3);
  EXPECT_EQ(next(std::nullopt), kA);
  EXPECT_EQ(next(kB), kC);
  ASSERT_TRUE(table_->erase_piece(kA).has_value());
  EXPECT_EQ(next(std::nullopt), kB);
  ASSERT_TRUE(table_->erase_piece(kB).has_value());
  EXPECT_EQ(next(std::nullopt), kC);
  write(*frozen);
  table_->checkpointed();
  EXPECT_EQ(next(std::nullopt), kC);
  EXPECT_EQ(next(kC), std::nullopt);
}

TEST_F(PieceTableTest, NextPieceStepsOverManyErasedOnes) {
  for (std::uint64_t i = 1; i <= 500; ++i) put_piece(piece_id(i), i);
  checkpoint();
  for (std::uint64_t i = 1; i < 500; ++i) {
    ASSERT_TRUE(table_->erase_piece(piece_id(i)).has_value());
  }
  EXPECT_EQ(next(std::nullopt), piece_id(500));
  ASSERT_TRUE(table_->erase_piece(piece_id(500)).has_value());
  EXPECT_EQ(next(std::nullopt), std::nullopt);
}

TEST_F(PieceTableTest, NextPieceSeesAPieceThatIsSavedWhileItLooks) {
  put_piece(kB, 2);
  checkpoint();
  held_ = true;
  std::optional<PieceId> found;
  int done = 0;
  runtime::TaskGroup group(loop_);
  group.spawn(note_next(table_.get(), &found, &done));
  loop_.run_for(10ms);
  put_piece(kA, 1);
  checkpoint();
  held_ = false;
  loop_.run_for(10ms);
  ASSERT_EQ(done, 1);
  EXPECT_EQ(found, kA);
}

TEST_F(PieceTableTest, EveryPieceIsVisitedInOrder) {
  put_piece(kC, 3);
  put_piece(kA, 1);
  checkpoint();
  put_piece(kB, 2);
  ASSERT_TRUE(table_->erase_piece(kA).has_value());
  table_->change_piece(kC).value()->facts.inode = 33;
  std::vector<std::uint64_t> seen;
  ASSERT_TRUE(table_
                  ->for_each_piece([&](PieceId, const PieceRow& row) -> Status {
                    seen.push_back(row.facts.inode);
                    return {};
                  })
                  .has_value());
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{2, 33}));
}

TEST_F(PieceTableTest, ErrorsOfTheKvAreTold) {
  put_piece(kA, 1);
  forget();
  kv_.failing = true;
  EXPECT_EQ(load(kA, {}).error().code(), Code::kDiskFailed);
  EXPECT_EQ(table_->piece(kA).error().code(), Code::kDiskFailed);
  EXPECT_EQ(table_->change_region(3).error().code(), Code::kDiskFailed);
  EXPECT_EQ(loop_.run(table_->next_piece(std::nullopt)).error().code(), Code::kDiskFailed);
  kv_.failing = false;
  EXPECT_TRUE(load(kA, {}).has_value());
  kv::Batch batch;
  batch.put(piece_key(kB), "\x02nonsense");
  batch.put(segment_key(kC, 0), "\x02nonsense");
  ASSERT_TRUE(kv_.write(batch).has_value());
  EXPECT_EQ(load(kB, {}).error().code(), Code::kCorrupt);
  EXPECT_EQ(table_->segments_of(kC).error().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace cairn::chunkserver::store
