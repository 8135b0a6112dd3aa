// Conversion of files: the queue, shadows and stamps. The exchange: swap_data_test.cpp.
#include "mds/state/conversions.h"
#include "mds/state/invariants.h"
#include "mds/state/testing/conversion_fixture.h"

namespace cairn::mds::state {
namespace {

using testing::Cluster;
using testing::code_of;
using testing::kAllPieces;
using testing::kDone;

using Conversion = testing::ConversionFixture;

constexpr std::uint64_t kRoot = Cluster::kRoot;

// ---- the queue ----

TEST_F(Conversion, FilesWithOtherDataAreQueuedOnce) {
  const pb::SetPolicyReply queued = want_copies(file_).set_policy();
  EXPECT_EQ(queued.converting(), 1u);
  EXPECT_EQ(queued.keep_layout(), 0u);
  ASSERT_TRUE(c_.conversion(file_).has_value());
  EXPECT_EQ(c_.conversion(file_)->encoding().parity(), 2u);
  const std::int64_t since = c_.time_ns();
  EXPECT_EQ(c_.conversion(file_)->since_ns(), since);
  EXPECT_EQ(want_copies(file_).set_policy().converting(), 1u);
  EXPECT_EQ(c_.conversion(file_)->since_ns(), since) << "it lost its turn";
  EXPECT_EQ(c_.set_policy(file_, 2, 1, 2).set_policy().converting(), 1u);
  EXPECT_EQ(c_.conversion(file_)->encoding().data(), 2u);
  EXPECT_GT(c_.conversion(file_)->since_ns(), since);
  EXPECT_EQ(queries::conversion_count(c_.kv()).value(), 1u);
}

TEST_F(Conversion, BackToTheEncodingOfTheDataIsNoConversion) {
  want_copies(file_);
  const pb::SetPolicyReply back = c_.set_policy(file_, 4, 2, 5).set_policy();
  EXPECT_EQ(back.changed(), 1u);
  EXPECT_EQ(back.converting(), 0u);
  EXPECT_FALSE(c_.conversion(file_).has_value());
}

TEST_F(Conversion, KeptDataIsNotQueuedAndNoLongerWaits) {
  EXPECT_EQ(want_copies(file_, true).set_policy().keep_layout(), 1u);
  EXPECT_FALSE(c_.conversion(file_).has_value());
  want_copies(file_);
  const pb::SetPolicyReply kept = want_copies(file_, true).set_policy();
  EXPECT_EQ(kept.converting(), 0u);
  EXPECT_FALSE(c_.conversion(file_).has_value());
  EXPECT_EQ(c_.inode(file_).policy().encoding().data(), 1u);
  EXPECT_EQ(c_.inode(file_).layout().encoding().data(), 4u);
}

TEST_F(Conversion, OnlyFilesWithDataAreQueued) {
  const std::uint64_t empty = c_.file(s_, kRoot, "empty");
  const std::uint64_t directory = c_.directory(s_, kRoot, "d");
  for (const std::uint64_t inode : {empty, directory, kRoot}) {
    EXPECT_EQ(want_copies(inode).set_policy().changed(), 1u);
  }
  EXPECT_EQ(queries::conversion_count(c_.kv()).value(), 0u);
}

TEST_F(Conversion, OtherPoliciesLeaveTheQueueAlone) {
  want_copies(file_);
  pb::Command tier;
  tier.mutable_set_policy()->add_inodes(file_);
  tier.mutable_set_policy()->set_set_tier(true);
  tier.mutable_set_policy()->mutable_policy()->set_tier(2);
  tier.mutable_set_policy()->set_keep_data(true);
  EXPECT_EQ(c_.apply(tier).set_policy().changed(), 1u);
  EXPECT_TRUE(c_.conversion(file_).has_value());
}

TEST_F(Conversion, FilesTooLargeToExchangeAreNamedAndKeepTheirData) {
  want_copies(file_);
  pb::InodeRecord record = c_.inode(file_);
  const pb::InodeRecord honest = record;
  // Each of them becomes four, and a fifth where they are not aligned.
  record.set_chunk_count(kSwapChunksMax / 5 + 1);
  record.mutable_attributes()->set_size(1ULL << 50);
  forge(file_, record);
  EXPECT_EQ(code_of(c_.make_shadow(converter_, file_).error()), Code::kTooBig);
  const pb::SetPolicyReply refused = want_copies(file_).set_policy();
  EXPECT_EQ(refused.converting(), 0u);
  EXPECT_EQ(refused.keep_layout(), 1u);
  ASSERT_EQ(refused.warnings_size(), 1);
  EXPECT_NE(refused.warnings(0).find("inode " + std::to_string(file_)), std::string::npos);
  EXPECT_NE(refused.warnings(0).find("65536"), std::string::npos);
  EXPECT_FALSE(c_.conversion(file_).has_value());
  // The same chunks below a size that has no room for more; and far from each other in a big file.
  record.mutable_attributes()->set_size(kSwapChunksMax * limits::kPieceBytesDefault);
  EXPECT_TRUE(check_convertible(record, c_.inode(file_).policy().encoding()).has_value());
  record.mutable_attributes()->set_size(limits::kFileBytesMax);
  record.set_chunk_count(kSwapChunksMax / 5);
  EXPECT_TRUE(check_convertible(record, c_.inode(file_).policy().encoding()).has_value());
  // Many small chunks become fewer, but they are exchanged too.
  record.set_chunk_count(kSwapChunksMax + 1);
  pb::Encoding wide;
  wide.set_data(8);
  EXPECT_FALSE(check_convertible(record, wide).has_value());
  record.set_chunk_count(UINT64_MAX / 2);
  EXPECT_FALSE(check_convertible(record, wide).has_value());
  forge(file_, honest);
}

TEST_F(Conversion, TheLastNameTakesTheRowAway) {
  want_copies(file_);
  c_.link(s_, file_, kRoot, "second");
  c_.unlink(s_, kRoot, "f");
  EXPECT_TRUE(c_.conversion(file_).has_value());
  c_.file(s_, kRoot, "other");
  c_.rename(s_, {kRoot, "other", kRoot, "second"});
  EXPECT_FALSE(c_.conversion(file_).has_value());
  EXPECT_EQ(want_copies(file_).set_policy().converting(), 0u) << "it is unlinked";
  EXPECT_TRUE(c_.purge(file_, 100).purged());
}

TEST_F(Conversion, TheQueueIsReadInPages) {
  std::vector<std::uint64_t> files{file_};
  for (const char* name : {"g", "h"}) {
    const pb::ClientReply made = c_.make(s_, kRoot, name, pb::TYPE_REGULAR, true);
    files.push_back(made.make_node().attributes().inode());
    pb::OpenChunk op;
    op.set_inode(files.back());
    op.set_epoch(made.make_node().epoch());
    c_.open_chunk(s_, op, places_);
  }
  for (const std::uint64_t inode : files) want_copies(inode);
  const auto page = [&](std::uint64_t after, std::size_t limit) {
    std::vector<std::uint64_t> found;
    const auto rows = queries::conversions(c_.kv(), InodeId::from_raw(after), limit);
    EXPECT_TRUE(rows.has_value());
    for (const queries::Conversion& row : *rows) {
      EXPECT_EQ(row.record.encoding().parity(), 2u);
      found.push_back(row.inode.raw());
    }
    return found;
  };
  EXPECT_EQ(page(0, 10), files);
  EXPECT_EQ(page(0, 2), (std::vector<std::uint64_t>{files[0], files[1]}));
  EXPECT_EQ(page(files[1], 2), std::vector<std::uint64_t>{files[2]});
  EXPECT_TRUE(page(files[2], 2).empty());
  EXPECT_TRUE(page(0, 0).empty());
  EXPECT_TRUE(page(UINT64_MAX, 2).empty());
  EXPECT_EQ(queries::conversion_count(c_.kv()).value(), 3u);
}

TEST_F(Conversion, ARowThatDoesNotParseIsAnError) {
  want_copies(file_);
  const std::string key = keys::conversion(InodeId::from_raw(file_));
  const std::string good = c_.kv().get(key).value().value();
  const auto put = [&](const std::string& at, const std::string& value) {
    kv::Batch batch;
    batch.put(at, value);
    EXPECT_TRUE(c_.kv().write(batch).has_value());
  };
  put(key, "\xff\xff");
  const auto rows = queries::conversions(c_.kv(), InodeId(), 10);
  ASSERT_FALSE(rows.has_value());
  EXPECT_EQ(rows.error().code(), Code::kCorrupt);
  EXPECT_EQ(queries::conversion(c_.kv(), InodeId::from_raw(file_)).error().code(), Code::kCorrupt);
  EXPECT_FALSE(check_invariants(c_.kv()).value().empty());
  // The machine stops instead of refusing.
  pb::Command command;
  pb::ClientRequest& request = *command.mutable_client()->mutable_request();
  request.set_session(converter_);
  request.set_seq(1);
  request.mutable_make_shadow()->set_inode(file_);
  const Result<Applied> applied = Machine::apply(Slot(1'000'000), command, c_.kv());
  ASSERT_FALSE(applied.has_value());
  EXPECT_EQ(applied.error().code(), Code::kCorrupt);
  put(key, good);
  // A key that is none.
  put(key + "x", good);
  EXPECT_EQ(queries::conversions(c_.kv(), InodeId(), 10).error().code(), Code::kCorrupt);
  EXPECT_FALSE(check_invariants(c_.kv()).value().empty());
  kv::Batch batch;
  batch.erase(key + "x");
  EXPECT_TRUE(c_.kv().write(batch).has_value());
}

TEST_F(Conversion, TheInvariantsKnowWhatARowIsFor) {
  const auto wrong_with = [&](std::uint64_t inode, std::uint32_t data) {
    pb::ConversionRecord row;
    row.mutable_encoding()->set_data(data);
    row.mutable_encoding()->set_parity(2);
    row.mutable_encoding()->set_min(data == 4 ? 5 : 3);
    kv::Batch batch;
    const std::string key = keys::conversion(InodeId::from_raw(inode));
    batch.put(key, row.SerializeAsString());
    EXPECT_TRUE(c_.kv().write(batch).has_value());
    const std::size_t wrong = check_invariants(c_.kv()).value().size();
    kv::Batch undo;
    undo.erase(key);
    EXPECT_TRUE(c_.kv().write(undo).has_value());
    return wrong;
  };
  want_copies(file_, true);
  EXPECT_EQ(wrong_with(file_, 1), 0u);
  EXPECT_GT(wrong_with(file_, 2), 0u) << "not what the policy wants";
  EXPECT_GT(wrong_with(file_, 4), 0u) << "it has that encoding";
  EXPECT_GT(wrong_with(kRoot, 1), 0u);
  EXPECT_GT(wrong_with(999, 1), 0u);
}

// ---- the shadow ----

TEST_F(Conversion, AShadowIsANamelessFileOfTheSession) {
  want_copies(file_);
  const pb::Counters before = c_.counters();
  const pb::ClientReply made = c_.make_shadow(converter_, file_);
  ASSERT_EQ(code_of(made.error()), kDone);
  const std::uint64_t id = made.make_node().attributes().inode();
  const pb::InodeRecord shadow = c_.inode(id);
  EXPECT_EQ(shadow.shadow_of(), file_);
  EXPECT_EQ(shadow.attributes().nlink(), 0u);
  EXPECT_EQ(shadow.attributes().size(), 0u);
  EXPECT_EQ(shadow.policy().encoding().parity(), 2u);
  EXPECT_EQ(shadow.policy().failure_domain(), c_.inode(file_).policy().failure_domain());
  EXPECT_FALSE(shadow.has_layout());
  EXPECT_EQ(shadow.lease_session(), converter_);
  EXPECT_EQ(shadow.lease_epoch(), made.make_node().epoch());
  EXPECT_EQ(c_.counters().inodes(), before.inodes() + 1);
  EXPECT_EQ(c_.counters().files(), before.files() + 1);
  EXPECT_EQ(queries::orphans(c_.kv(), InodeId(), 10)->size(), 1u);
  // Its policy is the row's, whatever somebody says of its number.
  EXPECT_EQ(c_.set_policy(id, 2, 1, 2).set_policy().changed(), 0u);
  EXPECT_EQ(code_of(c_.link(s_, id, kRoot, "x").error()), Code::kNotFound);
  EXPECT_EQ(code_of(c_.make_shadow(converter_, id).error()), Code::kNotFound);
}

TEST_F(Conversion, OnlyWhatIsQueuedGetsAShadow) {
  const std::uint64_t inodes = c_.counters().next_inode();
  EXPECT_EQ(code_of(c_.make_shadow(converter_, file_).error()), Code::kNotFound);
  EXPECT_EQ(code_of(c_.make_shadow(converter_, kRoot).error()), Code::kIsDirectory);
  EXPECT_EQ(code_of(c_.make_shadow(converter_, 999).error()), Code::kNotFound);
  EXPECT_EQ(c_.counters().next_inode(), inodes);
}

TEST_F(Conversion, AShadowIsPurgedAfterItsSession) {
  want_copies(file_);
  make_shadow({0, 1, 2});
  EXPECT_EQ(Cluster::error(c_.end_session(converter_)), 0u);
  EXPECT_EQ(queries::orphans(c_.kv(), InodeId(), 10)->size(), 1u);
  EXPECT_TRUE(c_.purge(shadow_, 100).purged());
  EXPECT_EQ(c_.counters().chunks(), 2u);
  EXPECT_TRUE(c_.conversion(file_).has_value());
}

// ---- stamps ----

TEST_F(Conversion, AStampGrowsWheneverASettledChunkIsOpened) {
  const auto opened = [&] { return c_.chunks(file_)[0].opened(); };
  EXPECT_EQ(opened(), 1u);
  open(0, kAllPieces);
  EXPECT_EQ(opened(), 1u);
  const pb::Chunk chunk = c_.chunks(file_)[0];
  close(chunk, 5);
  EXPECT_EQ(opened(), 1u);
  EXPECT_EQ(open(0, 0).open_chunk().chunk().opened(), 2u);
  c_.begin_recovery(chunk.id());
  c_.finish_recovery(chunk.id(), chunk.version() + 1);
  EXPECT_EQ(opened(), 2u);
  epoch_ = c_.inode(file_).lease_epoch();
  open(0, 0);
  EXPECT_EQ(opened(), 3u);
  c_.release(s_, file_, epoch_);
  EXPECT_EQ(opened(), 3u);
}

}  // namespace
}  // namespace cairn::mds::state
