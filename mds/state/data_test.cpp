#include "mds/state/testing/data_fixture.h"

namespace cairn::mds::state {
namespace {

using testing::Cluster;
using testing::code_of;
using testing::kDone;

constexpr std::uint64_t kRoot = Cluster::kRoot;

using Data = testing::DataFixture;

TEST_F(Data, FirstOpenChunkFixesTheLayout) {
  const pb::ClientReply reply = open(0, 0b110001);
  ASSERT_EQ(code_of(reply.error()), kDone) << reply.error().message();
  const pb::Chunk& chunk = reply.open_chunk().chunk();
  EXPECT_EQ(chunk.version(), 1u);
  EXPECT_EQ(chunk.writer_epoch(), epoch_);
  ASSERT_EQ(chunk.pieces_size(), 6);
  EXPECT_EQ(chunk.pieces(0).state(), pb::PIECE_CURRENT);
  EXPECT_EQ(chunk.pieces(1).state(), pb::PIECE_UNWRITTEN);
  EXPECT_EQ(chunk.pieces(5).cs_id(), places_[5]);
  EXPECT_EQ(reply.open_chunk().layout().encoding().data(), 4u);
  EXPECT_EQ(reply.open_chunk().layout().cell_bytes(), limits::kCellBytesDefault);
  const pb::CommandReply policy = c_.set_policy(file_, 1, 0, 1);
  EXPECT_EQ(policy.set_policy().changed(), 1u);
  EXPECT_EQ(policy.set_policy().keep_layout(), 0u);
  EXPECT_EQ(policy.set_policy().converting(), 1u);
  EXPECT_EQ(open(1, 0).open_chunk().chunk().encoding().data(), 4u);
  EXPECT_EQ(queries::pieces_on(c_.kv(), NodeId::from_raw(places_[0])).value(), 2u);
}

TEST_F(Data, OpenChunkIsIdempotentAndTouchesMore) {
  const std::uint64_t id = open(0, 1).open_chunk().chunk().id();
  EXPECT_EQ(open(0, 1).open_chunk().chunk().id(), id);
  const pb::ClientReply more = open_as(0, 0b10, epoch_, {});
  EXPECT_EQ(more.open_chunk().chunk().pieces(1).state(), pb::PIECE_CURRENT);
  EXPECT_EQ(more.open_chunk().chunk().version(), 1u);
  EXPECT_EQ(c_.counters().chunks(), 1u);
}

TEST_F(Data, OpenChunkNeedsTheLease) {
  EXPECT_EQ(code_of(open_as(0, 1, epoch_ + 1, places_).error()), Code::kStaleEpoch);
  EXPECT_EQ(code_of(open_as(0, 1u << 6, epoch_, places_).error()), Code::kInvalidArgument);
  EXPECT_EQ(code_of(open(limits::kFileBytesMax / kChunkBytes, 1).error()), Code::kFileTooBig);
  c_.release(s_, file_, epoch_);
  EXPECT_EQ(code_of(open(0, 1).error()), Code::kLeaseExpired);
  EXPECT_EQ(c_.counters().chunks(), 0u);
}

TEST_F(Data, OpenChunkNeedsTheMinimumOfPlaces) {
  std::vector<std::uint32_t> four(places_.begin(), places_.begin() + 4);
  const pb::ClientReply refused = open_as(0, 1, epoch_, four);
  EXPECT_EQ(code_of(refused.error()), Code::kNoSpace);
  EXPECT_NE(refused.error().message().find("at least 5"), std::string::npos);
  EXPECT_NE(refused.error().message().find("only 4"), std::string::npos);
  std::vector<std::uint32_t> five = places_;
  five[2] = 0;
  const pb::Chunk chunk = open_as(0, 0b111111, epoch_, five).open_chunk().chunk();
  EXPECT_EQ(chunk.pieces(2).state(), pb::PIECE_MISSING);
  EXPECT_EQ(chunk.pieces(2).cs_id(), 0u);
  EXPECT_EQ(chunk.pieces(2).missed(), UINT64_MAX);
  EXPECT_EQ(chunk.pieces(3).state(), pb::PIECE_CURRENT);
}

TEST_F(Data, OpenChunkRefusesBadPlacements) {
  std::vector<std::uint32_t> twice = places_;
  twice[1] = twice[0];
  EXPECT_EQ(code_of(open_as(0, 1, epoch_, twice).error()), Code::kInvalidArgument);
  std::vector<std::uint32_t> unknown = places_;
  unknown[0] = 4000;
  EXPECT_EQ(code_of(open_as(0, 1, epoch_, unknown).error()), Code::kNotFound);
  std::vector<std::uint32_t> many = places_;
  many.push_back(places_[0]);
  EXPECT_EQ(code_of(open_as(0, 1, epoch_, many).error()), Code::kInvalidArgument);
}

TEST_F(Data, CommitGrowsTheSizeOnly) {
  EXPECT_EQ(c_.commit(s_, file_, epoch_, 5000).attributes().size(), 5000u);
  EXPECT_EQ(c_.commit(s_, file_, epoch_, 10).attributes().size(), 5000u);
  EXPECT_EQ(code_of(c_.commit(s_, file_, epoch_ + 1, 1).error()), Code::kStaleEpoch);
  EXPECT_EQ(code_of(c_.commit(s_, file_, epoch_, limits::kFileBytesMax + 1).error()),
            Code::kFileTooBig);
  EXPECT_EQ(c_.counters().file_bytes(), 5000u);
}

TEST_F(Data, BlocksCountWhatWasWrittenUpToTheSize) {
  open(0, 0b110001);
  // Three bytes at the end of a hole.
  EXPECT_EQ(c_.commit(s_, file_, epoch_, 5'000'003, false, 4096).attributes().blocks(), 8u);
  EXPECT_EQ(c_.commit(s_, file_, epoch_, 5'000'003).attributes().blocks(), 8u);
  EXPECT_EQ(c_.commit(s_, file_, epoch_, 0, false, 5000).attributes().blocks(), 24u);
  EXPECT_EQ(c_.commit(s_, file_, epoch_, 0, false, UINT64_MAX).attributes().blocks(), 9768u);
  EXPECT_EQ(c_.truncate(s_, file_, epoch_, 10'000).attributes().blocks(), 24u);
  EXPECT_EQ(c_.truncate(s_, file_, epoch_, kChunkBytes).attributes().blocks(), 24u);
  EXPECT_EQ(c_.truncate(s_, file_, epoch_, 1).attributes().blocks(), 8u);
  EXPECT_EQ(c_.truncate(s_, file_, epoch_, 0).attributes().blocks(), 0u);
}

TEST_F(Data, BlocksAreNoMoreThanTheChunksHold) {
  EXPECT_EQ(c_.commit(s_, file_, epoch_, 9 * kChunkBytes, false, 4096).attributes().blocks(), 0u);
  open(0, 0b110001);
  open(8, 0b110001);
  c_.commit(s_, file_, epoch_, 0, false, 9 * kChunkBytes);
  EXPECT_EQ(c_.attributes(file_).blocks(), 2 * kChunkBytes / 512);
  c_.truncate(s_, file_, epoch_, 8 * kChunkBytes);
  EXPECT_EQ(c_.attributes(file_).blocks(), kChunkBytes / 512);
}

TEST_F(Data, BlocksOfALostWriterAreThoseOfItsChunk) {
  open(0, 0b110001);
  const pb::Chunk chunk = open(1, 0b110001).open_chunk().chunk();
  const pb::Chunk past = open(7, 0b110001).open_chunk().chunk();
  c_.commit(s_, file_, epoch_, kChunkBytes + 5000, false, 4096);
  c_.release(s_, file_, epoch_, true);
  EXPECT_EQ(c_.attributes(file_).blocks(), 8u);
  for (const pb::Chunk& one : {chunk, past}) {
    c_.finish_recovery(one.id(), c_.begin_recovery(one.id()).chunk().version());
  }
  EXPECT_EQ(c_.attributes(file_).blocks(), 8u + 16u);
}

TEST_F(Data, TruncateDropsWholeChunksAndMarksTheRest) {
  std::vector<std::uint64_t> ids;
  for (std::uint64_t i = 0; i < 3; ++i) {
    ids.push_back(open(i, 0b110001).open_chunk().chunk().id());
  }
  c_.commit(s_, file_, epoch_, 3 * kChunkBytes);
  EXPECT_EQ(code_of(c_.truncate(s_, file_, epoch_ + 1, 1).error()), Code::kStaleEpoch);
  EXPECT_EQ(code_of(c_.truncate(s_, file_, epoch_, limits::kFileBytesMax + 1).error()),
            Code::kFileTooBig);
  EXPECT_EQ(c_.truncate(s_, file_, epoch_, kChunkBytes + 1).attributes().size(), kChunkBytes + 1);
  EXPECT_TRUE(chunk_exists(ids[1]));
  EXPECT_FALSE(chunk_exists(ids[2]));
  EXPECT_TRUE(c_.inode(file_).trim_pending());
  EXPECT_EQ(removals_at(0), 1u);
  EXPECT_EQ(removals_at(1), 0u);
  EXPECT_EQ(open_chunks(), 2u);
  c_.commit(s_, file_, epoch_, kChunkBytes + 1, true);
  EXPECT_FALSE(c_.inode(file_).trim_pending());
  c_.truncate(s_, file_, epoch_, 1);
  EXPECT_TRUE(c_.inode(file_).trim_pending());
  c_.truncate(s_, file_, epoch_, 0);
  EXPECT_FALSE(c_.inode(file_).trim_pending());
  EXPECT_EQ(c_.counters().chunks(), 0u);
  EXPECT_EQ(c_.inode(file_).chunk_count(), 0u);
}

TEST_F(Data, TruncateOfAnOpenChunkExpectsBytesPastTheKnownSize) {
  open(0, 0b111111);
  // The writer may have written more than it committed: the master knows size 0.
  c_.truncate(s_, file_, epoch_, 100);
  EXPECT_TRUE(c_.inode(file_).trim_pending());
}

TEST_F(Data, ExtendingKeepsTheTrimMark) {
  open(0, 0b111111);
  c_.commit(s_, file_, epoch_, 1000);
  c_.release(s_, file_, epoch_);
  epoch_ = c_.grant(s_, file_).lease_epoch();
  c_.truncate(s_, file_, epoch_, 5000);
  EXPECT_FALSE(c_.inode(file_).trim_pending());
  c_.truncate(s_, file_, epoch_, 10);
  EXPECT_TRUE(c_.inode(file_).trim_pending());
  c_.truncate(s_, file_, epoch_, kChunkBytes);
  EXPECT_TRUE(c_.inode(file_).trim_pending());
}

TEST_F(Data, CleanReleaseSettlesAndTheLeaseIsFree) {
  open(0, 1);
  const std::uint64_t other = c_.open_session("other");
  EXPECT_EQ(code_of(c_.grant(other, file_).error()), Code::kBusy);
  EXPECT_EQ(c_.grant(s_, file_).lease_epoch(), epoch_);
  EXPECT_EQ(code_of(c_.release(s_, file_, epoch_ + 1).error()), Code::kStaleEpoch);
  EXPECT_EQ(code_of(c_.release(other, file_, epoch_).error()), Code::kLeaseExpired);
  EXPECT_EQ(c_.release(s_, file_, epoch_, false, 123).attributes().size(), 123u);
  EXPECT_EQ(open_chunks(), 0u);
  const std::uint64_t next = c_.grant(other, file_).lease_epoch();
  EXPECT_GT(next, epoch_);
  EXPECT_EQ(queries::exclusive_leases(c_.kv(), SessionId::from_raw(other))->size(), 1u);
  EXPECT_EQ(queries::exclusive_leases(c_.kv(), SessionId::from_raw(s_))->size(), 0u);
}

TEST_F(Data, UnsettledReleaseWaitsForRecovery) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  c_.release(s_, file_, epoch_, true, 10'000);
  EXPECT_EQ(c_.attributes(file_).size(), 10'000u);
  EXPECT_EQ(open_chunks(), 1u);
  EXPECT_EQ(code_of(c_.grant(s_, file_).error()), Code::kBusy);
  EXPECT_EQ(code_of(c_.finish_recovery(chunk.id(), chunk.version()).error()),
            Code::kInvalidArgument);
  const pb::CommandReply begun = c_.begin_recovery(chunk.id());
  EXPECT_EQ(begun.chunk().version(), 2u);
  EXPECT_EQ(begun.chunk().writer_epoch(), epoch_);
  EXPECT_GT(begun.lease_epoch(), epoch_);
  const pb::CommandReply again = c_.begin_recovery(chunk.id());
  EXPECT_EQ(again.chunk().version(), 3u);
  EXPECT_GT(again.lease_epoch(), begun.lease_epoch());
  EXPECT_EQ(code_of(c_.finish_recovery(chunk.id(), 2).error()), Code::kStaleVersion);
  EXPECT_EQ(code_of(c_.finish_recovery(chunk.id(), 3, 0b111).error()), Code::kTooFewPieces);
  EXPECT_EQ(open_chunks(), 1u);
  const pb::CommandReply done = c_.finish_recovery(chunk.id(), 3, 0b1);
  EXPECT_EQ(done.chunk().writer_epoch(), 0u);
  EXPECT_EQ(done.chunk().version(), 4u);
  EXPECT_EQ(done.chunk().pieces(0).state(), pb::PIECE_MISSING);
  EXPECT_EQ(removals_at(0), 0u);
  EXPECT_EQ(open_chunks(), 0u);
  EXPECT_TRUE(c_.inode(file_).trim_pending());
  EXPECT_EQ(code_of(c_.begin_recovery(chunk.id()).error()), Code::kInvalidArgument);
  EXPECT_GT(c_.grant(s_, file_).lease_epoch(), again.lease_epoch());
}

TEST_F(Data, RecoveryFencesTheWriterAtTheMaster) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  c_.commit(s_, file_, epoch_, 1);
  c_.begin_recovery(chunk.id());
  EXPECT_EQ(code_of(open(0, 1).error()), Code::kStaleEpoch);
  EXPECT_EQ(code_of(drop(chunk, 1).error()), Code::kStaleEpoch);
  EXPECT_EQ(code_of(c_.commit(s_, file_, epoch_, 9).error()), Code::kStaleEpoch);
  // A writer that is alive after all asks again, but waits until the recovery is over.
  const std::uint64_t fresh = c_.grant(s_, file_).lease_epoch();
  EXPECT_GT(fresh, epoch_);
  EXPECT_EQ(code_of(open_as(0, 1, fresh, {}).error()), Code::kBusy);
  EXPECT_EQ(c_.finish_recovery(chunk.id(), 2).chunk().version(), 2u);
  EXPECT_EQ(code_of(open_as(0, 1, fresh, {}).error()), kDone);
}

TEST_F(Data, ChunksPastTheCommittedSizeGoWithTheLostLease) {
  const std::uint64_t kept = open(0, 0b111111).open_chunk().chunk().id();
  const std::uint64_t told = open(1, 0b111111).open_chunk().chunk().id();
  const std::uint64_t lost = open(2, 0b111111).open_chunk().chunk().id();
  c_.commit(s_, file_, epoch_, kChunkBytes);
  for (const std::uint64_t id : {kept, told, lost}) {
    const std::uint64_t version = c_.begin_recovery(id).chunk().version();
    EXPECT_EQ(Cluster::error(c_.finish_recovery(id, version)), 0u);
  }
  // The holder could still tell a bigger size.
  EXPECT_TRUE(chunk_exists(lost));
  EXPECT_TRUE(c_.inode(file_).trim_pending());
  const std::uint64_t epoch = c_.inode(file_).lease_epoch();
  c_.release(s_, file_, epoch, true, kChunkBytes + 1);
  EXPECT_TRUE(chunk_exists(kept));
  EXPECT_TRUE(chunk_exists(told));
  EXPECT_FALSE(chunk_exists(lost));
  EXPECT_TRUE(c_.inode(file_).trim_pending());
  EXPECT_EQ(c_.inode(file_).chunk_count(), 2u);
}

TEST_F(Data, ChunksPastTheCommittedSizeGoWithTheSession) {
  const std::uint64_t lost = open(0, 0b111111).open_chunk().chunk().id();
  c_.begin_recovery(lost);
  c_.finish_recovery(lost, 2);
  EXPECT_TRUE(chunk_exists(lost));
  EXPECT_EQ(Cluster::error(c_.end_session(s_)), 0u);
  EXPECT_FALSE(chunk_exists(lost));
  EXPECT_EQ(removals_at(0), 1u);
}

TEST_F(Data, RecoveryAfterTheReleaseRemovesChunksPastTheSize) {
  const std::uint64_t lost = open(3, 0b111111).open_chunk().chunk().id();
  c_.release(s_, file_, epoch_, true, 1);
  EXPECT_TRUE(chunk_exists(lost));
  c_.begin_recovery(lost);
  EXPECT_EQ(Cluster::error(c_.finish_recovery(lost, 2)), 0u);
  EXPECT_FALSE(chunk_exists(lost));
}

TEST_F(Data, SessionsEndOnlyWithSettledChunks) {
  const pb::Chunk chunk = open(0, 0b111111).open_chunk().chunk();
  EXPECT_EQ(code_of(c_.end_session(s_).error()), Code::kBusy);
  EXPECT_EQ(queries::inodes_with_open_chunks(c_.kv(), InodeId(), 10)->size(), 1u);
  c_.begin_recovery(chunk.id());
  c_.finish_recovery(chunk.id(), 2);
  EXPECT_EQ(queries::inodes_with_open_chunks(c_.kv(), InodeId(), 10)->size(), 0u);
  EXPECT_EQ(Cluster::error(c_.end_session(s_)), 0u);
  EXPECT_EQ(c_.inode(file_).lease_session(), 0u);
  EXPECT_EQ(code_of(c_.end_session(s_).error()), Code::kSessionGone);
  EXPECT_EQ(code_of(c_.grant(s_, file_).error()), Code::kSessionGone);
}

TEST_F(Data, PurgeGoesInSteps) {
  for (std::uint64_t i = 0; i < 5; ++i) open(i, 0b111111);
  c_.unlink(s_, kRoot, "f");
  c_.expect_sound();
  EXPECT_FALSE(c_.purge(file_, 2).purged());
  EXPECT_EQ(c_.inode(file_).chunk_count(), 3u);
  EXPECT_EQ(c_.inode(file_).lease_session(), 0u);
  EXPECT_EQ(code_of(open(9, 1).error()), Code::kLeaseExpired);
  c_.expect_sound();
  EXPECT_FALSE(c_.purge(file_, 2).purged());
  EXPECT_TRUE(c_.purge(file_, 2).purged());
  EXPECT_EQ(c_.counters().chunks(), 0u);
  EXPECT_EQ(removals_at(3), 5u);
  pb::Command removed;
  removed.mutable_pieces_removed()->set_cs_id(places_[3]);
  const Result<std::vector<pb::PieceRef>> queued =
      queries::removals(c_.kv(), NodeId::from_raw(places_[3]), 4);
  ASSERT_TRUE(queued.has_value());
  for (const pb::PieceRef& piece : *queued) {
    *removed.mutable_pieces_removed()->add_pieces() = piece;
  }
  removed.mutable_pieces_removed()->add_pieces()->set_piece(259);
  c_.apply(removed);
  EXPECT_EQ(removals_at(3), 1u);
}

TEST_F(Data, ChunksAnswersARange) {
  for (const std::uint64_t i : {1u, 2u, 5u, 700u}) open(i, 1);
  const auto indexes = [&](std::uint64_t first, std::uint32_t count) {
    std::vector<std::uint64_t> found;
    const auto reply = queries::chunks(c_.kv(), InodeId::from_raw(file_), first, count);
    for (const pb::Chunk& chunk : reply->chunks()) found.push_back(chunk.index());
    return found;
  };
  EXPECT_EQ(indexes(0, 10), (std::vector<std::uint64_t>{1, 2, 5, 700}));
  EXPECT_EQ(indexes(2, 2), (std::vector<std::uint64_t>{2, 5}));
  EXPECT_EQ(indexes(701, 2), std::vector<std::uint64_t>());
  std::size_t seen = 0;
  EXPECT_TRUE(queries::each_chunk_after(c_.kv(), ChunkId::from_raw(1), [&](const pb::Chunk&) {
                ++seen;
                return true;
              }).has_value());
  EXPECT_EQ(seen, 3u);
}

}  // namespace
}  // namespace cairn::mds::state
