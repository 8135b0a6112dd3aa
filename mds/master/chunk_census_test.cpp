#include "mds/master/chunk_census.h"

#include <gtest/gtest.h>

namespace cairn::mds::master {
namespace {

// "CCU-": pieces current, unwritten or missing, on CS 1025, 1026 ... ; `states`: A active,
// i inactive, o offline.
ChunkCensus::Count count(unsigned data, const std::string& pieces, const std::string& states) {
  pb::Chunk chunk;
  chunk.mutable_encoding()->set_data(data);
  chunk.mutable_encoding()->set_parity(static_cast<std::uint32_t>(pieces.size()) - data);
  chunk.mutable_encoding()->set_min(data);
  for (std::uint32_t i = 0; i < pieces.size(); ++i) {
    pb::Piece* piece = chunk.add_pieces();
    piece->set_index(i);
    piece->set_cs_id(pieces[i] == '-' ? 0 : 1025 + i);
    piece->set_state(pieces[i] == 'C'   ? pb::PIECE_CURRENT
                     : pieces[i] == 'U' ? pb::PIECE_UNWRITTEN
                                        : pb::PIECE_MISSING);
  }
  ChunkCensus::Count count;
  ChunkCensus::add(
      chunk,
      [&](std::uint32_t cs) {
        const char state = states[cs - 1025];
        return state == 'A'   ? CsState::kActive
               : state == 'i' ? CsState::kInactive
                              : CsState::kOffline;
      },
      false, &count);
  return count;
}

std::string unique(unsigned data, const std::string& pieces, const std::string& states) {
  const ChunkCensus::Count counted = count(data, pieces, states);
  std::string text;
  for (std::uint32_t i = 0; i < pieces.size(); ++i) {
    const auto at = counted.by_cs.find(1025 + i);
    text += at == counted.by_cs.end() ? '-' : at->second.unique == 0 ? '.' : '1';
  }
  return text;
}

TEST(Unique, OfReplicasIsTheLastOneThatIsNotOffline) {
  EXPECT_EQ(unique(1, "C", "A"), "1");
  EXPECT_EQ(unique(1, "CC", "AA"), "..");
  EXPECT_EQ(unique(1, "CC", "Ai"), "..");
  EXPECT_EQ(unique(1, "CC", "Ao"), "1.");
  EXPECT_EQ(unique(1, "C-", "AA"), "1-");
  // Neither can be spared until the other comes back.
  EXPECT_EQ(unique(1, "CC", "oo"), "11");
  EXPECT_EQ(unique(1, "C", "o"), "1");
}

TEST(Unique, OfACodeIsEveryPieceWhenNoneMayBeLost) {
  EXPECT_EQ(unique(2, "CCC", "AAA"), "...");
  EXPECT_EQ(unique(2, "CCC", "AAo"), "11.");
  EXPECT_EQ(unique(2, "CC-", "AAA"), "11-");
}

TEST(Unique, APieceThatWasNeverWrittenIsOnNoDisk) {
  EXPECT_EQ(unique(2, "CUC", "AAA"), "...");
  // Its zeros are known whatever its CS does: one of the other two is enough.
  EXPECT_EQ(unique(2, "CUC", "AoA"), "...");
  EXPECT_EQ(unique(2, "CUC", "AAo"), "1..");
}

TEST(Census, CountsChunksByServerAndPiecesWithoutAPlace) {
  const ChunkCensus::Count counted = count(2, "CC-", "AoA");
  EXPECT_EQ(counted.missing_pieces, 1U);
  EXPECT_EQ(counted.states.offline(), 1U);
  EXPECT_EQ(counted.by_cs.at(1025).chunks.at(ChunkState::kOffline), 1U);
  EXPECT_FALSE(counted.by_cs.contains(1027));
  EXPECT_EQ(counted.by_cs.at(1025).written, 1U);
  EXPECT_EQ(count(2, "CUC", "AAA").by_cs.at(1026).written, 0U);
}

}  // namespace
}  // namespace cairn::mds::master
