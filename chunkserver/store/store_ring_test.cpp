// Where the ring of a PieceStore is: made, moved, resized, lost, somebody else's.
#include "chunkserver/store/store_fixture.h"

namespace cairn::chunkserver::store {
namespace {

using testing::Fate;

StoreWorld::Options outside(const char* directory = "/ssd", std::uint64_t seed = 1) {
  return {.seed = seed,
          .tune = [directory](StoreOptions* options) { options->journal_directory = directory; }};
}
void write_some(StoreWorld& world, std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t seq = from; seq <= to; ++seq) {
    ASSERT_TRUE(write(world, seq, {{seq, 1}}, {seq}).has_value());
  }
}
void expect_some(StoreWorld& world, std::uint64_t to) {
  const View now = view(world, piece_id(1), 1, 1000);
  EXPECT_EQ(now.size(), to);
  for (const auto& [block, value] : now) EXPECT_EQ(block, value);
}

TEST(PieceStoreRing, MovesOutAndBackAndGrowsAndShrinksUnderItsPieces) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const ByteCount free = world.store().statistics().free_bytes;
  std::uint64_t seq = 0;
  const auto next = [&](const char* directory, std::uint64_t blocks, bool journal) {
    write_some(world, seq + 1, seq + 10);
    seq += 10;
    ASSERT_TRUE(switch_ring(world, directory, blocks, journal).has_value());
    const StoreStatistics now = world.store().statistics();
    EXPECT_EQ(now.journal_directory, directory);
    EXPECT_EQ(now.journal_bytes, blocks * kBlockBytes);
    EXPECT_EQ(now.journal, journal);
    const ByteCount ring = *directory == '\0' ? now.journal_bytes : 0;
    EXPECT_EQ(now.free_bytes + ring + now.used_bytes, free + 32 * kBlockBytes);
    EXPECT_EQ(world.ring_files().size(), *directory == '\0' ? 0U : 1U);
    expect_some(world, seq);
  };
  next("/ssd", 64, true);
  next("/ssd", 200, true);  // resized where it is
  next("/ssd", 100, false);
  next("/other", 100, true);
  next("", 64, true);
  next("", 300, true);
  next("", 70, false);
  world.crash(1);
  ASSERT_TRUE(world.open().has_value());
  expect_some(world, seq);
  EXPECT_FALSE(world.store().statistics().journal);
  rest(world);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

struct Beside {
  static Task<void> put(PieceStore* store, std::uint64_t seq, std::uint64_t blocks) {
    std::vector<std::uint64_t> values(blocks, seq);
    testing::MadePrepare made =
        make_prepare(piece_id(2), 1, op_id(1, seq), {{100 * seq, blocks}}, std::move(values));
    PrepareRequest request = std::move(made.request);
    const Status status = co_await store->prepare(std::move(request), std::move(made.body));
    EXPECT_TRUE(status.has_value()) << status.error().to_string();
  }
  static Task<void> move(PieceStore* store, RingPlan plan, Status* done) {
    *done = co_await store->switch_ring(std::move(plan));
  }
  static Task<void> writer(PieceStore* store, const bool* stop, std::uint64_t* seq) {
    while (!*stop) {
      const std::uint64_t mine = ++*seq;
      co_await put(store, mine, mine % 3 == 0 ? 40 : 2);
    }
  }
  static Task<void> all(runtime::Runtime* runtime, PieceStore* store, std::uint64_t* seq) {
    bool stop = false;
    runtime::TaskGroup group(*runtime);
    for (int i = 0; i < 8; ++i) group.spawn(writer(store, &stop, seq));
    for (const char* directory : {"/ssd", "", "/ssd", "/ssd", ""}) {
      for (const std::uint64_t blocks : {400U, 64U}) {
        Status moved;
        RingPlan plan{directory, blocks * kBlockBytes, true};
        co_await move(store, std::move(plan), &moved);
        EXPECT_TRUE(moved.has_value()) << moved.error().to_string();
      }
    }
    stop = true;
    co_await group.join();
  }
};

TEST(PieceStoreRing, OpsGoOnWhileItMoves) {
  // Direct ops that were queued for one kind of ring are written with the other.
  StoreWorld world({.write_latency = 1ms, .flush_latency = 1ms});
  ASSERT_TRUE(world.open().has_value());
  std::uint64_t seq = 0;
  world.loop().run(Beside::all(&world.loop(), &world.store(), &seq));
  ASSERT_GT(seq, 50U);
  world.crash(5, Fate::kAllLost);
  ASSERT_TRUE(world.open().has_value());
  for (std::uint64_t i = 1; i <= seq; ++i) {
    const std::uint64_t blocks = i % 3 == 0 ? 40 : 2;
    const View now = view(world, piece_id(2), 100 * i, blocks);
    EXPECT_EQ(now.size(), blocks) << "op " << i;
    for (const auto& [block, value] : now) EXPECT_EQ(value, i);
  }
  rest(world);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

// The power goes at one of the first operations of a move to another drive, with large ops on their
// way all the time.
struct CutMove {
  bool going_on = false;    // the move, or the ops
  std::size_t missing = 0;  // ops that were answered and are not there

  static Task<void> write(PieceStore* store, std::uint64_t from, std::vector<bool>* answered) {
    for (std::uint64_t seq = from; seq < answered->size(); seq += 4) {
      testing::MadePrepare made = make_prepare(piece_id(2), 1, op_id(1, seq), {{40 * seq, 40}},
                                               std::vector<std::uint64_t>(40, seq));
      PrepareRequest request = std::move(made.request);
      const Status status = co_await store->prepare(std::move(request), std::move(made.body));
      if (!status.has_value()) co_return;
      (*answered)[seq] = true;
    }
  }
};

CutMove cut_move_at(std::uint64_t at, bool sabotage) {
  StoreWorld world({.write_latency = 1ms, .flush_latency = 1ms, .tune = [=](StoreOptions* options) {
                      options->sabotage.skip_switch_flush = sabotage;
                    }});
  EXPECT_TRUE(world.open().has_value());
  std::vector<bool> answered(64);
  runtime::TaskGroup group(world.loop());
  for (std::uint64_t i = 1; i <= 4; ++i) {
    group.spawn(CutMove::write(&world.store(), i, &answered));
  }
  Status moved;
  group.spawn(Beside::move(&world.store(), {"/ssd", 64 * kBlockBytes, true}, &moved));
  const std::uint64_t before = world.disk().operations();
  while (world.disk().operations() < before + at && group.running() != 0) world.loop().step();
  CutMove cut;
  cut.going_on = group.running() != 0;
  world.power().end_now(Fate::kAllLost, at);
  world.loop().run_for(1s);
  EXPECT_EQ(group.running(), 0U);
  world.crash(at);
  EXPECT_TRUE(world.open().has_value());
  for (std::uint64_t seq = 0; seq < answered.size(); ++seq) {
    if (!answered[seq]) continue;
    const Result<ReadAnswer> now = read(world, piece_id(2), 40 * seq, 40);
    if (!now.has_value() || now->crcs.size() != 40) ++cut.missing;
  }
  return cut;
}

TEST(PieceStoreRing, LargeOpsThatWaitedForAMoveAreDurableWhenTheyAreAnswered) {
  std::size_t noticed = 0;
  std::uint64_t at = 1;
  for (bool going_on = true; going_on && at < 300; ++at) {
    const CutMove cut = cut_move_at(at, false);
    EXPECT_EQ(cut.missing, 0U) << "cut at " << at;
    going_on = cut.going_on;
    noticed += cut_move_at(at, true).missing;
  }
  EXPECT_GT(at, 60U);
  // Without the flush of the move some are not: this test would see it.
  EXPECT_GT(noticed, 0U);
}

TEST(PieceStoreRing, RefusesWhatMakesNoSense) {
  StoreWorld world({.ring_disk_bytes = 1_MiB});
  ASSERT_TRUE(world.open().has_value());
  EXPECT_EQ(switch_ring(world, "", 8).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(switch_ring(world, "", kRingBlocksMax + 1).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(switch_ring(world, std::string(kRingDirectoryMax + 1, 'x'), 64).error().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(switch_ring(world, "", 64_MiB / kBlockBytes).error().code(), Code::kNoSpace);
  const Status too_large = switch_ring(world, "/ssd", 1000);
  EXPECT_TRUE(too_large.error().code() == Code::kNoSpace ||
              too_large.error().code() == Code::kJournalFailed);
  EXPECT_FALSE(world.store().failure().has_value());
  EXPECT_EQ(world.store().statistics().journal_bytes, 32 * kBlockBytes);
  write_some(world, 1, 5);
  rest(world);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStoreRing, OneMoveAtATime) {
  StoreWorld world({.write_latency = 1ms});
  ASSERT_TRUE(world.open().has_value());
  Status first;
  Status second;
  runtime::TaskGroup group(world.loop());
  group.spawn(Beside::move(&world.store(), {"/ssd", 64 * kBlockBytes, true}, &first));
  group.spawn(Beside::move(&world.store(), {"", 64 * kBlockBytes, true}, &second));
  world.loop().run_for(10s);
  EXPECT_TRUE(first.has_value());
  EXPECT_EQ(second.error().code(), Code::kBusy);
}

TEST(PieceStoreRing, AnotherStoresRingIsNotTaken) {
  StoreWorld other(outside("/ssd", 2));
  ASSERT_TRUE(other.open().has_value());
  write_some(other, 1, 5);
  other.crash(1);

  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  write_some(world, 1, 3);
  world.lend_ring("/ssd", &other);
  EXPECT_EQ(switch_ring(world, "/ssd", 64).error().code(), Code::kJournalFailed);
  EXPECT_FALSE(world.store().failure().has_value());
  write_some(world, 4, 6);
  expect_some(world, 6);
  ASSERT_TRUE(world.close().has_value());
  other.lend_ring("/ssd", &world);
  ASSERT_TRUE(other.open().has_value());
  expect_some(other, 5);
}

TEST(PieceStoreRing, ALostForeignOrEmptyRingIsNotOpened) {
  for (const int how : {0, 1, 2}) {
    StoreWorld world(outside());
    world.kv().set_self_flush_per_mille(0);
    ASSERT_TRUE(world.open().has_value());
    write_some(world, 1, 5);
    StoreWorld other(outside("/ssd", 2));
    ASSERT_TRUE(other.open().has_value());
    write_some(other, 1, 2);
    other.crash(1);
    world.crash(1);
    if (how == 0) world.lose_ring("/ssd");
    if (how == 1) world.lend_ring("/ssd", &other);
    if (how == 2) {
      world.lose_ring("/ssd");
      world.make_empty_ring("/ssd");
    }
    EXPECT_EQ(world.open().error().code(), Code::kJournalFailed) << how;
    world.bury();
    // And nothing was written over what was found there.
    if (how != 1) continue;
    other.lend_ring("/ssd", &world);
    ASSERT_TRUE(other.open().has_value());
    expect_some(other, 2);
  }
}

TEST(PieceStoreRing, ARingThatLacksWhatTheIndexKnowsIsNotOpened) {
  StoreWorld world(outside());
  world.kv().set_self_flush_per_mille(0);
  ASSERT_TRUE(world.open().has_value());
  write_some(world, 1, 3);
  world.crash(1, Fate::kAllKept);
  const Buffer older = *world.read_raw("/ssd", DiskOffset(0), 33 * kBlockBytes);
  ASSERT_TRUE(world.open().has_value());
  write_some(world, 4, 6);
  ASSERT_TRUE(checkpoint(world).has_value());
  write_some(world, 7, 8);
  world.crash(1, Fate::kAllKept);
  // The drive of the ring went back in time.
  world.write_raw("/ssd", DiskOffset(0), older);
  EXPECT_EQ(world.open().error().code(), Code::kJournalFailed);
}

// Only the newer ring has the last writes, and the index holds nothing of them.
TEST(PieceStoreRing, AnOlderRingIsNotOpenedWhenAllOfTheNewerOneIsAtHome) {
  constexpr std::uint64_t kBlocks = 1024;
  for (const std::uint64_t laps : {0U, 1U}) {
    StoreWorld::Options options = outside();
    options.journal_bytes = kBlocks * kBlockBytes;
    StoreWorld world(options);
    world.kv().set_self_flush_per_mille(0);
    ASSERT_TRUE(world.open().has_value());
    std::uint64_t seq = 0;
    const auto write_more = [&](std::uint64_t count) {
      write_some(world, seq + 1, seq + count);
      seq += count;
    };
    write_more(3 + laps * kBlocks / 2);  // two blocks a batch
    world.crash(1, Fate::kAllKept);
    const Buffer older = *world.read_raw("/ssd", DiskOffset(0), (kBlocks + 1) * kBlockBytes);
    ASSERT_TRUE(world.open().has_value());
    write_more(3);
    rest(world);
    ASSERT_TRUE(checkpoint(world).has_value());
    write_more(2);
    world.crash(1, Fate::kAllKept);
    const Buffer newer = *world.read_raw("/ssd", DiskOffset(0), (kBlocks + 1) * kBlockBytes);
    world.write_raw("/ssd", DiskOffset(0), older);
    EXPECT_EQ(world.open().error().code(), Code::kJournalFailed);
    world.bury();
    world.write_raw("/ssd", DiskOffset(0), newer);
    ASSERT_TRUE(world.open().has_value());
    expect_some(world, seq);
    // With nothing behind the tail, the right one is opened, again and again.
    rest(world);
    ASSERT_TRUE(checkpoint(world).has_value());
    for (int life = 0; life < 3; ++life) {
      world.crash(1);
      ASSERT_TRUE(world.open().has_value());
      expect_some(world, seq);
    }
  }
}

TEST(PieceStoreRing, RotInItNeverServesOldBytes) {
  for (const char* directory : {"", "/ssd"}) {
    StoreWorld world(outside(directory));
    world.kv().set_self_flush_per_mille(0);
    ASSERT_TRUE(world.open().has_value());
    ASSERT_TRUE(write(world, 1, {{1, 1}}, {1}).has_value());
    const RingPlace place = *world.ring_place();
    write_some(world, 2, 4);
    world.crash(1, Fate::kAllKept);
    io::SimDisk& disk = place.external() ? *world.ring_disk("/ssd") : world.disk();
    const std::uint64_t begin = place.external() ? 1 : place.first;
    // The records of the first of several batches.
    ASSERT_TRUE(disk.rot_byte(DiskOffset(begin * kBlockBytes), 70));
    const Status opened = world.open();
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().code(), place.external() ? Code::kJournalFailed : Code::kCorrupt);
    world.bury();
    ASSERT_TRUE(disk.rot_byte(DiskOffset(begin * kBlockBytes), 70));
    // Its block: it is read when it comes home, or before.
    ASSERT_TRUE(disk.rot_byte(DiskOffset((begin + 1) * kBlockBytes), 70));
    ASSERT_TRUE(world.open().has_value());
    const Result<ReadAnswer> answer = read(world, piece_id(1), 1, 1);
    EXPECT_FALSE(answer.has_value());
    world.loop().run_for(20s);
    ASSERT_TRUE(world.store().failure().has_value());
    EXPECT_EQ(world.store().failure()->code(), Code::kJournalFailed);
    world.crash(1);
    ASSERT_TRUE(disk.rot_byte(DiskOffset((begin + 1) * kBlockBytes), 70));
    ASSERT_TRUE(world.open().has_value());
    expect_some(world, 4);
  }
}

TEST(PieceStoreRing, ALostNewSuperblockIsNotAWayBackToTheOldRing) {
  StoreWorld world({});
  world.kv().set_self_flush_per_mille(0);
  ASSERT_TRUE(world.open().has_value());
  write_some(world, 1, 3);
  ASSERT_TRUE(switch_ring(world, "/ssd", 64).has_value());
  write_some(world, 4, 6);  // acknowledged, in the new ring only
  world.crash(1, Fate::kAllKept);
  // Generation 2 lies in slot 0.
  ASSERT_TRUE(world.disk().rot_byte(DiskOffset(0), 100));
  EXPECT_EQ(world.open().error().code(), Code::kCorrupt);
  world.bury();
  ASSERT_TRUE(world.disk().rot_byte(DiskOffset(0), 100));
  ASSERT_TRUE(world.open().has_value());
  expect_some(world, 6);
}

TEST(PieceStoreRing, TheDirectoryItLeftBelongsToOthers) {
  StoreWorld world(outside());
  ASSERT_TRUE(world.open().has_value());
  write_some(world, 1, 3);
  ASSERT_TRUE(switch_ring(world, "", 64).has_value());
  EXPECT_TRUE(world.ring_files().empty());
  world.crash(1, Fate::kAllKept);
  // Another store makes its ring there; the superblock still tells of the old one.
  StoreWorld other(outside("/ssd", 2));
  ASSERT_TRUE(other.open().has_value());
  write_some(other, 1, 5);
  other.crash(1, Fate::kAllKept);
  world.lend_ring("/ssd", &other);
  ASSERT_TRUE(world.open().has_value());
  expect_some(world, 3);
  ASSERT_TRUE(world.close().has_value());
  other.lend_ring("/ssd", &world);
  ASSERT_TRUE(other.open().has_value());
  expect_some(other, 5);
}

}  // namespace
}  // namespace cairn::chunkserver::store
