#include "mds/master/scrub_board.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/prng.h"

namespace cairn::mds::master {
namespace {

using Task = ScrubBoard::Task;

constexpr Instant kStart = Instant::from_nanos(1'000'000'000);
const NodeId kA = NodeId::from_raw(1025);
const NodeId kB = NodeId::from_raw(1026);

PieceId piece(std::uint64_t chunk, unsigned index = 0) {
  return {ChunkId::from_raw(chunk), PieceIndex(static_cast<std::uint8_t>(index))};
}

class ScrubBoardTest : public ::testing::Test {
 protected:
  // A job with chunks first..last of one piece each on a CS.
  std::uint64_t job(NodeId cs, std::uint64_t first, std::uint64_t last) {
    const std::uint64_t id = board_.open("/x").value();
    for (std::uint64_t c = first; c <= last; ++c) {
      EXPECT_TRUE(board_.add(id, cs, piece(c)).has_value());
    }
    board_.close(id);
    return id;
  }
  void answer(NodeId cs, Task task, std::uint64_t damaged = 0, std::string failure = {}) {
    board_.answered(
        cs,
        {.task = task, .inode = 7, .blocks = 10, .damaged = damaged, .failure = std::move(failure)},
        now_);
  }
  ScrubBoard::Progress progress(std::uint64_t id = 0) { return board_.progress(id).value(); }

  ScrubBoard board_{500};
  Instant now_ = kStart;
};

TEST_F(ScrubBoardTest, ATaskIsHandedOutUntilItIsAnswered) {
  const std::uint64_t id = job(kA, 1, 2);
  EXPECT_EQ(id, 500U);
  const std::vector<Task> both = {{id, piece(1)}, {id, piece(2)}};
  EXPECT_EQ(board_.hand_out(kA, now_), both);
  EXPECT_EQ(board_.hand_out(kA, now_), both);
  EXPECT_TRUE(board_.hand_out(kB, now_).empty());
  answer(kB, both[0]);  // of a CS that was not asked
  EXPECT_EQ(progress().verified, 0U);
  answer(kA, both[0]);
  answer(kA, both[0]);  // the answer came twice
  EXPECT_EQ(progress().verified, 1U);
  EXPECT_EQ(progress().blocks, 10U);
  EXPECT_EQ(board_.hand_out(kA, now_), std::vector<Task>{both[1]});
  EXPECT_FALSE(progress().done());
  answer(kA, both[1]);
  EXPECT_TRUE(progress().done());
  EXPECT_TRUE(board_.servers().empty());
  EXPECT_EQ(board_.take_finished().size(), 1U);
  EXPECT_TRUE(board_.take_finished().empty());
}

TEST_F(ScrubBoardTest, AnEmptyTreeIsDoneWhenTheWalkIs) {
  const std::uint64_t id = board_.open("/x").value();
  EXPECT_FALSE(progress(id).done());
  board_.close(id);
  EXPECT_TRUE(progress(id).done());
}

TEST_F(ScrubBoardTest, AWindowIsFilledFromAllJobsInTurn) {
  const std::uint64_t big = job(kA, 1, 5000);
  const std::uint64_t small = job(kA, 10'001, 10'010);
  std::vector<Task> tasks = board_.hand_out(kA, now_);
  EXPECT_EQ(tasks.size(), ScrubBoard::kWindow);
  EXPECT_EQ(std::ranges::count(tasks, small, &Task::job), 10);
  std::uint64_t rounds = 0;
  while (!tasks.empty()) {
    for (const Task& task : tasks) answer(kA, task);
    tasks = board_.hand_out(kA, now_);
    EXPECT_LE(tasks.size(), ScrubBoard::kWindow);
    ++rounds;
  }
  EXPECT_EQ(rounds, 6U);
  EXPECT_EQ(progress(big).verified, 5000U);
  EXPECT_EQ(board_.waiting(), 0U);
}

TEST_F(ScrubBoardTest, FindingsNameThePlaceDamageFirst) {
  const std::uint64_t id = board_.open("/x").value();
  board_.add_missing(id, 7, piece(3, 2));
  ASSERT_TRUE(board_.add(id, kA, piece(1, 4)).has_value());
  ASSERT_TRUE(board_.add(id, kA, piece(2, 0)).has_value());
  ASSERT_TRUE(board_.add(id, kB, piece(9, 0)).has_value());
  board_.close(id);
  board_.hand_out(kA, now_);
  answer(kA, {id, piece(2, 0)}, 0, "CAIRN-405 the piece is gone");
  answer(kA, {id, piece(1, 4)}, 3);
  board_.give_up(kB, "the CS is offline");
  const ScrubBoard::Progress seen = progress();
  EXPECT_TRUE(seen.done());
  EXPECT_EQ(seen.pieces, 4U);
  EXPECT_EQ(seen.verified, 1U);
  EXPECT_EQ(seen.unreachable, 3U);
  EXPECT_EQ(seen.damaged, 3U);
  EXPECT_EQ(seen.findings_total, 4U);
  EXPECT_EQ(seen.findings,
            (std::vector<std::string>{
                "inode 7 chunk 1 piece 4 on CS 1025: 3 of 10 blocks are damaged",
                "1 piece of CS 1026 not verified: the CS is offline",
                "inode 7 chunk 3 piece 2 is missing: it was lost, or never had a place",
                "inode 7 chunk 2 piece 0 on CS 1025 could not be verified: CAIRN-405 the piece is "
                "gone"}));
}

TEST_F(ScrubBoardTest, KeepsTheFirstHundredFindings) {
  const std::uint64_t id = job(kA, 1, 300);
  for (const Task& task : board_.hand_out(kA, now_)) answer(kA, task, 1);
  EXPECT_EQ(progress(id).findings.size(), ScrubBoard::kFindingsMax);
  EXPECT_EQ(progress(id).findings_total, 300U);
  EXPECT_EQ(progress(id).damaged, 300U);
}

TEST_F(ScrubBoardTest, APieceThatIsGoneDoesNotCount) {
  const std::uint64_t id = job(kA, 1, 2);
  board_.hand_out(kA, now_);
  board_.dropped(kA, {id, piece(1)}, now_);
  board_.dropped(kA, {id, piece(1)}, now_);
  answer(kA, {id, piece(2)});
  EXPECT_TRUE(progress(id).done());
  EXPECT_EQ(progress(id).pieces, 1U);
}

TEST_F(ScrubBoardTest, AFileUnderTwoNamesIsVerifiedOnce) {
  const std::uint64_t id = board_.open("/x").value();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(board_.add(id, kA, piece(1)).has_value());
  board_.close(id);
  EXPECT_EQ(board_.hand_out(kA, now_).size(), 1U);
  answer(kA, {id, piece(1)});
  EXPECT_TRUE(progress(id).done());
  EXPECT_EQ(progress(id).pieces, 1U);
}

TEST_F(ScrubBoardTest, AServerThatAnswersNothingIsGivenUp) {
  const std::uint64_t id = job(kA, 1, 2);
  now_ = now_ + 20min;  // it was not asked yet
  board_.expire(now_);
  EXPECT_FALSE(progress(id).done());
  board_.hand_out(kA, now_);
  now_ = now_ + ScrubBoard::kPatience - 1s;
  answer(kA, {id, piece(1)});
  now_ = now_ + ScrubBoard::kPatience - 1s;
  board_.expire(now_);
  EXPECT_FALSE(progress(id).done());
  now_ = now_ + 1s;
  board_.expire(now_);
  EXPECT_TRUE(progress(id).done());
  EXPECT_EQ(progress(id).unreachable, 1U);
  EXPECT_EQ(progress(id).findings.at(0),
            "1 piece of CS 1025 not verified: it answered nothing for 10 min");
  answer(kA, {id, piece(2)});  // too late
  EXPECT_EQ(progress(id).verified, 1U);
}

TEST_F(ScrubBoardTest, JobsAreBoundedAndFinishedOnesMakeRoom) {
  const std::uint64_t first = job(kA, 1, 1);
  std::uint64_t last = first;
  for (std::size_t i = 1; i < ScrubBoard::kJobsMax; ++i) last = job(kA, 1, 1);
  EXPECT_EQ(board_.open("/y").error().code(), Code::kOverloaded);
  board_.hand_out(kA, now_);
  answer(kA, {last, piece(1)});
  EXPECT_TRUE(board_.open("/y").has_value());
  EXPECT_FALSE(board_.progress(last).has_value());
  EXPECT_TRUE(board_.progress(first).has_value());
  EXPECT_EQ(board_.jobs().size(), ScrubBoard::kJobsMax);
  EXPECT_GT(board_.jobs().front(), last);
}

TEST_F(ScrubBoardTest, PiecesAreBoundedAndAnEndedJobLetsGoOfThem) {
  const std::uint64_t first = board_.open("/x").value();
  const std::uint64_t second = board_.open("/y").value();
  for (std::uint64_t c = 1; c <= ScrubBoard::kPiecesMax; ++c) {
    ASSERT_TRUE(board_.add(first, kA, piece(c)).has_value());
  }
  const Status of_job = board_.add(first, kA, piece(1));
  EXPECT_EQ(of_job.error().code(), Code::kOverloaded);
  EXPECT_NE(of_job.error().message().find("more than 10000000 pieces"), std::string::npos);
  EXPECT_EQ(board_.add(second, kB, piece(1)).error().code(), Code::kOverloaded);
  board_.hand_out(kA, now_);
  board_.end(first, of_job.error().message());
  EXPECT_EQ(board_.waiting(), 0U);
  EXPECT_TRUE(progress(first).done());
  EXPECT_TRUE(board_.hand_out(kA, now_).empty());
  EXPECT_TRUE(board_.add(second, kB, piece(1)).has_value());
}

// Whatever comes in whatever order: a job whose tasks are all answered or given up is done, and
// the counts add up.
TEST_F(ScrubBoardTest, CountsAddUpUnderAnyOrder) {
  Prng prng(3);
  for (int round = 0; round < 200; ++round) {
    ScrubBoard board(1);
    std::map<std::uint64_t, std::uint64_t> added;
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t id = board.open("/x").value();
      const std::uint64_t pieces = prng.below(40);
      for (std::uint64_t c = 1; c <= pieces; ++c) {
        const NodeId cs = prng.chance(500) ? kA : kB;
        ASSERT_TRUE(board.add(id, cs, piece(c)).has_value());
      }
      board.close(id);
      added[id] = pieces;
    }
    Instant now = kStart;
    for (int step = 0; step < 1000 && !board.servers().empty(); ++step) {
      now = now + 1s;
      const NodeId cs = prng.chance(500) ? kA : kB;
      if (prng.chance(10)) board.give_up(cs, "away");
      for (const Task& task : board.hand_out(cs, now)) {
        if (!prng.chance(400)) continue;
        if (prng.chance(100)) {
          board.dropped(cs, task, now);
          --added[task.job];
        } else {
          const std::string why = prng.chance(200) ? "why" : "";
          board.answered(cs, {.task = task, .inode = 1, .blocks = 1, .damaged = 0, .failure = why},
                         now);
        }
      }
    }
    EXPECT_TRUE(board.servers().empty());
    EXPECT_EQ(board.waiting(), 0U);
    for (const auto& [id, pieces] : added) {
      const ScrubBoard::Progress seen = board.progress(id).value();
      EXPECT_TRUE(seen.done());
      EXPECT_EQ(seen.pieces, pieces);
      EXPECT_EQ(seen.verified + seen.unreachable, pieces);
    }
  }
}

}  // namespace
}  // namespace cairn::mds::master
