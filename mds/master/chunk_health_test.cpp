#include "mds/master/chunk_health.h"

#include <gtest/gtest.h>

#include "mds/master/rate_window.h"

namespace cairn::mds::master {
namespace {

// A letter a piece: A active, I inactive, O offline, M missing and stale at an active CS, N missing
// without a place, U unwritten on an active CS.
ChunkState state_of(unsigned data, unsigned min, const std::string& pieces) {
  pb::Chunk chunk;
  chunk.mutable_encoding()->set_data(data);
  chunk.mutable_encoding()->set_parity(static_cast<unsigned>(pieces.size()) - data);
  chunk.mutable_encoding()->set_min(min);
  for (unsigned i = 0; i < pieces.size(); ++i) {
    pb::Piece* piece = chunk.add_pieces();
    piece->set_index(i);
    const bool missing = pieces[i] == 'M' || pieces[i] == 'N';
    piece->set_cs_id(pieces[i] == 'N' ? 0 : 1025 + i);
    piece->set_missed(missing ? 1 : 0);
    piece->set_state(missing            ? pb::PIECE_MISSING
                     : pieces[i] == 'U' ? pb::PIECE_UNWRITTEN
                                        : pb::PIECE_CURRENT);
  }
  return chunk_state(chunk, [&](std::uint32_t cs) {
    const char letter = pieces[cs - 1025];
    return letter == 'I'   ? CsState::kInactive
           : letter == 'O' ? CsState::kOffline
                           : CsState::kActive;
  });
}

TEST(ChunkHealth, NamesEveryState) {
  EXPECT_EQ(state_of(4, 5, "AAAAAA"), ChunkState::kHealthy);
  EXPECT_EQ(state_of(4, 5, "AAUAAA"), ChunkState::kHealthy);
  EXPECT_EQ(state_of(4, 5, "AAAAAI"), ChunkState::kStandby);
  EXPECT_EQ(state_of(4, 5, "AAAAAO"), ChunkState::kDegraded);
  EXPECT_EQ(state_of(4, 5, "AAAAAN"), ChunkState::kDegraded);
  EXPECT_EQ(state_of(4, 5, "AAAAAM"), ChunkState::kUrgent);
  EXPECT_EQ(state_of(4, 4, "AAAAMI"), ChunkState::kUrgent);
  EXPECT_EQ(state_of(4, 4, "AAAANI"), ChunkState::kDegraded);
  EXPECT_EQ(state_of(4, 5, "AAAAII"), ChunkState::kBlocked);
  EXPECT_EQ(state_of(4, 5, "AAAAIM"), ChunkState::kBlocked);
  EXPECT_EQ(state_of(4, 5, "AAAAMM"), ChunkState::kPending);
  EXPECT_EQ(state_of(4, 5, "AAAANM"), ChunkState::kPending);
  EXPECT_EQ(state_of(4, 5, "AAAIMM"), ChunkState::kOffline);
  EXPECT_EQ(state_of(4, 5, "AAAOOM"), ChunkState::kOffline);
  EXPECT_EQ(state_of(1, 1, "A"), ChunkState::kHealthy);
  EXPECT_EQ(state_of(1, 2, "AAO"), ChunkState::kDegraded);
  EXPECT_EQ(state_of(1, 2, "AOO"), ChunkState::kBlocked);
  EXPECT_EQ(state_of(1, 2, "AMN"), ChunkState::kPending);
  EXPECT_EQ(state_of(1, 1, "AM"), ChunkState::kUrgent);
  EXPECT_EQ(state_of(1, 1, "AO"), ChunkState::kDegraded);
  EXPECT_EQ(state_of(1, 1, "OO"), ChunkState::kOffline);
}

TEST(RateWindow, GivesGrowthPerSecondOverTwentySeconds) {
  RateWindow<1> window;
  Instant now = Instant::from_nanos(0);
  for (std::uint64_t i = 0; i <= 100; ++i) {
    window.add(now, {i * 10});
    now = now + 1s;
  }
  EXPECT_NEAR(window.per_second(now, 0), 10.0, 0.01);
  EXPECT_EQ(window.per_second(now + 60s, 0), 0.0);
  window.add(now, {3});  // the peer began anew
  EXPECT_EQ(window.per_second(now, 0), 0.0);
}

}  // namespace
}  // namespace cairn::mds::master
