// Conversion of files that nobody changes, and of files in use.
#include "client/convert/converter_fixture.h"

namespace cairn::client::convert {
namespace {

class ConverterTest : public ConverterFixture {};

TEST_F(ConverterTest, WithoutAFileItEndsAtOnce) {
  start();
  join();
  EXPECT_EQ(master().progress.size(), 1U);
  EXPECT_EQ(stats_.converted, 0U);
}

TEST_F(ConverterTest, AFileOfAnySizeIsTheSameAfterwards) {
  Prng prng(3);
  unsigned converted = 0;
  for (const std::uint64_t size :
       {std::uint64_t{1}, kBlockBytes - 1, kBlockBytes, kBlockBytes + 1, kStripe - 1, kStripe,
        kStripe + 1, kChunk - 1, kChunk, kChunk + 1, 3 * kChunk + 77'777}) {
    file_.truncate(0);
    file_.write(0, pattern(size, size));
    file_.fsync();
    for (const Shape& to : {kTwoOne, kThreeCopies, kFourTwo}) {
      SCOPED_TRACE(::testing::Message() << size << " bytes to " << to.data << "+" << to.parity);
      convert(to);
      EXPECT_EQ(stats_.converted, 1U);
      EXPECT_EQ(stats_.bytes_copied, size);
      expect_whole(to);
      EXPECT_EQ(master().swaps, ++converted);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(ConverterTest, HolesStayHolesAndZerosBecomeThem) {
  file_.write(5 * kChunk + 100, pattern(1, 50));
  file_.write(0, std::vector<std::byte>(kStripe));
  file_.write(2 * kChunk, pattern(2, kBlockBytes));
  file_.truncate(9 * kChunk + 5);
  file_.fsync();
  convert(kTwoOne);
  expect_whole(kTwoOne);
  EXPECT_EQ(stats_.bytes_copied, 2 * kBlockBytes);
  EXPECT_EQ(stored_blocks(), 4U) << "two blocks of data, each with one of parity";
  EXPECT_EQ(node().chunks.size(), 3U) << "the first one, without a block, told the layout";
}

TEST_F(ConverterTest, TimesAndAttributesStay) {
  file_.write(0, pattern(1, 100'000));
  pb::SetAttr change;
  change.set_mode(0640);
  change.set_mtime_ns(12'345);
  ASSERT_TRUE(cluster_.run(mount_->set_attributes(inode_, change)).has_value());
  file_.fsync();
  cluster_.world.run_for(3s);
  const pb::Attributes before = node().attributes;
  convert(kTwoOne);
  EXPECT_EQ(node().attributes.mtime_ns(), 12'345);
  EXPECT_EQ(node().attributes.ctime_ns(), before.ctime_ns());
  EXPECT_EQ(node().attributes.mode(), 0640U);
  EXPECT_EQ(node().attributes.size(), before.size());
  EXPECT_EQ(node().attributes.nlink(), 1U);
  expect_whole(kTwoOne);
}

TEST_F(ConverterTest, SeveralFilesAreConvertedOneAfterTheOther) {
  std::vector<InodeId> inodes;
  std::vector<FileModel> files;
  for (int i = 0; i < 5; ++i) {
    inodes.push_back(cluster_.create(*mount_, "f" + std::to_string(i)));
    files.emplace_back(cluster_, *mount_, inodes.back());
    files.back().write(
        0, pattern(static_cast<std::uint64_t>(i), 70'000U * static_cast<unsigned>(i + 1)));
    files.back().fsync();
    master().wanted[inodes.back().raw()] = kThreeCopies;
  }
  start();
  join();
  EXPECT_EQ(stats_.converted, 5U);
  EXPECT_EQ(master().swaps, 5U);
  EXPECT_EQ(master().purged, 5U);
  EXPECT_EQ(master().converter_sessions.size(), 1U);
  for (std::size_t i = 0; i < files.size(); ++i) {
    EXPECT_EQ(master().shape_of(inodes[i].raw()).data, 1U);
    files[i].check_all();
    mount_->release(inodes[i], OpenMode::kWrite);
  }
  file_.write(0, pattern(9, 10));
  expect_whole(kFourTwo);
}

TEST_F(ConverterTest, TheMasterIsToldEverySecondHowFarItIs) {
  file_.write(0, pattern(1, 8 * kChunk));
  file_.fsync();
  for (const auto& cs : cluster_.cs) cs->delay = 700ms;
  convert(kTwoOne);
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  ASSERT_GT(master().progress.size(), 4U);
  EXPECT_EQ(master().progress.front().inode(), 0U);
  std::uint64_t done = 0;
  for (const pb::NextConversion& tell : master().progress) {
    if (tell.inode() == 0) continue;
    EXPECT_EQ(tell.inode(), inode_.raw());
    EXPECT_GE(tell.bytes_done(), done);
    EXPECT_LE(tell.bytes_done(), tell.bytes_total());
    done = tell.bytes_done();
  }
  EXPECT_TRUE(master().progress.back().ended());
  EXPECT_FALSE(master().progress.back().has_trouble());
  EXPECT_EQ(done, 8 * kChunk);
  expect_whole(kTwoOne);
}

TEST_F(ConverterTest, ReadersAndTheirHandlesGoOn) {
  file_.write(0, pattern(1, 4 * kChunk));
  file_.fsync();
  auto other = cluster_.mount();
  ASSERT_TRUE(cluster_.run(other->open(inode_, OpenMode::kRead)).has_value());
  file_.use(*other);
  want(kThreeCopies);
  start();
  Prng prng(1);
  while (!ran_.has_value()) {
    file_.check(prng.below(4 * kChunk), 50'000);
    cluster_.world.run_for(2ms);
    if (HasFatalFailure()) return;
  }
  join();
  file_.check_all();
  other->release(inode_, OpenMode::kRead);
  cluster_.unmount(std::move(other));
  file_.use(*mount_);
  expect_whole(kThreeCopies);
}

// Each write of the writer recalls the converter, each read of the converter recalls the writer.
TEST_F(ConverterTest, AWriterThatNeverRestsIsConvertedUnderTheLease) {
  file_.write(0, pattern(1, 6 * kChunk));
  file_.fsync();
  want(kTwoOne);
  start();
  Prng prng(2);
  Duration longest{};
  int writes = 0;
  while (!ran_.has_value() && writes < 2'000) {
    const Instant began = cluster_.runtime.now();
    file_.write(prng.below(6 * kChunk), pattern(static_cast<std::uint64_t>(writes), 3'000));
    longest = std::max(longest, cluster_.runtime.now() - began);
    if (writes % 16 == 15) file_.fsync();
    cluster_.world.run_for(5ms);
    ++writes;
    if (HasFatalFailure()) return;
  }
  join();
  EXPECT_EQ(stats_.converted, 1U);
  EXPECT_LT(longest, Duration(10s));
  expect_whole(kTwoOne);
}

TEST_F(ConverterTest, WhatIsDelayedAtAWriterIsInTheCopy) {
  file_.write(0, pattern(1, kChunk));
  file_.write(10 * kChunk - 5, pattern(2, 5));
  want(kTwoOne);
  start();
  join();
  expect_whole(kTwoOne);
}

TEST_F(ConverterTest, TruncationsAndAppendsDuringTheCopyAreInTheResult) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    file_.truncate(0);
    file_.write(0, pattern(seed, 5 * kChunk + prng.below(kChunk)));
    file_.fsync();
    for (const auto& cs : cluster_.cs) cs->delay = 3ms;
    const Shape to = seed % 2 == 1 ? kTwoOne : kFourTwo;
    want(to);
    start();
    for (std::uint64_t i = 0; !ran_.has_value() && i < 40; ++i) {
      cluster_.world.run_for(Duration(prng.below(80'000'000)));
      switch (prng.below(4)) {
        case 0:
          file_.truncate(prng.below(file_.truth.size() + 1));
          break;
        case 1:
          file_.truncate(file_.truth.size() + prng.below(2 * kChunk));
          break;
        case 2:
          file_.write(file_.truth.size(), pattern(i, 1 + prng.below(200'000)));
          break;
        default:
          file_.write(prng.below(file_.truth.size() + 1), pattern(i, 1 + prng.below(20'000)));
      }
      if (HasFatalFailure()) return;
    }
    join();
    for (const auto& cs : cluster_.cs) cs->delay = Duration();
    EXPECT_EQ(stats_.converted, 1U);
    expect_whole(to);
    if (HasFatalFailure()) return;
  }
}

TEST_F(ConverterTest, AFileThatShrinksToNothingDuringTheCopyEndsEmpty) {
  file_.write(0, pattern(1, 6 * kChunk));
  file_.fsync();
  for (const auto& cs : cluster_.cs) cs->delay = 5ms;
  want(kTwoOne);
  start();
  cluster_.world.run_for(60ms);
  file_.truncate(0);
  join();
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  file_.check_all();
  file_.write(5, pattern(2, 100'000));
  file_.fsync();
  EXPECT_EQ(master().shadows, master().purged);
  file_.check_all();
}

TEST_F(ConverterTest, AChunkServerThatIsSlowOrAwayIsReadAround) {
  file_.write(0, pattern(1, 4 * kChunk));
  file_.fsync();
  cluster_.cs[1]->kill();
  want(kThreeCopies);
  start();
  cluster_.world.run_for(5s);
  EXPECT_EQ(master().swaps, 0U);
  // A chunk of the copy that lies on it has lost a piece: it is not taken before that is repaired.
  cluster_.cs[1]->revive();
  while (!ran_.has_value()) {
    if (!repair_one()) cluster_.world.run_for(1s);
  }
  join();
  EXPECT_EQ(stats_.converted, 1U);
  expect_whole(kThreeCopies);
}

}  // namespace
}  // namespace cairn::client::convert
