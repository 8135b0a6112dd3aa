#include "mds/placement/capacity.h"

#include <gtest/gtest.h>

namespace cairn::mds::placement {
namespace {

std::vector<Room> rooms(const std::vector<ByteCount>& bytes) {
  std::vector<Room> made;
  for (std::uint32_t i = 0; i < bytes.size(); ++i) {
    made.push_back({NodeId::from_raw(1025 + i), HostId::from_raw(i + 1), bytes[i]});
  }
  return made;
}

Shape replicas(unsigned norm) { return {.data = 1, .pieces = norm, .min = norm / 2 + 1}; }

// The guide's example.
TEST(Allocatable, IsWhatTheGuideSays) {
  const std::vector<Room> three = rooms({200_GiB, 500_GiB, 1024_GiB});
  EXPECT_EQ(allocatable_bytes(three, replicas(3)), 200_GiB);
  EXPECT_EQ(allocatable_bytes(three, {.data = 1, .pieces = 2, .min = 1}), 700_GiB);
  EXPECT_EQ(allocatable_bytes(three, {.data = 1, .pieces = 1, .min = 1}), 1724_GiB);
}

TEST(Allocatable, CountsADomainOnceForEveryStripe) {
  std::vector<Room> disks = rooms({100_GiB, 100_GiB, 100_GiB, 100_GiB});
  disks[1].host = disks[0].host;
  disks[2].host = disks[0].host;
  EXPECT_EQ(allocatable_bytes(disks, {.data = 1, .pieces = 2, .min = 1}), 100_GiB);
  EXPECT_EQ(allocatable_bytes(disks, {.data = 1, .pieces = 2, .min = 1, .domain = Domain::kDisk}),
            200_GiB);
}

TEST(Allocatable, OfACodeIsTheDataPartOnly) {
  EXPECT_EQ(allocatable_bytes(rooms({60_GiB, 60_GiB, 60_GiB, 60_GiB, 60_GiB, 60_GiB, 60_GiB}),
                              {.data = 4, .pieces = 6, .min = 5}),
            280_GiB);
}

TEST(Allocatable, FewerDomainsThanPiecesTakeDegradedChunks) {
  EXPECT_EQ(allocatable_bytes(rooms({10_GiB, 20_GiB}), {.data = 1, .pieces = 3, .min = 2}), 10_GiB);
  EXPECT_EQ(allocatable_bytes(rooms({10_GiB}), {.data = 1, .pieces = 3, .min = 2}), 0U);
  EXPECT_EQ(allocatable_bytes(rooms({10_GiB, 0}), {.data = 1, .pieces = 3, .min = 2}), 0U);
  EXPECT_EQ(allocatable_bytes({}, replicas(1)), 0U);
}

}  // namespace
}  // namespace cairn::mds::placement
