#include "chunkserver/store/space_map.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/prng.h"

namespace cairn::chunkserver::store {
namespace {

TEST(SpaceMap, GivesOneExtentWhenOneIsLongEnough) {
  SpaceMap map(100, 200);
  EXPECT_EQ(map.allocate(30).value(), (std::vector<Extent>{{100, 30}}));
  EXPECT_EQ(map.allocate(20).value(), (std::vector<Extent>{{130, 20}}));
  ASSERT_TRUE(map.free({100, 30}).has_value());
  // Next fit: behind the last one first.
  EXPECT_EQ(map.allocate(10).value(), (std::vector<Extent>{{150, 10}}));
  EXPECT_EQ(map.allocate(30).value(), (std::vector<Extent>{{160, 30}}));
  EXPECT_EQ(map.allocate(15).value(), (std::vector<Extent>{{100, 15}}));
  EXPECT_EQ(map.free_blocks(), 25U);
  map.check_invariants();
}

TEST(SpaceMap, GathersFragmentsAndRefusesWhatIsNotThere) {
  SpaceMap map(0, 10);
  ASSERT_TRUE(map.allocate(10).has_value());
  for (std::uint64_t block = 0; block < 10; block += 2)
    ASSERT_TRUE(map.free({block, 1}).has_value());
  EXPECT_EQ(map.allocate(6).error().code(), Code::kNoSpace);
  EXPECT_EQ(map.free_blocks(), 5U);
  EXPECT_EQ(map.allocate(5).value().size(), 5U);
  map.extend(13);
  EXPECT_EQ(map.allocate(3).value(), (std::vector<Extent>{{10, 3}}));
}

TEST(SpaceMap, RefusesDoubleFreeAndDoubleUse) {
  SpaceMap map(0, 10);
  ASSERT_TRUE(map.take({2, 3}).has_value());
  EXPECT_EQ(map.take({4, 2}).error().code(), Code::kCorrupt);
  EXPECT_EQ(map.take({9, 2}).error().code(), Code::kCorrupt);
  ASSERT_TRUE(map.free({3, 1}).has_value());
  EXPECT_EQ(map.free({3, 1}).error().code(), Code::kCorrupt);
  EXPECT_EQ(map.free({2, 2}).error().code(), Code::kCorrupt);
  EXPECT_EQ(map.free({8, 5}).error().code(), Code::kCorrupt);
  EXPECT_EQ(map.used_blocks(), 2U);
  map.check_invariants();
}

TEST(SpaceMap, AgreesWithABitmapOnRandomPrograms) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Prng prng(seed);
    SpaceMap map(10, 300);
    std::vector<bool> used(300, false);
    std::vector<Extent> held;
    for (int i = 0; i < 500; ++i) {
      if (prng.chance(550)) {
        const Result<std::vector<Extent>> got = map.allocate(prng.between(1, 20));
        if (!got.has_value()) continue;
        for (const Extent& extent : *got) {
          for (std::uint64_t b = extent.first; b < extent.end(); ++b) {
            ASSERT_FALSE(used[b]);
            used[b] = true;
          }
          held.push_back(extent);
        }
      } else if (!held.empty()) {
        std::swap(held[prng.below(held.size())], held.back());
        for (std::uint64_t b = held.back().first; b < held.back().end(); ++b) used[b] = false;
        ASSERT_TRUE(map.free(held.back()).has_value());
        held.pop_back();
      }
      map.check_invariants();
      ASSERT_EQ(map.used_blocks(),
                static_cast<std::uint64_t>(std::count(used.begin(), used.end(), true)));
    }
  }
}

}  // namespace
}  // namespace cairn::chunkserver::store
