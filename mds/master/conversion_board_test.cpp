#include "mds/master/conversion_board.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "common/base/prng.h"
#include "common/base/units.h"

namespace cairn::mds::master {
namespace {

using Board = ConversionBoard;
using Row = Board::Row;

constexpr Instant kStart = Instant::from_nanos(3'600'000'000'000);
const Error kPassing(Code::kBusy, "a writer has it");
const Error kLasting(Code::kNoSpace, "no place for a new chunk");

pb::Encoding encoding(unsigned data, unsigned parity) {
  pb::Encoding made;
  made.set_data(data);
  made.set_parity(parity);
  made.set_min(data + 1);
  return made;
}
Row row(std::uint64_t inode, std::int64_t since = 0) {
  return {.inode = InodeId::from_raw(inode), .to = encoding(4, 2), .since_ns = since};
}
SessionId session(std::uint64_t raw) { return SessionId::from_raw(raw); }
void scan(Board& board, const std::vector<Row>& rows, Instant now) {
  board.begin_scan();
  for (const Row& one : rows) board.saw(one, now);
  board.end_scan();
}
std::uint64_t take(Board& board, std::uint64_t of, Instant now) {
  const Board::Job* job = board.take(session(of), 1025, now);
  return job == nullptr ? 0 : job->row.inode.raw();
}

TEST(ConversionBoard, HandsOutTheOldestFirstAndEachOnce) {
  Board board;
  scan(board, {row(1, 30), row(2, 10), row(3, 20)}, kStart);
  EXPECT_EQ(board.totals(kStart).waiting, 3U);
  EXPECT_EQ(take(board, 1, kStart), 2U);
  EXPECT_EQ(take(board, 2, kStart), 3U);
  EXPECT_EQ(board.ready(kStart, 10), 1U);
  EXPECT_EQ(take(board, 3, kStart), 1U);
  EXPECT_EQ(take(board, 4, kStart), 0U);
  EXPECT_EQ(board.totals(kStart).under_way, 3U);
  // A scan that sees them again changes nothing.
  scan(board, {row(1, 30), row(2, 10), row(3, 20)}, kStart);
  EXPECT_EQ(take(board, 4, kStart), 0U);
  EXPECT_EQ(board.ready(kStart, 10), 0U);
}

TEST(ConversionBoard, AFileThatFailedWaitsLongerAndLonger) {
  Board board;
  Instant now = kStart;
  const std::vector<Duration> waits = {5s, 10s, 20s, 40s, 80s, 160s, 300s, 300s};
  for (const Duration wait : waits) {
    scan(board, {row(1)}, now);
    ASSERT_EQ(take(board, 1, now), 1U);
    board.failed(session(1), kPassing, now);
    scan(board, {row(1)}, now + wait - Duration(1));
    ASSERT_EQ(take(board, 1, now + wait - Duration(1)), 0U) << wait / 1s;
    EXPECT_EQ(board.totals(now).waiting, 1U);
    now = now + wait;
  }
}

TEST(ConversionBoard, OneThatFailedDoesNotHoldUpYoungerOnes) {
  Board board;
  scan(board, {row(1, 1), row(2, 2)}, kStart);
  ASSERT_EQ(take(board, 1, kStart), 1U);
  board.failed(session(1), kLasting, kStart);
  EXPECT_EQ(board.ready(kStart, 10), 1U);
  EXPECT_EQ(take(board, 1, kStart), 2U);
}

TEST(ConversionBoard, OneThatIsQueuedAnewIsTriedAtOnce) {
  Board board;
  scan(board, {row(1, 1)}, kStart);
  ASSERT_EQ(take(board, 1, kStart), 1U);
  board.failed(session(1), kLasting, kStart);
  Row other = row(1, 2);
  other.to = encoding(7, 2);
  scan(board, {other}, kStart);
  EXPECT_EQ(take(board, 1, kStart), 1U);
  EXPECT_EQ(board.job(session(1))->row.to.data(), 7U);
}

TEST(ConversionBoard, CountsWhatWasConvertedOnce) {
  Board board;
  scan(board, {row(1), row(2)}, kStart);
  ASSERT_EQ(take(board, 1, kStart), 1U);
  EXPECT_FALSE(board.take_ended_burst().has_value());
  board.progress(session(1), 10_MiB, 40_MiB, kStart);
  board.swapped(session(1), InodeId::from_raw(2), 40_MiB, kStart);  // not its file
  board.swapped(session(2), InodeId::from_raw(1), 40_MiB, kStart);  // not its session
  EXPECT_EQ(board.totals(kStart).converted, 0U);
  board.swapped(session(1), InodeId::from_raw(1), 40_MiB, kStart);
  board.swapped(session(1), InodeId::from_raw(1), 40_MiB, kStart);
  Board::Totals totals = board.totals(kStart);
  EXPECT_EQ(totals.converted, 1U);
  EXPECT_EQ(totals.bytes_converted, 40_MiB);
  EXPECT_EQ(totals.waiting, 1U);
  EXPECT_EQ(totals.under_way, 0U);
  // It still cleans up: its end is no failure, whatever it says.
  EXPECT_NE(board.job(session(1)), nullptr);
  board.failed(session(1), kPassing, kStart);
  EXPECT_TRUE(board.troubles().empty());
  EXPECT_FALSE(board.take_ended_burst().has_value()) << "one still waits";
  ASSERT_EQ(take(board, 1, kStart), 2U);
  board.swapped(session(1), InodeId::from_raw(2), 2_MiB, kStart);
  const std::optional<Board::Burst> burst = board.take_ended_burst();
  ASSERT_TRUE(burst.has_value());
  EXPECT_EQ(burst->files, 2U);
  EXPECT_EQ(burst->bytes, 42_MiB);
  EXPECT_FALSE(board.take_ended_burst().has_value());
}

TEST(ConversionBoard, TheRateIsThatOfTheLastTwentySeconds) {
  Board board;
  scan(board, {row(1), row(2)}, kStart);
  ASSERT_EQ(take(board, 1, kStart), 1U);
  Instant now = kStart;
  for (unsigned i = 1; i <= 10; ++i) {
    now = now + 1s;
    board.progress(session(1), i * 10_MiB, 1_GiB, now);
  }
  EXPECT_NEAR(board.totals(now).bytes_per_second, 10.0 * 1024 * 1024, 1024.0);
  // Ranges that are copied again do not take anything back, and the next file goes on from there.
  board.progress(session(1), 5_MiB, 1_GiB, now);
  EXPECT_EQ(board.job(session(1))->bytes_done, 100_MiB);
  board.swapped(session(1), InodeId::from_raw(1), 100_MiB, now);
  board.release(session(1));
  ASSERT_EQ(take(board, 1, now), 2U);
  now = now + 1s;
  board.progress(session(1), 10_MiB, 1_GiB, now);
  EXPECT_NEAR(board.totals(now).bytes_per_second, 10.0 * 1024 * 1024, 1024.0);
  EXPECT_EQ(board.totals(now + 21s).bytes_per_second, 0.0);
}

TEST(ConversionBoard, TheFirstWorkersKeepTheirFilesWhenThereShallBeFewer) {
  Board board;
  scan(board, {row(1), row(2), row(3)}, kStart);
  take(board, 3, kStart);
  take(board, 2, kStart + 1s);
  take(board, 1, kStart + 2s);
  EXPECT_TRUE(board.within(session(3), 1));
  EXPECT_FALSE(board.within(session(2), 1));
  EXPECT_TRUE(board.within(session(2), 2));
  EXPECT_FALSE(board.within(session(1), 2));
  EXPECT_FALSE(board.within(session(3), 0));
  board.swapped(session(1), board.job(session(1))->row.inode, 1_MiB, kStart + 2s);
  EXPECT_TRUE(board.within(session(1), 0)) << "its data is exchanged: it only cleans up";
  EXPECT_FALSE(board.within(session(9), 3));
  EXPECT_TRUE(board.within(session(9), 4));
}

TEST(ConversionBoard, AFileGoesOnWithTheConverterItHadBefore) {
  Board board;
  EXPECT_TRUE(board.adopt(session(1), 1025, row(7), kStart));
  EXPECT_FALSE(board.adopt(session(2), 1026, row(7), kStart));
  scan(board, {row(7)}, kStart);
  EXPECT_EQ(take(board, 3, kStart), 0U);
  board.release(session(1));
  EXPECT_EQ(take(board, 3, kStart), 7U);
}

TEST(ConversionBoard, TellsAFailureOnceAndPassingOnesLate) {
  Board board;
  Instant now = kStart;
  std::vector<unsigned> told;
  for (unsigned i = 1; i <= 6; ++i) {
    scan(board, {row(1), row(2)}, now);
    ASSERT_EQ(take(board, 1, now), 1U);
    ASSERT_EQ(take(board, 2, now), 2U);
    board.failed(session(1), kPassing, now);
    board.failed(session(2), kLasting, now);
    for (const Board::Told& one : board.take_untold()) {
      if (one.inode.raw() == 1) told.push_back(i);
      if (one.inode.raw() == 2) {
        EXPECT_EQ(i, 1U);
        EXPECT_EQ(one.why, "no place for a new chunk");
      }
    }
    now = now + 10min;
  }
  EXPECT_EQ(told, std::vector<unsigned>{Board::kToldAfter});
}

TEST(ConversionBoard, ForgetsTheTroubleOfWhatIsNotInTheTableAnyMore) {
  Board board;
  scan(board, {row(1), row(2)}, kStart);
  for (const std::uint64_t i : {1U, 2U}) {
    take(board, i, kStart);
    board.failed(session(i), kLasting, kStart);
  }
  EXPECT_EQ(board.troubles().size(), 2U);
  scan(board, {row(2)}, kStart);
  EXPECT_EQ(board.troubles().size(), 1U);
  board.vanished(InodeId::from_raw(2));
  EXPECT_TRUE(board.troubles().empty());
  scan(board, {}, kStart);
  EXPECT_EQ(board.totals(kStart).waiting, 0U);
}

TEST(ConversionBoard, KeepsTheOldestOfMoreThanItCanRemember) {
  Board board;
  std::vector<Row> rows;
  for (std::uint64_t i = 0; i < Board::kWindowMax + 1000; ++i) {
    rows.push_back(row(i + 1, static_cast<std::int64_t>(1'000'000 - i)));
  }
  scan(board, rows, kStart);
  EXPECT_EQ(board.totals(kStart).waiting, rows.size());
  EXPECT_EQ(board.ready(kStart, rows.size()), Board::kWindowMax);
  EXPECT_EQ(take(board, 1, kStart), rows.back().inode.raw());
}

TEST(ConversionBoard, CountsDuringTheFirstScan) {
  Board board;
  board.begin_scan();
  board.saw(row(1), kStart);
  EXPECT_EQ(board.totals(kStart).waiting, 1U);
}

TEST(ConversionBoard, NeverSaysThatNoneWaitsWhileOneDoes) {
  Board board;
  scan(board, {row(1), row(2)}, kStart);
  ASSERT_EQ(take(board, 1, kStart), 1U);
  // Gone from the table, a scan saw that, and only now its converter tells.
  scan(board, {row(2)}, kStart);
  board.release(session(1));
  board.vanished(InodeId::from_raw(1));
  EXPECT_EQ(board.totals(kStart).waiting, 1U);
  // Queued while a scan is past its place.
  board.vanished(InodeId::from_raw(2));
  board.begin_scan();
  board.queued(1);
  EXPECT_EQ(board.totals(kStart).waiting, 1U);
  board.end_scan();
  EXPECT_EQ(board.totals(kStart).waiting, 1U);
  scan(board, {}, kStart);
  EXPECT_EQ(board.totals(kStart).waiting, 0U);
}

// Against a plain list of what is whose: random sessions, ends, scans, time.
TEST(ConversionBoard, NeverHasTwoConvertersOfAFile) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Prng random(seed);
    Board board;
    Instant now = kStart;
    std::vector<Row> table;
    for (std::uint64_t i = 1; i <= 20; ++i) table.push_back(row(i, static_cast<std::int64_t>(i)));
    std::map<std::uint64_t, std::uint64_t> model;  // session -> inode
    std::map<std::uint64_t, Instant> not_before;
    for (int step = 0; step < 400; ++step) {
      now = now + Duration(std::chrono::milliseconds(random.below(3000)));
      const std::uint64_t who = 1 + random.below(5);
      const bool has = model.contains(who);
      const InodeId inode = has ? InodeId::from_raw(model[who]) : InodeId();
      switch (random.below(5)) {
        case 0:
          scan(board, table, now);
          break;
        case 1:
          board.failed(session(who), kPassing, now);
          if (has) not_before[inode.raw()] = now + Board::kWaitFirst;
          model.erase(who);
          break;
        case 2:
          if (!has) break;
          board.swapped(session(who), inode, 1_MiB, now);
          board.release(session(who));
          std::erase_if(table, [&](const Row& one) { return one.inode == inode; });
          model.erase(who);
          break;
        default: {
          if (has) break;
          const std::uint64_t got = take(board, who, now);
          if (got == 0) break;
          for (const auto& [other, taken] : model) ASSERT_NE(taken, got) << "seed " << seed;
          ASSERT_GE(now, not_before[got]) << "seed " << seed;
          const auto same = [&](const Row& one) { return one.inode.raw() == got; };
          ASSERT_TRUE(std::ranges::any_of(table, same)) << "seed " << seed;
          model[who] = got;
        }
      }
      ASSERT_EQ(board.jobs().size(), model.size()) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace cairn::mds::master
