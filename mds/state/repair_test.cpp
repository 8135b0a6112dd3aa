// Missing pieces: how they come to be, what they miss, and how they become current again.
#include "mds/state/testing/data_fixture.h"

namespace cairn::mds::state {
namespace {

using testing::Cluster;
using testing::code_of;
using testing::kDone;

constexpr std::uint64_t kAll = UINT64_MAX;

using Repair = testing::DataFixture;

TEST_F(Repair, DroppedPiecesKeepTheirPlaceAndMissTheRegions) {
  const pb::Chunk chunk = open(0, 0b111110).open_chunk().chunk();
  EXPECT_TRUE(degraded().empty());
  const pb::Chunk after = drop(chunk, 0b10, 0x5).open_chunk().chunk();
  EXPECT_EQ(after.version(), 2u);
  EXPECT_EQ(after.writer_epoch(), epoch_);
  EXPECT_EQ(after.pieces(1).state(), pb::PIECE_MISSING);
  EXPECT_EQ(after.pieces(1).cs_id(), places_[1]);
  EXPECT_EQ(after.pieces(1).missed(), 0x5u);
  EXPECT_EQ(after.pieces(2).missed(), 0u);
  EXPECT_EQ(degraded(), std::vector<std::uint64_t>{chunk.id()});
  EXPECT_TRUE(removals_of(places_[1]).empty());
  EXPECT_EQ(queries::pieces_on(c_.kv(), NodeId::from_raw(places_[1])).value(), 1u);
  // An unwritten one has nothing, and the older one misses the new regions too.
  const pb::Chunk both = drop(after, 0b1, 0x8).open_chunk().chunk();
  EXPECT_EQ(both.version(), 3u);
  EXPECT_EQ(both.pieces(0).missed(), kAll);
  EXPECT_EQ(both.pieces(0).cs_id(), places_[0]);
  EXPECT_EQ(both.pieces(1).missed(), 0xdu);
}

TEST_F(Repair, AsManyPiecesStayAsAreNeededToRead) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  EXPECT_EQ(code_of(drop(chunk, 0b111, 1).error()), Code::kTooFewPieces);
  EXPECT_EQ(code_of(drop(chunk, 1u << 6, 1).error()), Code::kInvalidArgument);
  // Below the minimum of five, but four can be read.
  const pb::Chunk after = drop(chunk, 0b11, 1).open_chunk().chunk();
  EXPECT_EQ(after.version(), 2u);
  EXPECT_EQ(code_of(drop(after, 0b100, 6).error()), Code::kTooFewPieces);
  EXPECT_EQ(stored(chunk).SerializeAsString(), after.SerializeAsString()) << "nothing changed";
}

TEST_F(Repair, ADropWithoutRegionsMissesAll) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  const pb::Chunk first = drop(chunk, 0b1, 0x2).open_chunk().chunk();
  const pb::Chunk after = drop(first, 0b10).open_chunk().chunk();
  EXPECT_EQ(after.pieces(0).missed(), kAll);
  EXPECT_EQ(after.pieces(1).missed(), kAll);
}

TEST_F(Repair, ADropSaidAgainAnswersTheNewMap) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  drop(chunk, 0b1, 0x2);
  const pb::Chunk again = drop(chunk, 0b1, 0x4).open_chunk().chunk();
  EXPECT_EQ(again.version(), 2u);
  EXPECT_EQ(again.pieces(0).missed(), 0x6u);
  EXPECT_EQ(drop(chunk, 0b1).open_chunk().chunk().pieces(0).missed(), 0x6u);
  EXPECT_EQ(code_of(drop(chunk, 0b11, 1).error()), Code::kStaleVersion);
}

TEST_F(Repair, RegionsAloneKeepTheVersion) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  EXPECT_EQ(drop(chunk, 0, 0xff).open_chunk().chunk().SerializeAsString(),
            chunk.SerializeAsString());
  const pb::Chunk after = drop(chunk, 0b1, 0x1).open_chunk().chunk();
  EXPECT_EQ(code_of(drop(chunk, 0, 0x10).error()), Code::kStaleVersion);
  const pb::Chunk told = drop(after, 0, 0x10).open_chunk().chunk();
  EXPECT_EQ(told.version(), 2u);
  EXPECT_EQ(told.pieces(0).missed(), 0x11u);
  EXPECT_EQ(stored(chunk).pieces(0).missed(), 0x11u);
  EXPECT_EQ(drop(after, 0, 0x10).open_chunk().chunk().pieces(0).missed(), 0x11u);
}

TEST_F(Repair, ClosingSettlesTheChunkUntilItIsOpenedAgain) {
  const pb::Chunk chunk = open(0, 0b11).open_chunk().chunk();
  const pb::ClientReply closed = close(chunk, 9);
  ASSERT_EQ(code_of(closed.error()), kDone) << closed.error().message();
  EXPECT_EQ(closed.open_chunk().chunk().writer_epoch(), 0u);
  EXPECT_EQ(closed.open_chunk().chunk().seq_floor(), 9u);
  EXPECT_EQ(closed.open_chunk().layout().encoding().data(), 4u);
  EXPECT_EQ(open_chunks(), 0u);
  EXPECT_EQ(close(chunk, 4).open_chunk().chunk().seq_floor(), 9u);
  EXPECT_EQ(code_of(drop(chunk, 0b1, 1).error()), Code::kStaleEpoch);
  const pb::Chunk again = open(0, 0b111).open_chunk().chunk();
  EXPECT_EQ(again.writer_epoch(), epoch_);
  EXPECT_EQ(again.seq_floor(), 9u);
  EXPECT_EQ(again.version(), 1u);
  EXPECT_EQ(open_chunks(), 1u);
  EXPECT_EQ(close(again, 12).open_chunk().chunk().seq_floor(), 12u);
}

TEST_F(Repair, OnlyTheHolderCloses) {
  const pb::Chunk chunk = open(0, 0b11).open_chunk().chunk();
  EXPECT_EQ(code_of(close(chunk, UINT64_MAX).error()), Code::kInvalidArgument);
  pb::Chunk unknown = chunk;
  unknown.set_id(99);
  EXPECT_EQ(code_of(close(unknown, 1).error()), Code::kNotFound);
  c_.begin_recovery(chunk.id());
  EXPECT_EQ(code_of(close(chunk, 1).error()), Code::kStaleEpoch);
  epoch_ = c_.inode(file_).lease_epoch();
  EXPECT_EQ(code_of(close(chunk, 1).error()), Code::kStaleEpoch) << "open under the lost epoch";
  c_.release(s_, file_, epoch_, true);
  EXPECT_EQ(code_of(close(chunk, 1).error()), Code::kLeaseExpired);
  EXPECT_EQ(stored(chunk).seq_floor(), 0u);
}

TEST_F(Repair, FinishMakesTheMissingPieceCurrent) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  const pb::Chunk dropped = drop(chunk, 0b1, 0x3).open_chunk().chunk();
  EXPECT_EQ(code_of(finish_repair(dropped, 0, places_[0]).error()), Code::kBusy);
  close(dropped, 7);
  EXPECT_EQ(code_of(finish_repair(chunk, 0, places_[0]).error()), Code::kStaleVersion);
  EXPECT_EQ(code_of(finish_repair(dropped, 0, places_[1]).error()), Code::kRefusedForSafety);
  EXPECT_EQ(code_of(finish_repair(dropped, 1, places_[1]).error()), Code::kRefusedForSafety);
  EXPECT_EQ(code_of(finish_repair(dropped, 6, places_[0]).error()), Code::kInvalidArgument);
  EXPECT_EQ(code_of(finish_repair(dropped, 0, places_[0], UINT64_MAX).error()),
            Code::kInvalidArgument);
  const pb::CommandReply done = finish_repair(dropped, 0, places_[0], 11);
  ASSERT_EQ(code_of(done.error()), kDone) << done.error().message();
  EXPECT_EQ(done.chunk().version(), 3u);
  EXPECT_EQ(done.chunk().seq_floor(), 11u);
  EXPECT_EQ(done.chunk().pieces(0).state(), pb::PIECE_CURRENT);
  EXPECT_EQ(done.chunk().pieces(0).missed(), 0u);
  EXPECT_TRUE(degraded().empty());
  EXPECT_EQ(code_of(finish_repair(dropped, 0, places_[0], 11).error()), Code::kStaleVersion);
  EXPECT_EQ(code_of(finish_repair(done.chunk(), 0, places_[0]).error()), Code::kRefusedForSafety);
}

// Between copy and finish somebody wrote: regions grow without a new version, opening makes one.
TEST_F(Repair, ACopyFromBeforeTheChunkWasOpenedAgainIsNotFinished) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  const pb::Chunk copied = drop(chunk, 0b1, 0x3).open_chunk().chunk();
  close(copied, 7);
  const pb::Chunk again = open(0, 0b1111).open_chunk().chunk();
  EXPECT_EQ(again.version(), copied.version() + 1);
  EXPECT_EQ(open(0, 0b1111).open_chunk().chunk().version(), again.version());
  EXPECT_EQ(code_of(drop(again, 0, 0x30).error()), kDone);
  close(again, 8);
  EXPECT_EQ(code_of(finish_repair(copied, 0, places_[0]).error()), Code::kStaleVersion);
  EXPECT_EQ(stored(chunk).pieces(0).missed(), 0x33u);
}

TEST_F(Repair, AnotherPlaceHasNothingAndTheOldOneIsRemoved) {
  const std::uint32_t spare = c_.add_cs(100);
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  const pb::Chunk dropped = drop(chunk, 0b1, 0x3).open_chunk().chunk();
  EXPECT_EQ(code_of(place(chunk, 0, spare).error()), Code::kStaleVersion);
  EXPECT_EQ(code_of(place(dropped, 1, spare).error()), Code::kRefusedForSafety);
  EXPECT_EQ(code_of(place(dropped, 0, places_[3]).error()), Code::kRefusedForSafety);
  EXPECT_EQ(code_of(place(dropped, 0, 4000).error()), Code::kNotFound);
  EXPECT_EQ(code_of(place(dropped, 0, 0).error()), Code::kInvalidArgument);
  EXPECT_EQ(code_of(place(dropped, 6, spare).error()), Code::kInvalidArgument);
  const pb::CommandReply placed = place(dropped, 0, spare);
  ASSERT_EQ(code_of(placed.error()), kDone) << placed.error().message();
  EXPECT_EQ(placed.chunk().version(), 3u);
  EXPECT_EQ(placed.chunk().writer_epoch(), epoch_) << "an open chunk may get places";
  EXPECT_EQ(placed.chunk().pieces(0).cs_id(), spare);
  EXPECT_EQ(placed.chunk().pieces(0).missed(), kAll);
  EXPECT_EQ(placed.chunk().pieces(0).state(), pb::PIECE_MISSING);
  ASSERT_EQ(removals_of(places_[0]).size(), 1u);
  EXPECT_EQ(removals_of(places_[0])[0].version(), 3u) << "a copy that was cut short is meant too";
  EXPECT_EQ(queries::pieces_on(c_.kv(), NodeId::from_raw(places_[0])).value(), 0u);
  EXPECT_EQ(queries::pieces_on(c_.kv(), NodeId::from_raw(spare)).value(), 1u);
  EXPECT_EQ(degraded().size(), 1u);
  // Not back to where it is still to be removed, nor another piece of the chunk to there.
  EXPECT_EQ(code_of(place(placed.chunk(), 0, places_[0]).error()), Code::kRefusedForSafety);
  const pb::Chunk two = drop(placed.chunk(), 0b10, 1).open_chunk().chunk();
  EXPECT_EQ(code_of(place(two, 1, places_[0]).error()), Code::kRefusedForSafety);
}

// Each attempt of a repair has a version of its own.
TEST_F(Repair, ThePresentPlaceKeepsWhatItHasAtANewVersion) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  const pb::Chunk dropped = drop(chunk, 0b1, 0x3).open_chunk().chunk();
  const pb::CommandReply placed = place(dropped, 0, places_[0]);
  ASSERT_EQ(code_of(placed.error()), kDone) << placed.error().message();
  EXPECT_EQ(placed.chunk().version(), dropped.version() + 1);
  EXPECT_EQ(placed.chunk().pieces(0).cs_id(), places_[0]);
  EXPECT_EQ(placed.chunk().pieces(0).missed(), 0x3u);
  EXPECT_TRUE(removals_of(places_[0]).empty());
}

// No recovery comes by: what lies past the size is only known to be there by the chunk.
TEST_F(Repair, AWriterThatIsLostAfterItClosedAChunkLeavesItToBeTrimmed) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  ASSERT_EQ(code_of(c_.commit(s_, file_, epoch_, 10'000).error()), kDone);
  close(chunk, 5);
  EXPECT_FALSE(c_.inode(file_).trim_pending());
  EXPECT_EQ(c_.inode(file_).attributes().blocks(), 24u) << "all of it may be there";
  ASSERT_EQ(code_of(c_.end_session(s_).error()), kDone);
  EXPECT_TRUE(c_.inode(file_).trim_pending());
}

TEST_F(Repair, APieceBornWithoutAPlaceGetsOne) {
  std::vector<std::uint32_t> five = places_;
  five[2] = 0;
  const pb::Chunk chunk = open_as(0, 0b111111, epoch_, five).open_chunk().chunk();
  EXPECT_EQ(degraded(), std::vector<std::uint64_t>{chunk.id()});
  EXPECT_EQ(code_of(finish_repair(chunk, 2, 0).error()), Code::kBusy);
  const pb::Chunk placed = place(chunk, 2, places_[2]).chunk();
  EXPECT_EQ(placed.pieces(2).cs_id(), places_[2]);
  close(placed, 1);
  EXPECT_EQ(code_of(finish_repair(placed, 2, 0).error()), Code::kInvalidArgument);
  EXPECT_EQ(finish_repair(placed, 2, places_[2]).chunk().pieces(2).state(), pb::PIECE_CURRENT);
  EXPECT_TRUE(degraded().empty());
  for (const std::uint32_t cs : places_) EXPECT_TRUE(removals_of(cs).empty());
}

TEST_F(Repair, AReportOfAnOlderRemovalLeavesTheLaterOne) {
  const std::uint32_t spare = c_.add_cs(100);
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  const pb::Chunk placed = place(drop(chunk, 0b1, 0x3).open_chunk().chunk(), 0, spare).chunk();
  const auto report = [&](std::uint64_t version) {
    pb::Command command;
    command.mutable_pieces_removed()->set_cs_id(places_[0]);
    pb::PieceRef& piece = *command.mutable_pieces_removed()->add_pieces();
    piece.set_chunk(placed.id());
    piece.set_version(version);
    EXPECT_EQ(code_of(c_.apply(command).error()), kDone);
    return removals_of(places_[0]).size();
  };
  EXPECT_EQ(report(2), 1u);
  EXPECT_EQ(report(3), 0u);
  c_.truncate(s_, file_, epoch_, 0);
  ASSERT_EQ(removals_of(spare).size(), 1u) << "a missing piece may be on the disk";
  EXPECT_EQ(removals_of(spare)[0].version(), 0u) << "of a chunk that is gone any version is meant";
}

TEST_F(Repair, ARemovedChunkIsNotRepairedAnyMore) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  const pb::Chunk dropped = drop(chunk, 0b1, 0x3).open_chunk().chunk();
  c_.truncate(s_, file_, epoch_, 0);
  EXPECT_TRUE(degraded().empty());
  EXPECT_EQ(code_of(finish_repair(dropped, 0, places_[0]).error()), Code::kNotFound);
  EXPECT_EQ(code_of(place(dropped, 0, c_.add_cs(100)).error()), Code::kNotFound);
}

TEST_F(Repair, RecoveryEndsWithAsManyAsCanBeRead) {
  std::vector<std::uint32_t> five = places_;
  five[5] = 0;
  const pb::Chunk chunk = open_as(0, 0b011110, epoch_, five).open_chunk().chunk();
  drop(chunk, 0b10, 0x1);
  c_.release(s_, file_, epoch_, true, 10'000);
  const std::uint64_t version = c_.begin_recovery(chunk.id()).chunk().version();
  const auto finish = [&](std::uint32_t unreachable, std::uint64_t regions) {
    pb::Command command;
    pb::FinishRecovery& op = *command.mutable_finish_recovery();
    op.set_chunk(chunk.id());
    op.set_version(version);
    op.set_unreachable(unreachable);
    op.set_regions(regions);
    return c_.apply(command);
  };
  EXPECT_EQ(code_of(finish(0b100, 0x40).error()), Code::kTooFewPieces);
  // Of an unwritten piece nothing can be unreachable.
  const pb::Chunk done = finish(0b1, 0x40).chunk();
  EXPECT_EQ(done.writer_epoch(), 0u);
  EXPECT_EQ(done.version(), version);
  EXPECT_EQ(done.pieces(0).state(), pb::PIECE_UNWRITTEN);
  EXPECT_EQ(done.pieces(1).missed(), 0x41u);
  EXPECT_EQ(done.pieces(5).missed(), kAll);
}

TEST_F(Repair, RecoveryTellsWhatTheUnreachableMiss) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  c_.commit(s_, file_, epoch_, 10'000);
  const std::uint64_t version = c_.begin_recovery(chunk.id()).chunk().version();
  pb::Command command;
  pb::FinishRecovery& op = *command.mutable_finish_recovery();
  op.set_chunk(chunk.id());
  op.set_version(version);
  op.set_unreachable(0b11);
  op.set_regions(0x6);
  const pb::Chunk done = c_.apply(command).chunk();
  EXPECT_EQ(done.version(), version + 1);
  EXPECT_EQ(done.pieces(0).missed(), 0x6u);
  EXPECT_EQ(done.pieces(1).missed(), 0x6u);
  EXPECT_EQ(done.pieces(2).missed(), 0u);
  EXPECT_EQ(degraded().size(), 1u);
}

TEST_F(Repair, DegradedChunksComeInPages) {
  std::vector<std::uint64_t> ids;
  for (std::uint64_t i = 0; i < 5; ++i) {
    const pb::Chunk chunk = open(i, 0b111111).open_chunk().chunk();
    if (i == 2) continue;
    drop(chunk, 0b1, 1);
    ids.push_back(chunk.id());
  }
  EXPECT_EQ(degraded(0, 100), ids);
  EXPECT_EQ(degraded(0, 2), (std::vector<std::uint64_t>{ids[0], ids[1]}));
  EXPECT_EQ(degraded(ids[1], 100), (std::vector<std::uint64_t>{ids[2], ids[3]}));
  EXPECT_TRUE(degraded(0, 0).empty());
  EXPECT_TRUE(degraded(UINT64_MAX, 5).empty());
}

// Tests make them small; the log may say anything.
TEST_F(Repair, OnlyALayoutThatMakesSenseIsTaken) {
  const auto open_shaped = [&](std::uint32_t cell, std::uint64_t piece) {
    pb::Command command;
    pb::ClientRequest& request = *command.mutable_client()->mutable_request();
    request.set_session(s_);
    request.set_seq(UINT64_MAX);
    request.mutable_open_chunk()->set_inode(file_);
    request.mutable_open_chunk()->set_epoch(epoch_);
    command.mutable_client()->mutable_shape()->set_cell_bytes(cell);
    command.mutable_client()->mutable_shape()->set_piece_bytes(piece);
    for (std::uint32_t i = 0; i < places_.size(); ++i) {
      command.mutable_client()->add_placement()->set_piece(i);
      command.mutable_client()->mutable_placement(static_cast<int>(i))->set_cs_id(places_[i]);
    }
    return c_.apply(command).client();
  };
  EXPECT_EQ(code_of(open_shaped(4096, 5000).error()), Code::kInvalidArgument);
  EXPECT_EQ(code_of(open_shaped(1, 1).error()), Code::kInvalidArgument);
  EXPECT_EQ(code_of(open_shaped(4096, 1ULL << 62).error()), Code::kInvalidArgument);
  EXPECT_EQ(open_shaped(4096, 8192).open_chunk().layout().piece_bytes(), 8192u);
}

}  // namespace
}  // namespace cairn::mds::state
