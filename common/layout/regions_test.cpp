#include "common/layout/regions.h"

#include <gtest/gtest.h>

namespace cairn::layout {
namespace {

TEST(Regions, ARunTouchesTheRegionsItLiesIn) {
  EXPECT_EQ(regions_of({0, 0}, 16384), 0u);
  EXPECT_EQ(regions_of({0, 1}, 16384), 1u);
  EXPECT_EQ(regions_of({255, 2}, 16384), 0b11u);
  EXPECT_EQ(regions_of({16383, 1}, 16384), RegionMask{1} << 63);
  EXPECT_EQ(regions_of({0, 16384}, 16384), kAllRegions);
}

// Whatever the size of the piece: the blocks of a run's regions hold the run, and the regions of
// these blocks are the same again.
TEST(Regions, MasksAndBlocksAreInverseForEveryRun) {
  for (const std::uint64_t blocks : {1U, 3U, 63U, 64U, 65U, 100U, 130U, 257U}) {
    for (std::uint64_t first = 0; first < blocks; ++first) {
      for (std::uint64_t count = 1; first + count <= blocks; ++count) {
        const RegionMask mask = regions_of({first, count}, blocks);
        const std::vector<BlockRun> runs = blocks_of(mask, blocks);
        ASSERT_EQ(runs.size(), 1u);
        EXPECT_LE(runs[0].first, first);
        EXPECT_GE(runs[0].first + runs[0].count, first + count);
        EXPECT_LE(runs[0].first + runs[0].count, blocks);
        EXPECT_EQ(regions_of(runs[0], blocks), mask);
      }
    }
  }
}

TEST(Regions, NeighboursAreJoinedAndGapsAreKept) {
  const std::vector<BlockRun> runs = blocks_of(0b1011, 6400);
  EXPECT_EQ(runs, (std::vector<BlockRun>{{0, 200}, {300, 100}}));
  EXPECT_EQ(blocks_of(kAllRegions, 100), (std::vector<BlockRun>{{0, 100}}));
}

}  // namespace
}  // namespace cairn::layout
