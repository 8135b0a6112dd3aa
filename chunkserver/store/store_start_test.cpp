// How a PieceStore starts: the first time, after a clean end, on damaged or foreign parts.
#include "chunkserver/store/store_fixture.h"

namespace cairn::chunkserver::store {
namespace {

using testing::Fate;

TEST(PieceStoreStart, AStoreThatWasCutOffWhileItWasMadeIsMadeAgain) {
  for (const char* directory : {"", "/ssd"}) {
    const StoreWorld::Options options{
        .tune = [directory](StoreOptions* store) { store->journal_directory = directory; }};
    std::uint64_t operations = 0;
    {
      StoreWorld whole(options);
      ASSERT_TRUE(whole.open().has_value());
      operations = whole.power().operations();
    }
    for (std::uint64_t at = 1; at <= operations; ++at) {
      for (const Fate fate : {Fate::kAllKept, Fate::kAllLost, Fate::kBySeed, Fate::kKilled}) {
        StoreWorld world(options);
        world.power().end_at_next_life(at, fate, at);
        const Status first = world.open();
        EXPECT_FALSE(first.has_value());
        world.bury();
        const Status second = world.open();
        ASSERT_TRUE(second.has_value())
            << "operation " << at << " " << directory << ": " << second.error().to_string();
        ASSERT_TRUE(write(world, 1, {{0, 1}}, {1}).has_value());
        world.crash(at, Fate::kAllLost);
        ASSERT_TRUE(world.open().has_value());
        EXPECT_EQ(view(world, piece_id(1), 0, 1), (View{{0, 1}}));
      }
    }
  }
}

TEST(PieceStoreStart, ACleanEndLeavesNothingToTheRing) {
  for (const char* directory : {"", "/ssd"}) {
    StoreWorld world(
        {.tune = [directory](StoreOptions* store) { store->journal_directory = directory; }});
    ASSERT_TRUE(world.open().has_value());
    ASSERT_TRUE(write(world, 1, {{0, 1}}, {1}).has_value());
    EXPECT_FALSE(world.store().statistics().clean);
    ASSERT_TRUE(world.close().has_value());
    world.power().end_now(Fate::kAllLost, 1);
    world.bury();
    ASSERT_TRUE(world.open().has_value());
    EXPECT_TRUE(world.store().statistics().clean);
    EXPECT_EQ(world.store().statistics().journal_used_bytes, 0U);
    EXPECT_EQ(view(world, piece_id(1), 0, 2), (View{{0, 1}}));
  }
}

TEST(PieceStoreStart, CommitAllMakesItClean) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(write(world, 1, {{0, 4}}, {1, 2, 3, 4}).has_value());
  ASSERT_TRUE(add(world, 2, {{0, 4}}, {1, 1, 1, 1}).has_value());
  EXPECT_GT(world.store().statistics().journal_backlog_bytes, 0U);
  ASSERT_TRUE(world.loop().run(world.store().commit_all()).has_value());
  EXPECT_TRUE(world.store().statistics().clean);
  EXPECT_EQ(world.store().statistics().journal_backlog_bytes, 0U);
  EXPECT_EQ(world.store().statistics().journal_used_bytes, 0U);
}

TEST(PieceStoreStart, RefusesALostOrForeignIndexAndADamagedSuperblock) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(write(world, 1, {{0, 1}}, {1}).has_value());
  ASSERT_TRUE(world.close().has_value());
  world.power().end_now(Fate::kAllKept, 1);
  world.bury();
  // The only slot that was ever written.
  ASSERT_TRUE(world.disk().rot_byte(DiskOffset(kBlockBytes), 20));
  EXPECT_EQ(world.open().error().code(), Code::kCorrupt);
  world.bury();
  ASSERT_TRUE(world.disk().rot_byte(DiskOffset(kBlockBytes), 20));
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(world.close().has_value());
  world.power().end_now(Fate::kAllKept, 1);
  world.bury();
  world.kv().wipe();
  EXPECT_EQ(world.open().error().code(), Code::kCorrupt);
}

TEST(PieceStoreStart, WhatAKilledProcessLeftInACacheIsDurableBeforeItCounts) {
  for (const char* directory : {"", "/ssd"}) {
    StoreWorld world({.flush_latency = 100ms, .tune = [directory](StoreOptions* options) {
                        options->journal_directory = directory;
                      }});
    world.kv().set_self_flush_per_mille(0);
    ASSERT_TRUE(world.open().has_value());
    // Killed after the write and before the flush of its batch.
    world.power().end_at(2, Fate::kKilled, 0);
    ASSERT_FALSE(write(world, 1, {{0, 1}}, {7}).has_value());
    world.bury();
    ASSERT_TRUE(world.open().has_value());
    EXPECT_EQ(view(world, piece_id(1), 0, 1), (View{{0, 7}}));
    // A repeat is told that it is done: so it is.
    ASSERT_TRUE(write(world, 1, {{0, 1}}, {7}).has_value());
    world.crash(1, Fate::kAllLost);
    ASSERT_TRUE(world.open().has_value());
    EXPECT_EQ(view(world, piece_id(1), 0, 1), (View{{0, 7}}));
  }
}

// The power ends while a batch of a direct op is written: its record is there, its block is not.
TEST(PieceStoreStart, AnOpThatWasDroppedDoesNotComeBack) {
  std::uint64_t dropped = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    StoreWorld world({.tune = [](StoreOptions* options) { options->journal_write_max = 0; }});
    world.kv().set_self_flush_per_mille(0);
    ASSERT_TRUE(world.open().has_value());
    ASSERT_TRUE(write(world, 1, {{0, 2}}, {1, 1}).has_value());
    world.power().end_at(3, Fate::kBySeed, seed);
    ASSERT_FALSE(write(world, 2, {{0, 2}}, {2, 2}).has_value());
    world.bury();
    ASSERT_TRUE(world.open().has_value());
    const View now = view(world, piece_id(1), 0, 2);
    EXPECT_TRUE(now == (View{{0, 1}, {1, 1}}) || now == (View{{0, 2}, {1, 2}}));
    if (now.at(0) == 1) ++dropped;
    // Another batch, so that it is not the last one any more.
    ASSERT_TRUE(put(world, make_prepare(piece_id(2), 1, op_id(1, 1), {{0, 1}}, {9})).has_value());
    world.crash(seed, Fate::kAllLost);
    ASSERT_TRUE(world.open().has_value());
    EXPECT_EQ(view(world, piece_id(1), 0, 2), now);
    rest(world);
    EXPECT_TRUE(world.store().check_consistency().has_value());
  }
  EXPECT_GT(dropped, 10U);
}

}  // namespace
}  // namespace cairn::chunkserver::store
