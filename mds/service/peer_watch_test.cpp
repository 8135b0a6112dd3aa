#include "mds/service/peer_watch.h"

#include <gtest/gtest.h>

namespace cairn::mds::service {
namespace {

constexpr Instant at(Duration since) { return Instant::from_nanos(1'000'000'000'000) + since; }
const NodeId kPeer = NodeId::from_raw(3);

paxos::PeerProgress peer(std::uint64_t chosen, Duration heard, Duration accepted) {
  return {
      .id = kPeer, .chosen = Slot(chosen), .last_heard = at(heard), .last_accept = at(accepted)};
}

std::vector<std::string> texts(const std::vector<PeerWatch::Event>& events) {
  std::vector<std::string> result;
  for (const PeerWatch::Event& event : events) result.push_back(event.text);
  return result;
}

TEST(PeerWatch, SaysOnceThatAMemberLagsAndOnceThatItCaughtUp) {
  PeerWatch watch;
  EXPECT_TRUE(watch.look(peer(1000, 0s, 0s), Slot(2000), at(0s)).empty()) << "1000 is not more";
  EXPECT_EQ(texts(watch.look(peer(1000, 0s, 0s), Slot(2001), at(0s))),
            std::vector<std::string>{"lags behind for more than 1000 rounds"});
  EXPECT_TRUE(watch.look(peer(1000, 1s, 1s), Slot(9000), at(1s)).empty());
  EXPECT_TRUE(watch.look(peer(8500, 2s, 2s), Slot(9000), at(2s)).empty()) << "not below 100 yet";
  EXPECT_EQ(texts(watch.look(peer(8950, 3s, 3s), Slot(9000), at(3s))),
            std::vector<std::string>{"caught up"});
}

TEST(PeerWatch, SaysSinceWhenAMemberAcceptsNothing) {
  PeerWatch watch;
  EXPECT_TRUE(watch.look(peer(5, 0s, 0s), Slot(5), at(10s)).empty());
  EXPECT_EQ(texts(watch.look(peer(5, 0s, 0s), Slot(5), at(11s))),
            std::vector<std::string>{"didn't accept commits for 11 sec"});
  EXPECT_TRUE(watch.look(peer(5, 0s, 0s), Slot(5), at(12s)).empty());
  EXPECT_EQ(texts(watch.look(peer(5, 13s, 13s), Slot(5), at(13s))),
            std::vector<std::string>{"accepts commits again"});
}

TEST(PeerWatch, TellsUnavailFromStale) {
  PeerWatch watch;
  EXPECT_EQ(watch.state(peer(5, 0s, 0s), Slot(5), at(3s)), MdsState::kAvail);
  EXPECT_EQ(watch.state(peer(5, 0s, 0s), Slot(5), at(4s)), MdsState::kUnavail);
  EXPECT_EQ(watch.state(peer(5, 20s, 0s), Slot(5), at(20s)), MdsState::kStale);
  EXPECT_EQ(watch.state(peer(5, 0s, 0s), Slot(1500), at(0s)), MdsState::kStale);
}

TEST(PeerWatch, AResyncIsSaidOnceAndEndsWhenItHasCaughtUp) {
  PeerWatch watch;
  ASSERT_TRUE(watch.resync(kPeer, at(0s)).has_value());
  EXPECT_FALSE(watch.resync(kPeer, at(1s)).has_value());
  EXPECT_EQ(watch.state(peer(950, 1s, 1s), Slot(1000), at(1s)), MdsState::kStale);
  EXPECT_TRUE(watch.look(peer(950, 1s, 1s), Slot(1000), at(1s)).empty());
  EXPECT_EQ(watch.state(peer(950, 1s, 1s), Slot(1000), at(1s)), MdsState::kAvail);
}

}  // namespace
}  // namespace cairn::mds::service
