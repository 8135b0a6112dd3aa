// Members come, vote, and go.
#include <gtest/gtest.h>

#include <algorithm>

#include "mds/paxos/testing/cluster.h"

namespace cairn::mds::paxos {
namespace {

using testing::Cluster;
using testing::command;
using testing::id_of;
using testing::Letter;
using testing::members;
using testing::with_role;
using testing::without;

bool change(Cluster& cluster, const Membership& next) {
  const std::uint32_t leader = cluster.leader();
  const bool taken = cluster[leader].propose_membership(900 + next.version, next, cluster.now);
  cluster.collect(leader);
  return taken;
}

bool tells_of(const Message& message, ValueKind kind) {
  const auto* accept = std::get_if<Accept>(&message);
  if (accept == nullptr) return false;
  return std::ranges::any_of(accept->values, [kind](const Value& v) { return v.kind == kind; });
}

TEST(Members, NothingIsProposedBehindAMembershipBeforeItIsChosen) {
  Cluster cluster(members(3, 1));
  const std::uint32_t leader = cluster.elect();
  cluster.run(300ms);
  for (std::uint32_t number = 1; number <= 3; ++number) {
    if (number != leader) cluster.disk_stopped[number] = true;
  }
  ASSERT_TRUE(change(cluster, with_role(cluster[leader].membership(), 4, Role::kVoter)));
  const Slot barrier = cluster[leader].last_accepted();
  ASSERT_TRUE(cluster[leader].propose(1, command("a"), cluster.now));
  cluster.collect(leader);
  cluster.settle();
  EXPECT_EQ(cluster[leader].last_accepted(), barrier);
  for (std::uint32_t number = 1; number <= 3; ++number) cluster.disk_stopped[number] = false;
  cluster.run(500ms);
  EXPECT_EQ(cluster.commands(leader), std::vector<std::string>{"a"});
}

TEST(Members, OneChangeAtATimeAndOnlyTheNextVersion) {
  Cluster cluster(members(3, 1));
  const std::uint32_t leader = cluster.elect();
  const Membership now = cluster[leader].membership();
  Membership stale = with_role(now, 4, Role::kVoter);
  stale.version = now.version;
  EXPECT_FALSE(change(cluster, stale));
  Membership two = with_role(now, 4, Role::kVoter);
  two.members.erase(two.members.begin());
  EXPECT_FALSE(change(cluster, two));
  EXPECT_TRUE(change(cluster, with_role(now, 4, Role::kVoter)));
  EXPECT_FALSE(change(cluster, with_role(now, 5, Role::kLearner)));
  cluster.run(300ms);
  EXPECT_TRUE(change(cluster, with_role(cluster[leader].membership(), 5, Role::kLearner)));
}

TEST(Members, AGroupGrowsFromOneToThree) {
  Cluster cluster(members(1));
  cluster.elect();
  for (std::uint32_t number = 2; number <= 3; ++number) {
    cluster.start(number, Membership());
    ASSERT_TRUE(change(cluster, with_role(cluster[1].membership(), number, Role::kLearner)));
    cluster.run(1s);
    EXPECT_EQ(cluster[number].chosen(), cluster[1].chosen());
    ASSERT_TRUE(change(cluster, with_role(cluster[1].membership(), number, Role::kVoter)));
    cluster.run(1s);
    ASSERT_TRUE(cluster[1].may_serve(cluster.now));
    cluster.propose("with " + std::to_string(number));
  }
  EXPECT_EQ(cluster.count_notices<Deposed>(1), 0u);
  cluster.crash(1);
  const std::uint32_t next = cluster.elect();
  EXPECT_EQ(cluster.commands(next), (std::vector<std::string>{"with 2", "with 3"}));
}

TEST(Members, ASoleVoterServesNothingUntilItsFirstFellowVoterAnswered) {
  Cluster cluster(members(1, 1));
  cluster.elect();
  cluster.run(300ms);
  cluster.keep_back = [](const Letter& letter) { return letter.to == id_of(1); };
  ASSERT_TRUE(change(cluster, with_role(cluster[1].membership(), 2, Role::kVoter)));
  cluster.settle();
  EXPECT_EQ(cluster[1].membership().version, 2u);
  EXPECT_FALSE(cluster[1].may_serve(cluster.now));
  cluster.release();
  cluster.settle();
  cluster.release();
  EXPECT_TRUE(cluster[1].may_serve(cluster.now));
}

// The promises that the new members' slots need do not wait for another disk write of the
// followers.
TEST(Members, ACommandBehindAChangeNeedsNoSecondQuestion) {
  Cluster cluster(members(3, 1));
  const std::uint32_t leader = cluster.elect();
  cluster.run(300ms);
  cluster.forget_sent();
  ASSERT_TRUE(change(cluster, with_role(cluster[leader].membership(), 4, Role::kVoter)));
  ASSERT_TRUE(cluster[leader].propose(1, command("a"), cluster.now));
  cluster.collect(leader);
  cluster.settle();
  EXPECT_EQ(cluster.commands(leader), std::vector<std::string>{"a"});
  EXPECT_EQ(cluster.sent<Prepare>().size(), 3u);
}

TEST(Members, ARemovedFollowerHearsOfItWhenAMajorityOfTheOthersKnows) {
  Cluster cluster(members(4));
  const std::uint32_t leader = cluster.elect();
  cluster.run(300ms);
  const std::uint32_t gone = leader == 4 ? 3 : 4;
  // The others accept, and do not hear that it is chosen.
  cluster.keep_back = [&cluster, leader, gone](const Letter& letter) {
    const auto* beat = std::get_if<Heartbeat>(&letter.message);
    return beat != nullptr && letter.to != id_of(gone) && beat->chosen == cluster[leader].chosen();
  };
  ASSERT_TRUE(change(cluster, without(cluster[leader].membership(), gone)));
  cluster.settle();
  EXPECT_EQ(cluster[leader].membership().version, 2u);
  EXPECT_EQ(cluster[gone].membership().version, 1u);
  cluster.release();
  cluster.keep_back = nullptr;
  cluster.settle();
  EXPECT_EQ(cluster[gone].membership().version, 2u);
}

TEST(Members, AMemberThatWasDownWhenItWasRemovedLearnsItWhenItComesBack) {
  for (const Role role : {Role::kVoter, Role::kLearner}) {
    Cluster cluster(role == Role::kVoter ? members(3) : members(2, 1));
    std::uint32_t leader = cluster.elect();
    cluster.run(300ms);
    if (leader == 3) {
      ASSERT_TRUE(cluster[3].yield(NodeId(), cluster.now));
      cluster.collect(3);
      leader = cluster.elect();
      cluster.run(300ms);
    }
    cluster.crash(3);
    ASSERT_TRUE(change(cluster, without(cluster[leader].membership(), 3)));
    cluster.run(1s);
    for (int i = 0; i < 10; ++i) cluster.propose("x");
    cluster.restart(3);
    cluster.run(10s);
    EXPECT_EQ(find_member(cluster[3].membership(), id_of(3)), nullptr);
    EXPECT_EQ(cluster.leader(), leader);
  }
}

TEST(Members, ARemovedLeaderLeadsUntilTheOthersKnowItAndThenHandsOver) {
  Cluster cluster(members(3));
  const std::uint32_t old = cluster.elect();
  cluster.run(300ms);
  bool lost = true;
  cluster.keep_back = [&lost, old](const Letter& letter) {
    return lost && letter.from == id_of(old) && std::holds_alternative<Heartbeat>(letter.message);
  };
  ASSERT_TRUE(change(cluster, without(cluster[old].membership(), old)));
  cluster.settle();
  EXPECT_EQ(cluster.count_notices<Deposed>(old), 1u);
  EXPECT_FALSE(cluster[old].may_serve(cluster.now));
  // Its driver ends the process when it hears of this.
  EXPECT_EQ(cluster.count_notices<MembershipChanged>(old), 1u);
  lost = false;
  cluster.run(250ms);
  EXPECT_EQ(cluster.count_notices<MembershipChanged>(old), 2u);
  EXPECT_NE(cluster.leader(), 0u);
  EXPECT_NE(cluster.leader(), old);
  cluster.crash(old);
  cluster.elect();
  cluster.propose("a");
}

// It gives up leading, so that others can; but it stays, for they may need to hear from it that
// they are alone.
TEST(Members, ARemovedLeaderThatNobodyHearsStaysUntilTheOthersGoOn) {
  Cluster cluster(members(2));
  const std::uint32_t old = cluster.elect();
  const std::uint32_t other = 3 - old;
  cluster.run(300ms);
  cluster.keep_back = [other](const Letter& letter) {
    const auto* beat = std::get_if<Heartbeat>(&letter.message);
    return letter.to == id_of(other) && beat != nullptr && beat->chosen > Slot(1);
  };
  ASSERT_TRUE(change(cluster, without(cluster[old].membership(), old)));
  cluster.settle();
  cluster.restart(other);
  cluster.run(500ms);
  EXPECT_EQ(cluster.count_notices<MembershipChanged>(old), 1u);
  ASSERT_TRUE(cluster.run_until(
      [&cluster, old] { return cluster.count_notices<MembershipChanged>(old) == 2; }));
  EXPECT_EQ(cluster.leader(), other);
  cluster.propose("a");
}

// The first leader's change reached one member and was not chosen; another one was. Later it comes
// to light.
TEST(Members, AChangeThatDoesNotFollowThePresentMembersChangesNothing) {
  Cluster cluster(members(3, 2));
  const std::uint32_t old = cluster.elect();
  cluster.run(300ms);
  cluster.propose("a");
  cluster.keep_back = [](const Letter& letter) {
    return letter.to != id_of(5) && tells_of(letter.message, ValueKind::kMembership);
  };
  // Only member 5, a learner, gets it, behind a command that nobody else gets either.
  const Membership first = cluster[old].membership();
  ASSERT_TRUE(change(cluster, with_role(first, 4, Role::kVoter)));
  cluster.settle();
  const Slot stale = cluster[5].last_accepted();
  ASSERT_EQ(stale, cluster[old].chosen().next());
  cluster.crash(old);
  cluster.cut_off(5);
  cluster.kept.clear();
  cluster.keep_back = nullptr;
  const std::uint32_t next = cluster.elect();
  // Its own change comes first; then member 5 votes, and promises.
  ASSERT_TRUE(change(cluster, with_role(first, 5, Role::kVoter)));
  cluster.settle();
  cluster.cut_off(5, false);
  cluster.run(2s);
  cluster.propose("b");
  EXPECT_EQ(find_member(cluster[next].membership(), id_of(4))->role, Role::kLearner);
  EXPECT_EQ(find_member(cluster[next].membership(), id_of(5))->role, Role::kVoter);
  EXPECT_EQ(cluster[next].membership().version, 2u);
}

TEST(Members, ALateReportOfAnOldValueIsNotProposedAnyMore) {
  Cluster cluster(members(3));
  const std::uint32_t old = cluster.elect();
  cluster.run(300ms);
  const std::uint32_t slow = old == 3 ? 2 : 3;
  const std::uint32_t other = 6 - old - slow;
  cluster.keep_back = [slow](const Letter& letter) {
    return letter.to != id_of(slow) && std::holds_alternative<Accept>(letter.message);
  };
  cluster.propose("nobody chose this");
  cluster.crash(old);
  cluster.kept.clear();
  cluster.restart(old);
  cluster.cut_off(slow);
  cluster.keep_back = nullptr;
  const std::uint32_t next = cluster.elect();
  ASSERT_TRUE(next == other || next == old);
  cluster.cut_off(slow, false);
  cluster.run(1s);
  cluster.propose("b");
  EXPECT_EQ(cluster.commands(next).back(), "b");
  EXPECT_EQ(cluster.commands(other).size(), cluster.commands(next).size());
}

}  // namespace
}  // namespace cairn::mds::paxos
