// One acceptor: what it answers, and when. Rules A1 to A6 of docs/protocols/paxos.md.
#include <gtest/gtest.h>

#include "mds/paxos/testing/cluster.h"

namespace cairn::mds::paxos {
namespace {

using testing::command;
using testing::id_of;
using testing::members;

constexpr Instant kStart = Instant::from_nanos(5'000'000'000);
Ballot ballot_of(std::uint64_t round, std::uint32_t number) {
  return {.round = round, .node = id_of(number)};
}

// Member 5 of five voters, as it starts.
class Acceptor : public ::testing::Test {
 protected:
  Acceptor() { start(testing::durable_of(founded())); }

  static Membership founded() {
    Membership membership = members(5);
    membership.version = 1;
    return membership;
  }
  void start(Durable durable) {
    core = std::make_unique<Replica>(testing::options_of(5), std::move(durable), now);
    effects = core->take();
  }
  void hold_is_over() { now = now + Timing().hold + 1ms; }
  void hears(std::uint32_t from, const Message& message) {
    core->receive(id_of(from), message, now);
    effects = core->take();
    core->check_invariants();
  }
  void persisted() {
    ASSERT_NE(effects.last_record, 0u);
    core->persisted(effects.last_record, now);
    effects = core->take();
  }
  template <class T>
  const T* answer() const {
    return effects.messages.size() == 1 ? std::get_if<T>(&effects.messages[0].message) : nullptr;
  }
  static Accept accept_of(Ballot ballot, std::uint64_t slot, const char* text) {
    return {.ballot = ballot, .first = Slot(slot), .values = {command(text)}, .chosen = Slot()};
  }

  Instant now = kStart;
  std::unique_ptr<Replica> core;
  Effects effects;
};

TEST_F(Acceptor, PromisesOnlyWhenThePromiseIsDurable) {
  hold_is_over();
  hears(1, Prepare{.ballot = ballot_of(1, 1), .chosen = {}, .yielded = {}});
  EXPECT_TRUE(effects.messages.empty());
  ASSERT_EQ(effects.records.size(), 1u);
  persisted();
  ASSERT_NE(answer<Promise>(), nullptr);
  EXPECT_EQ(answer<Promise>()->ballot, ballot_of(1, 1));
}

TEST_F(Acceptor, SaysAcceptedOnlyWhenTheValueIsDurable) {
  hears(1, accept_of(ballot_of(1, 1), 1, "a"));
  EXPECT_TRUE(effects.messages.empty());
  persisted();
  ASSERT_NE(answer<AcceptedReply>(), nullptr);
  EXPECT_EQ(answer<AcceptedReply>()->last, Slot(1));
}

TEST_F(Acceptor, TellsInAHeartbeatOnlyOfWhatIsDurable) {
  hears(1, accept_of(ballot_of(1, 1), 1, "a"));
  const std::uint64_t record = effects.last_record;
  hears(1, Heartbeat{.ballot = ballot_of(1, 1), .round = 1, .chosen = {}});
  ASSERT_NE(answer<HeartbeatReply>(), nullptr);
  EXPECT_EQ(answer<HeartbeatReply>()->accepted, Slot());
  core->persisted(record, now);
  core->take();
  hears(1, Heartbeat{.ballot = ballot_of(1, 1), .round = 2, .chosen = {}});
  EXPECT_EQ(answer<HeartbeatReply>()->accepted, Slot(1));
}

TEST_F(Acceptor, TakesNothingBelowItsPromise) {
  hold_is_over();
  hears(2, Prepare{.ballot = ballot_of(7, 2), .chosen = {}, .yielded = {}});
  persisted();
  hears(1, accept_of(ballot_of(6, 1), 1, "a"));
  ASSERT_NE(answer<Refuse>(), nullptr);
  EXPECT_EQ(answer<Refuse>()->promised, ballot_of(7, 2));
  EXPECT_TRUE(effects.records.empty());
  hears(1, Heartbeat{.ballot = ballot_of(6, 1), .round = 1, .chosen = {}});
  EXPECT_NE(answer<Refuse>(), nullptr);
}

TEST_F(Acceptor, ReportsWhatItAcceptedPastTheCandidatesChosenSlots) {
  const Ballot first = ballot_of(1, 1);
  hears(1, Accept{.ballot = first,
                  .first = Slot(1),
                  .values = {command("a"), command("b"), command("c")},
                  .chosen = Slot()});
  persisted();
  hold_is_over();
  hears(2, Prepare{.ballot = ballot_of(2, 2), .chosen = Slot(1), .yielded = {}});
  persisted();
  ASSERT_NE(answer<Promise>(), nullptr);
  const std::vector<Accepted>& reported = answer<Promise>()->accepted;
  ASSERT_EQ(reported.size(), 2u);
  EXPECT_EQ(reported[0].slot, Slot(2));
  EXPECT_EQ(reported[0].ballot, first);
  EXPECT_EQ(testing::text_of(reported[1].value), "c");
}

TEST_F(Acceptor, PromisesAgainToTheOwnerOfItsPromiseEvenWhileItHolds) {
  hold_is_over();
  const Prepare prepare{.ballot = ballot_of(1, 1), .chosen = {}, .yielded = {}};
  hears(1, prepare);
  persisted();
  hears(1, Heartbeat{.ballot = ballot_of(1, 1), .round = 1, .chosen = {}});
  hears(1, prepare);
  EXPECT_NE(answer<Promise>(), nullptr);
}

TEST_F(Acceptor, HelpsNobodyElseWhileItHolds) {
  hold_is_over();
  hears(1, Heartbeat{.ballot = ballot_of(1, 1), .round = 1, .chosen = {}});
  hears(2, PreVote{.ballot = ballot_of(2, 2), .chosen = {}, .yielded = {}});
  ASSERT_NE(answer<PreVoteReply>(), nullptr);
  EXPECT_FALSE(answer<PreVoteReply>()->granted);
  hears(2, Prepare{.ballot = ballot_of(2, 2), .chosen = {}, .yielded = {}});
  EXPECT_NE(answer<Refuse>(), nullptr);
  EXPECT_TRUE(effects.records.empty());
  hold_is_over();
  hears(2, PreVote{.ballot = ballot_of(2, 2), .chosen = {}, .yielded = {}});
  EXPECT_TRUE(answer<PreVoteReply>()->granted);
}

TEST_F(Acceptor, ItsHoldEndsWhenTheLeaderThatItIsForYielded) {
  hold_is_over();
  hears(1, Heartbeat{.ballot = ballot_of(3, 1), .round = 1, .chosen = {}});
  hears(2, Prepare{.ballot = ballot_of(4, 2), .chosen = {}, .yielded = ballot_of(2, 3)});
  EXPECT_NE(answer<Refuse>(), nullptr);  // an older one yielded
  hears(2, Prepare{.ballot = ballot_of(4, 2), .chosen = {}, .yielded = ballot_of(3, 1)});
  EXPECT_TRUE(effects.messages.empty());
  persisted();
  EXPECT_NE(answer<Promise>(), nullptr);
}

// It may have given a lease to a leader with ballot 9 just before it was killed, and has no record
// of that.
TEST_F(Acceptor, AfterAStartItHelpsNobodyForAsLongAsAHoldEvenItsLeader) {
  start(testing::durable_of(founded(), Slot(), ballot_of(1, 1)));
  hears(1, Heartbeat{.ballot = ballot_of(1, 1), .round = 1, .chosen = {}});
  EXPECT_EQ(core->leader(), id_of(1));
  hears(1, Prepare{.ballot = ballot_of(2, 1), .chosen = {}, .yielded = {}});
  EXPECT_NE(answer<Refuse>(), nullptr);
  hears(2, Prepare{.ballot = ballot_of(2, 2), .chosen = {}, .yielded = ballot_of(1, 1)});
  EXPECT_NE(answer<Refuse>(), nullptr);
  hears(1, Yield{.ballot = ballot_of(1, 1)});
  EXPECT_TRUE(effects.records.empty());
  hold_is_over();
  hears(1, Prepare{.ballot = ballot_of(2, 1), .chosen = {}, .yielded = {}});
  EXPECT_FALSE(effects.records.empty());
}

TEST_F(Acceptor, RefusesACandidateThatLacksChosenSlots) {
  hears(1, Accept{.ballot = ballot_of(1, 1),
                  .first = Slot(1),
                  .values = {command("a"), command("b")},
                  .chosen = Slot()});
  persisted();
  hears(1, Heartbeat{.ballot = ballot_of(1, 1), .round = 1, .chosen = Slot(2)});
  EXPECT_EQ(core->chosen(), Slot(2));
  hold_is_over();
  hears(2, Prepare{.ballot = ballot_of(2, 2), .chosen = Slot(1), .yielded = {}});
  ASSERT_NE(answer<Refuse>(), nullptr);
  EXPECT_EQ(answer<Refuse>()->chosen, Slot(2));
}

TEST_F(Acceptor, RefusesACandidateThatHasNoVote) {
  hold_is_over();
  hears(6, Prepare{.ballot = ballot_of(2, 6), .chosen = {}, .yielded = {}});
  EXPECT_NE(answer<Refuse>(), nullptr);
}

TEST_F(Acceptor, KeepsItsPromiseAcrossACrash) {
  start(testing::durable_of(founded(), Slot(), ballot_of(7, 2)));
  hold_is_over();
  hears(1, Prepare{.ballot = ballot_of(7, 1), .chosen = {}, .yielded = {}});
  EXPECT_NE(answer<Refuse>(), nullptr);
  EXPECT_EQ(core->promised(), ballot_of(7, 2));
}

TEST_F(Acceptor, DropsASecondValueAtOneBallot) {
  hears(1, accept_of(ballot_of(1, 1), 1, "a"));
  const std::uint64_t dropped = core->dropped_messages();
  hears(1, accept_of(ballot_of(1, 1), 1, "b"));
  EXPECT_EQ(core->dropped_messages(), dropped + 1);
  EXPECT_TRUE(effects.messages.empty());
}

TEST_F(Acceptor, WithAGapKeepsOnlyABoundedNumberOfSlots) {
  Limits limits;
  limits.window_slots = 4;
  core = std::make_unique<Replica>(testing::options_of(5, limits), testing::durable_of(founded()),
                                   now);
  core->take();
  std::size_t records = 0;
  for (std::uint64_t slot = 2; slot < 200; ++slot) {
    hears(1, accept_of(ballot_of(1, 1), slot, "a"));
    records += effects.records.size();
  }
  EXPECT_EQ(records, 16u);
}

TEST_F(Acceptor, WithoutItsStateItGivesNoVote) {
  Durable durable = testing::durable_of(founded());
  durable.recovering = true;
  start(std::move(durable));
  hold_is_over();
  hears(1, PreVote{.ballot = ballot_of(1, 1), .chosen = {}, .yielded = {}});
  EXPECT_FALSE(answer<PreVoteReply>()->granted);
  hears(1, Prepare{.ballot = ballot_of(1, 1), .chosen = {}, .yielded = {}});
  EXPECT_TRUE(effects.messages.empty());
  hears(1, accept_of(ballot_of(1, 1), 1, "a"));
  EXPECT_TRUE(effects.records.empty());
}

}  // namespace
}  // namespace cairn::mds::paxos
