#include "chunkserver/inspect/row_solver.h"

#include <gtest/gtest.h>

#include <bit>

#include "common/base/prng.h"

namespace cairn::chunkserver::inspect {
namespace {

constexpr std::size_t kLength = 64;
using erasure::PieceMask;

// A row of random bytes with its parity.
struct Row {
  Row(unsigned data, unsigned parity, std::uint64_t seed) : blocks(data + parity) {
    Prng prng(seed);
    for (unsigned i = 0; i < blocks.size(); ++i) {
      blocks[i].resize(kLength);
      for (std::byte& byte : blocks[i]) byte = static_cast<std::byte>(prng.next());
    }
    encode(data);
  }
  void encode(unsigned data) {
    std::vector<const std::byte*> from;
    std::vector<std::byte*> to;
    for (unsigned i = 0; i < blocks.size(); ++i) {
      if (i < data) from.push_back(blocks[i].data());
      if (i >= data) to.push_back(blocks[i].data());
    }
    erasure::Codec::get(data, static_cast<unsigned>(to.size()))->encode(from, to, kLength);
  }
  void forget(unsigned i) { std::fill(blocks[i].begin(), blocks[i].end(), std::byte{0}); }
  std::vector<std::byte*> pointers() {
    std::vector<std::byte*> to;
    for (auto& block : blocks) to.push_back(block.data());
    return to;
  }
  std::vector<std::vector<std::byte>> blocks;
};

TEST(RowSolver, ComputesWhatIsNotThereFromEnoughSureBlocks) {
  for (const auto& [data, parity] : {std::pair{4U, 2U}, {2U, 1U}, {1U, 2U}, {5U, 4U}}) {
    RowSolver solver(data, parity);
    const PieceMask all = (PieceMask{1} << (data + parity)) - 1;
    for (PieceMask lost = 0; lost <= all; ++lost) {
      const Row right(data, parity, lost + 1);
      Row row = right;
      std::vector<Known> known(data + parity, Known::kSure);
      for (unsigned i = 0; i < data + parity; ++i) {
        if ((lost >> i & 1U) == 0) continue;
        row.forget(i);
        known[i] = Known::kNot;
      }
      PieceMask named = 0;
      const RowVerdict verdict = solver.solve(known, row.pointers(), kLength, false, &named);
      const PieceMask lost_data = lost & ((PieceMask{1} << data) - 1);
      const bool can = static_cast<unsigned>(std::popcount(lost)) <= parity;
      EXPECT_EQ(verdict, can || lost_data == 0 ? RowVerdict::kSure : RowVerdict::kLost);
      EXPECT_EQ(named, verdict == RowVerdict::kSure ? 0 : lost_data);
      for (unsigned i = 0; i < data; ++i) {
        const bool there = (named >> i & 1U) == 0;
        EXPECT_EQ(row.blocks[i] == right.blocks[i], there) << data << "+" << parity << " " << lost;
      }
    }
  }
}

// A small file: only the first data piece and the parity were ever written.
class SmallFile : public ::testing::Test {
 protected:
  SmallFile() : right_(4, 2, 1), solver_(4, 2) {
    for (unsigned i = 1; i < 4; ++i) right_.forget(i);
    right_.encode(4);
  }
  // With just these pieces left.
  RowVerdict solve(PieceMask left, bool from_begin = true) {
    row_ = right_;
    std::vector<Known> known(6, Known::kSure);
    for (unsigned i = 0; i < 6; ++i) {
      if ((left >> i & 1U) != 0) continue;
      known[i] = i < 4 ? Known::kAbsent : Known::kNot;
      row_.forget(i);
    }
    return solver_.solve(known, row_.pointers(), kLength, from_begin, &lost_);
  }
  bool is_right() const {
    return std::equal(row_.blocks.begin(), row_.blocks.begin() + 4, right_.blocks.begin());
  }
  Row right_;
  Row row_{4, 2, 1};
  RowSolver solver_;
  PieceMask lost_ = 0;
};

TEST_F(SmallFile, IsProvenWhereAParityBlockIsToSpare) {
  for (const PieceMask left : {0b110001U, 0b100001U, 0b010001U, 0b110000U}) {
    EXPECT_EQ(solve(left), RowVerdict::kFits) << left;
    EXPECT_TRUE(is_right()) << left;
    EXPECT_EQ(lost_, 0U);
  }
  // Behind the first stripe of a chunk pieces are seldom unwritten: one zero that comes out may be
  // the sum of two equal blocks.
  EXPECT_EQ(solve(0b110001, false), RowVerdict::kFits);
  EXPECT_EQ(solve(0b110000, false), RowVerdict::kAssumed);
}

TEST_F(SmallFile, RestsOnAnAssumptionWhereNoneIs) {
  for (const PieceMask left : {0b000001U, 0b010000U, 0b100000U}) {
    EXPECT_EQ(solve(left), RowVerdict::kAssumed) << left;
    EXPECT_TRUE(is_right()) << left;
    EXPECT_EQ(solve(left, false), RowVerdict::kLost) << left;
    EXPECT_EQ(lost_, 0b1111U & ~left);
  }
}

TEST_F(SmallFile, AStalePieceIsFound) {
  solve(0b110001);
  row_.blocks[0] = right_.blocks[4];
  row_.blocks[0][5] ^= std::byte{1};
  std::vector<Known> known(6, Known::kAbsent);
  known[0] = known[4] = known[5] = Known::kSure;
  EXPECT_EQ(solver_.solve(known, row_.pointers(), kLength, true, &lost_), RowVerdict::kFits);
  EXPECT_TRUE(is_right());
}

// A piece that missed a write and does not know it.
TEST(RowSolver, AStaleBlockIsFoundAndComputedWhereTwoParityBlocksAreToSpare) {
  for (const auto& [data, parity] : {std::pair{4U, 2U}, {1U, 2U}, {3U, 2U}, {5U, 4U}}) {
    for (unsigned stale = 0; stale < data + parity; ++stale) {
      const Row right(data, parity, stale + 1);
      Row row = right;
      row.blocks[stale][9] ^= std::byte{4};
      PieceMask lost = 0;
      RowSolver solver(data, parity);
      const std::vector<Known> known(data + parity, Known::kSure);
      EXPECT_FALSE(solver.solve_plain(known, row.pointers(), kLength, false).has_value());
      EXPECT_EQ(solver.solve(known, row.pointers(), kLength, false, &lost), RowVerdict::kFits);
      EXPECT_EQ(lost, 0U);
      for (unsigned i = 0; i < data; ++i) EXPECT_EQ(row.blocks[i], right.blocks[i]) << stale;
    }
  }
}

TEST(RowSolver, BlocksThatDoNotFitAreSaidToWhereNobodyCanTellWhichIsStale) {
  for (const auto& [data, parity] : {std::pair{4U, 1U}, {1U, 1U}}) {
    Row row(data, parity, 1);
    row.blocks[0][9] ^= std::byte{4};
    const std::vector<std::vector<std::byte>> given = row.blocks;
    PieceMask lost = 0;
    RowSolver solver(data, parity);
    EXPECT_EQ(solver.solve(std::vector<Known>(data + parity, Known::kSure), row.pointers(), kLength,
                           false, &lost),
              RowVerdict::kContradicts);
    EXPECT_EQ(row.blocks, given);
    EXPECT_EQ(lost, 0U);
  }
}

TEST(RowSolver, DoesNotTakeAnAbsentPieceInTheMiddleForUnwritten) {
  const Row right(4, 2, 3);
  Row row = right;
  row.forget(0);
  row.forget(1);
  row.forget(2);
  std::vector<Known> known(6, Known::kAbsent);
  known[3] = known[4] = Known::kSure;
  known[5] = Known::kNot;
  PieceMask lost = 0;
  RowSolver solver(4, 2);
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, true, &lost), RowVerdict::kLost);
  EXPECT_EQ(lost, 0b0111U);
}

TEST(RowSolver, TakesOlderBlocksWhenTheParityAgreesAndOnlyThen) {
  for (unsigned wrong = 0; wrong < 4; ++wrong) {
    const Row right(4, 2, wrong + 1);
    Row row = right;
    if (wrong != 0) row.blocks[wrong][7] ^= std::byte{1};
    const std::vector<std::vector<std::byte>> given = row.blocks;
    std::vector<Known> known(6, Known::kOlder);
    known[0] = known[4] = Known::kSure;
    known[5] = Known::kNot;
    PieceMask lost = 0;
    RowSolver solver(4, 2);
    EXPECT_EQ(solver.solve(known, row.pointers(), kLength, true, &lost),
              wrong == 0 ? RowVerdict::kFits : RowVerdict::kLost);
    EXPECT_EQ(lost, wrong == 0 ? 0U : 0b1110U);
    EXPECT_EQ(row.blocks, given);
  }
}

TEST(RowSolver, ComputesADamagedBlockBesideOlderOnesOnlyWithAParityToSpare) {
  const Row right(4, 2, 5);
  std::vector<Known> known(6, Known::kSure);
  known[1] = Known::kOlder;
  known[2] = Known::kNot;
  Row row = right;
  row.forget(2);
  PieceMask lost = 0;
  RowSolver solver(4, 2);
  // Four sure ones are enough alone.
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, true, &lost), RowVerdict::kSure);
  EXPECT_EQ(row.blocks, right.blocks);
  known[0] = Known::kOlder;
  row.forget(2);
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, true, &lost), RowVerdict::kFits);
  EXPECT_EQ(row.blocks, right.blocks);
  known[5] = Known::kNot;
  row.forget(2);
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, true, &lost), RowVerdict::kLost);
  EXPECT_EQ(lost, 0b0111U);
}

TEST(RowSolver, AnOlderReplicaNeverSpeaksForALostOne) {
  const Row right(1, 2, 9);
  Row row = right;
  PieceMask lost = 0;
  RowSolver solver(1, 2);
  EXPECT_EQ(
      solver.solve({Known::kOlder, Known::kNot, Known::kNot}, row.pointers(), kLength, true, &lost),
      RowVerdict::kLost);
  EXPECT_EQ(lost, 1U);
}

// Every row in which each piece is sure, old but right, stale, or not there.
class EveryRow {
 public:
  enum Kind : unsigned { kNowSure, kOldRight, kStale, kGone };
  EveryRow(unsigned data, unsigned parity, PieceMask touched)
      : data_(data), solver_(data, parity), then_(data, parity, 1), now_(then_) {
    Prng prng(touched);
    for (unsigned i = 0; i < data; ++i) {
      if ((touched >> i & 1U) == 0) continue;
      for (std::byte& byte : now_.blocks[i]) byte = static_cast<std::byte>(prng.next());
    }
    now_.encode(data);
  }
  struct Result {
    unsigned now_sure = 0, right = 0, stale = 0, gone = 0;
    RowVerdict verdict = RowVerdict::kLost;
    bool is_right = false;  // what is not named lost
    PieceMask lost = 0;
  };
  // `missing`: it is known which are stale.
  Result solve(std::uint64_t number, bool missing) {
    Row row = now_;
    PieceMask stale = 0;
    std::vector<Known> known;
    Result result;
    for (unsigned i = 0; i < row.blocks.size(); ++i, number /= 4) {
      const auto kind = static_cast<Kind>(number % 4);
      if (kind == kStale) row.blocks[i] = then_.blocks[i];
      if (kind == kGone) row.forget(i);
      known.push_back(kind == kNowSure ? Known::kSure
                      : kind == kGone  ? Known::kNot
                                       : Known::kOlder);
      const bool differs = then_.blocks[i] != now_.blocks[i];
      result.now_sure += kind == kNowSure;
      result.right += kind == kOldRight || (kind == kStale && !differs);
      result.stale += kind == kStale && differs;
      stale |= kind == kStale && differs ? PieceMask{1} << i : 0;
      result.gone += kind == kGone;
    }
    solver_.know(missing ? stale : 0, {});
    Row plain = row;
    const auto at_once = solver_.solve_plain(known, plain.pointers(), kLength, false);
    result.verdict = solver_.solve(known, row.pointers(), kLength, false, &result.lost);
    if (at_once.has_value()) {
      EXPECT_EQ(*at_once, result.verdict);
      EXPECT_TRUE(
          std::equal(plain.blocks.begin(), plain.blocks.begin() + data_, row.blocks.begin()));
    }
    result.is_right = true;
    for (unsigned i = 0; i < data_; ++i) {
      if ((result.lost >> i & 1U) == 0) result.is_right &= row.blocks[i] == now_.blocks[i];
    }
    return result;
  }

 private:
  unsigned data_;
  RowSolver solver_;
  Row then_;
  Row now_;
};

TEST(RowSolver, NeverTakesWhatAnAcknowledgedWriteReplaced) {
  struct Code {
    unsigned data, parity, min;
  };
  for (const Code& code : {Code{4, 2, 5}, {2, 1, 2}, {1, 1, 1}, {1, 2, 2}, {3, 2, 4}, {4, 3, 5}}) {
    const unsigned total = code.data + code.parity;
    for (PieceMask touched = 1; touched < PieceMask{1} << code.data; ++touched) {
      EveryRow every(code.data, code.parity, touched);
      std::uint64_t whole = 0;
      for (std::uint64_t number = 0; number < std::uint64_t{1} << 2 * total; ++number) {
        const EveryRow::Result known = every.solve(number, true);
        ASSERT_TRUE(known.is_right || known.stale > total - code.min)
            << code.data << "+" << code.parity << " " << touched << " " << number;
        const EveryRow::Result result = every.solve(number, false);
        // More pieces never missed such a write.
        if (result.stale > total - code.min) continue;
        ASSERT_TRUE(result.is_right) << code.data << "+" << code.parity << " " << number;
        whole += result.lost == 0;
        // With two that are stale others could be just as well.
        const bool one_to_spare = result.now_sure + result.right > code.data && result.stale < 2;
        if (result.now_sure >= code.data || (one_to_spare && result.gone == 0)) {
          ASSERT_EQ(result.lost, 0U) << code.data << "+" << code.parity << " " << number;
        }
      }
      EXPECT_GT(whole, 1U);
    }
  }
}

}  // namespace
}  // namespace cairn::chunkserver::inspect
