#include "client/core/file_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "common/base/prng.h"

namespace cairn::client {
namespace {

std::vector<std::byte> random_bytes(Prng& prng, std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(prng.next());
  return bytes;
}

TEST(FileCache, NamesTheBlocksThatAWriteFillsOnlyInPart) {
  CachePool pool(1_MiB);
  FileCache cache(pool);
  using Blocks = std::vector<std::uint64_t>;
  EXPECT_EQ(cache.unknown_edges(FileOffset(0), 4096), Blocks{});
  EXPECT_EQ(cache.unknown_edges(FileOffset(1), 4095), Blocks{0});
  EXPECT_EQ(cache.unknown_edges(FileOffset(0), 100), Blocks{0});
  EXPECT_EQ(cache.unknown_edges(FileOffset(4000), 8192), (Blocks{0, 2}));
  EXPECT_EQ(cache.unknown_edges(FileOffset(4096), 5000), Blocks{2});
  cache.fill(2, Bytes());
  EXPECT_EQ(cache.unknown_edges(FileOffset(4096), 5000), Blocks{});
}

TEST(FileCache, WhatWasClaimedDoesNotChangeUnderALaterWrite) {
  CachePool pool(1_MiB);
  FileCache cache(pool);
  const std::vector<std::byte> old(2 * kBlockBytes, std::byte{1});
  const std::vector<std::byte> fresh(kBlockBytes, std::byte{2});
  cache.write(FileOffset(0), old, Instant());
  const Buffer claimed = cache.claim(0, 2);
  cache.write(FileOffset(kBlockBytes), fresh, Instant());
  EXPECT_EQ(claimed.data()[kBlockBytes], std::byte{1});
  EXPECT_TRUE(cache.dirty(1));
  EXPECT_FALSE(cache.dirty(0));
  cache.check_invariants();
  cache.done({0, 2});
  cache.check_invariants();
  EXPECT_TRUE(cache.dirty(1));
  EXPECT_EQ(cache.dirty_bytes(), kBlockBytes);
}

TEST(FileCache, OnlyCleanSegmentsMakeRoom) {
  CachePool pool(2 * kSegmentBytes);
  FileCache cache(pool);
  const std::vector<std::byte> block(kBlockBytes, std::byte{1});
  cache.write(FileOffset(0), block, Instant());
  cache.fill(kSegmentBlocks, block);
  EXPECT_TRUE(pool.make_room(1));
  EXPECT_TRUE(cache.valid(0));
  EXPECT_FALSE(cache.valid(kSegmentBlocks));
  cache.write(FileOffset(kSegmentBytes), block, Instant());
  EXPECT_FALSE(pool.make_room(1));
  cache.claim(0, 1);
  EXPECT_FALSE(pool.make_room(1));
  cache.done({0, 1});
  EXPECT_TRUE(pool.make_room(1));
}

class OldBytes : public ::testing::Test {
 protected:
  OldBytes() { cache_.keep_old(2, 4); }
  void write(std::uint64_t block, unsigned value) {
    const std::vector<std::byte> bytes(kBlockBytes, static_cast<std::byte>(value));
    cache_.write(FileOffset(block * kBlockBytes), bytes, Instant());
    cache_.check_invariants();
  }
  void fill(std::uint64_t block, unsigned value) {
    cache_.fill(block, std::vector<std::byte>(kBlockBytes, static_cast<std::byte>(value)));
  }
  // 0: none.
  unsigned old(std::uint64_t block) const {
    const std::byte* bytes = cache_.old(block);
    return bytes == nullptr ? 0 : static_cast<unsigned>(bytes[kBlockBytes - 1]);
  }
  CachePool pool_{16 * kSegmentBytes};
  FileCache cache_{pool_};
};

TEST_F(OldBytes, AreThoseBeforeTheFirstOfManyWritesAndGoWhenTheBlockIsClaimed) {
  fill(1, 7);
  write(1, 8);
  write(1, 9);
  EXPECT_EQ(old(1), 7U);
  cache_.claim(1, 1);
  EXPECT_EQ(old(1), 0U);
  cache_.done({1, 1});
  write(1, 10);
  EXPECT_EQ(old(1), 9U);
  EXPECT_EQ(old(0), 0U);
}

TEST_F(OldBytes, OfABlockUnderWayAreWhatWasSentUntilItsOpFails) {
  fill(1, 7);
  write(1, 8);
  cache_.claim(1, 1);
  write(1, 9);
  EXPECT_EQ(old(1), 8U);
  cache_.done({1, 1});
  EXPECT_EQ(old(1), 8U);
  cache_.claim(1, 1);
  write(1, 10);
  EXPECT_EQ(old(1), 9U);
  cache_.failed({1, 1}, Instant());
  EXPECT_EQ(old(1), 0U) << "some chunk server may have it, some not";
  write(1, 11);
  EXPECT_EQ(old(1), 0U);
  cache_.check_invariants();
}

TEST_F(OldBytes, GoWhenTheRowIsWhollyDirtyAndWhenTheFileIsCut) {
  for (const unsigned block : {0U, 1U, 4U, 5U, 8U}) fill(block, 7);
  write(1, 8);
  write(0, 8);
  write(5, 9);  // the other block of block 1's row
  EXPECT_EQ(old(1), 0U);
  EXPECT_EQ(old(5), 0U);
  EXPECT_EQ(old(0), 7U);
  write(8, 9);
  cache_.truncate(4'000, Instant());
  cache_.check_invariants();
  EXPECT_EQ(cache_.old_blocks(), 0U);
}

TEST_F(OldBytes, AreNotKeptForReplicasNorOfWhatWasNotKnown) {
  write(1, 8);
  EXPECT_EQ(cache_.old_blocks(), 0U);
  cache_.keep_old(1, 4);
  fill(2, 7);
  write(2, 8);
  EXPECT_EQ(cache_.old_blocks(), 0U);
}

TEST_F(OldBytes, OfALongSequenceAreNotWorthACopy) {
  for (std::uint64_t block = 0; block < 40; ++block) fill(block, 7);
  for (std::uint64_t block = 0; block < 40; ++block) {
    if (block % 8 == 4) continue;  // no row 0 is ever full, and no sequence is longer than seven
    write(block, 8);
  }
  EXPECT_EQ(cache_.old_blocks(), 5U);
  cache_.drop_all();
  for (std::uint64_t block = 0; block < 40; ++block) fill(block, 7);
  cache_.keep_old(2, 64);
  for (std::uint64_t block = 0; block < 40; ++block) write(block, 8);
  EXPECT_EQ(cache_.old_blocks(), kSegmentBlocks);
}

TEST_F(OldBytes, StayWithinTheirShareAndMakeNoWriteWait) {
  // Every other block of two segments' rows, so that no row is full: 128 blocks of 256.
  for (std::uint64_t block = 0; block < 256; ++block) fill(block, 7);
  for (std::uint64_t block = 0; block < 256; ++block) {
    if (block % 8 < 4) write(block, 8);
  }
  EXPECT_EQ(cache_.old_blocks(), 0U) << "the pool is full of dirty segments";
  EXPECT_LE(pool_.segments_used(), 16U);
  CachePool wide(64 * kSegmentBytes);
  FileCache other(wide);
  other.keep_old(2, 4);
  const std::vector<std::byte> bytes(kBlockBytes, std::byte{8});
  for (std::uint64_t block = 0; block < 512; block += 8) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      other.fill(block + i, bytes);
      other.write(FileOffset((block + i) * kBlockBytes), bytes, Instant());
    }
  }
  EXPECT_EQ(other.old_blocks(), 64 * kSegmentBlocks / kOldShare);
  EXPECT_EQ(other.old(0), nullptr) << "the first kept went first";
  EXPECT_TRUE(wide.make_room(64 - 32)) << "they go before anybody waits";
  EXPECT_EQ(other.old_blocks(), 0U);
  other.check_invariants();
}

// Random programs against a plain byte vector: what is valid is right, what a write-back sends is
// what was there when it was claimed, nothing dirty is ever lost, and old bytes are what the chunk
// servers will have.
class Model {
 public:
  explicit Model(std::uint64_t seed) : prng_(seed), pool_(6 * kSegmentBytes), cache_(pool_) {
    cache_.keep_old(kData, kCell);
  }
  std::uint64_t olds_seen() const { return olds_seen_; }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      switch (prng_.below(6)) {
        case 0:
        case 1:
          write();
          break;
        case 2:
          claim();
          break;
        case 3:
          finish();
          break;
        case 4:
          pool_.make_room(prng_.below(4));
          break;
        default:
          truncate();
      }
      cache_.check_invariants();
      check();
    }
  }

 private:
  struct Claimed {
    FileRun run;
    Buffer sent;
    std::vector<std::byte> expected;
  };

  void write() {
    const std::uint64_t at = prng_.below(kFile - 1);
    const std::size_t length = 1 + prng_.below(std::min<std::uint64_t>(kFile - at, 40'000));
    for (const std::uint64_t block : cache_.unknown_edges(FileOffset(at), length)) {
      cache_.fill(block, Bytes(stored_).subspan(block * kBlockBytes, kBlockBytes));
    }
    const std::vector<std::byte> bytes = random_bytes(prng_, length);
    cache_.write(FileOffset(at), bytes, Instant());
    std::copy(bytes.begin(), bytes.end(), truth_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void claim() {
    const std::optional<std::uint64_t> block = cache_.next_dirty(prng_.below(kFile / kBlockBytes));
    if (!block.has_value()) return;
    for (const Claimed& other : claimed_) {
      if (*block >= other.run.first && *block < other.run.first + other.run.count) return;
    }
    // As the stripe lock does: never two write-backs of one block.
    std::uint64_t most = 1 + prng_.below(8);
    for (const Claimed& other : claimed_) {
      if (other.run.first > *block) most = std::min(most, other.run.first - *block);
    }
    Claimed one;
    one.sent = cache_.claim(*block, most);
    one.run = {*block, one.sent.size() / kBlockBytes};
    const auto from = truth_.begin() + static_cast<std::ptrdiff_t>(*block * kBlockBytes);
    one.expected.assign(from, from + static_cast<std::ptrdiff_t>(one.sent.size()));
    std::copy(one.expected.begin(), one.expected.end(),
              coming_.begin() + static_cast<std::ptrdiff_t>(*block * kBlockBytes));
    mark_doubt(one.run, false);
    claimed_.push_back(std::move(one));
  }
  void finish() {
    if (claimed_.empty()) return;
    const std::size_t which = prng_.below(claimed_.size());
    const Claimed one = claimed_[which];
    claimed_.erase(claimed_.begin() + static_cast<std::ptrdiff_t>(which));
    ASSERT_TRUE(std::equal(one.expected.begin(), one.expected.end(), one.sent.data()));
    if (prng_.chance(200)) {
      cache_.failed(one.run, Instant());
      mark_doubt(one.run, true);
      return;
    }
    std::copy(one.expected.begin(), one.expected.end(),
              stored_.begin() + static_cast<std::ptrdiff_t>(one.run.first * kBlockBytes));
    cache_.done(one.run);
  }
  void truncate() {
    if (!claimed_.empty() || !prng_.chance(100)) return;
    const std::uint64_t size = prng_.below(kFile);
    if (size % kBlockBytes != 0) {
      const std::uint64_t edge = size / kBlockBytes;
      cache_.fill(edge, Bytes(stored_).subspan(edge * kBlockBytes, kBlockBytes));
    }
    cache_.truncate(size, Instant());
    const std::uint64_t cut = align_up(size, kBlockBytes);
    std::fill(truth_.begin() + static_cast<std::ptrdiff_t>(size), truth_.end(), std::byte{0});
    std::fill(stored_.begin() + static_cast<std::ptrdiff_t>(cut), stored_.end(), std::byte{0});
    std::fill(coming_.begin() + static_cast<std::ptrdiff_t>(cut), coming_.end(), std::byte{0});
  }
  void mark_doubt(FileRun run, bool doubt) {
    for (std::uint64_t i = 0; i < run.count; ++i) doubt_[run.first + i] = doubt;
  }
  bool row_dirty(std::uint64_t block) const {
    const std::uint64_t row = block - block % (kData * kCell) + block % (kData * kCell) % kCell;
    bool all = true;
    for (std::uint64_t i = 0; i < kData; ++i) all = all && cache_.dirty(row + i * kCell);
    return all;
  }
  void check_old(std::uint64_t block) {
    const std::byte* old = cache_.old(block);
    if (old == nullptr) return;
    ++olds_seen_;
    ASSERT_TRUE(cache_.dirty(block));
    ASSERT_FALSE(row_dirty(block));
    ASSERT_FALSE(doubt_[block]) << block;
    ASSERT_EQ(std::memcmp(old, coming_.data() + block * kBlockBytes, kBlockBytes), 0) << block;
  }
  void check() {
    std::vector<std::byte> bytes(kBlockBytes);
    for (std::uint64_t block = 0; block < kFile / kBlockBytes; ++block) {
      const auto at = static_cast<std::ptrdiff_t>(block * kBlockBytes);
      check_old(block);
      if (cache_.valid(block)) {
        cache_.copy_out(block, 0, bytes);
        ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), truth_.begin() + at)) << block;
      } else {
        ASSERT_TRUE(
            std::equal(stored_.begin() + at, stored_.begin() + at + 4096, truth_.begin() + at))
            << "a block that was not written back is gone: " << block;
      }
    }
  }

  static constexpr std::uint64_t kFile = 10 * kSegmentBytes;
  static constexpr unsigned kData = 3;
  static constexpr std::uint64_t kCell = 5;
  Prng prng_;
  CachePool pool_;
  FileCache cache_;
  std::vector<std::byte> truth_ = std::vector<std::byte>(kFile);
  std::vector<std::byte> stored_ = std::vector<std::byte>(kFile);
  // What the chunk servers have when all that was claimed is decided; blocks where an op failed.
  std::vector<std::byte> coming_ = std::vector<std::byte>(kFile);
  std::vector<bool> doubt_ = std::vector<bool>(kFile / kBlockBytes);
  std::vector<Claimed> claimed_;
  std::uint64_t olds_seen_ = 0;
};

TEST(FileCache, AgreesWithAPlainFileOnRandomPrograms) {
  std::uint64_t olds = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Model model(seed);
    model.run(150);
    if (::testing::Test::HasFatalFailure()) return;
    olds += model.olds_seen();
  }
  EXPECT_GT(olds, 1'000U);
}

}  // namespace
}  // namespace cairn::client
