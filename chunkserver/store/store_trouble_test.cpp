// PieceStore on drives that fail, rot, hang and lose what they held.
#include "chunkserver/store/store_fixture.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint64_t kFirst = 0x1111;

// A store whose piece 1 holds kFirst .. kFirst + 3 at home in blocks 0 .. 3.
void open_with_four(StoreWorld& world) {
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(write(world, 1, {{0, 4}}, {kFirst, kFirst + 1, kFirst + 2, kFirst + 3}).has_value());
  settle(world, 2);
  ASSERT_TRUE(world.loop().run(world.store().commit_all()).has_value());
}
StoreWorld::Options straight_home() {
  return {.tune = [](StoreOptions* options) { options->journal_write_max = 0; }};
}
using testing::block_of;

TEST(PieceStoreTrouble, WrongBytesAreNeverServed) {
  StoreWorld world(straight_home());
  open_with_four(world);
  const std::uint64_t home = find_on_disk(world, kFirst + 1);
  ASSERT_NE(home, 0U);
  ASSERT_TRUE(world.disk().rot(DiskOffset(home * kBlockBytes), 7));
  EXPECT_EQ(read(world, piece_id(1), 0, 4).error().code(), Code::kChecksumMismatch);
  EXPECT_EQ(world.store().statistics().checksum_errors, 1U);
  EXPECT_EQ(view(world, piece_id(1), 2, 2), (View{{2, kFirst + 2}, {3, kFirst + 3}}));
  EXPECT_FALSE(world.store().failure().has_value());
  const std::vector<DamagedBlock> damaged = world.store().damaged();
  ASSERT_EQ(damaged.size(), 1U);
  EXPECT_EQ(damaged[0], (DamagedBlock{piece_id(1), 1, home, crc32c(block_of(kFirst + 1).span())}));
}

TEST(PieceStoreTrouble, ADamagedBlockIsHealedWithItsOwnContentOnly) {
  StoreWorld world(straight_home());
  open_with_four(world);
  const std::uint64_t home = find_on_disk(world, kFirst);
  ASSERT_TRUE(world.disk().rot(DiskOffset(home * kBlockBytes), 7));
  ASSERT_FALSE(read(world, piece_id(1), 0, 1).has_value());
  const std::vector<DamagedBlock> damaged = world.store().damaged();
  ASSERT_EQ(damaged.size(), 1U);
  EXPECT_EQ(world.loop()
                .run(world.store().heal(piece_id(1), damaged, block_of(kFirst + 9)))
                .error()
                .code(),
            Code::kChecksumMismatch);
  EXPECT_FALSE(read(world, piece_id(1), 0, 1).has_value());
  const ByteCount used = world.store().statistics().used_bytes;
  ASSERT_TRUE(
      world.loop().run(world.store().heal(piece_id(1), damaged, block_of(kFirst))).has_value());
  EXPECT_EQ(view(world, piece_id(1), 0, 1), (View{{0, kFirst}}));
  EXPECT_TRUE(world.store().damaged().empty());
  EXPECT_EQ(world.store().statistics().healed_blocks, 1U);
  EXPECT_EQ(world.store().statistics().used_bytes, used);
  world.crash(3);
  ASSERT_TRUE(world.open().has_value());
  EXPECT_EQ(view(world, piece_id(1), 0, 1), (View{{0, kFirst}}));
  rest(world);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStoreTrouble, AHealThatComesTooLateChangesNothing) {
  StoreWorld world(straight_home());
  open_with_four(world);
  const std::uint64_t home = find_on_disk(world, kFirst);
  ASSERT_TRUE(world.disk().rot(DiskOffset(home * kBlockBytes), 7));
  ASSERT_FALSE(read(world, piece_id(1), 0, 1).has_value());
  const std::vector<DamagedBlock> damaged = world.store().damaged();
  ASSERT_TRUE(write(world, 2, {{0, 1}}, {77}).has_value());
  settle(world, 3);
  rest(world);
  EXPECT_TRUE(world.store().damaged().empty());  // it was freed
  // Its home may have been given to another op meanwhile: of this very block, even.
  for (std::uint64_t seq = 3; seq < 200; ++seq) {
    ASSERT_TRUE(write(world, seq, {{0, 1}}, {seq}).has_value());
    settle(world, seq + 1);
    const Status late =
        world.loop().run(world.store().heal(piece_id(1), damaged, block_of(kFirst)));
    EXPECT_TRUE(late.has_value() || late.error().code() == Code::kChecksumMismatch);
    ASSERT_EQ(view(world, piece_id(1), 0, 1), (View{{0, seq}}));
  }
  rest(world);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStoreTrouble, ABadSectorIsDamageAndFencesNothing) {
  StoreWorld world(straight_home());
  open_with_four(world);
  const std::uint64_t home = find_on_disk(world, kFirst + 2);
  world.disk().fail_block(DiskOffset(home * kBlockBytes));
  EXPECT_EQ(read(world, piece_id(1), 0, 4).error().code(), Code::kDiskFailed);
  EXPECT_FALSE(world.store().failure().has_value());
  EXPECT_EQ(world.store().statistics().read_errors, 1U);
  EXPECT_EQ(view(world, piece_id(1), 0, 2).size(), 2U);
  const std::vector<DamagedBlock> damaged = world.store().damaged();
  ASSERT_EQ(damaged.size(), 1U);
  EXPECT_EQ(damaged[0].block, 2U);
  ASSERT_TRUE(
      world.loop().run(world.store().heal(piece_id(1), damaged, block_of(kFirst + 2))).has_value());
  EXPECT_EQ(view(world, piece_id(1), 0, 4).size(), 4U);
}

TEST(PieceStoreTrouble, ADamagedLayerBelowADeltaKeepsItsFoldBackUntilItIsHealed) {
  StoreWorld world(straight_home());
  open_with_four(world);
  const std::uint64_t home = find_on_disk(world, kFirst);
  ASSERT_TRUE(world.disk().rot(DiskOffset(home * kBlockBytes), 7));
  ASSERT_TRUE(add(world, 2, {{0, 1}}, {1}).has_value());
  settle(world, 3);
  rest(world);
  EXPECT_FALSE(world.store().failure().has_value());
  EXPECT_EQ(read(world, piece_id(1), 0, 1).error().code(), Code::kChecksumMismatch);
  const std::vector<DamagedBlock> damaged = world.store().damaged();
  ASSERT_EQ(damaged.size(), 1U);
  ASSERT_TRUE(
      world.loop().run(world.store().heal(piece_id(1), damaged, block_of(kFirst))).has_value());
  EXPECT_EQ(view(world, piece_id(1), 0, 1), (View{{0, kFirst ^ 1}}));
  rest(world);
  EXPECT_EQ(world.store().statistics().used_bytes, 4 * kBlockBytes);
}

TEST(PieceStoreTrouble, IsFencedWhenTheDiskFails) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(write(world, 1, {{0, 1}}, {1}).has_value());
  world.disk().fail_writes(true);
  EXPECT_EQ(write(world, 2, {{0, 1}}, {2}).error().code(), Code::kDiskFailed);
  world.disk().fail_writes(false);
  ASSERT_TRUE(world.store().failure().has_value());
  EXPECT_EQ(write(world, 3, {{0, 1}}, {3}).error().code(), Code::kDiskFailed);
  EXPECT_EQ(read(world, piece_id(1), 0, 1).error().code(), Code::kDiskFailed);
  EXPECT_EQ(remove(world, piece_id(1)).error().code(), Code::kDiskFailed);
  EXPECT_EQ(switch_ring(world, "", 64).error().code(), Code::kDiskFailed);
  EXPECT_FALSE(world.close().has_value());
}

TEST(PieceStoreTrouble, IsFencedWhenTheIndexFails) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(write(world, 1, {{0, 1}}, {1}).has_value());
  world.kv().fail_writes(true);
  EXPECT_EQ(checkpoint(world).error().code(), Code::kDiskFailed);
  EXPECT_TRUE(world.store().failure().has_value());
  world.kv().fail_writes(false);
  world.crash(1, testing::Fate::kAllLost);
  ASSERT_TRUE(world.open().has_value());
  EXPECT_EQ(view(world, piece_id(1), 0, 1), (View{{0, 1}}));
}

TEST(PieceStoreTrouble, TheFailureOfTheRingsDriveIsTheJournals) {
  StoreWorld world({.tune = [](StoreOptions* options) { options->journal_directory = "/ssd"; }});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(write(world, 1, {{0, 1}}, {1}).has_value());
  world.ring_disk("/ssd")->fail_writes(true);
  EXPECT_EQ(write(world, 2, {{0, 1}}, {2}).error().code(), Code::kJournalFailed);
  EXPECT_EQ(world.store().failure()->code(), Code::kJournalFailed);
}

struct Hanging {
  int waiting = 0;
  int done = 0;
  static Task<void> put(PieceStore* store, std::uint64_t seq, std::uint64_t blocks,
                        Hanging* hanging) {
    std::vector<std::uint64_t> values(blocks, seq);
    testing::MadePrepare made =
        make_prepare(piece_id(1), 1, op_id(1, seq), {{100 * seq, blocks}}, std::move(values));
    PrepareRequest request = std::move(made.request);
    ++hanging->waiting;
    const Status status = co_await store->prepare(std::move(request), std::move(made.body));
    if (!status.has_value()) {
      EXPECT_EQ(status.error().code(), Code::kTimeout);
    }
    ++hanging->done;
  }
  static Task<void> get(PieceStore* store, Hanging* hanging) {
    std::vector<BlockRange> ranges{{0, 4}};
    ++hanging->waiting;
    const Result<ReadAnswer> answer = co_await store->read(piece_id(1), std::move(ranges));
    EXPECT_FALSE(answer.has_value());
    ++hanging->done;
  }
  static Task<void> save(PieceStore* store, Hanging* hanging) {
    ++hanging->waiting;
    const Status status = co_await store->checkpoint();
    if (!status.has_value()) {
      EXPECT_EQ(status.error().code(), Code::kTimeout);
    }
    ++hanging->done;
  }
  static Task<void> join(runtime::TaskGroup* group) { co_await group->join(); }
};

// `own`: calls whose own request hangs in the drive: those end with it.
void hang_and_fence(StoreWorld::Options options, bool ring, int own) {
  StoreWorld world(std::move(options));
  open_with_four(world);
  io::SimDisk& disk = ring ? *world.ring_disk("/ssd") : world.disk();
  disk.stall(true);
  Hanging hanging;
  runtime::TaskGroup group(world.loop());
  PieceStore* store = &world.store();
  for (std::uint64_t seq = 2; seq < 10; ++seq) {
    group.spawn(Hanging::put(store, seq, seq % 2 == 0 ? 1 : 40, &hanging));
  }
  if (!ring) group.spawn(Hanging::get(store, &hanging));
  world.loop().run_for(1s);
  group.spawn(Hanging::save(store, &hanging));
  world.loop().run_for(1s);
  EXPECT_GT(hanging.waiting - hanging.done, own);
  world.store().fence(Error(Code::kTimeout, "a request hangs"));
  world.loop().run_for(1s);
  EXPECT_EQ(hanging.waiting - hanging.done, own);
  EXPECT_EQ(read(world, piece_id(1), 0, 1).error().code(), Code::kTimeout);
  disk.stall(false);
  world.loop().run_for(1s);
  world.loop().run(Hanging::join(&group));
  EXPECT_EQ(hanging.waiting, hanging.done);
  EXPECT_FALSE(world.close().has_value());
}

TEST(PieceStoreTrouble, WhoeverWaitsForAHangingDiskIsAnsweredWhenTheStoreIsFenced) {
  hang_and_fence({}, false, 1);
  hang_and_fence({.tune = [](StoreOptions* options) { options->journal_directory = "/ssd"; }},
                 false, 1);
  hang_and_fence({.tune = [](StoreOptions* options) { options->journal_directory = "/ssd"; }}, true,
                 0);
}

}  // namespace
}  // namespace cairn::chunkserver::store
