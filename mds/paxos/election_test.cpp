// Who becomes the leader, and who does not disturb it.
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

std::uint32_t other_than(std::uint32_t a, std::uint32_t b = 0) {
  for (std::uint32_t number = 1;; ++number) {
    if (number != a && number != b) return number;
  }
}

TEST(Election, ASoleVoterElectsItselfAtOnceWithoutAnybody) {
  Cluster cluster(members(1));
  cluster.run(1ms);
  EXPECT_EQ(cluster.leader(), 1u);
  EXPECT_TRUE(cluster[1].may_serve(cluster.now));
  EXPECT_TRUE(cluster.sent<Prepare>().empty());
}

TEST(Election, ASoleVoterLeadsAtOnceAfterARestart) {
  Cluster cluster(members(1));
  cluster.elect();
  cluster.propose("a");
  cluster.restart(1);
  cluster.run(1ms);
  EXPECT_EQ(cluster.leader(), 1u);
  EXPECT_EQ(cluster[1].membership().version, 1u);
}

// Its log says that there may be others by now, who may have elected somebody.
TEST(Election, ASoleVoterWhoseLogHasAnUnsettledMembershipWaitsLikeAnybody) {
  Membership old = members(1);
  old.version = 1;
  const Membership next = testing::with_role(old, 2, Role::kVoter);
  const Instant start = Instant::from_nanos(1'000);
  const Ballot ballot{.round = 1, .node = id_of(1)};
  Durable durable = testing::durable_of(old, Slot(1), ballot);
  durable.accepted = {{.slot = Slot(2), .ballot = ballot, .value = testing::change_to(next)}};
  Replica core(testing::options_of(1), std::move(durable), start);
  EXPECT_GE(core.next_tick(), start + Timing().hold);
  core.tick(start);
  EXPECT_TRUE(core.take().records.empty());
  const Instant later = core.next_tick();
  core.tick(later);
  Effects effects = core.take();
  ASSERT_FALSE(effects.records.empty());  // its promise
  core.persisted(effects.last_record, later);
  effects = core.take();  // the membership again
  core.persisted(effects.last_record, later);
  effects = core.take();  // that it is chosen
  core.persisted(effects.last_record, later);
  core.take();
  EXPECT_EQ(core.chosen(), Slot(2));
  EXPECT_FALSE(core.leads());  // not before the other one has promised
}

TEST(Election, ThreeElectOneAndChooseTheMembershipFirst) {
  Cluster cluster(members(3));
  const std::uint32_t leader = cluster.elect();
  ASSERT_NE(leader, 0u);
  ASSERT_FALSE(cluster.chosen(leader).empty());
  EXPECT_EQ(cluster.chosen(leader)[0].value.kind, ValueKind::kMembership);
  EXPECT_EQ(cluster[leader].membership().version, 1u);
  cluster.run(1s);
  for (std::uint32_t number = 1; number <= 3; ++number) {
    EXPECT_EQ(cluster[number].leader(), id_of(leader));
    EXPECT_EQ(cluster[number].chosen(), Slot(1));
  }
}

TEST(Election, PrepareLeavesOnlyWhenTheOwnPromiseIsDurable) {
  Cluster cluster(members(3));
  for (std::uint32_t number = 1; number <= 3; ++number) cluster.disk_stopped[number] = true;
  cluster.run(5s);
  EXPECT_FALSE(cluster.sent<PreVote>().empty());
  EXPECT_TRUE(cluster.sent<Prepare>().empty());
}

// Each new ballot would wait as long as the one before.
TEST(Election, ACandidateWithASlowDiskWaitsForItInsteadOfBeginningAnew) {
  Replica core(testing::options_of(1), testing::durable_of(members(3)),
               Instant::from_nanos(1'000'000));
  Instant now = core.next_tick();
  core.tick(now);
  const Effects asked = core.take();
  ASSERT_EQ(asked.messages.size(), 2u);
  const Ballot ballot = std::get<PreVote>(asked.messages[0].message).ballot;
  core.receive(id_of(2), PreVoteReply{ballot, true, {}, {}}, now);
  const Effects promised = core.take();
  ASSERT_EQ(promised.records.size(), 1u);
  for (int i = 0; i < 20; ++i) {
    now = core.next_tick();
    core.tick(now);
    EXPECT_TRUE(core.take().records.empty());
  }
  // When it is done the campaign goes on.
  core.persisted(promised.last_record, now);
  const Effects prepared = core.take();
  ASSERT_EQ(prepared.messages.size(), 2u);
  EXPECT_EQ(std::get<Prepare>(prepared.messages[0].message).ballot, ballot);
}

TEST(Election, AMemberThatComesBackDoesNotDeposeAHealthyLeader) {
  Cluster cluster(members(3));
  const std::uint32_t leader = cluster.elect();
  const std::uint32_t away = other_than(leader);
  cluster.cut_off(away);
  cluster.run(20s);
  EXPECT_EQ(cluster[away].promised(), cluster[leader].promised());  // it only asked
  const Ballot before = cluster[leader].promised();
  cluster.cut_off(away, false);
  cluster.run(5s);
  EXPECT_EQ(cluster.leader(), leader);
  EXPECT_EQ(cluster[leader].promised(), before);
  EXPECT_EQ(cluster.count_notices<Deposed>(leader), 0u);
}

TEST(Election, ALeaderWithoutAMajorityStepsDownAndAnotherTakesOver) {
  Cluster cluster(members(3));
  const std::uint32_t old = cluster.elect();
  cluster.propose("a");
  cluster.cut_off(old);
  EXPECT_TRUE(cluster.run_until([&] { return cluster.leader() != old && cluster.leader() != 0; }));
  EXPECT_FALSE(cluster[old].leads());
  EXPECT_EQ(cluster.count_notices<Deposed>(old), 1u);
  cluster.propose("b");
  cluster.cut_off(old, false);
  cluster.run(2s);
  EXPECT_EQ(cluster.commands(old), (std::vector<std::string>{"a", "b"}));
}

TEST(Election, TheNewLeaderProposesAgainWhatMayHaveBeenChosen) {
  Cluster cluster(members(3));
  const std::uint32_t old = cluster.elect();
  const std::uint32_t witness = other_than(old);
  const std::uint32_t third = other_than(old, witness);
  // Only one other gets it, nobody hears that it is chosen.
  cluster.cut_off(third);
  cluster.keep_back = [old](const Letter& letter) { return letter.to == id_of(old); };
  ASSERT_TRUE(cluster[old].propose(1, command("a"), cluster.now));
  cluster.collect(old);
  cluster.settle();
  EXPECT_TRUE(cluster.commands(old).empty());
  cluster.crash(old);
  cluster.kept.clear();
  cluster.keep_back = nullptr;
  cluster.cut_off(third, false);
  cluster.elect();
  cluster.run(300ms);
  EXPECT_EQ(cluster.commands(witness), std::vector<std::string>{"a"});
  EXPECT_EQ(cluster.commands(third), std::vector<std::string>{"a"});
}

TEST(Election, AGapIsFilledWithANoop) {
  const Ballot ballot{.round = 3, .node = id_of(2)};
  Membership group = members(1);
  group.version = 1;
  const Instant start = Instant::from_nanos(1'000);
  Durable durable = testing::durable_of(group, Slot(4), ballot);
  durable.accepted = {{.slot = Slot(6), .ballot = ballot, .value = command("b")}};
  Replica core(testing::options_of(1), std::move(durable), start);
  core.tick(start);
  std::vector<Chosen> chosen;
  for (int i = 0; i < 4; ++i) {
    Effects effects = core.take();
    std::ranges::copy(effects.chosen, std::back_inserter(chosen));
    if (effects.last_record != 0) core.persisted(effects.last_record, start);
  }
  ASSERT_EQ(chosen.size(), 2u);
  EXPECT_EQ(chosen[0].value.kind, ValueKind::kNoop);
  EXPECT_EQ(testing::text_of(chosen[1].value), "b");
  EXPECT_TRUE(core.leads());
}

TEST(Election, YieldHandsOverWithoutWaitingForTheHold) {
  Cluster cluster(members(3));
  const std::uint32_t old = cluster.elect();
  cluster.run(500ms);
  const std::uint32_t heir = other_than(old);
  ASSERT_TRUE(cluster[old].yield(id_of(heir), cluster.now));
  EXPECT_FALSE(cluster[old].leads());
  EXPECT_FALSE(cluster[old].may_serve(cluster.now));
  cluster.collect(old);
  cluster.settle();
  EXPECT_EQ(cluster.leader(), heir);
  cluster.propose("a");
  EXPECT_EQ(cluster.commands(heir), std::vector<std::string>{"a"});
}

TEST(Election, NobodyYieldsToOneThatIsSilentOrToNobody) {
  Cluster cluster(members(3));
  const std::uint32_t leader = cluster.elect();
  cluster.run(500ms);
  const std::uint32_t silent = other_than(leader);
  cluster.crash(silent);
  cluster.run(1500ms);
  EXPECT_FALSE(cluster[leader].yield(id_of(silent), cluster.now));
  EXPECT_FALSE(cluster[leader].yield(id_of(9), cluster.now));
  EXPECT_TRUE(cluster[leader].leads());
  EXPECT_TRUE(cluster[leader].yield(NodeId(), cluster.now));

  Cluster sole(members(1));
  sole.elect();
  EXPECT_FALSE(sole[1].yield(NodeId(), sole.now));
}

TEST(Election, ACandidateThatLacksChosenSlotsFetchesThemAndThenWins) {
  Cluster cluster(members(3));
  const std::uint32_t old = cluster.elect();
  const std::uint32_t behind = other_than(old);
  const std::uint32_t ahead = other_than(old, behind);
  cluster.cut_off(behind);
  for (const char* text : {"a", "b", "c"}) cluster.propose(text);
  cluster.run(300ms);
  cluster.crash(old);
  cluster.cut_off(behind, false);
  // Whoever asks first: the one that is ahead refuses, tells what it has, and one of them wins.
  cluster.elect();
  cluster.run(1s);
  EXPECT_EQ(cluster.commands(behind), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(cluster[ahead].chosen(), cluster[behind].chosen());
}

TEST(Election, ARefusalOfOneThatWasRemovedDeposesNobody) {
  Cluster cluster(members(3));
  const std::uint32_t leader = cluster.elect();
  cluster.deliver({.from = id_of(9),
                   .to = id_of(leader),
                   .message = Refuse{.ballot = cluster[leader].promised(),
                                     .promised = {.round = 99, .node = id_of(9)},
                                     .chosen = Slot(1)}});
  EXPECT_TRUE(cluster[leader].leads());
}

}  // namespace
}  // namespace cairn::mds::paxos
