#include "client/convert/copy_plan.h"

#include <gtest/gtest.h>

#include "common/base/prng.h"

namespace cairn::client::convert {
namespace {

constexpr ByteCount kRange = 1_MiB;
constexpr std::uint64_t kNoEnd = ~std::uint64_t{0};

SeenChunk settled(std::uint64_t index, std::uint64_t id, std::uint64_t opened) {
  return {index, Stamp{ChunkId::from_raw(id), opened}};
}
SeenChunk open(std::uint64_t index) { return {index, std::nullopt}; }

std::vector<std::uint64_t> indexes(const std::vector<RangeWork>& work, bool absent) {
  std::vector<std::uint64_t> result;
  for (const RangeWork& one : work) {
    if (one.absent == absent) result.push_back(one.index);
  }
  return result;
}
using Indexes = std::vector<std::uint64_t>;

TEST(CopyPlan, CopiesWhatIsThereAtFirst) {
  const CopyPlan plan(kRange);
  const std::vector<RangeWork> work =
      plan.judge({settled(0, 10, 1), open(3), settled(7, 12, 5)}, 0, kNoEnd);
  EXPECT_EQ(indexes(work, false), (Indexes{0, 3, 7}));
  EXPECT_EQ(indexes(work, true), Indexes{});
  EXPECT_EQ(work[0].stamp, (Stamp{ChunkId::from_raw(10), 1}));
  EXPECT_FALSE(work[1].stamp.has_value());
}

TEST(CopyPlan, TheSameStampNeedsNoCopyAndEveryOtherDoes) {
  CopyPlan plan(kRange);
  for (const RangeWork& one :
       plan.judge({settled(0, 10, 1), settled(1, 11, 2), settled(2, 12, 3), open(3), open(4)}, 0,
                  kNoEnd)) {
    plan.done(one);
  }
  const std::vector<RangeWork> work =
      plan.judge({settled(0, 10, 1),  // as it was
                  settled(1, 11, 3),  // was opened and settled
                  settled(2, 22, 3),  // another chunk that was opened as often
                  settled(3, 13, 1),  // was open when it was copied
                  open(4), open(5)},
                 0, kNoEnd);
  EXPECT_EQ(indexes(work, false), (Indexes{1, 2, 3, 4, 5}));
}

TEST(CopyPlan, AChunkThatIsOpenNowIsCopiedAgainWhateverItWas) {
  CopyPlan plan(kRange);
  plan.done({0, false, Stamp{ChunkId::from_raw(10), 1}});
  EXPECT_EQ(indexes(plan.judge({open(0)}, 0, kNoEnd), false), Indexes{0});
}

TEST(CopyPlan, WhatIsGoneIsZeroedOnceAndOnlyInsideTheLook) {
  CopyPlan plan(kRange);
  for (std::uint64_t i = 0; i < 10; ++i) plan.done({i, false, Stamp{ChunkId::from_raw(i + 1), 1}});
  // A look that ended at index 4: nothing is known of 5 to 9.
  const std::vector<RangeWork> work = plan.judge({settled(2, 3, 1), settled(4, 5, 1)}, 2, 5);
  ASSERT_EQ(indexes(work, true), Indexes{3});
  EXPECT_EQ(indexes(work, false), Indexes{});
  plan.done(work.front());
  EXPECT_TRUE(plan.judge({settled(2, 3, 1), settled(4, 5, 1)}, 2, 5).empty());
  // Another chunk comes there.
  EXPECT_EQ(
      indexes(plan.judge({settled(2, 3, 1), settled(3, 40, 1), settled(4, 5, 1)}, 2, 5), false),
      Indexes{3});
}

TEST(CopyPlan, WhatWasCutOffIsCopiedWhenItIsBack) {
  CopyPlan plan(kRange);
  for (std::uint64_t i = 0; i < 4; ++i) plan.done({i, false, Stamp{ChunkId::from_raw(i + 1), 1}});
  plan.cut(kRange + 1);
  EXPECT_EQ(indexes(plan.judge({}, 0, kNoEnd), true), (Indexes{0, 1}));
  EXPECT_EQ(
      indexes(plan.judge({settled(0, 1, 1), settled(1, 2, 1), settled(2, 3, 1)}, 0, kNoEnd), false),
      Indexes{2});
  plan.cut(0);
  EXPECT_TRUE(plan.judge({}, 0, kNoEnd).empty());
}

TEST(CopyPlan, BytesOfARangeEndWithTheFile) {
  const CopyPlan plan(kRange);
  EXPECT_EQ(plan.bytes_of(0, 0), 0U);
  EXPECT_EQ(plan.bytes_of(0, 5), 5U);
  EXPECT_EQ(plan.bytes_of(0, kRange), kRange);
  EXPECT_EQ(plan.bytes_of(1, kRange), 0U);
  EXPECT_EQ(plan.bytes_of(1, kRange + 7), 7U);
  EXPECT_EQ(plan.bytes_of(9, kRange), 0U);
}

TEST(CopyPlan, AStampIsThatOfASettledChunkOnly) {
  pb::Chunk chunk;
  chunk.set_id(5);
  chunk.set_index(3);
  chunk.set_opened(9);
  EXPECT_EQ(seen(chunk).index, 3U);
  EXPECT_EQ(seen(chunk).stamp, (Stamp{ChunkId::from_raw(5), 9}));
  chunk.set_writer_epoch(77);
  EXPECT_FALSE(seen(chunk).stamp.has_value());
}

TEST(WrittenParts, KnowsWhatWasWrittenAtItsGrain) {
  WrittenParts parts(kRange);  // grains of a block
  EXPECT_FALSE(parts.any(0, 10 * kRange));
  parts.add(kRange + 5000, 1);
  EXPECT_TRUE(parts.any(0, 10 * kRange));
  EXPECT_FALSE(parts.any(0, kRange + kBlockBytes));
  EXPECT_TRUE(parts.any(kRange + kBlockBytes, kBlockBytes));
  EXPECT_FALSE(parts.any(kRange + 2 * kBlockBytes, kRange));
  EXPECT_EQ(parts.runs(1, 10 * kRange),
            (std::vector<WrittenParts::Run>{{kRange + kBlockBytes, kBlockBytes}}));
  EXPECT_EQ(parts.runs(1, kRange + 6000),
            (std::vector<WrittenParts::Run>{{kRange + kBlockBytes, 6000 - kBlockBytes}}));
  EXPECT_TRUE(parts.runs(1, kRange).empty());
  parts.clear_range(1);
  EXPECT_FALSE(parts.any(0, 10 * kRange));
}

TEST(WrittenParts, ACutForgetsWhatLiesBehind) {
  WrittenParts parts(kRange);
  parts.add(0, 3 * kRange);
  parts.cut(kRange + 10'000);
  EXPECT_TRUE(parts.any(kRange + 8192, 1));
  EXPECT_FALSE(parts.any(kRange + 12'288, 10 * kRange));
  parts.cut(kRange);
  EXPECT_FALSE(parts.any(kRange, 10 * kRange));
  EXPECT_TRUE(parts.any(kRange - 1, 1));
}

// Ranges whose size is no multiple of 256 blocks, small and large.
TEST(WrittenParts, NeverForgetsAByteThatWasWritten) {
  for (const ByteCount range : {kBlockBytes, 5 * kBlockBytes, 300 * kBlockBytes, 7_MiB, 64_MiB}) {
    Prng prng(range);
    WrittenParts parts(range);
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t at = prng.below(4 * range);
      const ByteCount length = 1 + prng.below(range);
      parts.add(at, length);
      ASSERT_TRUE(parts.any(at, 1));
      ASSERT_TRUE(parts.any(at + length - 1, 1));
      ASSERT_TRUE(parts.any(at + length / 2, 1));
      ByteCount covered = 0;
      for (std::uint64_t index = 0; index < 6; ++index) {
        for (const WrittenParts::Run& run : parts.runs(index, 6 * range)) {
          const std::uint64_t from = std::max(at, run.offset);
          const std::uint64_t to = std::min(at + length, run.offset + run.length);
          if (from < to) covered += to - from;
          ASSERT_EQ(run.offset / range, index);
          ASSERT_LE(run.offset + run.length, (index + 1) * range);
        }
      }
      ASSERT_EQ(covered, length);
    }
  }
}

TEST(RunsToWrite, SkipsBlocksOfZerosWhereTheCopyHasNothing) {
  std::vector<std::byte> bytes(5 * kBlockBytes + 100);
  bytes[kBlockBytes + 17] = std::byte{1};
  bytes[2 * kBlockBytes] = std::byte{1};
  bytes[5 * kBlockBytes + 99] = std::byte{1};
  WrittenParts none(kRange);
  const std::uint64_t at = 3 * kBlockBytes;
  std::vector<WriteRun> runs = runs_to_write(at, bytes, none);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0].offset, at + kBlockBytes);
  EXPECT_EQ(runs[0].bytes.size(), 2 * kBlockBytes);
  EXPECT_EQ(runs[0].bytes.data(), bytes.data() + kBlockBytes);
  EXPECT_EQ(runs[1].offset, at + 5 * kBlockBytes);
  EXPECT_EQ(runs[1].bytes.size(), 100U);
  EXPECT_TRUE(runs_to_write(at, Bytes(bytes).first(kBlockBytes), none).empty());
  EXPECT_TRUE(runs_to_write(at, Bytes(), none).empty());
  // What the copy has there is overwritten.
  none.add(at + 4 * kBlockBytes, 1);
  runs = runs_to_write(at, bytes, none);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[1].offset, at + 4 * kBlockBytes);
  EXPECT_EQ(runs[1].bytes.size(), kBlockBytes + 100);
}

TEST(RunsToWrite, OneByteAnywhereMakesABlock) {
  const WrittenParts none(kRange);
  for (const std::size_t where : {std::size_t{0}, std::size_t{1}, std::size_t{4095}}) {
    std::vector<std::byte> block(kBlockBytes);
    block[where] = std::byte{0x80};
    EXPECT_EQ(runs_to_write(0, block, none).size(), 1U) << where;
  }
}

TEST(Rounds, GoOnWhileTheyLeaveLess) {
  Rounds rounds;
  EXPECT_TRUE(rounds.again(10));
  EXPECT_TRUE(rounds.again(5));
  EXPECT_FALSE(rounds.again(5));
  Rounds nothing;
  EXPECT_TRUE(nothing.again(10));
  EXPECT_FALSE(nothing.again(0));
  Rounds many;
  EXPECT_TRUE(many.again(100));
  EXPECT_TRUE(many.again(90));
  EXPECT_TRUE(many.again(80));
  EXPECT_TRUE(many.again(70));
  EXPECT_FALSE(many.again(60));
}

}  // namespace
}  // namespace cairn::client::convert
