#include "mds/master/cs_board.h"

#include <gtest/gtest.h>

namespace cairn::mds::master {
namespace {

constexpr std::uint32_t kCs = 1025;
constexpr Instant kStart = Instant::from_nanos(1'000'000'000);

class CsBoardTest : public ::testing::Test {
 protected:
  CsBoardTest() {
    pb::CsRecord record;
    record.set_id(kCs);
    record.set_address("10.0.0.1:3000");
    board_.put(record, kStart);
    board_.find(kCs)->reported = CsState::kActive;
  }
  void beat(CsFailure failure = {}) {
    pb::CsStatistics statistics;
    statistics.set_space_bytes(100);
    statistics.set_free_bytes(60);
    board_.heartbeat(kCs, statistics, std::move(failure), now_);
  }
  bool placed() const { return board_.candidates(now_).front().active; }

  CsBoard board_{4s, 5min};
  Instant now_ = kStart;
};

TEST_F(CsBoardTest, OneThatRegistersWithAFailureIsOfflineAtOnceAndKeepsItsAddress) {
  board_.registered(kCs, {.failure = {.why = "no such directory", .letter = 'R'}}, now_);
  EXPECT_EQ(board_.state_of(kCs, now_), CsState::kOffline);
  EXPECT_FALSE(placed());
  EXPECT_EQ(board_.address(kCs), "10.0.0.1:3000");
  EXPECT_EQ(board_.find(kCs)->failure.letter, 'R');
  EXPECT_FALSE(board_.awaits_news(now_));
  ASSERT_EQ(board_.take_changes(now_).size(), 1U);
}

TEST_F(CsBoardTest, AFailureIsToldOnceAndAgainAfterItEnded) {
  board_.registered(kCs, {}, now_);
  beat();
  EXPECT_TRUE(placed());
  EXPECT_TRUE(board_.take_failures().empty());
  beat({.why = "EIO", .letter = 'H'});
  EXPECT_FALSE(placed());
  EXPECT_EQ(board_.take_failures(), std::vector<std::uint32_t>{kCs});
  beat({.why = "EIO, again", .letter = 'H'});
  EXPECT_TRUE(board_.take_failures().empty());
  // The journal is gone too: that is another one.
  beat({.why = "journal", .letter = 'S'});
  EXPECT_EQ(board_.take_failures().size(), 1U);
  beat();
  EXPECT_EQ(board_.state_of(kCs, now_), CsState::kActive);
  EXPECT_EQ(board_.find(kCs)->failure.letter, '\0');
  EXPECT_TRUE(board_.take_failures().empty());
  beat({.why = "journal", .letter = 'S'});
  EXPECT_EQ(board_.take_failures().size(), 1U);
}

TEST_F(CsBoardTest, AFailureWithoutALetterOfTheGuideIsAHardError) {
  board_.registered(kCs, {}, now_);
  for (const char letter : {'\0', 'x', 'h'}) {
    beat({.why = "EIO", .letter = letter});
    EXPECT_EQ(board_.find(kCs)->failure.letter, 'H') << letter;
  }
  beat({.why = "", .letter = 'T'});
  EXPECT_EQ(board_.find(kCs)->failure.letter, '\0') << "a letter alone is no failure";
  EXPECT_EQ(board_.state_of(kCs, now_), CsState::kActive);
}

TEST_F(CsBoardTest, OneThatCannotMeasureKeepsTheNumbersOfBefore) {
  board_.registered(kCs, {}, now_);
  beat();
  board_.heartbeat(kCs, std::nullopt, {.why = "EIO", .letter = 'H'}, now_);
  EXPECT_EQ(board_.find(kCs)->statistics.free_bytes(), 60U);
}

}  // namespace
}  // namespace cairn::mds::master
