#include "common/erasure/codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <thread>

#include "common/base/buffer.h"
#include "common/base/limits.h"
#include "common/base/prng.h"
#include "common/base/units.h"

namespace cairn::erasure {
namespace {

constexpr CodePath kPaths[] = {CodePath::kSelected, CodePath::kPortable};

struct Code {
  unsigned data;
  unsigned parity;
};

std::vector<Code> allowed_codes() {
  std::vector<Code> codes{{1, 0}};
  for (unsigned copies = 2; copies <= 5; ++copies) codes.push_back({1, copies - 1});
  codes.push_back({1, limits::kReplicasMax - 1});
  for (unsigned m = 2; m <= limits::kDataPiecesMax; ++m) {
    for (unsigned n = 1; n <= limits::kParityPiecesMax && n < m; ++n) codes.push_back({m, n});
  }
  return codes;
}

// Where pieces start: the codec takes other instructions for aligned pieces.
enum class Place { kOdd, kAligned };
constexpr Place kPlaces[] = {Place::kOdd, Place::kAligned};

// Pieces of `length` bytes with guard bytes between them.
class Pieces {
 public:
  Pieces(unsigned count, std::size_t length, Place place = Place::kOdd)
      : length_(length), stride_(align_up(length + 32, 64)) {
    const std::size_t shift = place == Place::kOdd ? 1 : 0;
    memory_ = Buffer::allocate(stride_ * count + shift);
    std::memset(memory_.data(), kGuard, memory_.size());
    for (unsigned i = 0; i < count; ++i) {
      // Odd pieces differ in their alignment, too.
      pointers_.push_back(memory_.data() + stride_ * i + shift * (i % 31));
    }
  }
  Pieces(Pieces&&) = default;

  std::byte* at(unsigned i) { return pointers_[i]; }
  std::span<std::byte* const> all() const { return pointers_; }
  std::span<std::byte* const> from(unsigned i) const { return all().subspan(i); }
  std::vector<const std::byte*> first(unsigned n) const {
    return {pointers_.begin(), pointers_.begin() + n};
  }
  void fill(unsigned i, Prng& prng) {
    for (std::size_t x = 0; x < length_; ++x) at(i)[x] = static_cast<std::byte>(prng.below(256));
  }
  void erase(unsigned i) { std::memset(at(i), 0x5e, length_); }
  // The pieces and all bytes between them.
  bool same_as(const Pieces& other) const {
    return std::ranges::equal(memory_.span(), other.memory_.span());
  }
  void restore(const Pieces& other) {
    CHECK_EQ(memory_.size(), other.memory_.size());
    std::memcpy(memory_.data(), other.memory_.data(), memory_.size());
  }
  bool guards_intact() const {
    for (const std::byte* at : pointers_) {
      if (at[length_] != std::byte{kGuard}) return false;
    }
    return true;
  }

 private:
  static constexpr std::uint8_t kGuard = 0xa7;

  std::size_t length_;
  std::size_t stride_;
  Buffer memory_;
  std::vector<std::byte*> pointers_;
};

Pieces encoded(const Codec& codec, std::size_t length, Prng& prng, Place place = Place::kOdd) {
  Pieces pieces(codec.data() + codec.parity(), length, place);
  for (unsigned i = 0; i < codec.data(); ++i) pieces.fill(i, prng);
  const std::vector<const std::byte*> data = pieces.first(codec.data());
  codec.encode(data, pieces.from(codec.data()), length);
  return pieces;
}

// Loses `lost`, rebuilds it, and expects the very bytes back with nothing else touched.
void expect_rebuilt(const Codec& codec, const Pieces& original, Pieces& scratch, PieceMask lost,
                    std::size_t length) {
  const unsigned count = codec.data() + codec.parity();
  const PieceMask all = (PieceMask{1} << count) - 1;
  for (unsigned i = 0; i < count; ++i) {
    if ((lost >> i & 1U) != 0) scratch.erase(i);
  }
  const Status status = codec.rebuild(all & ~lost, lost, scratch.all(), length);
  ASSERT_TRUE(status.has_value());
  ASSERT_TRUE(scratch.same_as(original))
      << codec.data() << "+" << codec.parity() << " lost " << lost << " length " << length;
}

// Every pattern of at most N losses, wide codes too: 17+4 has 7547 of them.
void expect_every_loss_rebuilt(CodePath path, const Code& code, Place place) {
  constexpr std::size_t kLength = 67;  // a SIMD step and a tail
  Prng prng(code.data * 100 + code.parity);
  const auto codec = Codec::get(code.data, code.parity, path);
  const Pieces original = encoded(*codec, kLength, prng, place);
  Pieces scratch(code.data + code.parity, kLength, place);
  scratch.restore(original);
  const PieceMask end = PieceMask{1} << (code.data + code.parity);
  for (PieceMask lost = 1; lost < end; ++lost) {
    if (static_cast<unsigned>(std::popcount(lost)) > code.parity) continue;
    expect_rebuilt(*codec, original, scratch, lost, kLength);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Codec, RebuildsEveryLossPatternOfEveryCodeOnTheSelectedPath) {
  for (const Code& code : allowed_codes()) {
    for (const Place place : kPlaces) expect_every_loss_rebuilt(CodePath::kSelected, code, place);
    if (HasFatalFailure()) return;
  }
}

TEST(Codec, RebuildsEveryLossPatternOfEveryCodeOnThePortablePath) {
  for (const Code& code : allowed_codes()) {
    expect_every_loss_rebuilt(CodePath::kPortable, code, Place::kOdd);
    if (HasFatalFailure()) return;
  }
}

TEST(Codec, RebuildsAtEveryLengthAndAnyAlignment) {
  Prng prng(3);
  constexpr std::size_t kLengths[] = {1,  2,  15, 16, 17,  31,  32,  33,  63,   64,
                                      65, 95, 96, 97, 127, 128, 129, 255, 4095, 4096};
  for (const CodePath path : kPaths) {
    for (const Code& code : {Code{1, 2}, Code{2, 1}, Code{4, 2}, Code{5, 3}, Code{17, 4}}) {
      const auto codec = Codec::get(code.data, code.parity, path);
      for (const Place place : kPlaces) {
        for (const std::size_t length : kLengths) {
          const Pieces original = encoded(*codec, length, prng, place);
          ASSERT_TRUE(original.guards_intact());
          Pieces scratch(code.data + code.parity, length, place);
          scratch.restore(original);
          PieceMask lost = 0;
          for (unsigned n = 0; n < code.parity; ++n) {
            lost |= PieceMask{1} << prng.below(code.data + code.parity);
          }
          expect_rebuilt(*codec, original, scratch, lost, length);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// The special instructions and the portable path give the same parity: one format on every machine.
TEST(Codec, EveryPathAndPlaceGivesTheSameParity) {
  for (const Code& code : allowed_codes()) {
    for (const std::size_t length : {std::size_t{64}, std::size_t{4096}, std::size_t{5003}}) {
      std::vector<std::vector<std::byte>> parities;
      for (const CodePath path : kPaths) {
        for (const Place place : kPlaces) {
          Prng prng(length);
          Pieces pieces = encoded(*Codec::get(code.data, code.parity, path), length, prng, place);
          std::vector<std::byte>& all = parities.emplace_back();
          for (unsigned i = code.data; i < code.data + code.parity; ++i) {
            all.insert(all.end(), pieces.at(i), pieces.at(i) + length);
          }
        }
      }
      for (const auto& parity : parities) {
        ASSERT_TRUE(parity == parities.front()) << code.data << "+" << code.parity;
      }
    }
  }
}

// All pieces of `have` beyond the first M are ignored, and wanted pieces need not be all the lost
// ones.
TEST(Codec, RebuildsPartOfTheLossFromAnyPiecesThatAreEnough) {
  Prng prng(17);
  for (int round = 0; round < 3000; ++round) {
    const auto codec = Codec::get(6, 4);
    const Pieces original = encoded(*codec, 40, prng);
    Pieces scratch(10, 40);
    scratch.restore(original);
    const auto have = static_cast<PieceMask>(prng.below(1U << 10));
    const auto want = static_cast<PieceMask>(prng.below(1U << 10));
    for (unsigned i = 0; i < 10; ++i) {
      if ((have >> i & 1U) == 0) scratch.erase(i);
    }
    const Status status = codec->rebuild(have, want, scratch.all(), 40);
    if (std::popcount(have) < 6) {
      ASSERT_EQ(status.error().code(), cairn::Code::kTooFewPieces);
      continue;
    }
    ASSERT_TRUE(status.has_value());
    for (unsigned i = 0; i < 10; ++i) {
      if (((have | want) >> i & 1U) == 0) continue;
      Pieces expected(10, 40);
      expected.restore(original);
      ASSERT_EQ(std::memcmp(scratch.at(i), expected.at(i), 40), 0) << have << " " << want;
    }
  }
}

TEST(Codec, DeltasEqualReencoding) {
  Prng prng(11);
  for (const CodePath path : kPaths) {
    for (const Code& code : allowed_codes()) {
      const auto codec = Codec::get(code.data, code.parity, path);
      for (const std::size_t length : {std::size_t{1}, std::size_t{63}, std::size_t{64},
                                       std::size_t{333}, std::size_t{4096}}) {
        Pieces pieces = encoded(*codec, length, prng);
        const auto index = static_cast<std::uint8_t>(prng.below(code.data));
        std::vector<std::byte> delta(pieces.at(index), pieces.at(index) + length);
        pieces.fill(index, prng);
        for (std::size_t x = 0; x < length; ++x) delta[x] ^= pieces.at(index)[x];
        codec->apply_delta(PieceIndex(index), delta.data(), pieces.from(code.data), length);

        Pieces expected(code.data + code.parity, length);
        expected.restore(pieces);
        codec->encode(expected.first(code.data), expected.from(code.data), length);
        ASSERT_TRUE(pieces.same_as(expected))
            << code.data << "+" << code.parity << " length " << length;
      }
    }
  }
}

// The coefficients are format: pieces on disk depend on them.
TEST(Codec, CoefficientsAreThoseOfGeneratorVersionOne) {
  const auto xors = Codec::get(9, 1);
  for (unsigned i = 0; i < 9; ++i) EXPECT_EQ(xors->coefficient(0, i), 1);
  const auto pq = Codec::get(10, 2);
  for (unsigned i = 0; i < 10; ++i) EXPECT_EQ(pq->coefficient(0, i), 1);
  EXPECT_EQ(pq->coefficient(1, 7), 0x80);
  EXPECT_EQ(pq->coefficient(1, 8), 0x1d);
  EXPECT_EQ(pq->coefficient(1, 9), 0x3a);
  // 1 / (x + y): 1/4, 1/5 and 1/7 modulo 0x11d.
  const auto cauchy = Codec::get(4, 3);
  EXPECT_EQ(cauchy->coefficient(0, 0), 0x47);
  EXPECT_EQ(cauchy->coefficient(1, 0), 0xa7);
  EXPECT_EQ(cauchy->coefficient(0, 3), 0xba);
}

TEST(Codec, NeedsMPieces) {
  const auto codec = Codec::get(3, 2);
  Pieces pieces(5, 8);
  EXPECT_EQ(codec->rebuild(0b00011, 0b00100, pieces.all(), 8).error().code(),
            cairn::Code::kTooFewPieces);
  EXPECT_TRUE(codec->rebuild(0b00111, 0b00001, pieces.all(), 8).has_value());
}

// More patterns than a codec remembers, so that threads replace each other's tables.
void rebuild_at_random(std::uint64_t seed) {
  Prng prng(seed);
  const auto codec = Codec::get(10, 4);
  const Pieces original = encoded(*codec, 67, prng);
  Pieces scratch(14, 67);
  scratch.restore(original);
  for (int round = 0; round < 2000 && !testing::Test::HasFatalFailure(); ++round) {
    PieceMask lost = 0;
    for (int n = 0; n < 4; ++n) lost |= PieceMask{1} << prng.below(14);
    expect_rebuilt(*codec, original, scratch, lost, 67);
  }
}

TEST(Codec, IsUsedByManyThreadsAtOnce) {
  std::vector<std::jthread> threads;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) threads.emplace_back(rebuild_at_random, seed);
}

TEST(Codec, IsSharedByCode) {
  EXPECT_EQ(Codec::get(4, 2), Codec::get(4, 2));
  EXPECT_NE(Codec::get(4, 2), Codec::get(5, 2));
}

TEST(SelfTest, PassesOnThisProcessor) {
  const Status status = self_test();
  EXPECT_TRUE(status.has_value()) << (status ? "" : status.error().to_string());
}

}  // namespace
}  // namespace cairn::erasure
