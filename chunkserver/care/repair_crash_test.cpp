// A repair that is cut short: by a power cut at every request of the drive, by its master, by a
// late message, by the end of the process. Whatever happened, the next repair with the same regions
// makes the piece right.
#include <gtest/gtest.h>

#include "chunkserver/care/repair_fixture.h"

namespace cairn::chunkserver::care {
namespace {

using chunkserver::testing::Fate;
using testing::encoding_of;
using testing::RepairWorld;

// One of 64 regions, of 20 blocks; a whole copy has five steps.
constexpr std::uint64_t kBlocks = 1280;
constexpr layout::RegionMask kMissed = layout::RegionMask{1} << 20;

// The target was current up to some op, has one that was decided and never settled, and two that
// nobody else knows; then it missed one.
std::unique_ptr<RepairWorld> make_stale(const erasure::Encoding& encoding, unsigned target) {
  auto world = std::make_unique<RepairWorld>(encoding, target, kBlocks);
  world->write({{0, 100}, {155, 40}, {400, 700}}, world->all());
  world->write({{0, 3}, {300, 20}}, world->all_but_target());
  CHECK(world->prepare(target, {{0, 3}, {300, 20}}, world->seq()).has_value());
  CHECK(world->stray(target, {{50, 60}, {410, 500}}, false, 40).has_value());
  CHECK(world->stray(target, {{40, 20}}, true, 41).has_value());
  world->lose_target();
  world->write({{401, 6}}, world->all_but_target());
  return world;
}

// As a master does that knows only which regions were missed.
void repair_to_the_end(RepairWorld& world, layout::RegionMask missed) {
  Result<pb::RepairReply> reply = world.repair(missed);
  if (!reply.has_value() && reply.error().code() == Code::kPieceMissing) {
    reply = world.repair(missed, true);
  }
  ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
}

struct CrashRow {
  const char* name;
  erasure::Encoding encoding;
  unsigned target;
  bool whole;
  Fate fate;
};

class RepairCrash : public ::testing::TestWithParam<CrashRow> {};

TEST_P(RepairCrash, AtEveryRequestOfTheDrive) {
  const CrashRow row = GetParam();
  bool crashed = true;
  for (std::uint64_t n = 1; crashed; ++n) {
    SCOPED_TRACE(n);
    std::unique_ptr<RepairWorld> world = make_stale(row.encoding, row.target);
    if (row.whole) {
      // The place is a new one: there is nothing, or what an earlier copy left.
      ASSERT_TRUE(world->loop()
                      .run(world->target().store().remove(RepairWorld::id(row.target)))
                      .has_value());
    }
    const layout::RegionMask missed = row.whole ? layout::kAllRegions : kMissed;
    world->target().power().end_at(n, row.fate, n);
    const Result<pb::RepairReply> first = world->repair(missed, row.whole);
    crashed = !first.has_value();
    ASSERT_LT(n, 1000U);
    world->restart_target(n);
    if (!crashed) {
      // It said that it was done: the settle may be lost, the copy may not.
      world->expect_right(row.target);
    }
    // The second attempt is cut short, too, somewhere.
    world->target().power().end_at(1 + n * 7 % 23, row.fate, n + 1);
    const Result<pb::RepairReply> second = world->repair(missed);
    world->restart_target(n + 2);
    ASSERT_NO_FATAL_FAILURE(repair_to_the_end(*world, missed));
    world->expect_right(row.target);
    world->expect_consistent();
    EXPECT_EQ(world->status(row.target)->undecided, 0U);
    world->restart_target(n + 3);
    world->expect_right(row.target);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, RepairCrash,
    ::testing::Values(CrashRow{"copies_by_seed", encoding_of(1, 1), 0, false, Fate::kBySeed},
                      CrashRow{"copies_lost", encoding_of(1, 1), 1, false, Fate::kAllLost},
                      CrashRow{"copies_killed", encoding_of(1, 1), 1, false, Fate::kKilled},
                      CrashRow{"parity", encoding_of(2, 1), 2, false, Fate::kBySeed},
                      CrashRow{"whole_by_seed", encoding_of(1, 1), 0, true, Fate::kBySeed},
                      CrashRow{"whole_lost", encoding_of(2, 1), 1, true, Fate::kAllLost}),
    [](const auto& row) { return std::string(row.param.name); });

// Runs a repair of the target until `until` holds, then what the test does, then to its end.
template <class Until, class Then>
Result<pb::RepairReply> interrupted(RepairWorld& world, pb::Repair request, Until until,
                                    Then then) {
  struct Keep {
    static Task<void> run(RepairWorker* worker, pb::Repair request,
                          std::optional<Result<pb::RepairReply>>* into) {
      Result<pb::RepairReply> reply = co_await worker->repair(std::move(request));
      into->emplace(std::move(reply));
    }
  };
  std::optional<Result<pb::RepairReply>> reply;
  runtime::TaskGroup group(world.loop());
  group.spawn(Keep::run(&world.worker(), std::move(request), &reply));
  while (!until()) CHECK(world.loop().step());
  then();
  while (!reply.has_value()) CHECK(world.loop().step());
  return std::move(*reply);
}

TEST(RepairInterrupted, OneRepairOfAPieceAndTwoInAll) {
  RepairWorld world(encoding_of(1, 1), 0, kBlocks);
  world.write({{0, kBlocks}}, world.all());
  world.lose_target();
  world.server(1).delay = 10ms;
  const pb::Repair request = world.request(layout::kAllRegions);
  const auto reading = [&] { return world.server(1).reads != 0; };
  const Result<pb::RepairReply> reply = interrupted(world, request, reading, [&] {
    EXPECT_EQ(world.repair(layout::kAllRegions).error().code(), Code::kBusy);
    pb::Repair other = request;
    other.mutable_chunk()->set_id(8);
    other.set_whole(true);
    const Result<pb::RepairReply> second = interrupted(
        world, other, [&] { return world.server(1).reads > 2; },
        [&] {
          other.mutable_chunk()->set_id(9);
          EXPECT_EQ(world.loop().run(world.worker().repair(other)).error().code(), Code::kBusy);
        });
    EXPECT_EQ(second.error().code(), Code::kTooFewPieces) << "nobody has that chunk";
  });
  ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
  world.expect_right(0);
}

TEST(RepairInterrupted, TheEndOfTheProcessDoesNotWaitForIt) {
  std::unique_ptr<RepairWorld> world = make_stale(encoding_of(2, 1), 1);
  world->server(0).delay = 60min;
  const auto reading = [&] { return world->server(0).reads != 0; };
  const Instant begun = world->loop().now();
  const Result<pb::RepairReply> reply =
      interrupted(*world, world->request(kMissed), reading, [&] { world->worker().interrupt(); });
  EXPECT_EQ(reply.error().code(), Code::kCancelled);
  EXPECT_LT(world->loop().now() - begun, Duration(1s));
  world->end_worker();
  world->make_worker();
  world->server(0).delay = {};
  ASSERT_TRUE(world->repair(kMissed).has_value());
  world->expect_right(1);
  world->loop().run_for(120min);
}

TEST(RepairInterrupted, AStoreThatIsFencedEndsIt) {
  std::unique_ptr<RepairWorld> world = make_stale(encoding_of(2, 1), 1);
  world->server(0).delay = 100ms;
  const auto reading = [&] { return world->server(0).reads != 0; };
  const Result<pb::RepairReply> reply = interrupted(*world, world->request(kMissed), reading, [&] {
    world->target().store().fence(Error(Code::kDiskFailed, "gone"));
  });
  EXPECT_EQ(reply.error().code(), Code::kDiskFailed);
  EXPECT_EQ(world->repair(kMissed).error().code(), Code::kDiskFailed);
}

TEST(RepairInterrupted, ARemovalOfAnOldVersionPassesItByAndOneOfThisVersionEndsIt) {
  for (const bool meant : {false, true}) {
    std::unique_ptr<RepairWorld> world = make_stale(encoding_of(2, 1), 1);
    world->server(0).delay = 10ms;
    const auto reading = [&] { return world->server(0).reads != 0; };
    const ChunkVersion most(world->chunk().version() + (meant ? 1 : 0));
    const Result<pb::RepairReply> reply =
        interrupted(*world, world->request(kMissed), reading, [&] {
          EXPECT_TRUE(world->loop()
                          .run(world->target().store().remove(RepairWorld::id(1), most))
                          .has_value());
        });
    EXPECT_EQ(reply.has_value(), !meant);
    if (meant) {
      EXPECT_EQ(reply.error().code(), Code::kPieceMissing);
      // At this version the piece is gone for good; the next attempt has another.
      ASSERT_TRUE(world->repair(kMissed, true).has_value());
    }
    world->expect_right(1);
  }
}

// A deposed master's, say, that was on its way for a while: the piece may be current by now.
TEST(RepairInterrupted, ALateRequestOfAnAttemptThatIsOverChangesNothing) {
  std::unique_ptr<RepairWorld> world = make_stale(encoding_of(2, 1), 1);
  const pb::Repair late = world->request(kMissed);
  ASSERT_TRUE(world->loop().run(world->worker().repair(late)).has_value());
  world->server(0).lies.insert(0);
  for (const bool whole : {false, true}) {
    pb::Repair again = late;
    again.set_whole(whole);
    const Result<pb::RepairReply> reply = world->loop().run(world->worker().repair(again));
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().code(), Code::kStaleVersion);
  }
  world->expect_right(1);
}

TEST(RepairInterrupted, ALateSettleOfUsedNumbersIsNoticed) {
  std::unique_ptr<RepairWorld> world = make_stale(encoding_of(2, 1), 1);
  world->server(0).delay = 10ms;
  const auto reading = [&] { return world->server(0).reads != 0; };
  const Result<pb::RepairReply> reply = interrupted(*world, world->request(kMissed), reading, [&] {
    EXPECT_TRUE(world->settle_at(1, world->epoch(), 1000).has_value());
  });
  EXPECT_EQ(reply.error().code(), Code::kRefusedForSafety);
  const Result<pb::RepairReply> again = world->repair(kMissed);
  ASSERT_TRUE(again.has_value()) << again.error().to_string();
  EXPECT_GT(again->next_seq(), 1000U);
  world->expect_right(1);
}

TEST(RepairInterrupted, ConnectionsAreClosedWhenNothingIsRepaired) {
  std::unique_ptr<RepairWorld> world = make_stale(encoding_of(2, 1), 1);
  ASSERT_TRUE(world->repair(kMissed).has_value());
  EXPECT_EQ(world->worker().connections(), 2U);
  world->loop().run_for(120s);
  EXPECT_EQ(world->worker().connections(), 0U);
}

}  // namespace
}  // namespace cairn::chunkserver::care
