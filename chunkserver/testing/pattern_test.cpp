#include <gtest/gtest.h>

#include "chunkserver/testing/block_pattern.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::testing {
namespace {

TEST(BlockPattern, TellsItsValue) {
  Prng prng(1);
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t value = prng.next();
    EXPECT_EQ(value_of(block_of(value).span()), value);
  }
  EXPECT_EQ(value_of(Buffer::zeroed(kBlockBytes).span()), 0U);
}

TEST(BlockPattern, TheXorOfTwoBlocksTellsTheXorOfTheirValues) {
  Prng prng(2);
  const std::uint64_t a = prng.next();
  const std::uint64_t b = prng.next();
  Buffer sum = block_of(a);
  const Buffer other = block_of(b);
  for (std::size_t i = 0; i < kBlockBytes; ++i) sum.data()[i] ^= other.data()[i];
  EXPECT_EQ(value_of(sum.span()), a ^ b);
}

TEST(BlockPattern, EveryFlippedBitAndEveryForeignSectorShows) {
  Prng prng(3);
  const Buffer good = block_of(prng.next());
  for (int i = 0; i < 500; ++i) {
    Buffer bad = Buffer::copy_of(good.span());
    bad.data()[prng.below(kBlockBytes)] ^= std::byte{1} << prng.below(8);
    EXPECT_EQ(value_of(bad.span()), std::nullopt);
  }
  const Buffer other = block_of(prng.next());
  for (std::size_t at = 0; at < kBlockBytes; at += 512) {
    Buffer torn = Buffer::copy_of(good.span());
    std::memcpy(torn.data() + at, other.data() + at, 512);
    EXPECT_EQ(value_of(torn.span()), std::nullopt);
    // A sector of the block at another place in it.
    std::memcpy(torn.data() + at, good.data() + (at + 512) % kBlockBytes, 512);
    EXPECT_EQ(value_of(torn.span()), std::nullopt);
  }
}

}  // namespace
}  // namespace cairn::chunkserver::testing
