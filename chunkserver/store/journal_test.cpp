// The journal on a simulated disk: order, durability, one flush, limits, pause and another ring.
#include "chunkserver/store/journal_fixture.h"

namespace cairn::chunkserver::store {
namespace {

TEST_F(JournalTest, RecordsAndJournaledBlocksAreOneWriteAndOneFlush) {
  begin(64);
  const std::uint64_t operations = world_.data.operations();
  submit(journaled(3));
  submit(settle());
  submit(journaled(2));
  settle_down();
  // The first one goes alone: nothing was under way. The others share a batch.
  EXPECT_EQ(batches_, (std::vector<std::size_t>{3}));
  EXPECT_EQ(world_.data.operations(), operations + 2);
  EXPECT_EQ(answers_, (std::vector<Answered>{{1, {}}, {2, {}}, {3, {}}}));
  EXPECT_EQ(positions_, (std::vector<JournalPosition>{{1, 6, positions_[0].crc}}));
  EXPECT_EQ(first_data_blocks_, (std::vector<std::uint64_t>{1}));
  for (std::uint64_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(world_.holds(kReservedBlocks + 1 + i, kHomes + i));
  }
  EXPECT_EQ(scan(*ring_, {}), (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST_F(JournalTest, RecordsOfDirectBlocksAreOneWriteOfOneBlockAndOneFlush) {
  begin(64);
  const std::uint64_t operations = world_.data.operations();
  const std::uint64_t flushes = world_.data.flushes();
  submit(direct(100));
  submit(direct(20));
  settle_down();
  EXPECT_EQ(world_.data.operations(), operations + 2);
  EXPECT_EQ(world_.data.flushes(), flushes + 1);
  EXPECT_EQ(journal_->used_blocks(), 1U);
}

TEST_F(JournalTest, OneWriterAfterTheOtherIsWrittenAndAnsweredWithoutATurnBetween) {
  begin(64);
  submit(settle());
  settle_down();
  // The last batch had one record: the next one does not wait for company.
  const std::uint64_t operations = world_.data.operations();
  submit(settle());
  EXPECT_TRUE(journal_->busy());
  submit(settle());
  submit(settle());
  settle_down();
  EXPECT_EQ(batches_, (std::vector<std::size_t>{1, 1, 2}));
  EXPECT_EQ(world_.data.operations(), operations + 4);
  // After one with many the rest of the turn is waited for.
  for (int i = 0; i < 3; ++i) submit(settle());
  settle_down();
  EXPECT_EQ(batches_, (std::vector<std::size_t>{1, 1, 2, 3}));
  EXPECT_EQ(answers_.size(), 7U);
}

TEST_F(JournalTest, WhoeverIsAnsweredMaySubmitTheNextOne) {
  begin(64);
  waiting_.spawn(submit_in_a_row(this, 20));
  settle_down();
  EXPECT_EQ(batches_, std::vector<std::size_t>(20, 1));
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(answers_[i], (Answered{i + 1, {}}));
}

TEST_F(JournalTest, ABatchCollectsWhileOneIsUnderWay) {
  begin(64);
  apply_takes_ = 1ms;
  submit(settle());
  world_.loop.run_for(500us);
  for (int i = 0; i < 10; ++i) submit(settle());
  settle_down();
  EXPECT_EQ(batches_, (std::vector<std::size_t>{1, 10}));
  for (std::uint64_t i = 0; i < 11; ++i) EXPECT_EQ(answers_[i], (Answered{i + 1, {}}));
}

TEST_F(JournalTest, ABatchIsNotLargerThanAQuarterOfTheRing) {
  begin(64);
  for (int i = 0; i < 6; ++i) submit(journaled(5));
  settle_down();
  EXPECT_EQ(batches_, (std::vector<std::size_t>{3, 3}));
  // More than a quarter alone goes alone.
  journal_->release(2);
  submit(settle());
  submit(journaled(30));
  submit(settle());
  settle_down();
  EXPECT_EQ(batches_, (std::vector<std::size_t>{3, 3, 1, 1, 1}));
  EXPECT_EQ(answers_.size(), 9U);
}

TEST_F(JournalTest, ABatchHasNoMoreOpsAndBytesThanItsLimits) {
  begin(65536);
  for (std::size_t i = 0; i < kBatchOpsMax + 10; ++i) submit(settle());
  settle_down();
  EXPECT_EQ(batches_, (std::vector<std::size_t>{kBatchOpsMax, 10}));
  batches_.clear();
  // Nine bodies of 4 MiB are more than 32 MiB.
  next_home_ = 70'000;
  for (int i = 0; i < 9; ++i) submit(journaled(1024));
  settle_down();
  EXPECT_EQ(batches_, (std::vector<std::size_t>{8, 1}));
  EXPECT_EQ(answers_.size(), kBatchOpsMax + 19);
}

TEST_F(JournalTest, MoreBodiesThanAWriteHasPartsAreSeveralWritesSideBySide) {
  begin(8192);
  for (int i = 0; i < 1000; ++i) submit(journaled());
  settle_down();
  EXPECT_EQ(batches_, (std::vector<std::size_t>{1000}));
  for (std::uint64_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(world_.holds(kReservedBlocks + first_data_blocks_[0] + i, kHomes + i));
  }
  EXPECT_EQ(scan(*ring_, {}).size(), 1000U);
}

TEST_F(JournalTest, WhatNobodyWaitsForWaitsForCompany) {
  begin(64);
  submit(settle(), Journal::Urgency::kSoon);
  world_.loop.run_for(Journal::kSoonDelay - 1ms);
  EXPECT_TRUE(batches_.empty());
  world_.loop.run_for(2ms);
  EXPECT_EQ(batches_, (std::vector<std::size_t>{1}));
  submit(settle(), Journal::Urgency::kSoon);
  submit(settle());
  world_.loop.run_for(1ms);
  EXPECT_EQ(batches_, (std::vector<std::size_t>{1, 2}));
}

TEST_F(JournalTest, AFullRingWaitsForARelease) {
  begin(32);
  for (int i = 0; i < 10; ++i) submit(journaled(4));
  settle_down();
  // Six batches of five blocks; two blocks at the end are left.
  EXPECT_EQ(batches_.size(), 6U);
  EXPECT_GT(pressure_, 0);
  EXPECT_EQ(journal_->used_blocks(), 30U);
  const auto tail = journal_->position_of(2);
  ASSERT_TRUE(tail.has_value());
  journal_->release(2);
  EXPECT_EQ(journal_->position_of(2), std::nullopt);
  settle_down();
  EXPECT_EQ(batches_.size(), 8U);
  journal_->release(8);
  settle_down();
  EXPECT_EQ(batches_.size(), 10U);
  EXPECT_EQ(answers_.size(), 10U);
  // What is behind the tail is found from there.
  EXPECT_EQ(scan(*ring_, positions_[7]), (std::vector<std::uint64_t>{9, 10}));
}

TEST_F(JournalTest, ARecordThatNeverFitsIsRefusedAloneAndAtOnce) {
  begin(32);
  submit(settle());
  submit(journaled(32));
  submit(settle());
  settle_down();
  EXPECT_EQ(answers_.size(), 3U);
  EXPECT_TRUE(std::count(answers_.begin(), answers_.end(), (Answered{2, Code::kNoSpace})) == 1);
  EXPECT_EQ(applied_, (std::vector<std::uint64_t>{1, 3}));
  EXPECT_FALSE(journal_->failure().has_value());
}

TEST_F(JournalTest, StopWritesWhatIsQueued) {
  begin(64);
  for (int i = 0; i < 3; ++i) submit(settle(), Journal::Urgency::kSoon);
  world_.loop.run(journal_->stop());
  EXPECT_EQ(applied_, (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_FALSE(journal_->hangs());
}

TEST_F(JournalTest, APauseEndsTheBatchUnderWayAndBeginsNoOther) {
  begin(64);
  apply_takes_ = 1ms;
  submit(settle());
  world_.loop.run_for(100us);
  submit(settle());
  world_.loop.run(journal_->pause());
  EXPECT_EQ(applied_, (std::vector<std::uint64_t>{1}));
  submit(settle());
  settle_down();
  EXPECT_EQ(applied_, (std::vector<std::uint64_t>{1}));
  EXPECT_TRUE(journal_->busy());
  journal_->resume();
  settle_down();
  EXPECT_EQ(applied_, (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST_F(JournalTest, APauseDoesNotWaitForABatchWithoutRoom) {
  begin(32);
  for (int i = 0; i < 8; ++i) submit(journaled(4));
  settle_down();
  EXPECT_EQ(batches_.size(), 6U);
  world_.loop.run(journal_->pause());
  journal_->release(6);
  settle_down();
  EXPECT_EQ(batches_.size(), 6U);
}

TEST_F(JournalTest, AnotherRingContinuesTheSequenceAndTheChain) {
  begin(64);
  submit(journaled());
  submit(direct(2));
  settle_down();
  world_.loop.run(journal_->pause());
  // Taken while the ring was in the data file.
  submit(direct(3));
  submit(journaled(2));
  const JournalPosition reached = journal_->position();
  std::unique_ptr<RingDevice> other = make(32, "/ssd");
  ASSERT_NE(other, nullptr);
  journal_->release(reached.sequence);
  journal_->resume_with(*other);
  settle_down();
  EXPECT_EQ(journal_->position().sequence, reached.sequence + 1);
  EXPECT_EQ(journal_->blocks(), 32U);
  EXPECT_EQ(scan(*other, {reached.sequence, 0, reached.crc}), (std::vector<std::uint64_t>{3, 4}));
  submit(settle());
  settle_down();
  EXPECT_EQ(applied_, (std::vector<std::uint64_t>{1, 2, 3, 4, 5}));
  end();
}

}  // namespace
}  // namespace cairn::chunkserver::store
