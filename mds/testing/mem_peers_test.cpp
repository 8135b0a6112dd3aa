#include "mds/testing/mem_peers.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "mds/testing/virtual_runtime.h"

namespace cairn::mds::testing {
namespace {

constexpr auto kOne = NodeId::from_raw(1);
constexpr auto kTwo = NodeId::from_raw(2);
constexpr auto kThree = NodeId::from_raw(3);

struct End {
  End(PeerHub& hub, NodeId self) : peers(hub, self) {
    peers.start([this](NodeId from, std::string bytes) {
      EXPECT_EQ(from, kOne);
      got.push_back(std::stoi(bytes));
    });
    peers.set_peers({{kOne, {}}, {kTwo, {}}, {kThree, {}}});
  }
  void say(NodeId to, int number) {
    peers.send(to, std::make_shared<const std::string>(std::to_string(number)));
  }
  MemPeers peers;
  std::vector<int> got;
};

TEST(MemPeers, KeepsTheOrderWithinADirection) {
  VirtualRuntime runtime;
  PeerHub hub(runtime, {.delay = 1ms, .jitter = 5ms});
  End one(hub, kOne);
  End two(hub, kTwo);
  for (int i = 0; i < 100; ++i) one.say(kTwo, i);
  EXPECT_TRUE(two.got.empty());
  runtime.run_for(1s);
  ASSERT_EQ(two.got.size(), 100U);
  EXPECT_TRUE(std::ranges::is_sorted(two.got));
  EXPECT_EQ(hub.delivered(), 100U);
}

TEST(MemPeers, LosesAndRepeatsAsOftenAsTold) {
  VirtualRuntime runtime;
  PeerHub hub(runtime, {.lost_per_mille = 300, .repeated_per_mille = 100});
  End one(hub, kOne);
  End two(hub, kTwo);
  for (int i = 0; i < 10'000; ++i) one.say(kTwo, i);
  runtime.run_for(10s);
  EXPECT_NEAR(static_cast<double>(two.got.size()), 10'000 * 1.1 * 0.7, 200);
}

TEST(MemPeers, CutsAndLivesEndWhatIsUnderWay) {
  VirtualRuntime runtime;
  PeerHub hub(runtime);
  End one(hub, kOne);
  auto two = std::make_unique<End>(hub, kTwo);
  End three(hub, kThree);
  one.say(kTwo, 1);
  hub.cut(kOne, kTwo);
  EXPECT_FALSE(one.peers.connected(kTwo));
  EXPECT_TRUE(one.peers.connected(kThree));
  runtime.run_for(1s);
  EXPECT_TRUE(two->got.empty());
  hub.heal(kOne, kTwo);
  EXPECT_TRUE(one.peers.connected(kTwo));

  // For the life before: not for this one.
  one.say(kTwo, 2);
  two = nullptr;
  EXPECT_FALSE(one.peers.connected(kTwo));
  two = std::make_unique<End>(hub, kTwo);
  runtime.run_for(1s);
  EXPECT_TRUE(two->got.empty());
  one.say(kTwo, 3);
  runtime.run_for(1s);
  EXPECT_EQ(two->got, std::vector{3});

  hub.isolate(kOne);
  one.say(kTwo, 4);
  one.say(kThree, 4);
  runtime.run_for(1s);
  hub.rejoin(kOne);
  one.say(kThree, 5);
  runtime.run_for(1s);
  EXPECT_EQ(three.got, std::vector{5});
  EXPECT_EQ(two->got, std::vector{3});
}

}  // namespace
}  // namespace cairn::mds::testing
