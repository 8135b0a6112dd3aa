#include "chunkserver/care/block_checks.h"

#include <gtest/gtest.h>

#include "chunkserver/care/fake_door.h"
#include "chunkserver/testing/virtual_loop.h"

namespace cairn::chunkserver::care {
namespace {

using testing::piece_id;

class BlockChecksTest : public ::testing::Test {
 protected:
  BlockChecksTest() { door_.put(piece_id(1), 0, 10000); }
  ~BlockChecksTest() override { loop_.run(checks_.stop()); }
  std::uint64_t read() const {
    std::uint64_t blocks = 0;
    for (const testing::FakeDoor::ReadSeen& seen : door_.reads) blocks += seen.blocks;
    return blocks;
  }

  chunkserver::testing::VirtualLoop loop_{1};
  testing::FakeDoor door_{loop_};
  testing::KeptLog log_;
  BlockChecks checks_{loop_, door_, log_};
};

TEST_F(BlockChecksTest, BlocksThatWaitAreNotTakenTwice) {
  checks_.add(piece_id(2), {{0, 1}});  // is being read while the others come
  for (int i = 0; i < 5; ++i) checks_.add(piece_id(1), {{10, 300}, {400, 1}});
  loop_.run_for(1s);
  EXPECT_EQ(checks_.figures().taken, 302U);
  EXPECT_EQ(read(), 302U);
  EXPECT_EQ(door_.reads.size(), 3U);
  EXPECT_EQ(door_.most_in_flight, 1);
  // It may be doubted again.
  checks_.add(piece_id(1), {{10, 1}});
  loop_.run_for(1s);
  EXPECT_EQ(read(), 303U);
}

TEST_F(BlockChecksTest, TooManyAreDroppedAndPiecesTakeTurns) {
  checks_.add(piece_id(3), {{0, 1}});
  checks_.add(piece_id(1), {{0, 1000}});
  checks_.add(piece_id(2), {{0, 10}});
  checks_.add(piece_id(1), {{2000, 5000}});
  EXPECT_EQ(checks_.figures().dropped, 1000 + 10 + 5000 - kChecksMax);
  loop_.run_for(10s);
  EXPECT_EQ(read(), kChecksMax + 1);
  ASSERT_GE(door_.reads.size(), 3U);
  EXPECT_EQ(door_.reads[2].piece, piece_id(2)) << "not behind all of piece 1";
  for (const testing::FakeDoor::ReadSeen& seen : door_.reads) EXPECT_LE(seen.blocks, 256U);
}

TEST_F(BlockChecksTest, AFencedStoreIsNotAsked) {
  door_.failed = Error(Code::kDiskFailed);
  checks_.add(piece_id(1), {{0, 1}});
  loop_.run_for(1s);
  EXPECT_TRUE(door_.reads.empty());
  EXPECT_EQ(checks_.figures().taken, 0U);
}

TEST_F(BlockChecksTest, TheEndDoesNotWaitForWhatIsLeft) {
  door_.read_time = 1s;
  checks_.add(piece_id(1), {{0, 4096}});
  const Instant begun = loop_.now();
  loop_.run(checks_.stop());
  EXPECT_LE(loop_.now() - begun, Duration(2s));
}

}  // namespace
}  // namespace cairn::chunkserver::care
