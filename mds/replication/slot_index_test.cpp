#include "mds/replication/slot_index.h"

#include <gtest/gtest.h>

#include <map>

#include "common/base/prng.h"

namespace cairn::mds::replication {
namespace {

Location at(std::uint64_t slot, std::uint64_t segment, std::uint32_t offset, bool learned = false) {
  return {.slot = Slot(slot),
          .segment = Lsn(segment),
          .offset = offset,
          .bytes = 100,
          .learned = learned ? 1U : 0U};
}

TEST(SlotIndex, KeepsTheNewestAcceptAndTheLearnedValue) {
  SlotIndex index;
  index.put(at(5, 1, 0));
  index.put(at(5, 1, 100));
  ASSERT_EQ(index.size(), 1U);
  EXPECT_EQ(index.after(Slot()).front().offset, 100U);
  index.put(at(5, 1, 200, true));
  index.put(at(5, 1, 300));
  EXPECT_EQ(index.after(Slot()).front().offset, 200U);
  EXPECT_TRUE(index.learned(Slot(5)));
  EXPECT_FALSE(index.learned(Slot(6)));
}

TEST(SlotIndex, RunEndsAtAGapAndAtItsLimits) {
  SlotIndex index;
  for (const unsigned slot : {3U, 4U, 5U, 8U, 9U}) index.put(at(slot, 1, 0));
  EXPECT_TRUE(index.run(Slot(2), 10, 1_MiB).empty());
  EXPECT_TRUE(index.run(Slot(6), 10, 1_MiB).empty());
  EXPECT_TRUE(index.run(Slot(10), 10, 1_MiB).empty());
  EXPECT_EQ(index.run(Slot(3), 10, 1_MiB).size(), 3U);
  EXPECT_EQ(index.run(Slot(4), 10, 1_MiB).size(), 2U);
  EXPECT_EQ(index.run(Slot(3), 2, 1_MiB).size(), 2U);
  EXPECT_EQ(index.run(Slot(3), 10, 250).size(), 2U);
  EXPECT_EQ(index.run(Slot(3), 10, 1).size(), 1U);
  EXPECT_EQ(index.run(Slot(3), 0, 0).size(), 1U);
}

TEST(SlotIndex, AgreesWithAMapOnRandomPrograms) {
  Prng prng(3);
  for (int round = 0; round < 200; ++round) {
    SlotIndex index;
    std::map<std::uint64_t, Location> model;
    std::uint64_t segment = 1;
    for (std::uint32_t step = 0; step < 300; ++step) {
      if (prng.chance(20)) ++segment;
      const Location put = at(prng.between(1, 40), segment, step, prng.chance(200));
      index.put(put);
      Location& kept = model.try_emplace(put.slot.raw(), put).first->second;
      if (!kept.learned || put.learned) kept = put;
      if (prng.chance(10)) {
        const std::uint64_t before = prng.below(40);
        index.drop_before(Slot(before));
        std::erase_if(model, [&](const auto& item) { return item.first < before; });
      }
      ASSERT_EQ(index.size(), model.size());
    }
    auto expected = model.begin();
    for (const Location& location : index.after(Slot())) {
      EXPECT_EQ(location.slot.raw(), expected->first);
      EXPECT_EQ(location.offset, expected->second.offset);
      EXPECT_EQ(location.learned, expected->second.learned);
      ++expected;
    }
  }
}

}  // namespace
}  // namespace cairn::mds::replication
