// Recovery over rings that were written by hand: what comes back, what is dropped, where it goes
// on.
#include "chunkserver/store/recovery.h"

#include "chunkserver/store/disk_fixture.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint64_t kRingBlocks = 64;
constexpr std::uint64_t kSettled = 4;  // piece that batches settle

// A store that was made; tests write batches into its ring and open it again. With the ring in the
// data file and with one of its own.
class RecoveryTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) world_.plug("/ssd");
    ASSERT_NO_FATAL_FAILURE(open());
    EXPECT_TRUE(store_->made);
    data_first_ = kReservedBlocks + (GetParam() ? 0 : kRingBlocks);
    ASSERT_TRUE(world_.loop.run(world_.data_device->grow(1024 * kBlockBytes)).has_value());
    writer_ = std::make_unique<RingWriter>(world_, *store_->ring, store_->applied);
  }
  Result<RecoveredStore> try_open() {
    store_.reset();
    return world_.open(kRingBlocks, GetParam() ? "/ssd" : "");
  }
  void open() {
    auto opened = try_open();
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    store_ = std::make_unique<RecoveredStore>(std::move(*opened));
    if (writer_ != nullptr) writer_->continue_on(*store_->ring);
    store_->homes.check_invariants();
    store_->space.check_invariants();
  }
  Code code_of_open() {
    auto opened = try_open();
    if (opened.has_value()) return Code::kInternal;
    message_ = opened.error().message();
    return opened.error().code();
  }
  Code damage_code() const { return GetParam() ? Code::kJournalFailed : Code::kCorrupt; }
  // The batch lies in the ring; the blocks of direct records at home.
  void put(const std::vector<MadeRecord>& made) {
    for (const MadeRecord& one : made) {
      const Payload* payload = payload_of(one.record);
      if (payload == nullptr || payload->journaled) continue;
      std::size_t at = 0;
      for (const Extent& extent : payload->extents) {
        world_.write(extent.first, one.body.slice(at, extent.count * kBlockBytes));
        at += extent.count * kBlockBytes;
      }
    }
    writer_->put(made);
  }
  std::uint64_t home(std::uint64_t index) const { return data_first_ + index; }
  MadeRecord journaled(std::uint64_t chunk, std::uint64_t seq, std::uint64_t index,
                       std::uint64_t count = 1) {
    return prepare_of(chunk, seq, {{home(index), count}}, true, home(index));
  }
  MadeRecord direct(std::uint64_t chunk, std::uint64_t seq, std::uint64_t index,
                    std::uint64_t count = 1) {
    return prepare_of(chunk, seq, {{home(index), count}}, false, home(index));
  }
  // Numbers of the ops that wait in the piece's row; nothing: there is no such piece.
  std::vector<std::uint64_t> pending(std::uint64_t chunk) {
    const auto row = store_->table->piece({ChunkId::from_raw(chunk), cairn::PieceIndex(0)});
    EXPECT_TRUE(row.has_value());
    std::vector<std::uint64_t> ops;
    if (*row == nullptr) return ops;
    for (const PendingOp& op : (*row)->pending) ops.push_back(op.op.seq.raw());
    return ops;
  }
  bool homeless(std::uint64_t index) const { return store_->homes.find(home(index)) != nullptr; }
  TablePosition row() { return decode_position(*world_.kv.get(kPositionKey).value()).value(); }
  void set_row(const TablePosition& position) {
    kv::Batch batch;
    batch.put(std::string(kPositionKey), encode(position));
    ASSERT_TRUE(world_.kv.write(batch).has_value());
    ASSERT_TRUE(world_.kv.flush().has_value());
  }
  // Nothing in memory, a power cut between two starts: the same comes back.
  void open_after_crash() {
    store_.reset();
    world_.crash(7);
    ASSERT_NO_FATAL_FAILURE(open());
  }

  DiskWorld world_;
  std::unique_ptr<RecoveredStore> store_;
  std::unique_ptr<RingWriter> writer_;
  std::uint64_t data_first_ = 0;
  std::string message_;
};
INSTANTIATE_TEST_SUITE_P(Rings, RecoveryTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Own" : "Shared"; });

TEST_P(RecoveryTest, AnEmptyStoreComesBackEmpty) {
  const std::uint64_t id = store_->superblock.store_id;
  for (int i = 0; i < 2; ++i) {
    open_after_crash();
    EXPECT_FALSE(store_->made);
    EXPECT_EQ(store_->superblock.store_id, id);
    EXPECT_EQ(store_->applied, JournalPosition());
    EXPECT_EQ(store_->tail, JournalPosition());
    EXPECT_TRUE(store_->homes.empty());
    EXPECT_EQ(store_->space.used_blocks(), GetParam() ? 0 : kRingBlocks);
  }
}

TEST_P(RecoveryTest, BatchesBecomeRowsAndHomes) {
  put({journaled(1, 1, 0, 3), direct(2, 1, 10, 2)});
  put({journaled(3, 1, 20)});
  for (int i = 0; i < 2; ++i) {
    open_after_crash();
    EXPECT_EQ(store_->batches, i == 0 ? 2U : 0U);
    EXPECT_EQ(store_->dropped, 0U);
    EXPECT_EQ(pending(1), (std::vector<std::uint64_t>{1}));
    EXPECT_EQ(pending(2), (std::vector<std::uint64_t>{1}));
    EXPECT_EQ(pending(3), (std::vector<std::uint64_t>{1}));
    EXPECT_EQ(store_->homes.homeless(), 4U);
    EXPECT_TRUE(homeless(0) && homeless(1) && homeless(2) && homeless(20));
    EXPECT_FALSE(homeless(10));
    EXPECT_EQ(store_->homes.find(home(1))->ring_block, 2U);
    EXPECT_EQ(store_->homes.find(home(20))->ring_block, 5U);
    EXPECT_EQ(store_->applied, writer_->position());
    EXPECT_EQ(store_->tail, JournalPosition());
    EXPECT_EQ(store_->live.size(), 2U);
    EXPECT_EQ(store_->space.used_blocks(), 6 + (GetParam() ? 0 : kRingBlocks));
    EXPECT_FALSE(store_->space.is_free(home(2)));
    EXPECT_EQ(row().applied, store_->applied);
  }
}

TEST_P(RecoveryTest, BatchesWithoutBlocksInTheRingAreLetGo) {
  put({direct(1, 1, 0)});
  put({direct(2, 1, 1)});
  put({journaled(3, 1, 2)});
  put({direct(4, 1, 3)});
  open_after_crash();
  EXPECT_EQ(store_->tail.sequence, 2U);
  EXPECT_EQ(store_->live.size(), 2U);
  EXPECT_EQ(row().tail, store_->tail);
  EXPECT_EQ(row().applied.sequence, 4U);
  // What was let go may be written over: the next start does not look at it.
  writer_->damage(0);
  writer_->damage(1);
  open_after_crash();
  EXPECT_EQ(store_->applied.sequence, 4U);
  EXPECT_EQ(pending(1), (std::vector<std::uint64_t>{1}));
  EXPECT_TRUE(homeless(2));
}

TEST_P(RecoveryTest, ABatchMayLieAtTheBeginOfTheRing) {
  for (std::uint64_t i = 0; i < 9; ++i) put({journaled(10 + i, 1, 10 * i, 6)});
  open_after_crash();
  ASSERT_EQ(store_->applied.next_block, 63U);
  // The first batches are at home now, as a homer would have it.
  store_->homes.forget({home(0), 20});
  TablePosition position = row();
  position.tail = store_->live[1].position;
  set_row(position);
  writer_->put_at(0, {journaled(30, 1, 100, 3)});
  put({journaled(31, 1, 110, 3)});
  open_after_crash();
  EXPECT_EQ(store_->applied, writer_->position());
  EXPECT_EQ(store_->applied.sequence, 11U);
  EXPECT_EQ(store_->live.size(), 9U);
  EXPECT_EQ(store_->homes.find(home(100))->ring_block, 1U);
  EXPECT_EQ(store_->homes.find(home(110))->ring_block, 5U);
  EXPECT_FALSE(homeless(0));
  EXPECT_TRUE(homeless(20));
  EXPECT_EQ(RingUsage(kRingBlocks, store_->applied.next_block, store_->live).used(), 63 - 14 + 9U);
}

TEST_P(RecoveryTest, ATornLastBatchIsNotThere) {
  // Three blocks of records, two of data: torn at each of the first three.
  for (std::uint64_t torn = 0; torn < 3; ++torn) {
    const std::uint64_t before = writer_->position().sequence;
    const JournalPosition position = writer_->position();
    std::vector<MadeRecord> made;
    for (std::uint64_t i = 0; i < 140; ++i) made.push_back(settle_of(kSettled, 1));
    made.push_back(journaled(50, 1 + torn, 100 + 10 * torn, 2));
    for (std::uint64_t i = 0; i < 140; ++i) made.push_back(settle_of(kSettled, 1));
    writer_->put(made);
    ASSERT_EQ(writer_->position().next_block - writer_->last_at(), 3 + 2U);
    writer_->damage(writer_->last_at() + torn);
    open_after_crash();
    EXPECT_EQ(store_->applied, position);
    EXPECT_EQ(store_->applied.sequence, before);
    EXPECT_EQ(store_->batches, 0U);
    EXPECT_TRUE(pending(50).empty());
    // Its place is written again.
    writer_ = std::make_unique<RingWriter>(world_, *store_->ring, store_->applied);
    put({direct(60 + torn, 1, 200 + torn)});
    open_after_crash();
    EXPECT_EQ(store_->applied.sequence, before + 1);
    EXPECT_EQ(pending(60 + torn), (std::vector<std::uint64_t>{1}));
    writer_ = std::make_unique<RingWriter>(world_, *store_->ring, store_->applied);
  }
}

TEST_P(RecoveryTest, OpsOfTheLastBatchWithoutAllTheirBlocksAreDropped) {
  // Records: one block; data: 1 .. 3 of op A, 4 of B; C is direct.
  put({journaled(1, 1, 0, 3), direct(2, 1, 10), journaled(3, 1, 20)});
  writer_->damage(writer_->last_at() + 2);
  for (int i = 0; i < 2; ++i) {
    open_after_crash();
    EXPECT_EQ(store_->dropped, i == 0 ? 1U : 0U);
    EXPECT_EQ(store_->applied, writer_->position());
    EXPECT_TRUE(pending(1).empty());
    EXPECT_EQ(pending(2).size(), 1U);
    EXPECT_EQ(pending(3).size(), 1U);
    EXPECT_FALSE(homeless(0) || homeless(1) || homeless(2));
    EXPECT_TRUE(store_->space.is_free(home(1)));
    EXPECT_EQ(store_->homes.find(home(20))->ring_block, writer_->last_at() + 4);
  }
  // Also when it is not the last one any more.
  put({direct(4, 1, 1)});
  open_after_crash();
  EXPECT_EQ(store_->homes.homeless(), 1U);
  EXPECT_TRUE(homeless(20));
  EXPECT_TRUE(pending(1).empty());
  EXPECT_FALSE(store_->space.is_free(home(1)));
}

TEST_P(RecoveryTest, DirectBlocksOfTheLastBatchAreLookedForWhereTheFlushWasTheSame) {
  put({direct(1, 1, 0, 2), direct(2, 1, 10, 2)});
  world_.write(home(1), Buffer::zeroed(kBlockBytes));
  open_after_crash();
  if (GetParam()) {
    // They were durable before the record: what is wrong there is damage, found by reading.
    EXPECT_EQ(store_->dropped, 0U);
    EXPECT_EQ(pending(1).size(), 1U);
  } else {
    EXPECT_EQ(store_->dropped, 1U);
    EXPECT_TRUE(pending(1).empty());
  }
  EXPECT_EQ(pending(2).size(), 1U);
}

TEST_P(RecoveryTest, AnUnreadableDirectBlockIsKeptAndIsNotAnOldOne) {
  put({direct(1, 1, 0, 2)});
  world_.data.fail_block(DiskOffset(home(1) * kBlockBytes));
  open_after_crash();
  EXPECT_EQ(store_->dropped, 0U);
  EXPECT_EQ(pending(1).size(), 1U);
}

TEST_P(RecoveryTest, WhatIsNotTheLastBatchIsTakenAsItIs) {
  put({journaled(1, 1, 0), direct(2, 1, 10)});
  world_.write(home(10), Buffer::zeroed(kBlockBytes));
  writer_->damage(writer_->last_at() + 1);
  put({direct(3, 1, 20)});
  open_after_crash();
  EXPECT_EQ(store_->dropped, 0U);
  EXPECT_EQ(pending(1).size(), 1U);
  EXPECT_EQ(pending(2).size(), 1U);
}

TEST_P(RecoveryTest, RecordsOfAPieceThatWasDroppedAreSkipped) {
  put({journaled(1, 1, 0), settle_of(1, 2), direct(2, 1, 10)});
  writer_->damage(writer_->last_at() + 1);
  open_after_crash();
  EXPECT_EQ(store_->dropped, 1U);
  EXPECT_TRUE(pending(1).empty());
  EXPECT_EQ(pending(2).size(), 1U);
  EXPECT_EQ(store_->table->counters().pieces, 1U);
}

TEST_P(RecoveryTest, AFoldOfTheLastBatchWithoutItsBlocksIsDropped) {
  put({journaled(1, 1, 0, 2), direct(2, 1, 10)});
  put({settle_of(1, 2)});
  HealRecord heal;
  heal.piece = {ChunkId::from_raw(1), cairn::PieceIndex(0)};
  heal.blocks = {{0, 1}};
  heal.old_homes = {home(0)};
  heal.payload = {.extents = {{home(30), 1}}, .crcs = {crc_of(home(0))}, .journaled = true};
  put({MadeRecord{heal, blocks_of(home(0), 1)}});
  const std::uint64_t heal_at = writer_->last_at();
  open_after_crash();
  EXPECT_EQ(store_->dropped, 0U);
  EXPECT_TRUE(homeless(30));
  EXPECT_FALSE(homeless(0));
  EXPECT_TRUE(store_->space.is_free(home(0)));
  // The same, torn, on another piece.
  heal.piece = {ChunkId::from_raw(2), cairn::PieceIndex(0)};
  heal.old_homes = {home(10)};
  heal.payload.extents = {{home(31), 1}};
  heal.payload.crcs = {crc_of(home(10))};
  put({settle_of(2, 2)});
  put({MadeRecord{heal, blocks_of(home(10), 1)}});
  ASSERT_NE(writer_->last_at(), heal_at);
  writer_->damage(writer_->last_at() + 1);
  open_after_crash();
  EXPECT_EQ(store_->dropped, 1U);
  EXPECT_FALSE(homeless(31));
  EXPECT_TRUE(store_->space.is_free(home(31)));
  EXPECT_FALSE(store_->space.is_free(home(10)));
}

TEST_P(RecoveryTest, AHomeThatWasFreedDoesNotComeBack) {
  put({journaled(1, 1, 0, 2)});
  put({journaled(2, 1, 5)});
  put({MadeRecord{RemoveRecord{{ChunkId::from_raw(1), cairn::PieceIndex(0)}}, Buffer()}});
  open_after_crash();
  EXPECT_FALSE(homeless(0) || homeless(1));
  EXPECT_TRUE(homeless(5));
  EXPECT_EQ(store_->tail.sequence, 1U);
  // Given to a direct op, and to a journaled one.
  put({direct(3, 1, 0), journaled(4, 1, 1)});
  open_after_crash();
  EXPECT_FALSE(homeless(0));
  EXPECT_EQ(store_->homes.find(home(1))->ring_block, writer_->last_at() + 1);
  EXPECT_EQ(store_->homes.homeless(), 2U);
}

TEST_P(RecoveryTest, ADamagedMiddleIsNeverTakenForTheEnd) {
  put({journaled(1, 1, 0)});
  put({journaled(2, 1, 1)});
  const std::uint64_t second = writer_->last_at();
  put({journaled(3, 1, 2)});
  put({journaled(4, 1, 3)});
  const TablePosition before = row();
  writer_->damage(second);
  EXPECT_EQ(code_of_open(), damage_code());
  EXPECT_EQ(code_of_open(), damage_code());
  EXPECT_NE(message_.find("batch 3 is readable but 2 is not"), std::string::npos) << message_;
  EXPECT_EQ(message_.find("/ssd/cairn-journal") != std::string::npos, GetParam()) << message_;
  EXPECT_EQ(row(), before);
}

TEST_P(RecoveryTest, ARingThatLacksWhatTheIndexHoldsIsDamaged) {
  put({journaled(1, 1, 0)});
  put({journaled(2, 1, 1)});
  const std::uint64_t last = writer_->last_at();
  open_after_crash();
  ASSERT_EQ(store_->tail.sequence, 0U);
  writer_->damage(last);
  EXPECT_EQ(code_of_open(), damage_code());
  EXPECT_NE(message_.find("the index holds 2"), std::string::npos) << message_;
}

TEST_P(RecoveryTest, AnotherBatchThanTheOneTheIndexHoldsIsDamage) {
  put({journaled(1, 1, 0)});
  open_after_crash();
  TablePosition position = row();
  position.applied.crc ^= 1;
  set_row(position);
  EXPECT_EQ(code_of_open(), damage_code());
}

TEST_P(RecoveryTest, AnUnreadableRingDoesNotOpen) {
  put({journaled(1, 1, 0)});
  io::SimDisk& disk = GetParam() ? world_.disk_of("/ssd") : world_.data;
  disk.fail_block(store_->ring->write_of(0, {}).offset);
  EXPECT_EQ(code_of_open(), GetParam() ? Code::kJournalFailed : Code::kDiskFailed);
}

TEST_P(RecoveryTest, TheFileGrowsAgainForHomesWhoseGrowthWasLost) {
  const std::uint64_t beyond = 2000;
  put({prepare_of(1, 1, {{beyond, 3}}, true, beyond)});
  ASSERT_LT(world_.data_device->size(), beyond * kBlockBytes);
  open_after_crash();
  EXPECT_EQ(world_.data_device->size(), (beyond + 3) * kBlockBytes);
  EXPECT_EQ(store_->homes.homeless(), 3U);
  EXPECT_EQ(store_->space.end(), beyond + 3);
}

TEST_P(RecoveryTest, APowerCutAtEachOperationOfAStartChangesNothing) {
  for (std::uint64_t i = 0; i < 4; ++i) {
    put({journaled(10 + i, 1, 10 * i, 3), direct(20 + i, 1, 10 * i + 5)});
  }
  put({journaled(1, 1, 50), journaled(2, 1, 51)});
  writer_->damage(writer_->last_at() + 1);
  for (std::uint64_t at = 1; at <= 3; ++at) {
    store_.reset();
    world_.crash(at);
    world_.attach();
    world_.data.crash_at(at, at);
    auto opened = try_open();
    if (opened.has_value()) break;
    EXPECT_FALSE(world_.data.attached()) << opened.error().to_string();
  }
  open_after_crash();
  EXPECT_EQ(store_->applied, writer_->position());
  EXPECT_EQ(store_->homes.homeless(), 13U);
  EXPECT_TRUE(pending(1).empty());
  EXPECT_EQ(pending(2).size(), 1U);
}

TEST_P(RecoveryTest, WhatAKilledProcessLeftInACacheIsDurableBeforeTheIndexHasIt) {
  // Written, not flushed; then the process dies, the next one opens, and only then the power goes.
  const MadeRecord made = journaled(1, 1, 0, 2);
  const EncodedBatch encoded = encode_batch(store_->ring->place().id, store_->applied,
                                            std::vector<const Record*>{&made.record});
  std::vector<Bytes> parts{encoded.bytes.span(), made.body.span()};
  io::DeviceWrite write = store_->ring->write_of(0, std::move(parts));
  ASSERT_TRUE(world_.loop.run(store_->ring->device().write(write.offset, std::move(write.parts)))
                  .has_value());
  for (auto& [name, drive] : world_.drives) drive.disk->kill();
  world_.data.kill();
  ASSERT_NO_FATAL_FAILURE(open());
  EXPECT_EQ(store_->applied.sequence, 1U);
  open_after_crash();
  EXPECT_EQ(store_->applied.sequence, 1U);
  EXPECT_EQ(store_->homes.homeless(), 2U);
}

}  // namespace
}  // namespace cairn::chunkserver::store
