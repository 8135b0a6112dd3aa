// The moment of a conversion: what is exchanged, and what refuses it.
#include "mds/state/conversions.h"
#include "mds/state/testing/conversion_fixture.h"

namespace cairn::mds::state {
namespace {

using testing::Cluster;
using testing::code_of;
using testing::kDone;

using SwapData = testing::ConversionFixture;

constexpr std::uint64_t kRoot = Cluster::kRoot;

TEST_F(SwapData, TheDataIsExchangedAndNothingElse) {
  want_copies(file_);
  settle_source();
  c_.set_policy(kRoot, 2, 1, 2);
  make_shadow({0, 4, 8});
  const pb::InodeRecord source = c_.inode(file_);
  const std::vector<pb::Chunk> old_chunks = c_.chunks(file_);
  const std::vector<pb::Chunk> new_chunks = c_.chunks(shadow_);
  const std::uint64_t pieces = queries::pieces_on(c_.kv(), NodeId::from_raw(places_[2])).value();
  lock();
  const pb::ClientReply reply = swap();
  ASSERT_EQ(code_of(reply.error()), kDone) << reply.error().message();
  c_.expect_sound();

  pb::InodeRecord wanted = source;
  wanted.mutable_layout()->mutable_encoding()->set_data(1);
  wanted.mutable_layout()->mutable_encoding()->set_min(3);
  wanted.set_chunk_count(3);
  wanted.mutable_attributes()->set_blocks(8);
  wanted.set_lease_session(converter_);
  wanted.set_lease_epoch(lock_epoch_);
  EXPECT_EQ(c_.inode(file_).ShortDebugString(), wanted.ShortDebugString());
  EXPECT_EQ(reply.attributes().SerializeAsString(), wanted.attributes().SerializeAsString());
  EXPECT_FALSE(c_.conversion(file_).has_value());

  const std::vector<pb::Chunk> now = c_.chunks(file_);
  EXPECT_EQ(indexes(now), (std::vector<std::uint64_t>{0, 4, 8}));
  for (std::size_t i = 0; i < now.size(); ++i) {
    pb::Chunk moved = new_chunks[i];
    moved.set_inode(file_);
    EXPECT_EQ(now[i].ShortDebugString(), moved.ShortDebugString());
  }
  const std::vector<pb::Chunk> kept = c_.chunks(shadow_);
  ASSERT_EQ(indexes(kept), (std::vector<std::uint64_t>{0, 2}));
  EXPECT_EQ(kept[1].id(), old_chunks[1].id());
  EXPECT_EQ(c_.inode(shadow_).layout().encoding().data(), 4u);
  EXPECT_EQ(c_.inode(shadow_).shadow_of(), 0u);
  EXPECT_EQ(queries::pieces_on(c_.kv(), NodeId::from_raw(places_[2])).value(), pieces);

  EXPECT_TRUE(c_.purge(shadow_, 100).purged());
  EXPECT_EQ(c_.counters().chunks(), 3u);
  EXPECT_EQ(removals_at(0), 2u);
  EXPECT_EQ(indexes(c_.chunks(file_)), (std::vector<std::uint64_t>{0, 4, 8}));
}

TEST_F(SwapData, AFileOfHolesHasNoLayoutAfterwards) {
  want_copies(file_);
  settle_source();
  make_shadow({});
  lock();
  ASSERT_EQ(code_of(swap().error()), kDone);
  EXPECT_FALSE(c_.inode(file_).has_layout());
  EXPECT_EQ(c_.inode(file_).chunk_count(), 0u);
  EXPECT_EQ(c_.attributes(file_).blocks(), 0u);
  EXPECT_EQ(c_.attributes(file_).size(), kSize);
  c_.expect_sound();
  // The next writer lays it out as its policy says.
  s_ = converter_;
  const std::vector<std::uint32_t> three(places_.begin(), places_.begin() + 3);
  const pb::ClientReply opened = open_as(1, 1, lock_epoch_, three);
  EXPECT_EQ(opened.open_chunk().layout().encoding().parity(), 2u);
}

TEST_F(SwapData, PiecesMissingInTheSourceGoWithItsOldData) {
  const pb::Chunk chunk = c_.chunks(file_)[0];
  ASSERT_EQ(code_of(drop(chunk, 0b1).error()), kDone);
  want_copies(file_);
  settle_source();
  make_shadow({0});
  lock();
  ASSERT_EQ(code_of(swap().error()), kDone);
  EXPECT_EQ(degraded(), std::vector<std::uint64_t>{chunk.id()});
  EXPECT_TRUE(c_.purge(shadow_, 100).purged());
  EXPECT_TRUE(degraded().empty());
}

TEST_F(SwapData, WhatIsToBeTrimmedGoesWithItsOldData) {
  c_.truncate(s_, file_, epoch_, kSize - 1000);
  ASSERT_TRUE(c_.inode(file_).trim_pending());
  want_copies(file_);
  settle_source();
  make_shadow({0}, kSize - 1000);
  lock();
  ASSERT_EQ(code_of(swap().error()), kDone);
  EXPECT_FALSE(c_.inode(file_).trim_pending());
  EXPECT_TRUE(c_.inode(shadow_).trim_pending());
}

TEST_F(SwapData, OnlyTheHolderOfTheLeaseExchanges) {
  want_copies(file_);
  make_shadow({0});
  lock_epoch_ = epoch_;
  expect_refused(Code::kLeaseExpired);
  settle_source();
  expect_refused(Code::kLeaseExpired);
  lock_epoch_ = lock() + 1;
  expect_refused(Code::kStaleEpoch);
  --lock_epoch_;
  EXPECT_EQ(code_of(swap().error()), kDone);
  // A repeat under another number.
  expect_refused(Code::kNotFound);
}

TEST_F(SwapData, OnlyAShadowOfTheFileIsTaken) {
  want_copies(file_);
  settle_source();
  lock();
  for (const std::uint64_t other : {file_, c_.file(s_, kRoot, "other")}) {
    shadow_ = other;
    expect_refused(Code::kInvalidArgument);
  }
  shadow_ = kRoot;
  expect_refused(Code::kIsDirectory);
  shadow_ = 999;
  expect_refused(Code::kNotFound);
}

TEST_F(SwapData, AShadowOfAnotherSizeOrEncodingIsRefused) {
  want_copies(file_);
  settle_source();
  const std::uint64_t small = make_shadow({0}, kSize - 1);
  const std::uint64_t whole = make_shadow({0});
  const std::uint64_t empty = make_shadow({});
  lock();
  shadow_ = small;
  expect_refused(Code::kInvalidArgument);
  c_.set_policy(file_, 2, 1, 2);
  for (const std::uint64_t shadow : {whole, empty}) {
    shadow_ = shadow;
    expect_refused(Code::kInvalidArgument);
  }
}

TEST_F(SwapData, SomethingInFlightRefusesTheExchange) {
  want_copies(file_);
  settle_source();
  make_shadow({0});
  lock();
  // A chunk of the source is open under the converter's own lease.
  s_ = converter_;
  const pb::Chunk chunk = open_as(0, 1, lock_epoch_, {}).open_chunk().chunk();
  expect_refused(Code::kBusy);
  epoch_ = lock_epoch_;
  ASSERT_EQ(code_of(close(chunk, 1).error()), kDone);
  // The shadow is leased, then left behind with an open chunk.
  shadow_epoch_ = c_.grant(converter_, shadow_).lease_epoch();
  expect_refused(Code::kBusy);
  const pb::Chunk open = open_of_shadow(0);
  c_.release(converter_, shadow_, shadow_epoch_, true);
  expect_refused(Code::kBusy);
  c_.begin_recovery(open.id());
  c_.finish_recovery(open.id(), open.version() + 1);
  EXPECT_EQ(code_of(swap().error()), kDone);
}

TEST_F(SwapData, AShadowThatIsNotWholeIsRefused) {
  want_copies(file_);
  settle_source();
  make_shadow({0, 1});
  shadow_epoch_ = c_.grant(converter_, shadow_).lease_epoch();
  const pb::Chunk open = open_of_shadow(1);
  c_.begin_recovery(open.id());
  const pb::Chunk lost = c_.finish_recovery(open.id(), open.version() + 1, 0b10).chunk();
  shadow_epoch_ = c_.inode(shadow_).lease_epoch();
  c_.release(converter_, shadow_, shadow_epoch_);
  lock();
  expect_refused(Code::kBusy);
  ASSERT_EQ(code_of(finish_repair(lost, 1, lost.pieces(1).cs_id()).error()), kDone);
  EXPECT_EQ(code_of(swap().error()), kDone);
}

TEST_F(SwapData, AShadowThatIsToBeTrimmedIsRefused) {
  want_copies(file_);
  settle_source();
  make_shadow({8}, kSize + 1000);
  shadow_epoch_ = c_.grant(converter_, shadow_).lease_epoch();
  c_.truncate(converter_, shadow_, shadow_epoch_, kSize);
  c_.release(converter_, shadow_, shadow_epoch_);
  lock();
  expect_refused(Code::kBusy);
}

TEST_F(SwapData, MoreChunksThanOneCommandTakesAreRefused) {
  want_copies(file_);
  settle_source();
  make_shadow({0});
  lock();
  for (const std::uint64_t inode : {file_, shadow_}) {
    const pb::InodeRecord honest = c_.inode(inode);
    pb::InodeRecord record = honest;
    record.set_chunk_count(kSwapChunksMax + 1);
    forge(inode, record);
    expect_refused(Code::kTooBig);
    forge(inode, honest);
  }
  EXPECT_EQ(code_of(swap().error()), kDone);
}

// What is half purged has the size of the file, and holes where its data was.
TEST_F(SwapData, AShadowThatIsBeingPurgedIsNoneAnyMore) {
  want_copies(file_);
  settle_source();
  make_shadow({0, 1});
  lock();
  EXPECT_FALSE(c_.purge(shadow_, 1).purged());
  expect_refused(Code::kInvalidArgument);
}

// It has the data of yesterday.
TEST_F(SwapData, AShadowIsNotTakenForTheWayBack) {
  want_copies(file_);
  settle_source();
  make_shadow({0, 1});
  lock();
  ASSERT_EQ(code_of(swap().error()), kDone);
  EXPECT_EQ(c_.set_policy(file_, 4, 2, 5).set_policy().converting(), 1u);
  expect_refused(Code::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::mds::state
