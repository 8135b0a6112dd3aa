// The repair of a piece, from stores behind a network into a store.
#include "chunkserver/care/repair_worker.h"

#include <gtest/gtest.h>

#include "chunkserver/care/repair_fixture.h"

namespace cairn::chunkserver::care {
namespace {

using testing::encoding_of;
using testing::RepairWorld;

constexpr layout::RegionMask kNone = 0;

std::vector<erasure::Encoding> encodings() {
  return {encoding_of(1, 1), encoding_of(1, 2), encoding_of(4, 2), encoding_of(5, 3)};
}
// All of a piece of 1024 blocks, but for some rows.
std::vector<store::BlockRange> much() { return {{0, 300}, {310, 200}, {800, 224}}; }

TEST(RepairWorker, MakesEveryPieceOfEveryEncodingAnew) {
  for (const erasure::Encoding& encoding : encodings()) {
    for (unsigned target = 0; target < encoding.pieces(); ++target) {
      SCOPED_TRACE(encoding.to_string() + " piece " + std::to_string(target));
      RepairWorld world(encoding, target);
      world.write(much(), world.all_but_target());
      world.write({{100, 50}, {700, 10}}, world.all_but_target());
      world.lose_target();
      EXPECT_EQ(world.repair(layout::kAllRegions).error().code(), Code::kPieceMissing);
      const Result<pb::RepairReply> reply = world.repair(kNone, true);
      ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
      world.expect_right(target);
      const Result<store::PieceStatusAnswer> status = world.status(target);
      ASSERT_TRUE(status.has_value());
      EXPECT_EQ(status->version, ChunkVersion(world.chunk().version() + 1));
      EXPECT_EQ(status->epoch, LeaseEpoch(world.epoch()));
      EXPECT_EQ(status->undecided, 0U);
      EXPECT_TRUE(status->copy) << "nobody confirmed it";
      EXPECT_GT(reply->next_seq(), world.seq() + 1);
      EXPECT_EQ(reply->bytes_written(), status->blocks * kBlockBytes);
      EXPECT_GE(reply->bytes_read(), reply->bytes_written());
      const store::PieceFacts facts =
          *world.loop().run(world.target().store().facts(RepairWorld::id(target)));
      EXPECT_EQ(facts, (store::PieceFacts{erasure::kGeneratorVersion, encoding.data,
                                          encoding.parity, 64 * kBlockBytes, 70, 2}));
      world.expect_consistent();
    }
  }
}

TEST(RepairWorker, CopiesOnlyTheRegionsThatAreAskedFor) {
  for (const erasure::Encoding& encoding : encodings()) {
    for (unsigned target = 0; target < encoding.pieces(); ++target) {
      SCOPED_TRACE(encoding.to_string() + " piece " + std::to_string(target));
      RepairWorld world(encoding, target);
      world.write(much(), world.all());
      world.lose_target();
      // Regions have 16 blocks.
      world.write({{16, 3}, {40, 2}, {1023, 1}}, world.all_but_target());
      const Result<pb::RepairReply> reply = world.repair(0b110 | layout::RegionMask{1} << 63);
      ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
      world.expect_right(target);
      EXPECT_LE(reply->bytes_read(), 48 * kBlockBytes * encoding.data);
      EXPECT_EQ(world.status(target)->undecided, 0U);
      world.expect_consistent();
    }
  }
}

// For whoever has only the drives. The map's word comes with a writer's requests and with seals.
TEST(RepairWorker, ACopyIsMarkedFromItsSealOnUntilTheMapConfirmsIt) {
  RepairWorld world(encoding_of(4, 2), 2);
  world.write(much(), world.all());
  world.lose_target();
  const PieceId id = RepairWorld::id(2);
  EXPECT_FALSE(world.status(2)->copy);
  for (const unsigned source : {0U, 1U, 3U, 4U, 5U})
    world.server(source).error = Error(Code::kUnavailable, "away");
  EXPECT_EQ(world.repair(layout::kAllRegions).error().code(), Code::kTooFewPieces);
  EXPECT_TRUE(world.status(2)->copy) << "half done";
  for (const unsigned source : {0U, 1U, 3U, 4U, 5U}) world.server(source).error.reset();
  ASSERT_TRUE(world.repair(layout::kAllRegions).has_value());
  EXPECT_TRUE(world.status(2)->copy);
  const ChunkVersion version = world.status(2)->version;
  store::PieceStore& store = world.target().store();
  const store::OpId nothing{LeaseEpoch(world.epoch()), OpSeq(1)};
  ASSERT_TRUE(world.loop().run(store.settle(id, nothing, ChunkVersion(2))).has_value());
  EXPECT_TRUE(world.status(2)->copy) << "an old map";
  ASSERT_TRUE(world.loop().run(store.seal(id, version, LeaseEpoch(world.epoch()))).has_value());
  EXPECT_FALSE(world.status(2)->copy);
}

TEST(RepairWorker, WithoutRegionsThePieceIsOnlyFenced) {
  RepairWorld world(encoding_of(4, 2), 2);
  world.write(much(), world.all());
  world.lose_target();
  const Result<pb::RepairReply> reply = world.repair(kNone);
  ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
  EXPECT_EQ(reply->next_seq(), world.seq() + 1);
  EXPECT_EQ(reply->bytes_read() + reply->bytes_written(), 0U);
  world.expect_right(2);
  EXPECT_EQ(world.status(2)->version, ChunkVersion(world.chunk().version() + 1));
  EXPECT_EQ(world.prepare(2, {{0, 1}}, 100).error().code(), Code::kStaleVersion) << "of the past";
}

TEST(RepairWorker, WhatThePieceHasUndecidedIsCopiedOver) {
  for (const unsigned target : {1U, 5U}) {
    for (const bool new_epoch : {false, true}) {
      SCOPED_TRACE(target * 10 + (new_epoch ? 1 : 0));
      RepairWorld world(encoding_of(4, 2), target);
      world.write(much(), world.all());
      // All others have this one, and it was decided: the target never heard of that.
      world.write({{20, 5}}, world.all_but_target());
      ASSERT_TRUE(world.prepare(target, {{20, 5}}, world.seq()).has_value());
      // These are the target's alone.
      ASSERT_TRUE(world.stray(target, {{22, 1}, {100, 7}, {600, 1}}, false, 50).has_value());
      ASSERT_TRUE(world.stray(target, {{7, 1}, {101, 1}, {900, 2}}, true, 51).has_value());
      ASSERT_TRUE(world.stray(target, {{101, 2}}, true, 52).has_value());
      world.lose_target();
      if (new_epoch) world.begin_epoch();
      const Result<pb::RepairReply> reply = world.repair(layout::RegionMask{1} << 62);
      ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
      if (!new_epoch) {
        EXPECT_GT(reply->next_seq(), 53U) << "those numbers are used";
      }
      world.expect_right(target);
      world.loop().run_for(5s);  // folds
      world.expect_right(target);
      EXPECT_EQ(world.status(target)->undecided, 0U);
      world.expect_consistent();
    }
  }
}

TEST(RepairWorker, AnOpThatWasRolledForwardHereMayHaveBeenDroppedByTheOthers) {
  RepairWorld world(encoding_of(4, 2), 0);
  world.write(much(), world.all());
  ASSERT_TRUE(world.stray(0, {{33, 2}}, false, 50).has_value());
  store::PieceStore& store = world.target().store();
  const PieceId id = RepairWorld::id(0);
  ASSERT_TRUE(world.loop().run(store.seal(id, ChunkVersion(4), LeaseEpoch(6))).has_value());
  std::vector<store::OpId> forward{{LeaseEpoch(5), OpSeq(50)}};
  ASSERT_TRUE(world.loop()
                  .run(store.resolve(id, ChunkVersion(4), LeaseEpoch(6), std::move(forward)))
                  .has_value());
  world.lose_target();
  world.lose_target();
  world.begin_epoch();
  ASSERT_TRUE(world.repair(kNone).has_value());
  world.expect_right(0);
}

TEST(RepairWorker, HolesAreReadInLargeStepsAndNotStored) {
  RepairWorld world(encoding_of(4, 2), 1, 16384);
  world.write({{0, 20}}, world.all_but_target());
  world.lose_target();
  const Result<pb::RepairReply> reply = world.repair(kNone, true);
  ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
  world.expect_right(1);
  EXPECT_LE(world.status(1)->blocks, 20U);
  EXPECT_LE(world.server(0).reads, 20U);
}

TEST(RepairWorker, APieceOfZerosExistsAfterwards) {
  for (const bool unwritten : {false, true}) {
    RepairWorld world(encoding_of(2, 1), 0);
    world.chunk().set_version(8);
    if (unwritten) {
      world.place(1).set_state(pb::PIECE_UNWRITTEN);
      world.place(2).set_state(pb::PIECE_UNWRITTEN);
    } else {
      for (const unsigned piece : {1U, 2U}) {
        ASSERT_TRUE(world.put(piece, world.op(piece, 1), Buffer()).has_value());
      }
    }
    world.lose_target();
    const Result<pb::RepairReply> reply = world.repair(kNone, true);
    ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
    const Result<store::PieceStatusAnswer> status = world.status(0);
    ASSERT_TRUE(status.has_value());
    EXPECT_EQ(status->blocks, 0U);
    EXPECT_EQ(status->version, ChunkVersion(10));
    EXPECT_EQ(reply->bytes_read() + reply->bytes_written(), 0U);
  }
}

TEST(RepairWorker, UnwrittenPiecesCountAsZerosAndAreNotRead) {
  for (const unsigned target : {0U, 4U}) {
    RepairWorld world(encoding_of(4, 2), target);
    world.set_zeros(0b1110);
    world.write({{0, 100}}, 0b110001 & world.all_but_target());
    world.lose_target();
    for (const unsigned piece : {1U, 2U, 3U}) {
      world.place(piece).set_state(pb::PIECE_UNWRITTEN);
      world.server(piece).error = Error(Code::kInternal);
    }
    const Result<pb::RepairReply> reply = world.repair(kNone, true);
    ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
    world.expect_right(target);
    EXPECT_LE(reply->bytes_read(), 100 * kBlockBytes);
    EXPECT_EQ(world.server(1).reads, 0U);
  }
}

TEST(RepairWorker, ASourceThatLiesIsReplacedForTheBlocksItLiesAbout) {
  RepairWorld world(encoding_of(4, 2), 5);
  world.write(much(), world.all_but_target());
  world.lose_target();
  // No row has four good blocks among the first four, every row has among five.
  for (std::uint64_t block = 0; block < 1024; block += 7) {
    world.server(static_cast<unsigned>(block % 5)).lies.insert(block);
  }
  const Result<pb::RepairReply> reply = world.repair(kNone, true);
  ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
  world.expect_right(5);
}

TEST(RepairWorker, ASourceThatIsGoneOrHangsIsReplaced) {
  for (const bool hangs : {false, true}) {
    RepairWorld world(encoding_of(5, 3), 0);
    world.write(much(), world.all_but_target());
    world.lose_target();
    world.server(2).error = Error(Code::kPieceMissing, "its disk was wiped");
    if (hangs) {
      world.server(1).delay = 60min;
    } else {
      world.network().set_unreachable({"10.0.0.2", 2600}, true);
    }
    const Result<pb::RepairReply> reply = world.repair(kNone, true);
    ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
    world.expect_right(0);
    EXPECT_LE(world.server(2).reads, kRepairStepsAtOnce) << "it is left alone then";
    world.loop().run_for(120min);
  }
}

TEST(RepairWorker, TooFewSourcesAreNamedAndTheNextRepairKnowsWhatIsNotRight) {
  RepairWorld world(encoding_of(4, 2), 3);
  world.write(much(), world.all());
  ASSERT_TRUE(world.stray(3, {{500, 2}}, false, 60).has_value());
  world.lose_target();
  world.write({{64, 10}}, world.all_but_target());
  world.place(1).set_state(pb::PIECE_MISSING);
  world.server(5).error = Error(Code::kDiskFailed, "smoke");
  const layout::RegionMask regions = layout::RegionMask{1} << 4;
  const Result<pb::RepairReply> reply = world.repair(regions);
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().code(), Code::kTooFewPieces);
  EXPECT_NE(reply.error().message().find("piece 1 is missing"), std::string::npos);
  EXPECT_NE(reply.error().message().find("smoke"), std::string::npos);
  world.server(5).error.reset();
  ASSERT_TRUE(world.repair(kNone).has_value()) << "the piece says which regions";
  world.expect_right(3);
  EXPECT_EQ(world.worker().figures().failed, 1U);
  EXPECT_EQ(world.worker().figures().repaired, 1U);
}

TEST(RepairWorker, NumbersAreNeverUsedTwice) {
  RepairWorld world(encoding_of(1, 2), 0);
  world.write(much(), world.all());
  world.lose_target();
  world.write({{0, 600}}, world.all_but_target());
  const Result<pb::RepairReply> reply = world.repair(layout::kAllRegions);
  ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
  world.chunk().set_version(world.chunk().version() + 1);
  // Used numbers: done already, whatever they say.
  for (std::uint64_t seq = world.seq() + 1; seq < reply->next_seq(); ++seq) {
    const Status used = world.stray(0, {{5, 1}}, false, seq);
    EXPECT_TRUE(used.has_value());
  }
  world.expect_right(0);
  EXPECT_EQ(world.status(0)->undecided, 0U);
  ASSERT_TRUE(world.stray(0, {{5, 1}}, false, reply->next_seq()).has_value());
  EXPECT_EQ(world.status(0)->undecided, 1U);
}

TEST(RepairWorker, APieceThatHasSeenNewerIsNotTouched) {
  RepairWorld world(encoding_of(1, 1), 0);
  world.write({{0, 10}}, world.all());
  store::PieceStore& store = world.target().store();
  const PieceId id = RepairWorld::id(0);
  ASSERT_TRUE(world.loop().run(store.seal(id, ChunkVersion(4), LeaseEpoch(9))).has_value());
  world.lose_target();
  EXPECT_EQ(world.repair(kNone, true).error().code(), Code::kStaleEpoch);
  ASSERT_TRUE(world.loop().run(store.seal(id, ChunkVersion(40), LeaseEpoch(9))).has_value());
  EXPECT_EQ(world.repair(kNone).error().code(), Code::kStaleVersion);
  world.expect_right(0);
}

TEST(RepairWorker, WholeIsRepeatedAtTheSameVersion) {
  RepairWorld world(encoding_of(4, 2), 0);
  world.write(much(), world.all());
  ASSERT_TRUE(world.stray(0, {{1000, 20}}, false, 90).has_value());
  world.lose_target();
  world.write({{0, 512}}, world.all_but_target());
  for (int i = 0; i < 3; ++i) {
    const Result<pb::RepairReply> reply = world.repair(kNone, true);
    ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
    world.expect_right(0);
  }
  world.expect_consistent();
}

}  // namespace
}  // namespace cairn::chunkserver::care
