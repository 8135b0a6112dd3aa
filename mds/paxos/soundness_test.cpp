// Messages that no member would send: dropped, and the state stays whole.
#include "mds/paxos/soundness.h"

#include <gtest/gtest.h>

#include "common/base/prng.h"
#include "mds/paxos/testing/cluster.h"

namespace cairn::mds::paxos {
namespace {

using testing::Cluster;
using testing::command;
using testing::id_of;
using testing::members;

TEST(Soundness, ABallotThatCannotBeExceededIsDropped) {
  const Ballot last{.round = UINT64_MAX, .node = id_of(2)};
  EXPECT_FALSE(is_sound(Message(Prepare{.ballot = last, .chosen = {}, .yielded = {}})));
  EXPECT_FALSE(is_sound(Message(Heartbeat{.ballot = last, .round = 1, .chosen = {}})));
  EXPECT_FALSE(is_sound(
      Message(Refuse{.ballot = {.round = 1, .node = id_of(1)}, .promised = last, .chosen = {}})));
  EXPECT_FALSE(is_sound(Message(PreVoteReply{.ballot = {.round = 1, .node = id_of(1)},
                                             .granted = false,
                                             .promised = last,
                                             .chosen = {}})));
}

TEST(Soundness, SlotsThatRunOverOrLieFarAheadAreDropped) {
  const Ballot ballot{.round = 1, .node = id_of(1)};
  const auto accept = [&](std::uint64_t first, std::uint64_t chosen) {
    return is_sound(Message(Accept{.ballot = ballot,
                                   .first = Slot(first),
                                   .values = {command("a"), command("b")},
                                   .chosen = Slot(chosen)}));
  };
  EXPECT_TRUE(accept(1, 0));
  EXPECT_FALSE(accept(0, 0));
  EXPECT_FALSE(accept(UINT64_MAX, UINT64_MAX));
  EXPECT_FALSE(accept(std::uint64_t{1} << 40, 0));
  EXPECT_TRUE(accept((std::uint64_t{1} << 40) + 1, std::uint64_t{1} << 40));
  EXPECT_FALSE(is_sound(Message(Learn{.first = Slot(UINT64_MAX), .values = {}, .chosen = {}})));
}

TEST(Soundness, AValueThatNoLogCanHoldIsDropped) {
  EXPECT_FALSE(is_sound(Value{.kind = ValueKind::kCommand, .bytes = nullptr}));
  Value value = command("no membership");
  EXPECT_TRUE(is_sound(value));
  for (const int kind : {0, 1, 3, 4, 255}) {
    value.kind = static_cast<ValueKind>(kind);
    EXPECT_FALSE(is_sound(value)) << kind;
  }
  EXPECT_TRUE(is_sound(command(std::string(kValueBytesMax, 'x'))));
  EXPECT_FALSE(is_sound(command(std::string(kValueBytesMax + 1, 'x'))));
}

TEST(Soundness, ADroppedMessageIsCounted) {
  Cluster cluster(members(3));
  cluster.deliver({id_of(2), id_of(1), Fetch{.from = Slot()}});
  cluster.deliver({id_of(1), id_of(1), Fetch{.from = Slot(1)}});  // from itself
  cluster.deliver({NodeId(), id_of(1), Fetch{.from = Slot(1)}});
  EXPECT_EQ(cluster[1].dropped_messages(), 3u);
}

// Draws numbers that are small, at an edge, or anything.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : prng_(seed) {}
  std::uint64_t number() {
    switch (prng_.below(4)) {
      case 0:
        return prng_.below(4);
      case 1:
        return UINT64_MAX - prng_.below(3);
      case 2:
        return std::uint64_t{1} << prng_.below(64);
      default:
        return prng_.below(40);
    }
  }
  Ballot ballot() {
    return {.round = number(), .node = id_of(static_cast<std::uint32_t>(prng_.below(6)))};
  }
  Slot slot() { return Slot(number()); }
  Value value() {
    switch (prng_.below(4)) {
      case 0:
        return {.kind = ValueKind::kNoop, .bytes = std::make_shared<const std::string>()};
      case 1:
        return {.kind = ValueKind::kCommand, .bytes = nullptr};
      case 2: {
        Membership membership = members(static_cast<std::uint32_t>(prng_.below(5)));
        membership.version = number();
        return testing::change_to(membership);
      }
      default:
        return command("x");
    }
  }
  Message message() {
    std::vector<Value> values;
    for (std::uint64_t i = prng_.below(4); i > 0; --i) values.push_back(value());
    std::vector<Accepted> accepted;
    for (std::uint64_t i = prng_.below(3); i > 0; --i)
      accepted.push_back({slot(), ballot(), value()});
    const bool yes = prng_.chance(500);
    switch (prng_.below(15)) {
      case 0:
        return PreVote{ballot(), slot(), ballot()};
      case 1:
        return PreVoteReply{ballot(), yes, ballot(), slot()};
      case 2:
        return Prepare{ballot(), slot(), ballot()};
      case 3:
        return Promise{ballot(), slot(), accepted};
      case 4:
        return Accept{ballot(), slot(), values, slot()};
      case 5:
        return AcceptedReply{ballot(), slot(), slot(), slot()};
      case 6:
        return Refuse{ballot(), ballot(), slot()};
      case 7:
        return Heartbeat{ballot(), number(), slot()};
      case 8:
        return HeartbeatReply{ballot(), number(), slot(), slot()};
      case 9:
        return Fetch{slot()};
      case 10:
        return Learn{slot(), values, slot()};
      case 11:
        return SnapshotNeeded{slot()};
      case 12:
        return Yield{ballot()};
      case 13:
        return Recover{number()};
      default:
        return RecoverReply{number(), ballot(), slot()};
    }
  }
  Prng& prng() { return prng_; }

 private:
  Prng prng_;
};

// Liars can stop a group, and can lie about values; no message may end the process or make it grow
// or loop.
TEST(Soundness, NoMessageBreaksAnInvariant) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    Draw draw(seed);
    Membership group = members(static_cast<std::uint32_t>(draw.prng().between(1, 4)), 1);
    group.version = draw.prng().below(2);
    Instant now = Instant::from_nanos(1'000'000);
    Durable durable = testing::durable_of(group);
    durable.recovering = draw.prng().chance(100);
    Replica core(testing::options_of(1, {}, seed), std::move(durable), now);
    std::uint64_t token = 0;
    for (int step = 0; step < 600; ++step) {
      now = now + Duration(static_cast<std::int64_t>(draw.prng().below(200'000'000)));
      switch (draw.prng().below(4)) {
        case 0:
          core.tick(now);
          break;
        case 1:
          core.propose(++token, command("mine"), now);
          break;
        default:
          core.receive(id_of(static_cast<std::uint32_t>(draw.prng().below(6))), draw.message(),
                       now);
          break;
      }
      const Effects effects = core.take();
      core.check_invariants();
      ASSERT_LT(effects.records.size(), 100'000u);
      if (effects.last_record != 0 && draw.prng().chance(700)) {
        core.persisted(effects.last_record, now);
        core.check_invariants();
      }
    }
  }
}

}  // namespace
}  // namespace cairn::mds::paxos
