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
      const RowVerdict verdict = solver.solve(known, row.pointers(), kLength, &named);
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
TEST(RowSolver, TakesAbsentPiecesForZerosWhenTheParityAgrees) {
  Row right(4, 2, 1);
  for (unsigned i = 1; i < 4; ++i) right.forget(i);
  right.encode(4);
  RowSolver solver(4, 2);
  PieceMask lost = 0;
  std::vector<Known> known(6, Known::kDoubtful);
  known[0] = known[4] = known[5] = Known::kSure;
  Row row = right;
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, &lost), RowVerdict::kFits);
  EXPECT_EQ(row.blocks, right.blocks);
  // One parity block is enough.
  known[4] = Known::kNot;
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, &lost), RowVerdict::kFits);
  // And with none, nobody can tell.
  known[5] = Known::kNot;
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, &lost), RowVerdict::kLost);
  EXPECT_EQ(lost, 0b1110U);
}

TEST(RowSolver, DoesNotTakeDoubtfulBlocksThatTheParityContradicts) {
  for (unsigned wrong = 1; wrong < 4; ++wrong) {
    const Row right(4, 2, wrong);
    Row row = right;
    row.blocks[wrong][7] ^= std::byte{1};
    const std::vector<std::vector<std::byte>> given = row.blocks;
    std::vector<Known> known(6, Known::kDoubtful);
    known[0] = known[4] = known[5] = Known::kSure;
    PieceMask lost = 0;
    RowSolver solver(4, 2);
    EXPECT_EQ(solver.solve(known, row.pointers(), kLength, &lost), RowVerdict::kLost);
    EXPECT_EQ(lost, 0b1110U);
    EXPECT_EQ(row.blocks, given);
  }
}

TEST(RowSolver, ComputesADamagedBlockBesideDoubtfulOnesOnlyWithAParityToSpare) {
  const Row right(4, 2, 5);
  std::vector<Known> known(6, Known::kSure);
  known[1] = Known::kDoubtful;
  known[2] = Known::kNot;
  Row row = right;
  row.forget(2);
  PieceMask lost = 0;
  RowSolver solver(4, 2);
  // Four sure ones are enough alone.
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, &lost), RowVerdict::kSure);
  EXPECT_EQ(row.blocks, right.blocks);
  known[0] = Known::kDoubtful;
  row.forget(2);
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, &lost), RowVerdict::kFits);
  EXPECT_EQ(row.blocks, right.blocks);
  known[5] = Known::kNot;
  row.forget(2);
  EXPECT_EQ(solver.solve(known, row.pointers(), kLength, &lost), RowVerdict::kLost);
  EXPECT_EQ(lost, 0b0111U);
}

TEST(RowSolver, AnOlderReplicaNeverSpeaksForALostOne) {
  const Row right(1, 2, 9);
  Row row = right;
  PieceMask lost = 0;
  RowSolver solver(1, 2);
  EXPECT_EQ(solver.solve({Known::kDoubtful, Known::kNot, Known::kNot}, row.pointers(), kLength,
                         &lost),
            RowVerdict::kLost);
  EXPECT_EQ(lost, 1U);
}

}  // namespace
}  // namespace cairn::chunkserver::inspect
