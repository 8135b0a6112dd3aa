// Files whose data got another encoding (docs/protocols/conversion.md) under open handles, readers
// and writers.
#include <gtest/gtest.h>

#include "client/core/lease_keeper.h"
#include "client/core/testing/file_model.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::FileModel;
using testing::pattern;
using testing::Shape;

constexpr Shape kFourTwo{};
constexpr Shape kTwoOne{
    .data = 2, .parity = 1, .min = 2, .cell_bytes = 32 * 1024, .piece_bytes = 256 * 1024};
constexpr Shape kThreeCopies{
    .data = 1, .parity = 2, .min = 2, .cell_bytes = 64 * 1024, .piece_bytes = 128 * 1024};
constexpr ByteCount kStripe = 4 * 64 * 1024;
constexpr ByteCount kChunk = 4 * kStripe;

class LayoutChangeTest : public ::testing::Test {
 protected:
  LayoutChangeTest()
      : cluster_(kFourTwo),
        mount_(cluster_.mount()),
        inode_(cluster_.create(*mount_, "a")),
        file_(cluster_, *mount_, inode_) {}

  void convert(Shape to) {
    ASSERT_TRUE(cluster_.run(cluster_.convert(inode_, to)));
    EXPECT_EQ(cluster_.master->shape_of(inode_.raw()).data, to.data);
  }
  Status run_write(FileSystem& by, std::uint64_t at, const std::vector<std::byte>& bytes,
                   bool append = false) {
    return cluster_.run(by.write(inode_, FileOffset(at), bytes, append));
  }
  void finish() {
    file_.fsync();
    file_.use(*mount_);
    mount_->release(inode_, OpenMode::kWrite);
    cluster_.unmount(std::move(mount_));
    cluster_.check_parity();
    auto other = cluster_.mount();
    file_.use(*other);
    file_.check_all();
    cluster_.unmount(std::move(other));
  }

  FakeCluster cluster_;
  std::unique_ptr<FileSystem> mount_;
  InodeId inode_;
  FileModel file_;
};

TEST_F(LayoutChangeTest, AnOpenHandleReadsAndWritesOnInTheNewLayout) {
  file_.write(0, pattern(1, 2 * kChunk + 12'345));
  file_.fsync();
  for (const Shape& to : {kTwoOne, kThreeCopies, kFourTwo}) {
    convert(to);
    file_.check_all();
    file_.write(kStripe - 100, pattern(to.data, 70'000));
    file_.write(2 * kChunk + 50'000, pattern(to.parity, kChunk));
    file_.fsync();
    file_.check_all();
    const pb::Chunk& chunk = cluster_.master->chunk(inode_.raw(), 0);
    EXPECT_EQ(chunk.encoding().data(), to.data);
    EXPECT_EQ(static_cast<std::uint32_t>(chunk.pieces_size()), to.data + to.parity);
  }
  finish();
}

TEST_F(LayoutChangeTest, DelayedBytesAreWrittenInTheOldLayoutBeforeTheLeaseGoes) {
  file_.write(0, pattern(1, kChunk));
  file_.fsync();
  file_.write(100'000, pattern(2, 33'333));  // stays in the cache
  convert(kTwoOne);
  file_.check_all();
  finish();
}

TEST_F(LayoutChangeTest, APartialWriteAfterItUsesTheOldBytesOfTheNewPieces) {
  file_.write(0, pattern(1, 2 * kStripe));
  file_.fsync();
  // The cache keeps old bytes of rows of this layout, and blocks.
  file_.write(5'000, pattern(2, 300));
  convert(kTwoOne);
  for (const std::uint64_t at : {5'100U, 40'000U, 66'000U, 260'001U}) {
    file_.write(at, pattern(at, 777));
    file_.fsync();
  }
  file_.check_all();
  finish();
}

TEST_F(LayoutChangeTest, AReaderOfAnotherMountSeesTheSameBytesBeforeAndAfter) {
  file_.write(0, pattern(1, kChunk + 777));
  file_.fsync();
  auto other = cluster_.mount();
  ASSERT_TRUE(cluster_.run(other->open(inode_, OpenMode::kRead)).has_value());
  file_.use(*other);
  file_.check_all();
  convert(kThreeCopies);
  file_.check_all();
  file_.check(kChunk - 5'000, 5'500);
  convert(kTwoOne);
  file_.check_all();
  other->release(inode_, OpenMode::kRead);
  file_.use(*mount_);
  cluster_.unmount(std::move(other));
  finish();
}

TEST_F(LayoutChangeTest, ReadsUnderWayWhenItIsRecalledAreRight) {
  file_.write(0, pattern(1, 2 * kChunk));
  file_.fsync();
  auto other = cluster_.mount();
  ASSERT_TRUE(cluster_.run(other->open(inode_, OpenMode::kRead)).has_value());
  for (const auto& cs : cluster_.cs) cs->delay = 30ms;
  using Got = Result<std::vector<Buffer>>;
  std::vector<std::optional<Got>> reads(12);
  std::vector<std::optional<bool>> conversions(3);
  const std::array<Shape, 3> shapes{kTwoOne, kThreeCopies, kFourTwo};
  for (std::size_t i = 0; i < reads.size(); ++i) {
    cluster_.start(other->read(inode_, FileOffset(i * 100'000), 300'000), &reads[i]);
    if (i % 4 == 1) {
      cluster_.start(cluster_.convert(inode_, shapes[i / 4]), &conversions[i / 4]);
    }
    cluster_.world.run_for(20ms);
  }
  ASSERT_TRUE(cluster_.world.run_until(
      [&] {
        return std::ranges::all_of(reads, [](const auto& one) { return one.has_value(); }) &&
               std::ranges::all_of(conversions, [](const auto& one) { return one.has_value(); });
      },
      60s));
  for (std::size_t i = 0; i < reads.size(); ++i) {
    ASSERT_TRUE(reads[i]->has_value()) << (*reads[i]).error().to_string();
    const std::vector<std::byte> bytes = testing::joined(**reads[i]);
    ASSERT_EQ(bytes.size(), 300'000U);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(),
                           file_.truth.begin() + static_cast<std::ptrdiff_t>(i * 100'000)))
        << "read " << i;
  }
  other->release(inode_, OpenMode::kRead);
  cluster_.unmount(std::move(other));
  finish();
}

TEST_F(LayoutChangeTest, AppendsGoOnAtTheEnd) {
  file_.write(0, pattern(1, kStripe + 123));
  file_.fsync();
  for (int i = 0; i < 4; ++i) {
    const std::vector<std::byte> more = pattern(10 + static_cast<std::uint64_t>(i), 12'345);
    ASSERT_TRUE(run_write(*mount_, 0, more, true).has_value());
    file_.truth.insert(file_.truth.end(), more.begin(), more.end());
    convert(i % 2 == 0 ? kTwoOne : kThreeCopies);
  }
  file_.check_all();
  finish();
}

TEST_F(LayoutChangeTest, TruncationsBeforeAndAfterItAreOfTheLayoutOfTheirTime) {
  file_.write(0, pattern(1, 2 * kChunk));
  file_.truncate(kChunk + 100'001);
  convert(kTwoOne);
  file_.truncate(kChunk + 70'000);
  file_.truncate(2 * kChunk);
  file_.check_all();
  convert(kThreeCopies);
  file_.truncate(50'000);
  file_.write(60'000, pattern(2, 100));
  file_.check_all();
  finish();
}

TEST_F(LayoutChangeTest, AFileThatWasTruncatedToNothingMayGetAnyLayout) {
  file_.write(0, pattern(1, kChunk));
  file_.truncate(0);
  convert(kTwoOne);
  file_.write(0, pattern(2, 100'000));
  file_.fsync();
  EXPECT_EQ(cluster_.master->chunk(inode_.raw(), 0).encoding().data(), 2U);
  file_.check_all();
  finish();
}

// What a hedge or a slow piece still has under way belongs to the old layout.
TEST_F(LayoutChangeTest, SlowPiecesOfTheOldLayoutAnswerInVain) {
  file_.write(0, pattern(1, 2 * kChunk));
  file_.fsync();
  auto other = cluster_.mount();
  ASSERT_TRUE(cluster_.run(other->open(inode_, OpenMode::kRead)).has_value());
  file_.use(*other);
  file_.check(0, 500'000);
  cluster_.cs[1]->freeze();
  cluster_.cs[3]->freeze();
  file_.check(0, 500'000);  // rebuilt from the others
  std::optional<bool> converted;
  cluster_.start(cluster_.convert(inode_, kThreeCopies), &converted);
  ASSERT_TRUE(cluster_.world.run_until([&] { return converted.has_value(); }, 30s));
  cluster_.cs[1]->thaw();
  cluster_.cs[3]->thaw();
  for (int i = 0; i < 20; ++i) {
    file_.check(static_cast<std::uint64_t>(i) * 100'000, 200'000);
    cluster_.world.run_for(100ms);
  }
  other->release(inode_, OpenMode::kRead);
  cluster_.unmount(std::move(other));
  file_.use(*mount_);
  finish();
}

// The session is lost with everything it held; handles stay. Requests that are under way then were
// begun under the old layout.
TEST_F(LayoutChangeTest, ReadsAndWritesUnderWayWhenTheSessionIsLostAreRightOrRefused) {
  file_.write(0, pattern(1, 2 * kChunk));
  file_.fsync();
  auto other = cluster_.mount();
  ASSERT_TRUE(cluster_.run(other->open(inode_, OpenMode::kRead)).has_value());
  for (const auto& cs : cluster_.cs) cs->delay = 40ms;
  using Got = Result<std::vector<Buffer>>;
  for (const Shape& to : {kTwoOne, kThreeCopies, kFourTwo}) {
    std::vector<std::optional<Got>> reads(6);
    for (std::size_t i = 0; i < reads.size(); ++i) {
      cluster_.start(other->read(inode_, FileOffset(i * 200'000), 300'000), &reads[i]);
    }
    cluster_.world.run_for(10ms);
    for (const std::uint64_t session : cluster_.master->sessions()) {
      cluster_.master->end_session(session);
    }
    std::optional<bool> converted;
    cluster_.start(cluster_.convert(inode_, to), &converted);
    ASSERT_TRUE(cluster_.world.run_until(
        [&] {
          return converted.has_value() &&
                 std::ranges::all_of(reads, [](const auto& one) { return one.has_value(); });
        },
        120s));
    for (std::size_t i = 0; i < reads.size(); ++i) {
      ASSERT_TRUE(reads[i]->has_value()) << (*reads[i]).error().to_string();
      const std::vector<std::byte> bytes = testing::joined(**reads[i]);
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(),
                             file_.truth.begin() + static_cast<std::ptrdiff_t>(i * 200'000)))
          << "read " << i;
    }
    file_.use(*other);
    file_.check_all();
    file_.use(*mount_);
    file_.write(300'000, pattern(to.data, 50'000));
    file_.fsync();
  }
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  other->release(inode_, OpenMode::kRead);
  cluster_.unmount(std::move(other));
  finish();
}

// A read that is rebuilt after its lease ended is rebuilt by the code of its own pieces, whatever
// the file has by then; its result is dropped.
TEST_F(LayoutChangeTest, ARebuildThatOutlivesItsLeaseKeepsToTheOldCode) {
  file_.write(0, pattern(1, 2 * kChunk));
  file_.fsync();
  auto other = cluster_.mount();
  ASSERT_TRUE(cluster_.run(other->open(inode_, OpenMode::kRead)).has_value());
  for (const auto& cs : cluster_.cs) cs->delay = 100ms;
  file_.use(*other);
  for (int i = 0; i < 10; ++i) file_.check(static_cast<std::uint64_t>(i) * kStripe / 2, kStripe);
  using Got = Result<std::vector<Buffer>>;
  std::size_t slow = 0;
  for (const Shape& to : {kTwoOne, kFourTwo, kThreeCopies, kTwoOne, kFourTwo}) {
    cluster_.cs[slow]->delay = 5s;
    std::vector<std::optional<Got>> reads(8);
    for (std::size_t i = 0; i < reads.size(); ++i) {
      cluster_.start(other->read(inode_, FileOffset(i * kStripe), kStripe), &reads[i]);
    }
    cluster_.world.run_for(120ms);  // all but those of the slow one are answered
    for (const std::uint64_t session : cluster_.master->sessions()) {
      cluster_.master->end_session(session);
    }
    ASSERT_TRUE(cluster_.run(cluster_.convert(inode_, to)));
    std::optional<Got> after;
    cluster_.start(other->read(inode_, FileOffset(0), 5'000), &after);
    ASSERT_TRUE(cluster_.world.run_until(
        [&] {
          return after.has_value() &&
                 std::ranges::all_of(reads, [](const auto& one) { return one.has_value(); });
        },
        120s));
    for (std::size_t i = 0; i < reads.size(); ++i) {
      ASSERT_TRUE(reads[i]->has_value()) << (*reads[i]).error().to_string();
      const std::vector<std::byte> bytes = testing::joined(**reads[i]);
      ASSERT_EQ(bytes.size(), kStripe);
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(),
                             file_.truth.begin() + static_cast<std::ptrdiff_t>(i * kStripe)))
          << "read " << i;
    }
    cluster_.cs[slow]->delay = 100ms;
    slow = (slow + 1) % cluster_.cs.size();
  }
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  other->release(inode_, OpenMode::kRead);
  cluster_.unmount(std::move(other));
  file_.use(*mount_);
  finish();
}

// A lease that is not what the client takes it for: the map has another layout.
TEST_F(LayoutChangeTest, AMapOfAnotherLayoutThanTheLeaseSaidIsNotUsed) {
  file_.write(0, pattern(1, 20 * kChunk));  // more than one answer tells
  file_.fsync();
  auto other = cluster_.mount();
  ASSERT_TRUE(cluster_.run(other->open(inode_, OpenMode::kRead)).has_value());
  file_.use(*other);
  file_.check(0, 1'000);
  // Behind the back of whoever has leases.
  testing::FakeMaster::Node& node = cluster_.master->nodes.at(inode_.raw());
  node.shared.clear();
  node.holder = 0;
  for (auto& [index, chunk] : node.chunks) chunk.set_writer_epoch(0);
  convert(kTwoOne);
  file_.check(18 * kChunk, 100'000);
  file_.check(0, 100'000);
  other->release(inode_, OpenMode::kRead);
  cluster_.unmount(std::move(other));
  file_.use(*mount_);
  mount_->release(inode_, OpenMode::kWrite);
  cluster_.unmount(std::move(mount_));
}

// The same with the exclusive lease: what was written under it is at other chunks' servers. The
// application is told, nothing is mixed.
TEST_F(LayoutChangeTest, AWriterWithALeaseThatIsNoMoreIsToldAndGoesOn) {
  file_.write(0, pattern(1, 20 * kChunk));
  file_.fsync();
  testing::FakeMaster::Node& node = cluster_.master->nodes.at(inode_.raw());
  node.holder = 0;
  for (auto& [index, chunk] : node.chunks) chunk.set_writer_epoch(0);
  convert(kTwoOne);
  // The write may need old bytes, and so find out by itself.
  const Status written = run_write(*mount_, 18 * kChunk + 5, pattern(2, 100));
  const Status synced = cluster_.run(mount_->fsync(inode_));
  EXPECT_FALSE(written.has_value() && synced.has_value());
  file_.check(18 * kChunk, 10'000);
  file_.write(100, pattern(3, 100'000));
  finish();
}

}  // namespace
}  // namespace cairn::client
