// The scrubber on a store in memory and virtual time.
#include "chunkserver/care/scrubber.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "chunkserver/care/fake_door.h"
#include "chunkserver/testing/virtual_loop.h"

namespace cairn::chunkserver::care {
namespace {

using observe::Severity;
using testing::FakeDoor;
using testing::piece_id;

class ScrubberTest : public ::testing::Test {
 protected:
  ScrubberTest() : loop_(1), door_(loop_) {}
  ~ScrubberTest() override { stop(); }

  void start(std::uint32_t rate) {
    options_.pieces_a_minute = rate;
    options_.busy = [this] { return busy_; };
    scrubber_ = std::make_unique<Scrubber>(loop_, door_, log_, options_);
    scrubber_->start();
  }
  void stop() {
    if (scrubber_ != nullptr) loop_.run(scrubber_->stop());
    scrubber_.reset();
  }
  static std::vector<pb::ScrubTask> tasks(std::vector<std::uint64_t> chunks) {
    std::vector<pb::ScrubTask> all;
    for (const std::uint64_t chunk : chunks) {
      pb::ScrubTask& one = all.emplace_back();
      one.set_job(1);
      one.mutable_piece()->set_chunk(chunk);
    }
    return all;
  }
  std::set<PieceId> read_pieces() const {
    std::set<PieceId> pieces;
    for (const FakeDoor::ReadSeen& read : door_.reads) pieces.insert(read.piece);
    return pieces;
  }

  testing::KeptLog log_;
  chunkserver::testing::VirtualLoop loop_;
  FakeDoor door_;
  ScrubberOptions options_;
  bool busy_ = false;
  std::unique_ptr<Scrubber> scrubber_;
};

TEST_F(ScrubberTest, VerifiesItsNumberOfPiecesAMinuteInTurn) {
  for (std::uint64_t chunk = 1; chunk <= 10; ++chunk) door_.put(piece_id(chunk), 0, 600);
  start(2);
  for (std::uint64_t minute = 1; minute <= 5; ++minute) {
    loop_.run_for(minute == 1 ? 59s : 60s);
    EXPECT_EQ(read_pieces().size(), 2 * minute);
  }
  loop_.run_for(2s);
  EXPECT_EQ(scrubber_->progress().blocks_verified(), 6000U + 256U) << "and the next round begins";
  EXPECT_EQ(scrubber_->progress().pieces_verified(), 0U);
  EXPECT_EQ(scrubber_->progress().pieces_total(), 10U);
  EXPECT_NEAR(static_cast<double>(scrubber_->progress().last_round_ns_ago()), 1e9, 1e8);
  EXPECT_EQ(door_.most_in_flight, 1);
  for (std::size_t i = 0; i < 30; ++i) {
    EXPECT_EQ(door_.reads[i].piece, piece_id(i / 3 + 1));
    EXPECT_LE(door_.reads[i].blocks, kScrubReadBlocks);
  }
}

TEST_F(ScrubberTest, SpreadsItsReadsEvenly) {
  for (std::uint64_t chunk = 1; chunk <= 4; ++chunk) door_.put(piece_id(chunk), 0, 16384);
  start(2);
  loop_.run_for(59s);
  ASSERT_GT(door_.reads.size(), 120U);
  for (std::size_t i = 1; i < door_.reads.size(); ++i) {
    const Duration gap = door_.reads[i].at - door_.reads[i - 1].at;
    EXPECT_GE(gap, 400ms) << i;
    EXPECT_LE(gap, 500ms) << i;
  }
}

TEST_F(ScrubberTest, FollowsTheRateWhileItRuns) {
  for (std::uint64_t chunk = 1; chunk <= 1000; ++chunk) door_.put(piece_id(chunk), 0, 1);
  start(0);
  loop_.run_for(600s);
  EXPECT_TRUE(door_.reads.empty());
  scrubber_->set_rate(3);
  loop_.run_for(60s);
  EXPECT_NEAR(static_cast<double>(door_.reads.size()), 3, 1);
  scrubber_->set_rate(300);
  loop_.run_for(60s);
  EXPECT_NEAR(static_cast<double>(door_.reads.size()), 303, 3);
  scrubber_->set_rate(0);
  const std::size_t before = door_.reads.size();
  loop_.run_for(600s);
  EXPECT_LE(door_.reads.size(), before + 1);
  scrubber_->set_rate(2);
  loop_.run_for(60s);
  EXPECT_NEAR(static_cast<double>(door_.reads.size() - before), 2, 1) << "nothing is made up for";
}

TEST_F(ScrubberTest, OffInTheMiddleOfAPieceIsOff) {
  door_.put(piece_id(1), 0, 16384);
  start(1);
  loop_.run_for(10s);
  scrubber_->set_rate(0);
  const std::size_t before = door_.reads.size();
  EXPECT_GT(before, 5U);
  loop_.run_for(600s);
  EXPECT_LE(door_.reads.size(), before + 1);
  scrubber_->set_rate(1);
  loop_.run_for(65s);
  EXPECT_GE(door_.reads.size(), std::size_t{64}) << "the rest of it";
}

TEST_F(ScrubberTest, FindsEachDamagedBlockAndVerifiesTheOthers) {
  door_.put(piece_id(1), 0, 1000);
  door_.put(piece_id(2), 5, 100);
  for (const std::uint64_t block : std::vector<std::uint64_t>{0, 255, 256, 700, 701, 999}) {
    door_.content[piece_id(1)][block].rotten = true;
  }
  start(10);
  loop_.run_for(11s);
  EXPECT_EQ(door_.known.size(), 6U);
  EXPECT_EQ(scrubber_->progress().damaged_found(), 6U);
  EXPECT_EQ(scrubber_->progress().blocks_verified(), 1100U);
  EXPECT_EQ(scrubber_->progress().pieces_verified(), 2U);
  EXPECT_EQ(log_.count(Severity::kWarning, "6 damaged blocks in piece 1.0"), 1U);
}

TEST_F(ScrubberTest, APieceThatVanishesIsNoTrouble) {
  for (std::uint64_t chunk = 1; chunk <= 4; ++chunk) door_.put(piece_id(chunk), 0, 2560);
  start(4);
  loop_.run_for(5s);
  door_.content.erase(piece_id(1));
  door_.content.erase(piece_id(2));
  loop_.run_for(56s);
  EXPECT_TRUE(read_pieces().contains(piece_id(4)));
  EXPECT_EQ(log_.count(Severity::kWarning, ""), 0U);
}

TEST_F(ScrubberTest, AnEmptyStoreIsNotAskedAllTheTime) {
  start(1000);
  loop_.run_for(600s);
  EXPECT_EQ(scrubber_->progress().last_round_ns_ago(), 0);
  door_.put(piece_id(1), 0, 1);
  loop_.run_for(11s);
  EXPECT_GE(door_.reads.size(), 1U);
}

TEST_F(ScrubberTest, NamedPiecesGoFirstAndAnswer) {
  for (std::uint64_t chunk = 1; chunk <= 9; ++chunk) door_.put(piece_id(chunk), 0, 2560);
  door_.content[piece_id(8)][77].rotten = true;
  start(1);
  loop_.run_for(10s);
  const std::size_t before = door_.reads.size();
  scrubber_->take_tasks(tasks({8, 9, 55}));
  scrubber_->take_tasks(tasks({8, 9, 55}));
  loop_.run_for(2s);
  EXPECT_EQ(door_.reads[before].piece, piece_id(8));
  const std::vector<pb::ScrubDone> done = scrubber_->done();
  ASSERT_EQ(done.size(), 3U);
  EXPECT_EQ(done[0].blocks(), 2560U);
  EXPECT_EQ(done[0].damaged(), 1U);
  EXPECT_TRUE(done[0].failure().empty());
  EXPECT_EQ(done[1].damaged(), 0U);
  EXPECT_FALSE(done[2].failure().empty()) << "there is no piece 55";
  scrubber_->reported(done);
  EXPECT_TRUE(scrubber_->done().empty());
  loop_.run_for(50s);
  EXPECT_EQ(scrubber_->progress().pieces_verified(), 1U) << "the rotation goes on";
}

TEST_F(ScrubberTest, NamedPiecesAreVerifiedWithTheRotationOff) {
  door_.put(piece_id(1), 0, 10);
  start(0);
  loop_.run_for(100s);
  scrubber_->take_tasks(tasks({1}));
  loop_.run_for(1s);
  ASSERT_EQ(scrubber_->done().size(), 1U);
  EXPECT_EQ(scrubber_->done()[0].blocks(), 10U);
}

TEST_F(ScrubberTest, GivesWayButKeepsItsRate) {
  for (std::uint64_t chunk = 1; chunk <= 100; ++chunk) door_.put(piece_id(chunk), 0, 2560);
  start(6);
  busy_ = true;
  loop_.run_for(300s);
  EXPECT_NEAR(static_cast<double>(read_pieces().size()), 30, 1) << "busy all the time";
  // Busy half of each second: it reads in the other half.
  door_.reads.clear();
  for (int i = 0; i < 60; ++i) {
    busy_ = true;
    loop_.run_for(500ms);
    const std::size_t before = door_.reads.size();
    busy_ = false;
    loop_.run_for(500ms);
    EXPECT_GE(door_.reads.size(), before);
  }
  EXPECT_NEAR(static_cast<double>(door_.reads.size()), 60, 2);
}

TEST_F(ScrubberTest, DoesNothingOnAFencedStoreAndSaysSo) {
  for (std::uint64_t chunk = 1; chunk <= 9; ++chunk) door_.put(piece_id(chunk), 0, 10);
  start(60);
  loop_.run_for(2500ms);
  door_.failed = Error(Code::kDiskFailed, "the disk is dead");
  const std::size_t before = door_.reads.size();
  scrubber_->take_tasks(tasks({5}));
  loop_.run_for(60s);
  EXPECT_LE(door_.reads.size(), before + 1);
  ASSERT_EQ(scrubber_->done().size(), 1U);
  EXPECT_NE(scrubber_->done()[0].failure().find("the disk is dead"), std::string::npos);
}

class ScrubberFileTest : public ScrubberTest {
 protected:
  ScrubberFileTest()
      : directory_(std::filesystem::path(::testing::TempDir()) /
                   ("scrub" + std::to_string(::getpid()))) {
    std::filesystem::create_directory(directory_);
    options_.state_path = directory_ / "scrub.state";
    for (std::uint64_t chunk = 1; chunk <= 10; ++chunk) door_.put(piece_id(chunk), 0, 1);
  }
  ~ScrubberFileTest() override {
    stop();
    std::filesystem::remove_all(directory_);
  }
  std::filesystem::path directory_;
};

TEST_F(ScrubberFileTest, GoesOnWhereItWas) {
  start(60);
  loop_.run_for(4500ms);
  stop();
  EXPECT_EQ(read_pieces().size(), 5U);
  door_.reads.clear();
  start(60);
  loop_.run_for(500ms);
  EXPECT_EQ(door_.reads.front().piece, piece_id(6));
  EXPECT_EQ(scrubber_->progress().pieces_verified(), 6U);
  EXPECT_NEAR(static_cast<double>(scrubber_->progress().round_ns()), 5e9, 1e9);
}

TEST_F(ScrubberFileTest, LosesLittleWhenItIsKilled) {
  start(60);
  loop_.run_for(9500ms);
  const std::string kept = [this] {
    std::ifstream file(options_.state_path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
  const Result<ScrubState> state = decode_scrub_state(kept);
  ASSERT_TRUE(state.has_value());
  EXPECT_GE(state->verified, 4U);
  EXPECT_LE(state->verified, 9U);
}

TEST_F(ScrubberFileTest, ADamagedFileIsSaidAndIgnored) {
  std::ofstream(options_.state_path) << "cairn scrub 1\nafter 9 9\n";
  start(60);
  loop_.run_for(500ms);
  EXPECT_EQ(door_.reads.front().piece, piece_id(1));
  EXPECT_EQ(log_.count(Severity::kWarning, "begins a new round"), 1U);
}

TEST_F(ScrubberFileTest, AFileThatCannotBeWrittenIsSaidOnceAndHoldsUpNothing) {
  options_.state_path = directory_ / "nowhere" / "scrub.state";
  start(60);
  loop_.run_for(60s);
  EXPECT_GE(door_.reads.size(), 59U);
  EXPECT_EQ(log_.count(Severity::kWarning, "not noted"), 1U);
}

}  // namespace
}  // namespace cairn::chunkserver::care
