#include "client/core/file_cache.h"

#include <gtest/gtest.h>

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

// Random programs against a plain byte vector: what is valid is right, what a write-back sends is
// what was there when it was claimed, and nothing dirty is ever lost.
class Model {
 public:
  explicit Model(std::uint64_t seed) : prng_(seed), pool_(6 * kSegmentBytes), cache_(pool_) {}

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
  }
  void check() {
    std::vector<std::byte> bytes(kBlockBytes);
    for (std::uint64_t block = 0; block < kFile / kBlockBytes; ++block) {
      const auto at = static_cast<std::ptrdiff_t>(block * kBlockBytes);
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
  Prng prng_;
  CachePool pool_;
  FileCache cache_;
  std::vector<std::byte> truth_ = std::vector<std::byte>(kFile);
  std::vector<std::byte> stored_ = std::vector<std::byte>(kFile);
  std::vector<Claimed> claimed_;
};

TEST(FileCache, AgreesWithAPlainFileOnRandomPrograms) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Model(seed).run(150);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::client
