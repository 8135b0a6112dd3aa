// PieceStore, scenario by scenario: what calls answer, what takes space.
#include "chunkserver/store/piece_store.h"

#include "chunkserver/store/store_fixture.h"

namespace cairn::chunkserver::store {
namespace {

TEST(PieceStore, ServesTheNewestPreparedStateAndHolesAsAbsent) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const PieceId piece = piece_id(1);
  ASSERT_TRUE(write(world, 1, {{0, 3}}, {10, 11, 12}).has_value());
  ASSERT_TRUE(write(world, 2, {{1, 1}, {7, 1}}, {21, 27}).has_value());
  EXPECT_EQ(view(world, piece, 0, 10), (View{{0, 10}, {1, 21}, {2, 12}, {7, 27}}));
  ASSERT_TRUE(punch(world, 3, {{0, 2}, {7, 100}}).has_value());
  EXPECT_EQ(view(world, piece, 0, 10), (View{{2, 12}}));
  EXPECT_EQ(status(world, piece)->undecided, 3U);
  EXPECT_EQ(status(world, piece)->blocks, 0U);
  settle(world, 4);
  EXPECT_EQ(view(world, piece, 0, 10), (View{{2, 12}}));
  EXPECT_EQ(status(world, piece)->undecided, 0U);
  EXPECT_EQ(status(world, piece)->blocks, 1U);
  EXPECT_EQ(world.store().statistics().used_bytes, kBlockBytes);
  rest(world);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStore, AddsDeltasAndFoldsThemWhenTheyAreDecided) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const PieceId piece = piece_id(1);
  ASSERT_TRUE(write(world, 1, {{0, 2}}, {8, 9}).has_value());
  ASSERT_TRUE(add(world, 2, {{0, 3}}, {1, 1, 5}).has_value());  // block 2 was a hole
  ASSERT_TRUE(add(world, 3, {{0, 1}}, {2}).has_value());
  const View expected{{0, 8 ^ 1 ^ 2}, {1, 9 ^ 1}, {2, 5}};
  EXPECT_EQ(view(world, piece, 0, 5), expected);
  EXPECT_EQ(world.store().statistics().used_bytes, 6 * kBlockBytes);
  settle(world, 4);
  EXPECT_EQ(view(world, piece, 0, 5), expected);
  rest(world);
  EXPECT_EQ(view(world, piece, 0, 5), expected);
  EXPECT_EQ(world.store().statistics().used_bytes, 3 * kBlockBytes);
  EXPECT_EQ(status(world, piece)->blocks, 3U);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStore, FoldsManyDeltasOfOneBlockAtOnce) {
  StoreWorld world({.journal_bytes = 1_MiB});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(write(world, 1, {{0, 1}}, {1}).has_value());
  for (std::uint64_t seq = 2; seq <= 21; ++seq) {
    ASSERT_TRUE(add(world, seq, {{0, 1}}, {std::uint64_t{1} << seq}).has_value());
  }
  settle(world, 22);
  rest(world);
  EXPECT_EQ(view(world, piece_id(1), 0, 1), (View{{0, (std::uint64_t{1} << 22) - 3}}));
  // One read-modify-write for twenty of them.
  EXPECT_EQ(world.store().statistics().rmw, 1U);
  EXPECT_EQ(world.store().statistics().jrmw, 19U);
}

TEST(PieceStore, FoldsInTheNextLifeWhatTheLastOneLeft) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(write(world, 1, {{0, 2}}, {8, 9}).has_value());
  ASSERT_TRUE(add(world, 2, {{0, 2}}, {1, 1}).has_value());
  settle(world, 3);
  ASSERT_TRUE(checkpoint(world).has_value());
  world.crash(1);
  ASSERT_TRUE(world.open().has_value());
  EXPECT_EQ(view(world, piece_id(1), 0, 2), (View{{0, 9}, {1, 8}}));
  rest(world);
  EXPECT_EQ(view(world, piece_id(1), 0, 2), (View{{0, 9}, {1, 8}}));
  EXPECT_EQ(world.store().statistics().used_bytes, 2 * kBlockBytes);
}

TEST(PieceStore, ADroppedDeltaLeavesNothing) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const PieceId piece = piece_id(1);
  ASSERT_TRUE(write(world, 1, {{0, 1}}, {8}).has_value());
  ASSERT_TRUE(add(world, 2, {{0, 1}}, {3}).has_value());
  ASSERT_TRUE(add(world, 3, {{0, 1}}, {16}).has_value());
  PieceStore& store = world.store();
  ASSERT_TRUE(world.loop().run(store.seal(piece, ChunkVersion(2), LeaseEpoch(2))).has_value());
  std::vector<OpId> forward{op_id(1, 1), op_id(1, 3)};
  ASSERT_TRUE(world.loop()
                  .run(store.resolve(piece, ChunkVersion(2), LeaseEpoch(2), std::move(forward)))
                  .has_value());
  EXPECT_EQ(view(world, piece, 0, 1), (View{{0, 8 ^ 16}}));
  rest(world);
  EXPECT_EQ(view(world, piece, 0, 1), (View{{0, 8 ^ 16}}));
  EXPECT_EQ(store.statistics().used_bytes, kBlockBytes);
}

TEST(PieceStore, RefusesOtherContentUnderTheSameNumber) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  ASSERT_TRUE(write(world, 1, {{0, 1}}, {1}).has_value());
  EXPECT_TRUE(write(world, 1, {{0, 1}}, {1}).has_value());
  EXPECT_EQ(write(world, 1, {{0, 1}}, {2}).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(add(world, 1, {{0, 1}}, {1}).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(view(world, piece_id(1), 0, 1), (View{{0, 1}}));
}

TEST(PieceStore, DoesNotMakeAPieceThatWasLost) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  testing::MadePrepare made = make_prepare(piece_id(1), 1, op_id(1, 1), {{0, 1}}, {1});
  made.request.create = false;
  EXPECT_EQ(put(world, std::move(made)).error().code(), Code::kPieceMissing);
  EXPECT_EQ(read(world, piece_id(1), 0, 1).error().code(), Code::kPieceMissing);
  EXPECT_EQ(status(world, piece_id(1)).error().code(), Code::kPieceMissing);
  EXPECT_TRUE(remove(world, piece_id(1)).has_value());
}

TEST(PieceStore, ALateWriteDoesNotBringARemovedPieceBack) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const PieceId piece = piece_id(1);
  ASSERT_TRUE(put(world, make_prepare(piece, 3, op_id(1, 1), {{0, 1}}, {1})).has_value());
  ASSERT_TRUE(remove(world, piece).has_value());
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
  EXPECT_EQ(sealed->undecided, (std::vector<UndecidedOp>{{op_id(5, 2), 7, false, {2, 1}},
                                                         {op_id(5, 3), 7, false, {3, 1}},
                                                         {op_id(5, 4), 7, false, {4, 1}}}));
  EXPECT_EQ(sealed->touched, (std::vector<BlockRange>{{2, 3}}));
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
  // Which blocks that was is forgotten.
  const BlockRange any{0, kPieceBlocksMax};
  EXPECT_EQ(again->undecided,
            (std::vector<UndecidedOp>{{op_id(5, 2), 7, true, any}, {op_id(5, 4), 7, true, any}}));
  EXPECT_EQ(again->touched, (std::vector<BlockRange>{any}));
  ASSERT_TRUE(resolve(3, 7).has_value());
  EXPECT_EQ(view(world, piece, 0, 10), (View{{1, 101}, {2, 102}, {4, 104}}));
  // The next writer's first op ends the matter.
  ASSERT_TRUE(put(world, make_prepare(piece, 3, op_id(8, 1), {{0, 1}}, {1})).has_value());
  EXPECT_EQ(seal(4, 9)->undecided, (std::vector<UndecidedOp>{{op_id(8, 1), 1, false, {0, 1}}}));
  rest(world);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

// Blocks of piece 1 that could be written, one by one.
std::uint64_t fill(StoreWorld& world, std::uint64_t* seq) {
  for (std::uint64_t written = 0;; ++written) {
    const Status done = write(world, ++*seq, {{written, 1}}, {written + 1});
    if (done.has_value()) continue;
    EXPECT_EQ(done.error().code(), Code::kNoSpace);
    return written;
  }
}

TEST(PieceStore, RefusesWhatDoesNotFitBeforeAnythingIsWritten) {
  StoreWorld world({.disk_bytes = 4_MiB, .grow_bytes = 64_KiB});
  ASSERT_TRUE(world.open().has_value());
  const std::uint64_t room = world.store().statistics().free_bytes / kBlockBytes;
  ASSERT_GT(room, 100U);
  std::uint64_t seq = 0;
  EXPECT_EQ(fill(world, &seq), room);
  EXPECT_EQ(world.store().statistics().free_bytes, 0U);
  // A full store still reads, zeroes, settles and removes, and takes writes again afterwards.
  EXPECT_EQ(view(world, piece_id(1), 0, room).size(), room);
  ASSERT_TRUE(punch(world, ++seq, {{0, 50}}).has_value());
  settle(world, seq + 1);
  rest(world);
  EXPECT_EQ(world.store().statistics().free_bytes, 50 * kBlockBytes);
  EXPECT_TRUE(write(world, ++seq, {{0, 2}}, {1, 2}).has_value());
  ASSERT_TRUE(remove(world, piece_id(1)).has_value());
  rest(world);
  EXPECT_EQ(world.store().statistics().free_bytes, room * kBlockBytes);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStore, AFullStoreStillFoldsItsDeltas) {
  StoreWorld world({.disk_bytes = 4_MiB, .grow_bytes = 64_KiB});
  ASSERT_TRUE(world.open().has_value());
  std::uint64_t seq = 0;
  ASSERT_TRUE(write(world, ++seq, {{100'000, 4}}, {1, 2, 3, 4}).has_value());
  ASSERT_TRUE(add(world, ++seq, {{100'000, 4}}, {8, 8, 8, 8}).has_value());
  fill(world, &seq);
  ASSERT_EQ(world.store().statistics().free_bytes, 0U);
  settle(world, seq + 1);
  rest(world);
  EXPECT_EQ(view(world, piece_id(1), 100'000, 4),
            (View{{100'000, 9}, {100'001, 10}, {100'002, 11}, {100'003, 12}}));
  EXPECT_EQ(world.store().statistics().free_bytes, 4 * kBlockBytes);
  EXPECT_TRUE(world.store().check_consistency().has_value());
}

TEST(PieceStore, ObeysItsSizeLimit) {
  StoreWorld world({.disk_bytes = 64_MiB, .grow_bytes = 64_KiB, .size_bytes = 4_MiB});
  ASSERT_TRUE(world.open().has_value());
  const std::uint64_t kept = kReservedBlocks + 32 + 4_MiB / kBlockBytes / 16;
  EXPECT_EQ(world.store().statistics().free_bytes, 4_MiB - kept * kBlockBytes);
  EXPECT_EQ(world.store().statistics().space_bytes, 4_MiB);
}

TEST(PieceStore, TellsTheScrubWhatThereIs) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  const auto next = [&](std::optional<PieceId> after) {
    return *world.loop().run(world.store().next_piece(after));
  };
  EXPECT_EQ(next(std::nullopt), std::nullopt);
  for (const std::uint64_t chunk : {7U, 2U, 900U}) {
    ASSERT_TRUE(
        put(world, make_prepare(piece_id(chunk), 1, op_id(1, 1), {{5, 2}}, {1, 2})).has_value());
  }
  ASSERT_TRUE(checkpoint(world).has_value());
  ASSERT_TRUE(put(world, make_prepare(piece_id(3), 1, op_id(1, 1), {{5, 2}}, {1, 2})).has_value());
  ASSERT_TRUE(remove(world, piece_id(7)).has_value());
  // Some are in the index, some only in memory, one is gone in memory only.
  EXPECT_EQ(next(std::nullopt), piece_id(2));
  EXPECT_EQ(next(piece_id(2)), piece_id(3));
  EXPECT_EQ(next(piece_id(3)), piece_id(900));
  EXPECT_EQ(next(piece_id(900)), std::nullopt);
  const auto stored = [&](PieceId piece, std::uint64_t first, std::uint64_t most) {
    return world.loop().run(world.store().stored(piece, first, most));
  };
  testing::MadePrepare more = make_prepare(piece_id(2), 1, op_id(1, 2), {{300, 3}}, {1, 2, 3});
  more.request.zeroes = {{5, 1}};
  ASSERT_TRUE(put(world, std::move(more)).has_value());
  EXPECT_EQ(*stored(piece_id(2), 0, 100), (std::vector<BlockRange>{{6, 1}, {300, 3}}));
  EXPECT_EQ(*stored(piece_id(2), 7, 2), (std::vector<BlockRange>{{300, 2}}));
  EXPECT_EQ(stored(piece_id(7), 0, 9).error().code(), Code::kPieceMissing);
}

}  // namespace
}  // namespace cairn::chunkserver::store
