// PieceStore, scenario by scenario.
#include "chunkserver/store/piece_store.h"

#include <gtest/gtest.h>

#include "chunkserver/testing/store_world.h"

namespace cairn::chunkserver::store {
namespace {

using testing::make_prepare;
using testing::op_id;
using testing::piece_id;
using testing::StoreWorld;

Status put(StoreWorld& world, testing::MadePrepare made) {
  PrepareRequest request = std::move(made.request);
  return world.loop().run(world.store().prepare(std::move(request), std::move(made.body)));
}
// What a read of [first, first + count) shows: block -> value.
std::map<std::uint64_t, std::uint64_t> view(StoreWorld& world, PieceId piece, std::uint64_t first,
                                            std::uint64_t count) {
  const Result<ReadAnswer> answer = world.loop().run(world.store().read(piece, {{first, count}}));
  EXPECT_TRUE(answer.has_value());
  std::map<std::uint64_t, std::uint64_t> values;
  if (!answer.has_value()) return values;
  std::size_t at = 0;
  for (const BlockRange& range : answer->present) {
    for (std::uint64_t b = range.first; b < range.end(); ++b, at += kBlockBytes) {
      values[b] = testing::value_of(answer->bytes.span().subspan(at, kBlockBytes)).value_or(0);
    }
  }
  return values;
}
using View = std::map<std::uint64_t, std::uint64_t>;

TEST(PieceStore, ServesTheNewestPreparedStateAndHolesAsAbsent) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const PieceId piece = piece_id(1);
  ASSERT_TRUE(put(world, make_prepare(piece, 1, op_id(1, 1), {{0, 3}}, {10, 11, 12})).has_value());
  ASSERT_TRUE(
      put(world, make_prepare(piece, 1, op_id(1, 2), {{1, 1}, {7, 1}}, {21, 27})).has_value());
  EXPECT_EQ(view(world, piece, 0, 10), (View{{0, 10}, {1, 21}, {2, 12}, {7, 27}}));
  testing::MadePrepare zero = make_prepare(piece, 1, op_id(1, 3), {}, {});
  zero.request.zeroes = {{0, 2}, {7, 100}};
  ASSERT_TRUE(put(world, std::move(zero)).has_value());
  EXPECT_EQ(view(world, piece, 0, 10), (View{{2, 12}}));
  EXPECT_EQ(world.store().status(piece)->undecided, 3U);
  EXPECT_EQ(world.store().status(piece)->blocks, 0U);
  ASSERT_TRUE(world.loop().run(world.store().settle(piece, op_id(1, 4))).has_value());
  world.loop().run(world.store().quiesce());
  EXPECT_EQ(view(world, piece, 0, 10), (View{{2, 12}}));
  EXPECT_EQ(world.store().status(piece)->undecided, 0U);
  EXPECT_EQ(world.store().status(piece)->blocks, 1U);
  EXPECT_EQ(world.store().statistics().used_bytes, kBlockBytes);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStore, RefusesOtherContentUnderTheSameNumber) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const PieceId piece = piece_id(1);
  ASSERT_TRUE(put(world, make_prepare(piece, 1, op_id(1, 1), {{0, 1}}, {1})).has_value());
  EXPECT_TRUE(put(world, make_prepare(piece, 1, op_id(1, 1), {{0, 1}}, {1})).has_value());
  EXPECT_EQ(put(world, make_prepare(piece, 1, op_id(1, 1), {{0, 1}}, {2})).error().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(view(world, piece, 0, 1), (View{{0, 1}}));
}

TEST(PieceStore, DoesNotMakeAPieceThatWasLost) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  testing::MadePrepare made = make_prepare(piece_id(1), 1, op_id(1, 1), {{0, 1}}, {1});
  made.request.create = false;
  EXPECT_EQ(put(world, std::move(made)).error().code(), Code::kPieceMissing);
  EXPECT_EQ(world.loop().run(world.store().read(piece_id(1), {{0, 1}})).error().code(),
            Code::kPieceMissing);
  EXPECT_EQ(world.store().status(piece_id(1)).error().code(), Code::kPieceMissing);
  EXPECT_TRUE(world.loop().run(world.store().remove(piece_id(1))).has_value());
}

TEST(PieceStore, ALateWriteDoesNotBringARemovedPieceBack) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const PieceId piece = piece_id(1);
  ASSERT_TRUE(put(world, make_prepare(piece, 3, op_id(1, 1), {{0, 1}}, {1})).has_value());
  ASSERT_TRUE(world.loop().run(world.store().remove(piece)).has_value());
  EXPECT_EQ(put(world, make_prepare(piece, 3, op_id(1, 2), {{0, 1}}, {1})).error().code(),
            Code::kPieceMissing);
  EXPECT_TRUE(put(world, make_prepare(piece, 4, op_id(1, 2), {{0, 1}}, {1})).has_value());
}

TEST(PieceStore, RecoveryAfterALostWriterEndsTheSameHoweverOftenItIsBegun) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const PieceId piece = piece_id(1);
  for (std::uint64_t seq = 1; seq <= 4; ++seq) {
    testing::MadePrepare made = make_prepare(piece, 1, op_id(5, seq), {{seq, 1}}, {100 + seq});
    made.request.settled_below = OpSeq(2);
    made.request.participants = 7;
    ASSERT_TRUE(put(world, std::move(made)).has_value());
  }
  const auto seal = [&](std::uint64_t version, std::uint64_t epoch) {
    return world.loop().run(world.store().seal(piece, ChunkVersion(version), LeaseEpoch(epoch)));
  };
  const Result<SealAnswer> sealed = seal(2, 6);
  ASSERT_TRUE(sealed.has_value());
  EXPECT_EQ(sealed->settled, op_id(5, 2));
  EXPECT_EQ(sealed->undecided,
            (std::vector<UndecidedOp>{{op_id(5, 2), 7}, {op_id(5, 3), 7}, {op_id(5, 4), 7}}));
  // The old writer is fenced, the seal can be repeated.
  EXPECT_EQ(put(world, make_prepare(piece, 1, op_id(5, 5), {{0, 1}}, {1})).error().code(),
            Code::kStaleVersion);
  EXPECT_EQ(world.loop().run(world.store().settle(piece, op_id(5, 9))).error().code(),
            Code::kStaleEpoch);
  EXPECT_EQ(seal(2, 6)->undecided, sealed->undecided);
  const auto resolve = [&](std::uint64_t version, std::uint64_t epoch) {
    std::vector<OpId> forward{op_id(5, 2), op_id(5, 4)};
    return world.loop().run(
        world.store().resolve(piece, ChunkVersion(version), LeaseEpoch(epoch), std::move(forward)));
  };
  EXPECT_EQ(resolve(3, 6).error().code(), Code::kRefusedForSafety);
  ASSERT_TRUE(resolve(2, 6).has_value());
  EXPECT_EQ(view(world, piece, 0, 10), (View{{1, 101}, {2, 102}, {4, 104}}));
  // The master died and begins again: what was rolled forward is still held, what was dropped is
  // not.
  const Result<SealAnswer> again = seal(3, 7);
  EXPECT_EQ(again->undecided,
            (std::vector<UndecidedOp>{{op_id(5, 2), 7, true}, {op_id(5, 4), 7, true}}));
  ASSERT_TRUE(resolve(3, 7).has_value());
  EXPECT_EQ(view(world, piece, 0, 10), (View{{1, 101}, {2, 102}, {4, 104}}));
  // The next writer's first op ends the matter.
  ASSERT_TRUE(put(world, make_prepare(piece, 3, op_id(8, 1), {{0, 1}}, {1})).has_value());
  EXPECT_EQ(seal(4, 9)->undecided, (std::vector<UndecidedOp>{{op_id(8, 1), 1}}));
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStore, RefusesWhatDoesNotFitBeforeAnythingIsWritten) {
  StoreWorld world({.disk_bytes = 4_MiB, .grow_bytes = 64_KiB});
  ASSERT_TRUE(world.open().has_value());
  const std::uint64_t room = world.store().statistics().free_bytes / kBlockBytes;
  ASSERT_GT(room, 100U);
  std::uint64_t written = 0;
  std::uint64_t seq = 0;
  for (;; ++written) {
    const Status status =
        put(world, make_prepare(piece_id(1), 1, op_id(1, ++seq), {{written, 1}}, {written + 1}));
    if (!status.has_value()) {
      EXPECT_EQ(status.error().code(), Code::kNoSpace);
      break;
    }
  }
  EXPECT_EQ(written, room);
  EXPECT_EQ(world.store().statistics().free_bytes, 0U);
  // A full store still reads, zeroes, settles and removes, and takes writes again afterwards.
  EXPECT_EQ(view(world, piece_id(1), 0, room).size(), room);
  testing::MadePrepare zero = make_prepare(piece_id(1), 1, op_id(1, ++seq), {}, {});
  zero.request.zeroes = {{0, 50}};
  zero.request.settled_below = OpSeq(seq);
  ASSERT_TRUE(put(world, std::move(zero)).has_value());
  testing::MadePrepare next = make_prepare(piece_id(1), 1, op_id(1, ++seq), {}, {});
  next.request.settled_below = OpSeq(seq);
  ASSERT_TRUE(put(world, std::move(next)).has_value());
  EXPECT_EQ(world.store().statistics().free_bytes, 50 * kBlockBytes);
  EXPECT_TRUE(
      put(world, make_prepare(piece_id(1), 1, op_id(1, ++seq), {{0, 2}}, {1, 2})).has_value());
  ASSERT_TRUE(world.loop().run(world.store().remove(piece_id(1))).has_value());
  EXPECT_EQ(world.store().statistics().free_bytes, room * kBlockBytes);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStore, ObeysItsSizeLimit) {
  StoreWorld world({.disk_bytes = 64_MiB, .grow_bytes = 64_KiB, .size_bytes = 2_MiB});
  ASSERT_TRUE(world.open().has_value());
  const std::uint64_t blocks = 2_MiB / kBlockBytes - world.store().recovered().data_first;
  EXPECT_EQ(world.store().statistics().free_bytes, blocks * kBlockBytes);
  EXPECT_EQ(world.store().statistics().space_bytes, 2_MiB);
}

Task<void> overwrite(PieceStore* store, std::uint64_t rounds, std::uint64_t* done) {
  for (std::uint64_t seq = 1; seq <= rounds; ++seq) {
    std::vector<std::uint64_t> values(16, seq);
    testing::MadePrepare made =
        make_prepare(piece_id(1), 1, op_id(1, seq), {{0, 16}}, std::move(values));
    made.request.settled_below = OpSeq(seq);
    PrepareRequest request = std::move(made.request);
    const Status status = co_await store->prepare(std::move(request), std::move(made.body));
    EXPECT_TRUE(status.has_value());
    if (!status.has_value()) *done = rounds;  // the readers shall end, too
    if (!status.has_value()) co_return;
    ++*done;
  }
}
Task<void> read_on(runtime::Runtime* runtime, PieceStore* store, const std::uint64_t* done,
                   std::uint64_t rounds, std::uint64_t* checked) {
  std::uint64_t last = 0;
  while (*done < rounds) {
    co_await yield_turn(*runtime);
    std::vector<BlockRange> ranges{{0, 16}};
    const std::uint64_t acknowledged = *done;
    const Result<ReadAnswer> answer = co_await store->read(piece_id(1), std::move(ranges));
    if (!answer.has_value() || answer->present.empty()) {
      EXPECT_EQ(acknowledged, 0U);
      continue;
    }
    // Every read sees one whole op, never an older one than was acknowledged.
    const std::optional<std::uint64_t> value =
        testing::value_of(answer->bytes.span().first(kBlockBytes));
    EXPECT_TRUE(value.has_value());
    for (std::size_t i = 1; i < 16; ++i) {
      EXPECT_EQ(testing::value_of(answer->bytes.span().subspan(i * kBlockBytes, kBlockBytes)),
                value);
    }
    EXPECT_GE(value.value_or(0), std::max(acknowledged, last));
    last = value.value_or(0);
    ++*checked;
  }
}
Task<void> overwrite_and_read(runtime::Runtime* runtime, PieceStore* store,
                              std::uint64_t* checked) {
  constexpr std::uint64_t kRounds = 500;
  std::uint64_t done = 0;
  runtime::TaskGroup group(*runtime);
  group.spawn(overwrite(store, kRounds, &done));
  for (int i = 0; i < 4; ++i) group.spawn(read_on(runtime, store, &done, kRounds, checked));
  co_await group.join();
}

TEST(PieceStore, ReadsBesideOverwritesOnANearlyFullDiskSeeWholeOps) {
  // Room for a few ops only: freed blocks are used again at once.
  StoreWorld world(
      {.disk_bytes = 2_MiB, .grow_bytes = 64_KiB, .size_bytes = (256 + 32 + 56) * kBlockBytes});
  ASSERT_TRUE(world.open().has_value());
  std::uint64_t checked = 0;
  world.loop().run(overwrite_and_read(&world.loop(), &world.store(), &checked));
  EXPECT_GT(checked, 500U);
  world.loop().run(world.store().quiesce());
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStore, AFullJournalWaitsForACheckpointAndGoesOn) {
  StoreWorld world({});
  world.kv().set_self_flush_per_mille(0);
  ASSERT_TRUE(world.open().has_value());
  const std::uint64_t flushes = world.kv().flushes();
  for (std::uint64_t seq = 1; seq <= 200; ++seq) {
    ASSERT_TRUE(
        put(world, make_prepare(piece_id(1), 1, op_id(1, seq), {{seq, 1}}, {seq})).has_value());
    EXPECT_LE(world.store().statistics().journal_blocks_used, 32U);
  }
  EXPECT_GT(world.kv().flushes(), flushes + 5);
  world.crash(1);
  ASSERT_TRUE(world.open().has_value());
  EXPECT_EQ(view(world, piece_id(1), 1, 200).size(), 200U);
}

Task<void> prepare_many(runtime::Runtime* runtime, PieceStore* store, std::uint64_t count) {
  struct One {
    static Task<void> run(PieceStore* to, std::uint64_t seq) {
      testing::MadePrepare made = make_prepare(piece_id(1), 1, op_id(1, seq), {{seq, 1}}, {seq});
      PrepareRequest request = std::move(made.request);
      const Status status = co_await to->prepare(std::move(request), std::move(made.body));
      EXPECT_TRUE(status.has_value());
    }
  };
  runtime::TaskGroup group(*runtime);
  for (std::uint64_t seq = 1; seq <= count; ++seq) group.spawn(One::run(store, seq));
  co_await group.join();
}
TEST(PieceStore, ManyOpsShareOneFlush) {
  StoreWorld world({.journal_bytes = 4_MiB});
  ASSERT_TRUE(world.open().has_value());
  const std::uint64_t flushes = world.disk().flushes();
  world.loop().run(prepare_many(&world.loop(), &world.store(), 200));
  // The first op goes alone, all others collect meanwhile.
  EXPECT_LE(world.disk().flushes() - flushes, 3U);
}

TEST(PieceStore, WrongBytesAreNeverServed) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(
      put(world, make_prepare(piece_id(1), 1, op_id(1, 1), {{0, 4}}, {1, 2, 3, 4})).has_value());
  const DiskOffset second((world.store().recovered().data_first + 1) * kBlockBytes);
  ASSERT_TRUE(world.disk().rot(second, 7));
  EXPECT_EQ(world.loop().run(world.store().read(piece_id(1), {{0, 4}})).error().code(),
            Code::kChecksumMismatch);
  EXPECT_EQ(world.store().statistics().checksum_errors, 1U);
  EXPECT_EQ(view(world, piece_id(1), 2, 2), (View{{2, 3}, {3, 4}}));
}

TEST(PieceStore, IsFencedWhenTheDiskFails) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(put(world, make_prepare(piece_id(1), 1, op_id(1, 1), {{0, 1}}, {1})).has_value());
  world.disk().fail_writes(true);
  EXPECT_EQ(put(world, make_prepare(piece_id(1), 1, op_id(1, 2), {{0, 1}}, {2})).error().code(),
            Code::kDiskFailed);
  world.disk().fail_writes(false);
  ASSERT_TRUE(world.store().failure().has_value());
  EXPECT_EQ(put(world, make_prepare(piece_id(1), 1, op_id(1, 3), {{0, 1}}, {3})).error().code(),
            Code::kDiskFailed);
  EXPECT_EQ(world.loop().run(world.store().read(piece_id(1), {{0, 1}})).error().code(),
            Code::kDiskFailed);
  EXPECT_EQ(world.loop().run(world.store().remove(piece_id(1))).error().code(), Code::kDiskFailed);
  EXPECT_FALSE(world.close().has_value());
}

TEST(PieceStore, IsFencedWhenTheIndexFails) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  world.kv().fail_writes(true);
  EXPECT_EQ(put(world, make_prepare(piece_id(1), 1, op_id(1, 1), {{0, 1}}, {1})).error().code(),
            Code::kDiskFailed);
  EXPECT_TRUE(world.store().failure().has_value());
}

TEST(Recovery, RefusesDamagedOrForeignParts) {
  {
    StoreWorld world({});
    ASSERT_TRUE(world.open().has_value());
    ASSERT_TRUE(world.close().has_value());
    world.disk().rot_byte(DiskOffset(0), 20);
    EXPECT_EQ(world.open().error().code(), Code::kCorrupt);
  }
  StoreWorld world({});
  world.kv().set_self_flush_per_mille(0);
  ASSERT_TRUE(world.open().has_value());
  for (std::uint64_t seq = 1; seq <= 3; ++seq) {
    ASSERT_TRUE(
        put(world, make_prepare(piece_id(1), 1, op_id(1, seq), {{seq, 1}}, {seq})).has_value());
  }
  world.crash(1);
  // The first of three batches is damaged: the journal may not be taken as ending there.
  world.disk().rot_byte(DiskOffset(kReservedBlocks * kBlockBytes), 70);
  EXPECT_EQ(world.open().error().code(), Code::kCorrupt);
}

TEST(Recovery, StartsAgainWithoutReplayAfterACleanEnd) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  EXPECT_TRUE(world.store().recovered().made);
  ASSERT_TRUE(put(world, make_prepare(piece_id(1), 1, op_id(1, 1), {{0, 1}}, {1})).has_value());
  ASSERT_TRUE(world.close().has_value());
  world.kv().crash();
  ASSERT_TRUE(world.open().has_value());
  EXPECT_EQ(world.store().recovered().batches, 0U);
  EXPECT_FALSE(world.store().recovered().made);
  EXPECT_EQ(view(world, piece_id(1), 0, 2), (View{{0, 1}}));
}

}  // namespace
}  // namespace cairn::chunkserver::store
