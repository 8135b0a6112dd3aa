// Making a store, and what of superblock, ring and index must agree when it is opened again.
#include "chunkserver/store/store_files.h"

#include "chunkserver/store/disk_fixture.h"

namespace cairn::chunkserver::store {
namespace {

class StoreFilesTest : public ::testing::Test {
 protected:
  void open(std::uint64_t blocks = 64, const std::string& directory = {}) {
    store_.reset();
    auto opened = world_.open(blocks, directory);
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    store_ = std::make_unique<RecoveredStore>(std::move(*opened));
  }
  Code refused(std::uint64_t blocks = 64, const std::string& directory = {}) {
    store_.reset();
    auto opened = world_.open(blocks, directory);
    if (opened.has_value()) return Code::kInternal;
    message_ = opened.error().message();
    return opened.error().code();
  }
  bool tells(std::string_view text) const { return message_.find(text) != std::string::npos; }
  TablePosition row() { return decode_position(*world_.kv.get(kPositionKey).value()).value(); }
  void set_row(const TablePosition& position) { put_row(kPositionKey, encode(position)); }
  void put_row(std::string_view key, std::optional<std::string> value) {
    kv::Batch batch;
    if (value.has_value()) {
      batch.put(std::string(key), *value);
    } else {
      batch.erase(std::string(key));
    }
    ASSERT_TRUE(world_.kv.write(batch).has_value());
    ASSERT_TRUE(world_.kv.flush().has_value());
  }
  void zero_superblocks() { world_.write(0, Buffer::zeroed(2 * kBlockBytes)); }
  // The superblock's other slot, as a switch writes it.
  void switch_to(RingPlace place, std::optional<RingPlace> old) {
    Superblock next = store_->superblock;
    ++next.generation;
    next.ring = std::move(place);
    next.old_ring = std::move(old);
    ASSERT_TRUE(world_.loop.run(write_superblock(world_.data_device.get(), next)).has_value());
  }
  RingPlace make(RingPlace place) {
    const OpenRing opener = world_.open_ring();
    auto ring = world_.loop.run(make_ring(&world_.loop, world_.data_device.get(), std::move(place),
                                          store_->superblock.store_id, &opener));
    EXPECT_TRUE(ring.has_value());
    return (*ring)->place();
  }

  DiskWorld world_;
  std::unique_ptr<RecoveredStore> store_;
  std::string message_;
};

TEST_F(StoreFilesTest, ANewStoreHasItsRingBehindTheReservedBlocks) {
  open();
  EXPECT_TRUE(store_->made);
  EXPECT_EQ(store_->superblock.generation, 1U);
  EXPECT_EQ(store_->superblock.ring.first, kReservedBlocks);
  EXPECT_EQ(store_->superblock.ring.blocks, 64U);
  EXPECT_EQ(world_.data_device->size(), (kReservedBlocks + 64) * kBlockBytes);
  EXPECT_EQ(row().generation, 1U);
  EXPECT_EQ(row().ring, store_->superblock.ring.id);
  EXPECT_EQ(store_->space.used_blocks(), 64U);
  EXPECT_EQ(store_->space.free_blocks(), 0U);
}

TEST_F(StoreFilesTest, ANewStoreWithARingOfItsOwn) {
  world_.plug("/ssd");
  open(64, "/ssd");
  EXPECT_TRUE(store_->superblock.ring.external());
  EXPECT_EQ(world_.data_device->size(), kReservedBlocks * kBlockBytes);
  EXPECT_EQ(store_->ring->device().size(), 65 * kBlockBytes);
  EXPECT_FALSE(store_->ring->shares_data_device());
  // Later it is where the superblock says, whatever the options want.
  open(128, "");
  EXPECT_EQ(store_->superblock.ring.directory, "/ssd");
  EXPECT_EQ(store_->ring->blocks(), 64U);
}

// Cuts the power at every write and flush of either disk while a store is made.
void check_making(const std::string& directory) {
  for (const bool on_ring_disk : {false, true}) {
    if (on_ring_disk && directory.empty()) continue;
    for (std::uint64_t at = 1;; ++at) {
      DiskWorld world(at);
      if (!directory.empty()) world.plug(directory);
      io::SimDisk& disk = on_ring_disk ? world.disk_of(directory) : world.data;
      disk.crash_at(at, at);
      auto first = world.open(64, directory);
      const bool through = first.has_value();
      ASSERT_NE(through, !disk.attached()) << "operation " << at;
      if (first.has_value()) first->ring.reset();
      world.crash(at);
      auto second = world.open(64, directory);
      ASSERT_TRUE(second.has_value()) << "operation " << at << ": " << second.error().to_string();
      EXPECT_TRUE(second->homes.empty());
      EXPECT_EQ(second->applied.sequence, 0U);
      auto third = world.open(64, directory);
      ASSERT_TRUE(third.has_value()) << third.error().to_string();
      EXPECT_FALSE(third->made);
      EXPECT_EQ(third->superblock, second->superblock);
      if (through) break;
    }
  }
}

TEST(MakingAStore, IsMadeAgainAfterAPowerCutAnywhere) { check_making({}); }
TEST(MakingAStore, IsMadeAgainWithARingOfItsOwn) { check_making("/ssd"); }

TEST_F(StoreFilesTest, AFullDiskIsNoSpaceAndCanBeTriedAgain) {
  world_.data.set_size_limit(100 * kBlockBytes);
  EXPECT_EQ(refused(), Code::kNoSpace);
  world_.data.set_size_limit(1_GiB);
  open();
}

TEST_F(StoreFilesTest, AStoreThatWasUsedIsNeverMadeAnew) {
  open();
  zero_superblocks();
  EXPECT_EQ(refused(), Code::kCorrupt);
  EXPECT_TRUE(tells("no superblock"));
  EXPECT_EQ(crc32c(world_.read(1).span()), crc32c(Buffer::zeroed(kBlockBytes).span()));
}

TEST_F(StoreFilesTest, RowsWithoutAnIdAreNotANewIndex) {
  put_row("p-something", "x");
  EXPECT_EQ(refused(), Code::kCorrupt);
  put_row("p-something", std::nullopt);
  open();
  put_row(kStoreIdKey, std::nullopt);
  EXPECT_EQ(refused(), Code::kCorrupt);
}

TEST_F(StoreFilesTest, ALostOrForeignIndexIsRefused) {
  open();
  kv::MemKv other;
  std::swap(world_.kv, other);
  EXPECT_EQ(refused(), Code::kCorrupt);
  EXPECT_TRUE(tells("index of the data file is lost"));
  // The index of another store.
  DiskWorld stranger(99);
  ASSERT_TRUE(stranger.open().has_value());
  std::swap(world_.kv, stranger.kv);
  EXPECT_EQ(refused(), Code::kCorrupt);
  EXPECT_TRUE(tells("another data file"));
}

TEST_F(StoreFilesTest, ADataFileThatLostItsEndIsRefused) {
  open();
  io::SimDisk shorter;
  auto device = shorter.attach(world_.loop);
  ASSERT_TRUE(world_.loop.run(device->grow(100 * kBlockBytes)).has_value());
  world_.write_to(*device, 1, world_.read(1));
  auto opened = world_.loop.run(recover(&world_.loop, device.get(), &world_.kv, world_.options()));
  EXPECT_EQ(opened.error().code(), Code::kCorrupt);
}

TEST_F(StoreFilesTest, ALostForeignOrShortRingFileIsAFailedJournal) {
  world_.plug("/ssd");
  open(64, "/ssd");
  store_.reset();
  world_.unplug("/ssd");
  EXPECT_EQ(refused(), Code::kJournalFailed);
  EXPECT_TRUE(tells("/ssd/cairn-journal") && tells("bring its drive back")) << message_;
  world_.plug("/ssd");
  // An empty file in its place.
  auto& drive = world_.drives["/ssd"];
  auto kept = std::exchange(drive.disk, std::make_unique<io::SimDisk>());
  EXPECT_EQ(refused(), Code::kJournalFailed);
  EXPECT_TRUE(tells("0 bytes")) << message_;
  // One of another store, and one of this store that is not the newest.
  for (const std::uint64_t store_id : {std::uint64_t{1}, std::uint64_t{0}}) {
    auto device = drive.disk->attach(world_.loop);
    ASSERT_TRUE(world_.loop.run(device->grow(65 * kBlockBytes)).has_value());
    const auto superblock = world_.loop.run(read_superblock(world_.data_device.get()));
    const std::uint64_t id = store_id != 0 ? store_id : (*superblock)->store_id;
    world_.write_to(*device, 0, encode(RingHeader{77, id, 64}));
    EXPECT_EQ(refused(), Code::kJournalFailed);
    EXPECT_TRUE(tells(store_id != 0 ? "another chunk server" : "another journal")) << message_;
  }
  drive.disk = std::move(kept);
  open();
}

TEST_F(StoreFilesTest, SomebodyElsesFileIsNotWrittenOver) {
  io::SimDisk& disk = world_.plug("/ssd");
  auto device = disk.attach(world_.loop);
  ASSERT_TRUE(world_.loop.run(device->grow(8 * kBlockBytes)).has_value());
  const Buffer letter = blocks_of(5, 1);
  world_.attach();
  world_.write_to(*device, 0, letter);
  EXPECT_EQ(refused(64, "/ssd"), Code::kJournalFailed);
  EXPECT_TRUE(tells("/ssd/cairn-journal is there already")) << message_;
  device = disk.attach(world_.loop);
  world_.write_to(*device, 0, encode(RingHeader{77, 1234, 7}));
  EXPECT_EQ(refused(64, "/ssd"), Code::kJournalFailed);
  EXPECT_TRUE(tells("belongs to another chunk server")) << message_;
}

TEST_F(StoreFilesTest, AfterASwitchTheNewRingBeginsEmptyAndTheChainGoesOn) {
  world_.plug("/ssd");
  open(64);
  RingWriter writer(world_, *store_->ring, store_->applied);
  ASSERT_TRUE(world_.loop.run(world_.data_device->grow(600 * kBlockBytes)).has_value());
  world_.write(500, blocks_of(500, 1));
  writer.put({prepare_of(1, 1, {{500, 1}}, false, 500)});
  open(64);
  EXPECT_EQ(row().tail, row().applied);
  const RingPlace old = store_->superblock.ring;
  switch_to(make({.id = 31, .blocks = 32, .directory = "/ssd"}), old);
  open();
  EXPECT_EQ(store_->superblock.generation, 2U);
  EXPECT_EQ(store_->applied, (JournalPosition{1, 0, writer.position().crc}));
  EXPECT_EQ(store_->tail, store_->applied);
  EXPECT_EQ(row().ring, 31U);
  EXPECT_EQ(row().generation, 2U);
  // The old place is free, and nothing of it is left to do.
  EXPECT_EQ(store_->space.used_blocks(), 1U);
  EXPECT_TRUE(store_->space.is_free(old.first));
  EXPECT_FALSE(store_->superblock.old_ring.has_value());
  // Its first batch is the next one.
  RingWriter second(world_, *store_->ring, store_->applied);
  second.put({settle_of(1, 2)});
  open();
  EXPECT_EQ(store_->applied.sequence, 2U);
}

TEST_F(StoreFilesTest, ASuperblockOlderThanTheIndexIsDamageNotAWayBack) {
  world_.plug("/ssd");
  open(64);
  switch_to(make({.id = 31, .blocks = 32, .directory = "/ssd"}), store_->superblock.ring);
  open();
  // The newest slot rots: the ring it named held acknowledged ops.
  world_.data.rot(DiskOffset(0), 1);
  EXPECT_EQ(refused(), Code::kCorrupt);
  EXPECT_TRUE(tells("newest superblock is lost")) << message_;
}

TEST_F(StoreFilesTest, RowsOfAnotherRingOfTheSameGenerationAreDamage) {
  open();
  TablePosition position = row();
  position.ring ^= 2;
  set_row(position);
  EXPECT_EQ(refused(), Code::kCorrupt);
  // An earlier generation whose ring was not empty.
  position.generation = 0;
  position.applied = {5, 10, 1};
  position.tail = {4, 8, 1};
  set_row(position);
  EXPECT_EQ(refused(), Code::kCorrupt);
  EXPECT_TRUE(tells("another journal")) << message_;
}

TEST_F(StoreFilesTest, PositionsThatMakeNoSenseAreDamage) {
  open();
  const TablePosition good = row();
  TablePosition position = good;
  position.applied = {5, 65, 1};
  position.tail = position.applied;
  set_row(position);
  EXPECT_EQ(refused(), Code::kCorrupt);
  position.applied = {5, 10, 1};
  position.tail = {6, 10, 1};
  set_row(position);
  EXPECT_EQ(refused(), Code::kCorrupt);
  position.tail = {5, 11, 1};
  set_row(position);
  EXPECT_EQ(refused(), Code::kCorrupt);
  set_row(good);
  open();
}

TEST_F(StoreFilesTest, TheFileOfTheRingBeforeTheSwitchGoes) {
  world_.plug("/old");
  open(64, "/old");
  const RingPlace old = store_->superblock.ring;
  ASSERT_TRUE(world_.loop.run(world_.data_device->grow(400 * kBlockBytes)).has_value());
  switch_to(make({.id = 33, .first = 300, .blocks = 64, .directory = {}}), old);
  world_.fail_removal = true;
  open();
  // It did not go: the store works, and the next start tries again.
  ASSERT_TRUE(store_->left_over.has_value());
  EXPECT_EQ(store_->superblock.old_ring, old);
  EXPECT_TRUE(world_.has_file("/old"));
  world_.fail_removal = false;
  open();
  EXPECT_FALSE(store_->left_over.has_value());
  EXPECT_FALSE(store_->superblock.old_ring.has_value());
  EXPECT_FALSE(world_.has_file("/old"));
  EXPECT_EQ(world_.removals, 2);
  open();
  EXPECT_EQ(world_.removals, 2);
  // The new ring's place among the data is taken.
  EXPECT_EQ(store_->space.used_blocks(), 64U);
  EXPECT_FALSE(store_->space.is_free(300));
  EXPECT_TRUE(store_->space.is_free(299) && store_->space.is_free(364));
}

TEST_F(StoreFilesTest, AnOldRingOnADriveThatIsNotThereIsNotForgotten) {
  world_.plug("/old");
  open(64, "/old");
  const RingPlace old = store_->superblock.ring;
  ASSERT_TRUE(world_.loop.run(world_.data_device->grow(400 * kBlockBytes)).has_value());
  switch_to(make({.id = 33, .first = 300, .blocks = 64, .directory = {}}), old);
  world_.unplug("/old");
  open();
  ASSERT_TRUE(store_->left_over.has_value());
  EXPECT_EQ(store_->superblock.old_ring, old);
  world_.plug("/old");
  open();
  EXPECT_FALSE(store_->left_over.has_value());
  EXPECT_FALSE(world_.has_file("/old"));
}

TEST_F(StoreFilesTest, TheFileOfTheRingInUseIsNotMadeAnewUnderAnotherName) {
  world_.plug("/ssd");
  open(64, "/ssd");
  const OpenRing opener = world_.open_ring();
  const RingPlace place{.id = 34, .first = 0, .blocks = 64, .directory = "/ssd"};
  const auto made =
      world_.loop.run(make_ring(&world_.loop, world_.data_device.get(), place,
                                store_->superblock.store_id, &opener, store_->superblock.ring.id));
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code(), Code::kInvalidArgument);
  open();
}

TEST_F(StoreFilesTest, AFileThatIsSomebodyElsesByNowStays) {
  world_.plug("/old");
  open(64, "/old");
  const RingPlace old = store_->superblock.ring;
  ASSERT_TRUE(world_.loop.run(world_.data_device->grow(400 * kBlockBytes)).has_value());
  switch_to(make({.id = 33, .first = 300, .blocks = 64, .directory = {}}), old);
  store_.reset();
  auto device = world_.disk_of("/old").attach(world_.loop);
  world_.write_to(*device, 0, encode(RingHeader{old.id + 1, 4321, 64}));
  open();
  EXPECT_TRUE(world_.has_file("/old"));
  EXPECT_EQ(world_.removals, 0);
  EXPECT_FALSE(store_->superblock.old_ring.has_value());
}

TEST_F(StoreFilesTest, UsedBlocksAndTheirCountMustAgree) {
  open();
  Counters counters;
  counters.used_blocks = 1;
  put_row(kCountersKey, encode(counters));
  EXPECT_EQ(refused(), Code::kCorrupt);
  UsedRegion region;
  ASSERT_TRUE(region.mark(400, 1, true));
  put_row(region_key(0), encode(region));
  // It is counted now, but not in the file.
  EXPECT_EQ(refused(), Code::kCorrupt);
  ASSERT_TRUE(world_.loop.run(world_.data_device->grow(401 * kBlockBytes)).has_value());
  open();
  EXPECT_FALSE(store_->space.is_free(400));
  // A block of the ring is nobody's.
  ASSERT_TRUE(region.mark(300, 1, true));
  counters.used_blocks = 2;
  put_row(region_key(0), encode(region));
  put_row(kCountersKey, encode(counters));
  EXPECT_EQ(refused(), Code::kCorrupt);
}

}  // namespace
}  // namespace cairn::chunkserver::store
