// Phase 2, lease, and what the leader does for those that are slow.
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

class Leading : public ::testing::Test {
 protected:
  Leading() : cluster(members(3)), leader(cluster.elect()) {
    cluster.run(300ms);
    for (std::uint32_t number = 1; number <= 3; ++number) {
      if (number != leader) others.push_back(number);
    }
  }
  void propose_only(std::uint64_t token, const char* text) {
    ASSERT_TRUE(cluster[leader].propose(token, command(text), cluster.now));
  }

  Cluster cluster;
  std::uint32_t leader;
  std::vector<std::uint32_t> others;
};

TEST_F(Leading, ACommandIsChosenWhenAMajorityHasItOnDisk) {
  cluster.disk_stopped[others[0]] = true;
  cluster.disk_stopped[others[1]] = true;
  cluster.propose("a");
  EXPECT_TRUE(cluster.commands(leader).empty());
  cluster.disk_stopped[others[0]] = false;
  cluster.settle();
  EXPECT_EQ(cluster.commands(leader), std::vector<std::string>{"a"});
}

TEST_F(Leading, TheLeaderCountsItselfOnlyWhenItsOwnWriteIsDurable) {
  cluster.disk_stopped[leader] = true;
  cluster.disk_stopped[others[1]] = true;
  cluster.propose("a");
  EXPECT_TRUE(cluster.commands(leader).empty());
  cluster.disk_stopped[leader] = false;
  cluster.settle();
  EXPECT_EQ(cluster.commands(leader), std::vector<std::string>{"a"});
}

TEST_F(Leading, EachProposalIsAnsweredOnceInOrder) {
  for (std::uint64_t token = 1; token <= 20; ++token) propose_only(token, "x");
  cluster.collect(leader);
  cluster.settle();
  std::vector<std::uint64_t> tokens;
  for (const Chosen& chosen : cluster.chosen(leader)) {
    if (chosen.token != 0) tokens.push_back(chosen.token);
  }
  std::vector<std::uint64_t> expected(20);
  for (std::uint64_t token = 1; token <= 20; ++token) expected[token - 1] = token;
  EXPECT_EQ(tokens, expected);
  for (const Chosen& chosen : cluster.chosen(others[0])) EXPECT_EQ(chosen.token, 0u);
}

TEST_F(Leading, WhatComesDuringAWriteGoesIntoOneBatch) {
  cluster.forget_sent();
  propose_only(1, "a");
  cluster.collect(leader);
  for (std::uint64_t token = 2; token <= 10; ++token) propose_only(token, "x");
  cluster.collect(leader);
  EXPECT_EQ(cluster.sent<Accept>().size(), 2u);
  cluster.settle();
  const std::vector<Letter> accepts = cluster.sent<Accept>();
  ASSERT_EQ(accepts.size(), 4u);
  EXPECT_EQ(std::get<Accept>(accepts[3].message).values.size(), 9u);
}

TEST_F(Leading, ALostAcceptIsSentAgain) {
  cluster.keep_back = [](const Letter& letter) {
    return std::holds_alternative<Accept>(letter.message);
  };
  cluster.propose("a");
  EXPECT_TRUE(cluster.commands(leader).empty());
  cluster.kept.clear();
  cluster.keep_back = nullptr;
  cluster.run(500ms);
  EXPECT_EQ(cluster.commands(leader), std::vector<std::string>{"a"});
}

TEST_F(Leading, AnAcceptThatIsSentAgainHasAtMostOneBatchOfBytes) {
  cluster.limits.batch_bytes = 1000;
  cluster.limits.window_bytes = 1u << 20;
  for (std::uint32_t number = 1; number <= 3; ++number) cluster.restart(number);
  leader = cluster.elect();
  const std::string big(600, 'x');
  cluster.keep_back = [](const Letter& letter) {
    return std::holds_alternative<Accept>(letter.message);
  };
  for (std::uint64_t token = 1; token <= 20; ++token) propose_only(token, big.c_str());
  cluster.collect(leader);
  cluster.run(900ms);
  for (const Letter& letter : cluster.kept) {
    EXPECT_LE(std::get<Accept>(letter.message).values.size(), 2u);
  }
}

TEST_F(Leading, ARefusedWindowTakesNothing) {
  cluster.limits.window_slots = 4;
  cluster.restart(1);
  cluster.restart(2);
  cluster.restart(3);
  leader = cluster.elect();
  for (std::uint32_t number = 1; number <= 3; ++number) cluster.disk_stopped[number] = true;
  std::uint64_t taken = 0;
  for (std::uint64_t token = 1; token <= 100; ++token) {
    taken += cluster[leader].propose(token, command("x"), cluster.now) ? 1u : 0u;
    cluster.collect(leader);
  }
  EXPECT_LE(taken, 8u);
  EXPECT_EQ(cluster[leader].waiting(), taken);
}

TEST_F(Leading, ProposalsOfADeposedLeaderAreNotAnsweredAsChosen) {
  cluster.cut_off(leader);
  propose_only(1, "a");
  cluster.collect(leader);
  cluster.run(5s);
  EXPECT_EQ(cluster.count_notices<Deposed>(leader), 1u);
  EXPECT_EQ(cluster[leader].waiting(), 0u);
  for (const Chosen& chosen : cluster.chosen(leader)) EXPECT_EQ(chosen.token, 0u);
  EXPECT_FALSE(cluster[leader].propose(2, command("b"), cluster.now));
}

// ---- lease ----

TEST_F(Leading, TheLeaseIsOverWhenTheProcessWasStopped) {
  EXPECT_TRUE(cluster[leader].may_serve(cluster.now));
  EXPECT_FALSE(cluster[leader].may_serve(cluster.now + cluster.timing.lease));
  const std::uint64_t round = cluster[leader].confirm(cluster.now + cluster.timing.lease);
  EXPECT_LT(cluster[leader].confirmed_round(), round);
}

TEST_F(Leading, TheLeaseCountsFromTheSendingOfTheRound) {
  cluster.run(150ms);
  cluster.keep_back = [this](const Letter& letter) { return letter.to == id_of(leader); };
  cluster.run(100ms);
  const Instant before = cluster.now;
  while (cluster[leader].may_serve(cluster.now)) cluster.run(10ms);
  // The newest answered round was sent before the answers stopped.
  EXPECT_LE(cluster.now, before + cluster.timing.lease + 10ms);
  cluster.release();
  EXPECT_TRUE(cluster[leader].may_serve(cluster.now) || !cluster[leader].leads());
}

TEST_F(Leading, ConfirmIsAnsweredByARoundThatBeganAfterIt) {
  const std::uint64_t round = cluster[leader].confirm(cluster.now);
  cluster.collect(leader);
  EXPECT_LT(cluster[leader].confirmed_round(), round);
  cluster.settle();
  EXPECT_GE(cluster[leader].confirmed_round(), round);
}

TEST_F(Leading, NobodyIsElectedWhileTheLeaseRuns) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster group(members(3), {}, seed);
    const std::uint32_t old = group.elect();
    group.run(300ms);
    group.cut_off(old);
    while (group.leader() == old || group.leader() == 0) {
      for (std::uint32_t number = 1; number <= 3; ++number) {
        if (number == old) continue;
        ASSERT_FALSE(group[number].leads() && group[old].may_serve(group.now));
      }
      group.run(5ms);
    }
    ASSERT_FALSE(group[old].may_serve(group.now));
  }
}

// ---- its own disk ----

TEST_F(Leading, ALeaderWhoseDiskHangsLeavesWhenTheOthersDoBetter) {
  cluster.disk_stopped[leader] = true;
  propose_only(1, "a");
  cluster.collect(leader);
  cluster.run(2s);
  EXPECT_TRUE(cluster[leader].leads());
  ASSERT_TRUE(
      cluster.run_until([this] { return cluster.leader() != leader && cluster.leader() != 0; }));
  const std::uint32_t next = cluster.leader();
  EXPECT_EQ(cluster.commands(next), std::vector<std::string>{"a"});
  cluster.propose("b");
  EXPECT_EQ(cluster.commands(next), (std::vector<std::string>{"a", "b"}));
}

TEST_F(Leading, ALeaderStaysWhenNobodyDoesBetter) {
  for (std::uint32_t number = 1; number <= 3; ++number) cluster.disk_stopped[number] = true;
  propose_only(1, "a");
  cluster.collect(leader);
  cluster.run(10s);
  EXPECT_TRUE(cluster[leader].leads());
}

// ---- learners ----

TEST(Learner, NeverCounts) {
  Cluster cluster(members(2, 3));
  const std::uint32_t leader = cluster.elect();
  ASSERT_LE(leader, 2u);
  cluster.run(300ms);
  cluster.crash(3 - leader);
  cluster.propose("a");
  EXPECT_TRUE(cluster.commands(leader).empty());
  cluster.run(5s);
  EXPECT_TRUE(cluster.commands(leader).empty());
  EXPECT_FALSE(cluster[leader].may_serve(cluster.now));
  for (std::uint32_t number = 3; number <= 5; ++number) EXPECT_FALSE(cluster[number].leads());
}

TEST(Learner, GetsEverything) {
  Cluster cluster(members(1, 1));
  cluster.elect();
  cluster.propose("a");
  cluster.run(300ms);
  EXPECT_EQ(cluster.commands(2), std::vector<std::string>{"a"});
}

}  // namespace
}  // namespace cairn::mds::paxos
