// Members that catch up, and members that lost their acceptor state.
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

std::vector<std::uint32_t> all_but(std::uint32_t count, std::uint32_t one) {
  std::vector<std::uint32_t> rest;
  for (std::uint32_t number = 1; number <= count; ++number) {
    if (number != one) rest.push_back(number);
  }
  return rest;
}

TEST(CatchUp, AFollowerThatWasAwayFetchesWhatWasChosen) {
  Cluster cluster(members(3));
  const std::uint32_t leader = cluster.elect();
  const std::uint32_t away = all_but(3, leader)[0];
  cluster.cut_off(away);
  for (int i = 0; i < 30; ++i) cluster.propose("x" + std::to_string(i));
  cluster.cut_off(away, false);
  cluster.run(1s);
  EXPECT_EQ(cluster.commands(away), cluster.commands(leader));
  // Its log is complete: the next one may fetch from it.
  for (Slot slot(1); slot <= cluster[away].chosen(); slot = slot.next()) {
    ASSERT_TRUE(cluster.disk(away).slots.contains(slot));
    EXPECT_TRUE(same_value(cluster.disk(away).slots.at(slot).value, cluster.truth().at(slot)));
  }
}

TEST(CatchUp, ChosenSlotsAreGivenOutOnlyWhenTheOwnLogHasThem) {
  Cluster cluster(members(3));
  const std::uint32_t leader = cluster.elect();
  cluster.run(300ms);
  const std::uint32_t slow = all_but(3, leader)[0];
  cluster.disk_stopped[slow] = true;
  cluster.propose("a");
  cluster.run(300ms);
  EXPECT_TRUE(cluster.commands(slow).empty());
  cluster.disk_stopped[slow] = false;
  cluster.settle();
  EXPECT_EQ(cluster.commands(slow), std::vector<std::string>{"a"});
}

TEST(CatchUp, WhenTheLogDoesNotReachBackASnapshotIsAskedForAndTheRestComesByLog) {
  const Instant start = Instant::from_nanos(1'000'000);
  Membership group = members(3);
  group.version = 4;
  Replica core(testing::options_of(3), testing::durable_of({}), start);
  core.take();
  const Ballot ballot{.round = 2, .node = id_of(1)};
  core.receive(id_of(1), Heartbeat{.ballot = ballot, .round = 1, .chosen = Slot(100)}, start);
  Effects effects = core.take();
  ASSERT_TRUE(std::holds_alternative<Fetch>(effects.messages[0].message));
  EXPECT_EQ(std::get<Fetch>(effects.messages[0].message).from, Slot(1));
  core.receive(id_of(1), SnapshotNeeded{.applied = Slot(90)}, start);
  effects = core.take();
  ASSERT_EQ(effects.notices.size(), 1u);
  EXPECT_EQ(std::get<NeedSnapshot>(effects.notices[0]).from, id_of(1));
  core.installed(Slot(90), group, start);
  core.check_invariants();
  effects = core.take();
  EXPECT_EQ(core.chosen(), Slot(90));
  EXPECT_EQ(core.membership(), group);
  ASSERT_EQ(effects.messages.size(), 1u);
  EXPECT_EQ(std::get<Fetch>(effects.messages[0].message).from, Slot(91));
  // An old answer is of no use any more.
  core.receive(id_of(1), SnapshotNeeded{.applied = Slot(90)}, start);
  EXPECT_TRUE(core.take().notices.empty());
}

TEST(CatchUp, WhenTheOneThatWasAskedIsGoneTheNextOneIs) {
  const Instant start = Instant::from_nanos(1'000'000);
  Membership group = members(3);
  group.version = 1;
  Replica core(testing::options_of(3), testing::durable_of(group), start);
  core.take();
  const Ballot ballot{.round = 9, .node = id_of(3)};
  core.receive(id_of(1), PreVoteReply{ballot, false, {}, Slot(5)}, start);
  EXPECT_EQ(core.take().messages[0].to, id_of(1));
  core.receive(id_of(2), PreVoteReply{ballot, false, {}, Slot(5)}, start);
  core.take();
  const Instant later = start + Timing().resend;
  core.tick(later);
  EXPECT_EQ(core.take().messages[0].to, id_of(2));
}

TEST(Restart, WhatTheLogKnowsAsChosenIsAppliedAgain) {
  Cluster cluster(members(3));
  const std::uint32_t leader = cluster.elect();
  for (const char* text : {"a", "b", "c"}) cluster.propose(text);
  cluster.run(300ms);
  const testing::Disk& disk = cluster.disk(leader);
  ASSERT_GE(disk.chosen, Slot(3));
  Durable durable{.promised = disk.promised,
                  .applied = Slot(1),
                  .membership = cluster[leader].membership(),
                  .chosen = disk.chosen,
                  .accepted = {},
                  .recovering = false,
                  .recover_until = {}};
  for (const auto& [slot, accepted] : disk.slots) durable.accepted.push_back(accepted);
  Replica again(testing::options_of(leader), durable, cluster.now);
  const Effects effects = again.take();
  EXPECT_EQ(again.chosen(), disk.chosen);
  ASSERT_EQ(effects.chosen.size(), disk.chosen - Slot(1));
  EXPECT_EQ(testing::text_of(effects.chosen[0].value), "a");
}

// ---- lost acceptor state ----

class Lost : public ::testing::Test {
 protected:
  explicit Lost() : cluster(members(3)), leader(cluster.elect()), lost(all_but(3, leader)[0]) {
    cluster.run(300ms);
  }
  void lose() {
    cluster.crash(lost);
    cluster.lose_log(lost);
    cluster.restart(lost);
  }
  Cluster cluster;
  std::uint32_t leader;
  std::uint32_t lost;
};

TEST_F(Lost, TheMemberVotesAgainWhenItKnowsWhatItMayHavePromised) {
  cluster.propose("a");
  lose();
  EXPECT_TRUE(cluster[lost].recovering());
  cluster.run(1s);
  EXPECT_FALSE(cluster[lost].recovering());
  EXPECT_FALSE(cluster.disk(lost).recovering);
  EXPECT_GE(cluster.disk(lost).promised, cluster[leader].promised());
  cluster.crash(6 - leader - lost);
  cluster.propose("b");
  EXPECT_EQ(cluster.commands(leader).back(), "b");
}

TEST_F(Lost, TheMemberDoesNotVoteBeforeAMajorityOfTheOthersHasAnswered) {
  const std::uint32_t third = 6 - leader - lost;
  cluster.cut_off(third);
  lose();
  cluster.run(1s);
  EXPECT_TRUE(cluster[lost].recovering());
  cluster.propose("a");
  EXPECT_TRUE(cluster.commands(leader).empty());
  cluster.cut_off(third, false);
  ASSERT_TRUE(cluster.run_until([this] { return !cluster[lost].recovering(); }));
}

TEST_F(Lost, ACrashInTheMiddleOfARecoveryForgetsNothing) {
  cluster.propose("a");
  cluster.keep_back = [this](const Letter& letter) {
    return letter.to == id_of(lost) && (std::holds_alternative<Learn>(letter.message) ||
                                        std::holds_alternative<Accept>(letter.message));
  };
  lose();
  ASSERT_TRUE(cluster.run_until([this] { return cluster.disk(lost).recover_until != Slot(); }));
  const Slot until = cluster.disk(lost).recover_until;
  cluster.restart(lost);
  EXPECT_TRUE(cluster[lost].recovering());
  cluster.keep_back = nullptr;
  ASSERT_TRUE(cluster.run_until([this] { return !cluster[lost].recovering(); }));
  EXPECT_GE(cluster[lost].chosen(), until);
}

TEST_F(Lost, ACrashBeforeTheAnswerAsksAnew) {
  lose();
  cluster.settle();
  cluster.restart(lost);
  EXPECT_TRUE(cluster[lost].recovering());
  ASSERT_TRUE(cluster.run_until([this] { return !cluster[lost].recovering(); }));
}

TEST_F(Lost, TheQuestionIsAnsweredByTheNextLeaderToo) {
  const std::uint32_t third = 6 - leader - lost;
  cluster.keep_back = [](const Letter& letter) {
    return std::holds_alternative<RecoverReply>(letter.message);
  };
  lose();
  cluster.run(500ms);
  ASSERT_TRUE(cluster[leader].yield(id_of(third), cluster.now));
  cluster.collect(leader);
  cluster.settle();
  ASSERT_EQ(cluster.leader(), third);
  cluster.keep_back = nullptr;
  ASSERT_TRUE(cluster.run_until([this] { return !cluster[lost].recovering(); }));
}

TEST(LostTogether, TwoOfFiveComeBack) {
  Cluster cluster(members(5));
  const std::uint32_t leader = cluster.elect();
  cluster.propose("a");
  const std::vector<std::uint32_t> others = all_but(5, leader);
  for (const std::uint32_t number : {others[0], others[1]}) {
    cluster.crash(number);
    cluster.lose_log(number);
    cluster.restart(number);
  }
  ASSERT_TRUE(cluster.run_until(
      [&] { return !cluster[others[0]].recovering() && !cluster[others[1]].recovering(); }));
  cluster.crash(others[2]);
  cluster.crash(others[3]);
  cluster.propose("b");
  EXPECT_EQ(cluster.commands(leader).back(), "b");
}

TEST(LostTogether, ALearnerComesBackToo) {
  Cluster cluster(members(1, 1));
  cluster.elect();
  cluster.propose("a");
  cluster.crash(2);
  cluster.lose_log(2);
  cluster.restart(2);
  ASSERT_TRUE(cluster.run_until([&] { return !cluster[2].recovering(); }));
}

// Of E. Michael and others, "Recovering Shared Objects Without Stable Storage" (2017): a promise
// that was given before the loss, and is counted after the member has come back, must not elect a
// leader that lacks what the member accepted since. Clocks protect nobody here: the candidate
// believes that the leader has yielded.
TEST(LostPromise, OfBeforeTheLossElectsNobodyAfterTheRecovery) {
  Timing patient;
  patient.campaign = 3600s;  // the candidate never gives up
  Cluster cluster(members(5), patient);
  const std::uint32_t leader = cluster.elect();
  cluster.run(300ms);
  const std::vector<std::uint32_t> others = all_but(5, leader);
  const std::uint32_t candidate = others[0];
  const std::uint32_t lost = others[1];
  const std::uint32_t late = others[2];
  const Ballot reign = cluster[leader].promised();

  // The candidate has its own promise and that of the member; all else of it is under way for long.
  // And the late one accepts, and is not told what is chosen: else it would refuse the candidate.
  const Slot known = cluster[leader].chosen();
  const auto tells_late = [&, known](const Letter& letter) {
    if (letter.to != id_of(late)) return false;
    const auto* beat = std::get_if<Heartbeat>(&letter.message);
    const auto* accept = std::get_if<Accept>(&letter.message);
    const auto* again = std::get_if<Prepare>(&letter.message);
    return (beat != nullptr && beat->chosen > known) ||
           (accept != nullptr && accept->chosen > known) ||
           (again != nullptr && again->chosen > known);
  };
  cluster.keep_back = [&](const Letter& letter) {
    if (letter.to == id_of(candidate)) return letter.from != id_of(lost);
    return letter.from == id_of(candidate) && letter.to != id_of(lost);
  };
  cluster.deliver({id_of(leader), id_of(candidate), Yield{.ballot = reign}});
  cluster.settle();
  ASSERT_GT(cluster[lost].promised(), reign);

  // The member loses that, and comes back with the help of the leader.
  cluster.crash(lost);
  cluster.lose_log(lost);
  std::erase_if(cluster.kept, [&](const Letter& letter) {
    return letter.to != id_of(late) || !std::holds_alternative<Prepare>(letter.message);
  });
  ASSERT_EQ(cluster.kept.size(), 1u);
  const Letter prepare = cluster.kept[0];
  cluster.keep_back = [&](const Letter& letter) {
    return letter.to == id_of(candidate) || letter.from == id_of(candidate) || tells_late(letter);
  };
  cluster.restart(lost);
  ASSERT_TRUE(cluster.run_until([&] { return !cluster[lost].recovering(); }));
  ASSERT_EQ(cluster.leader(), leader);

  cluster.run(300ms);

  // With its vote a command is chosen that the late one has not seen.
  cluster.cut_off(late);
  cluster.propose("chosen");
  ASSERT_EQ(cluster.commands(leader), std::vector<std::string>{"chosen"});

  // Now the candidate gets its third promise. The Cluster fails when a slot gets a second value.
  cluster.crash(leader);
  cluster.crash(others[3]);
  cluster.cut_off(late, false);
  cluster.keep_back = nullptr;
  cluster.deliver(prepare);
  cluster.settle();
  cluster.run(500ms);
  if (cluster.leader() == candidate) {
    cluster.propose("another");
    cluster.run(500ms);
    EXPECT_EQ(cluster.commands(candidate), (std::vector<std::string>{"chosen", "another"}));
  }
  EXPECT_EQ(cluster[lost].promised().node, id_of(candidate));
}

}  // namespace
}  // namespace cairn::mds::paxos
