// The parts of the simulated world do what they say.
#include <gtest/gtest.h>

#include "tests/paxos/drift_clock.h"
#include "tests/paxos/model_log.h"
#include "tests/paxos/network.h"
#include "tests/paxos/oracle.h"
#include "tests/paxos/schedule.h"
#include "tests/paxos/tables.h"

namespace cairn::paxos_sim {
namespace {

paxos::Value value_of(const std::string& bytes) {
  return {.kind = paxos::ValueKind::kCommand, .bytes = std::make_shared<const std::string>(bytes)};
}
paxos::Value command(std::uint64_t session, std::uint64_t seq, std::uint64_t argument) {
  return value_of(encode({.session = session,
                          .seq = seq,
                          .key = 0,
                          .op = {.kind = OpKind::kAppend, .argument = argument}}));
}
paxos::Ballot ballot(std::uint64_t round, std::uint32_t node) {
  return {round, NodeId::from_raw(node)};
}
paxos::AcceptRecord accept(std::uint64_t round, std::uint64_t slot, const std::string& bytes) {
  return {ballot(round, 1), Slot(slot), value_of(bytes)};
}

TEST(Schedule, RunsInTheOrderOfTimesThenOfPlanning) {
  Schedule schedule;
  std::string order;
  schedule.after(2ms, [&] { order += 'c'; });
  schedule.after(1ms, [&] { order += 'a'; });
  schedule.after(1ms, [&] {
    order += 'b';
    schedule.after(0ms, [&] { order += '!'; });
  });
  while (schedule.run_next()) {
  }
  EXPECT_EQ(order, "ab!c");
  EXPECT_EQ(schedule.now(), 2ms);
}

TEST(DriftClock, ShowsItsOwnTimeAndFindsTheTrueOne) {
  for (const std::int64_t rate : {800'000, 999'999, 1'000'000, 1'200'001}) {
    const DriftClock clock(5s, rate);
    for (const Duration at : {Duration(0), Duration(1), Duration(12'345'678'901)}) {
      const Instant when = clock.local(at);
      EXPECT_LE(clock.reaches(when), at);
      EXPECT_GE(clock.local(clock.reaches(when)), when);
      EXPECT_GE(clock.reaches(when + Duration(1000)), at);
    }
  }
  EXPECT_EQ(DriftClock(0s, 1'100'000).local(10s), Instant::from_nanos(11'000'000'000));
}

TEST(Network, LosesAndDoublesAsOftenAsItIsTold) {
  Prng prng(1);
  Network network(prng, {.lost_per_mille = 100,
                         .doubled_per_mille = 200,
                         .delay_min = 1ms,
                         .delay_max = 3ms,
                         .late_per_mille = 0,
                         .late_max = {}});
  std::array<int, 3> counts{};
  for (int i = 0; i < 10'000; ++i) {
    const Network::Copies copies = network.route(1, 2, 0ms);
    ++counts[copies.count];
    for (unsigned c = 0; c < copies.count; ++c) {
      EXPECT_GE(copies.delay[c], 1ms);
      EXPECT_LE(copies.delay[c], 3ms);
    }
  }
  EXPECT_NEAR(counts[0], 1000, 150);
  EXPECT_NEAR(counts[2], 1800, 200);
}

TEST(Network, CutsOneDirectionUntilAMoment) {
  Prng prng(1);
  Network network(prng, {.delay_max = 1ms});
  network.cut_link(1, 2, 10ms);
  EXPECT_EQ(network.route(1, 2, 9ms).count, 0u);
  EXPECT_EQ(network.route(2, 1, 9ms).count, 1u);
  EXPECT_EQ(network.route(1, 2, 10ms).count, 1u);
  network.clog_link(1, 2, 50ms);
  EXPECT_GE(network.route(1, 2, 20ms).delay[0], 30ms);
  network.heal({.delay_max = 1ms});
  EXPECT_LE(network.route(1, 2, 20ms).delay[0], 1ms);
}

TEST(ModelLog, ABatchIsDurableWhollyOrNotAtAll) {
  for (const bool whole : {false, true}) {
    ModelLog log;
    log.hand_over({accept(1, 1, "a")}, 1);
    log.start_write();
    log.hand_over({accept(1, 2, "b")}, 2);
    EXPECT_EQ(log.finish_write().size(), 1u);
    EXPECT_EQ(log.durable_record(), 1u);
    log.start_write();
    log.hand_over({accept(1, 3, "c")}, 3);
    EXPECT_EQ(log.crash(whole).size(), whole ? 1u : 0u);
    EXPECT_EQ(log.image().slots.size(), whole ? 2u : 1u);
    EXPECT_FALSE(log.waiting());
    EXPECT_FALSE(log.writing());
  }
}

TEST(ModelLog, TheNewestRecordOfASlotCountsAndALearnedOneForEver) {
  LogImage image;
  image.add(accept(1, 1, "a"));
  image.add(accept(3, 1, "b"));
  EXPECT_EQ(*image.slots[Slot(1)].value.bytes, "b");
  EXPECT_EQ(image.promised, ballot(3, 1));
  image.add(paxos::LearnRecord{Slot(1), value_of("c")});
  image.add(accept(4, 1, "d"));
  EXPECT_EQ(*image.slots[Slot(1)].value.bytes, "c");
  EXPECT_FALSE(image.slots[Slot(1)].ballot.valid());
  EXPECT_EQ(image.promised, ballot(4, 1));
}

TEST(ModelLog, TruncatedSlotsStayAwayAndPromisesStay) {
  ModelLog log;
  log.hand_over({accept(1, 1, "a"), accept(1, 2, "b"), accept(1, 3, "c"),
                 paxos::ChosenRecord{Slot(2)}, paxos::PromiseRecord{ballot(7, 2)}},
                1);
  log.start_write();
  log.finish_write();
  EXPECT_EQ(log.read(Slot(1), Slot(3), 9).size(), 3u);
  log.truncate_through(Slot(1));
  EXPECT_TRUE(log.read(Slot(1), Slot(3), 9).empty());
  EXPECT_EQ(log.read(Slot(2), Slot(3), 9).size(), 2u);
  EXPECT_EQ(log.read(Slot(2), Slot(2), 9).size(), 1u);
  EXPECT_EQ(log.image().promised, ballot(7, 2));
  EXPECT_EQ(log.image().chosen, Slot(2));
  log.lose_everything();
  EXPECT_TRUE(log.image().recovering);
  EXPECT_FALSE(log.image().promised.valid());
}

TEST(Tables, ARequestTakesEffectOnceHoweverOftenItIsChosen) {
  Tables tables{paxos::Membership()};
  const Tables::Outcome first = tables.apply(Slot(1), command(1, 1, 10));
  EXPECT_TRUE(first.executed);
  const std::uint64_t state = tables.read(0);
  const Tables::Outcome again = tables.apply(Slot(2), command(1, 1, 10));
  EXPECT_FALSE(again.executed);
  EXPECT_EQ(again.result, first.result);
  EXPECT_EQ(tables.read(0), state);
  EXPECT_TRUE(tables.apply(Slot(3), command(1, 2, 11)).executed);
  EXPECT_NE(tables.read(0), state);
  EXPECT_FALSE(tables.apply(Slot(4), command(1, 1, 10)).executed);
}

TEST(Tables, TheDigestIsThatOfTheContent) {
  Tables tables{paxos::Membership()};
  Tables other{paxos::Membership()};
  for (std::uint64_t i = 1; i <= 50; ++i) {
    tables.apply(Slot(i), command(i % 7 + 1, i, i));
    other.apply(Slot(i), command(i % 7 + 1, i, i == 25 ? 99 : i));
    EXPECT_EQ(tables.digest(), tables.recomputed());
    EXPECT_EQ(tables.digest() == other.digest(), i < 25) << i;
  }
}

TEST(Command, ComesBackFromItsBytes) {
  const Command sent{.session = 5,
                     .seq = 1ULL << 40,
                     .key = 3,
                     .op = {.kind = OpKind::kCas, .argument = UINT64_MAX, .expected = 17},
                     .padding = 9};
  const std::optional<Command> back = decode(encode(sent));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(encode(*back), encode(sent));
  EXPECT_EQ(back->seq, sent.seq);
  EXPECT_EQ(back->op.argument, sent.op.argument);
  EXPECT_FALSE(decode("short").has_value());
}

// ---- the oracle ----

paxos::Membership three_voters() {
  paxos::Membership membership;
  for (std::uint32_t i = 1; i <= 3; ++i) {
    membership.members.push_back(
        {.id = NodeId::from_raw(i), .role = paxos::Role::kVoter, .address = "", .repo_uuid = 0});
  }
  membership.next_id = 4;
  return membership;
}
const NodeId kOne = NodeId::from_raw(1);
const NodeId kTwo = NodeId::from_raw(2);
const NodeId kThree = NodeId::from_raw(3);

TEST(Oracle, KnowsWhatAMajorityHasOnDisk) {
  Oracle oracle(three_voters(), true);
  oracle.accept_durable(kOne, accept(1, 1, "a"));
  EXPECT_TRUE(oracle.accepted(kOne, Slot(1), ballot(1, 1)));
  EXPECT_FALSE(oracle.accepted(kTwo, Slot(1), ballot(1, 1)));
  oracle.accept_durable(kTwo, accept(1, 1, "a"));
  oracle.chosen(kOne, Slot(1), value_of("a"));
  EXPECT_FALSE(oracle.failed()) << oracle.failure();
  EXPECT_EQ(oracle.chosen_slot(), Slot(1));
}

TEST(Oracle, NoticesAValueThatNoMajorityHas) {
  Oracle oracle(three_voters(), true);
  oracle.accept_durable(kOne, accept(1, 1, "a"));
  oracle.accept_durable(kTwo, accept(2, 1, "a"));
  oracle.chosen(kOne, Slot(1), value_of("a"));
  EXPECT_TRUE(oracle.failed());
}

TEST(Oracle, NoticesTwoValuesOfASlot) {
  Oracle oracle(three_voters(), false);
  oracle.chosen(kOne, Slot(1), value_of("a"));
  oracle.chosen(kTwo, Slot(1), value_of("a"));
  EXPECT_FALSE(oracle.failed());
  oracle.chosen(kThree, Slot(1), value_of("b"));
  EXPECT_TRUE(oracle.failed());
}

TEST(Oracle, NoticesTwoValuesOfABallot) {
  Oracle oracle(three_voters(), true);
  oracle.accept_durable(kOne, accept(1, 1, "a"));
  oracle.accept_durable(kTwo, accept(1, 1, "b"));
  EXPECT_TRUE(oracle.failed());
}

TEST(Oracle, NoticesALeaderThatLacksAChosenSlot) {
  Oracle oracle(three_voters(), true);
  oracle.accept_durable(kOne, accept(1, 1, "a"));
  oracle.accept_durable(kTwo, accept(1, 1, "a"));
  oracle.elected(kOne, ballot(1, 1), Slot());
  EXPECT_FALSE(oracle.failed());
  oracle.elected(kThree, ballot(2, 3), Slot());
  EXPECT_TRUE(oracle.failed());
}

TEST(Oracle, NoticesDifferentTables) {
  Oracle oracle(three_voters(), false);
  oracle.chosen(kOne, Slot(1), value_of("a"));
  oracle.applied(kOne, Slot(1), 5);
  oracle.applied(kTwo, Slot(1), 5);
  EXPECT_FALSE(oracle.failed());
  oracle.applied(kThree, Slot(1), 6);
  EXPECT_TRUE(oracle.failed());
}

TEST(Oracle, NoticesARequestThatTookEffectTwiceOrWasAnsweredTwice) {
  Oracle twice(three_voters(), false);
  twice.executed(kOne, {1, 1}, Slot(1), 5);
  twice.executed(kTwo, {1, 1}, Slot(1), 5);
  EXPECT_FALSE(twice.failed());
  twice.executed(kOne, {1, 1}, Slot(2), 5);
  EXPECT_TRUE(twice.failed());

  Oracle answers(three_voters(), false);
  answers.executed(kOne, {1, 1}, Slot(1), 5);
  answers.answered({1, 1}, 5);
  EXPECT_FALSE(answers.failed());
  answers.answered({1, 1}, 6);
  EXPECT_TRUE(answers.failed());

  Oracle invented(three_voters(), false);
  invented.answered({1, 1}, 0);
  EXPECT_TRUE(invented.failed());
}

}  // namespace
}  // namespace cairn::paxos_sim
