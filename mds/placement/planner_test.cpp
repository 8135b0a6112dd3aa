#include "mds/placement/planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/base/prng.h"

namespace cairn::mds::placement {
namespace {

Candidate cs(std::uint32_t id, std::uint64_t host, std::uint32_t tier = 0,
             ByteCount free_bytes = 50_GiB) {
  return Candidate{.cs = NodeId::from_raw(id),
                   .host = HostId::from_raw(host),
                   .tier = tier,
                   .active = true,
                   .free_bytes = free_bytes,
                   .space_bytes = 100_GiB,
                   .pieces = 0};
}

Refusal why(const Plan& plan, std::uint32_t id) {
  for (const Refused& refused : plan.refused) {
    if (refused.cs == NodeId::from_raw(id)) return refused.why;
  }
  ADD_FAILURE() << "CS " << id << " has no reason";
  return Refusal::kNotNeeded;
}

std::vector<Candidate> random_candidates(Prng& prng) {
  std::vector<Candidate> all;
  const std::uint64_t count = prng.below(30);
  for (std::uint64_t i = 0; i < count; ++i) {
    Candidate c = cs(static_cast<std::uint32_t>(1025 + i), 1 + prng.below(12),
                     static_cast<std::uint32_t>(prng.below(4)));
    c.active = !prng.chance(200);
    c.space_bytes = prng.between(0, 200) * 1_GiB;
    c.free_bytes = c.space_bytes == 0 ? 0 : prng.below(c.space_bytes);
    all.push_back(c);
  }
  return all;
}

TEST(Planner, KeepsItsPromisesOnRandomClusters) {
  Prng prng(7);
  for (int round = 0; round < 5000; ++round) {
    const std::vector<Candidate> all = random_candidates(prng);
    const Request request{.pieces = static_cast<unsigned>(prng.between(1, 21)),
                          .min = 1,
                          .tier = static_cast<std::uint32_t>(prng.below(4)),
                          .domain = prng.chance(500) ? Domain::kDisk : Domain::kHost,
                          .piece_bytes = prng.below(64) * 1_MiB,
                          .seed = prng.next()};
    const Plan result = plan(all, request);
    std::map<NodeId, Candidate> by_id;
    for (const Candidate& c : all) by_id[c.cs] = c;
    std::set<std::uint64_t> used;
    std::set<std::uint64_t> possible;
    for (const Candidate& c : all) {
      const bool room = c.free_bytes > reserve_bytes(c.space_bytes) &&
                        c.free_bytes - reserve_bytes(c.space_bytes) >= request.piece_bytes;
      if (c.active && room) {
        possible.insert(request.domain == Domain::kDisk ? c.cs.raw() : c.host.raw());
      }
    }
    for (const NodeId place : result.places) {
      const Candidate& c = by_id.at(place);
      EXPECT_TRUE(c.active);
      EXPECT_GT(c.free_bytes, reserve_bytes(c.space_bytes));
      EXPECT_TRUE(used.insert(request.domain == Domain::kDisk ? c.cs.raw() : c.host.raw()).second);
    }
    EXPECT_EQ(result.places.size(), std::min<std::size_t>(request.pieces, possible.size()));
    EXPECT_EQ(result.places.size() + result.refused.size(), all.size());
    EXPECT_EQ(plan(all, request).places, result.places);
  }
}

TEST(Planner, TakesTheWantedTierThenLowerThenHigher) {
  const std::vector<Candidate> all = {cs(1025, 1, 0), cs(1026, 2, 1), cs(1027, 3, 2),
                                      cs(1028, 4, 3)};
  const Request request{
      .pieces = 4, .min = 1, .tier = 2, .domain = Domain::kHost, .piece_bytes = 0, .seed = 1};
  const Plan result = plan(all, request);
  ASSERT_EQ(result.places.size(), 4U);
  EXPECT_EQ(result.places[0].raw(), 1027U);
  EXPECT_EQ(result.places[1].raw(), 1026U);
  EXPECT_EQ(result.places[2].raw(), 1025U);
  EXPECT_EQ(result.places[3].raw(), 1028U);
}

TEST(Planner, NeverPutsTwoPiecesOnOneHostAndSaysWhy) {
  std::vector<Candidate> all = {cs(1025, 1), cs(1026, 1), cs(1027, 2), cs(1028, 3),
                                cs(1029, 4, 0, 1_GiB)};
  all[3].active = false;
  const Request request{
      .pieces = 3, .min = 3, .tier = 0, .domain = Domain::kHost, .piece_bytes = 64_MiB, .seed = 9};
  const Plan result = plan(all, request);
  EXPECT_EQ(result.places.size(), 2U);
  EXPECT_FALSE(result.enough(request));
  EXPECT_EQ(why(result, 1028), Refusal::kInactive);
  EXPECT_EQ(why(result, 1029), Refusal::kFull);
  const bool first =
      std::ranges::find(result.places, NodeId::from_raw(1025)) != result.places.end();
  EXPECT_EQ(why(result, first ? 1026 : 1025), Refusal::kDomainTaken);
  EXPECT_EQ(
      result.explain(request),
      "2 of 3 pieces have a place, 3 are needed: 1 CS is not active, 1 CS is full, 1 CS is in "
      "a failure domain that has a piece already");
}

TEST(Planner, FavoursFreeSpace) {
  const std::vector<Candidate> all = {cs(1025, 1, 0, 95_GiB), cs(1026, 2, 0, 15_GiB)};
  int first = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const Request request{.pieces = 1,
                          .min = 1,
                          .tier = 0,
                          .domain = Domain::kHost,
                          .piece_bytes = 1_MiB,
                          .seed = seed};
    if (plan(all, request).places.at(0).raw() == 1025) ++first;
  }
  EXPECT_GT(first, 850);  // 9 : 1 by usable space
  EXPECT_LT(first, 950);
}

TEST(Planner, ReservesFivePerCentAndHalfAGibibyteOfLargerRepositories) {
  EXPECT_EQ(reserve_bytes(1_GiB), 1_GiB / 20);
  EXPECT_EQ(reserve_bytes(10_GiB), 512_MiB);
  EXPECT_EQ(reserve_bytes(100_GiB), 5_GiB);
}

TEST(Planner, SurvivesNoCandidates) {
  const Request request{
      .pieces = 3, .min = 2, .tier = 0, .domain = Domain::kHost, .piece_bytes = 0, .seed = 0};
  const Plan result = plan({}, request);
  EXPECT_TRUE(result.places.empty());
  EXPECT_EQ(result.explain(request),
            "0 of 3 pieces have a place, 2 are needed: there are no more CSs");
}

}  // namespace
}  // namespace cairn::mds::placement
