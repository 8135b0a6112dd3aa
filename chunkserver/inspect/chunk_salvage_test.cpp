#include "chunkserver/inspect/chunk_salvage.h"

#include <fmt/format.h>

#include "chunkserver/inspect/chunk_fixture.h"

namespace cairn::chunkserver::inspect {
namespace {

using erasure::PieceMask;

// What is left of a chunk when only the chunk servers in `left` are.
class Salvaged {
 public:
  Salvaged(ChunkWorld& world, PieceMask left, PieceMask without_journal = 0, bool assume = false) {
    std::vector<ChunkPiece> pieces;
    for (unsigned i = 0; i < 32; ++i) {
      if ((left >> i & 1U) == 0) continue;
      opened_.push_back(Inspection::open({.repository = world.repository(i),
                                          .without_journal = (without_journal >> i & 1U) != 0})
                            .value());
      Inspection* const from = opened_.back().get();
      const std::optional<store::PieceRow> row = from->row(ChunkWorld::piece(i)).value();
      if (row.has_value()) pieces.push_back({from, ChunkWorld::piece(i), *row});
    }
    ChunkSalvage salvage = ChunkSalvage::make(std::move(pieces), assume).value();
    const Status told = salvage.each_run([&](const ChunkRun& run) -> Status {
      for (std::uint64_t at = 0; at < run.length; at += kBlockBytes) {
        const std::uint64_t offset = run.offset.raw() + at;
        EXPECT_FALSE(blocks.contains(offset) || lost.contains(offset));
        if (run.bytes.empty()) {
          lost.insert(offset);
        } else {
          blocks[offset] = crc32c(run.bytes.subspan(at, kBlockBytes));
        }
      }
      return {};
    });
    EXPECT_TRUE(told.has_value());
    report = salvage.report();
  }
  std::map<std::uint64_t, std::uint32_t> blocks;
  std::set<std::uint64_t> lost;
  ChunkReport report;

 private:
  std::vector<std::unique_ptr<Inspection>> opened_;
};

// Where a block of a data piece is in the chunk: cells of two blocks.
std::uint64_t offset_of(const ChunkWorld& world, std::uint64_t row, unsigned piece) {
  const std::uint64_t stripe = row / 2;
  return ((stripe * world.data() + piece) * 2 + row % 2) * kBlockBytes;
}

std::uint32_t crc_of(ChunkWorld& world, std::uint64_t row, unsigned piece) {
  return crc32c(world.block(row, piece).span());
}

PieceMask first(unsigned count) { return (PieceMask{1} << count) - 1; }

TEST(ChunkSalvage, EveryChoiceOfEnoughPiecesGivesTheWholeChunk) {
  ChunkWorld world(3, 2);
  std::map<std::uint64_t, std::uint32_t> right;
  std::uint64_t seq = 0;
  for (const std::uint64_t row : {0U, 1U, 2U, 300U, 301U}) {
    world.write({.seq = ++seq}, row, first(3));
    for (unsigned i = 0; i < 3; ++i) right[offset_of(world, row, i)] = crc_of(world, row, i);
  }
  world.settle({.seq = 3});
  world.kill();
  for (PieceMask left = 1; left < 1U << 5; ++left) {
    const Salvaged salvaged(world, left);
    if (std::popcount(left) >= 3) {
      EXPECT_EQ(salvaged.blocks, right) << left;
      EXPECT_EQ(salvaged.lost.size(), 0U) << left;
      continue;
    }
    // Nothing wrong goes out, everything that is not there is named.
    for (const auto& [offset, crc] : salvaged.blocks) EXPECT_EQ(crc, right[offset]) << left;
    EXPECT_EQ(salvaged.blocks.size() + salvaged.lost.size(), right.size()) << left;
  }
}

TEST(ChunkSalvage, PiecesThatWereNeverWrittenAreHoles) {
  ChunkWorld world(3, 2);
  world.write({.seq = 1}, 0, 0b001);
  world.settle({.seq = 1});
  world.kill();
  const std::map<std::uint64_t, std::uint32_t> right{{0, crc_of(world, 0, 0)}};
  for (const PieceMask left : {0b11111U, 0b11001U, 0b10001U, 0b11000U}) {
    const Salvaged salvaged(world, left);
    EXPECT_EQ(salvaged.blocks, right) << left;
    EXPECT_EQ(salvaged.lost.size(), 0U) << left;
    EXPECT_EQ(salvaged.report.fitted_rows, std::popcount(left) < 3 ? 1U : 0U) << left;
  }
  // With one piece left nothing proves that the others were not written.
  for (const PieceMask left : {0b00001U, 0b01000U, 0b10000U}) {
    const Salvaged salvaged(world, left, 0, true);
    EXPECT_EQ(salvaged.blocks, right) << left;
    EXPECT_EQ(salvaged.report.assumed_rows, 1U) << left;
    const Salvaged proven(world, left);
    EXPECT_EQ(proven.report.lost_blocks, left == 1 ? 2U : 3U) << left;
    EXPECT_EQ(proven.blocks.size(), left == 1 ? 1U : 0U) << left;
  }
}

TEST(ChunkSalvage, PiecesOfAnOlderVersionCountOnlyWhereTheParityAgrees) {
  ChunkWorld world(3, 2);
  world.write({.seq = 1}, 0, first(3));
  world.write({.seq = 2}, 1, first(3));
  world.settle({.seq = 2});
  const std::uint32_t old = crc_of(world, 0, 1);
  // Pieces 1 and 2 are dropped, then row 0 is written again.
  world.write({.version = 2, .seq = 3}, 0, first(3), 0b11001);
  world.settle({.version = 2, .seq = 3}, 0b11001);
  world.kill();
  const Salvaged all(world, 0b11111);
  EXPECT_NE(all.blocks.at(offset_of(world, 0, 1)), old);
  EXPECT_EQ(all.blocks.at(offset_of(world, 0, 1)), crc_of(world, 0, 1));
  EXPECT_EQ(all.report.older, 0b00110U);
  EXPECT_EQ(all.report.lost_blocks, 0U);
  // Two newest pieces are not enough to compute anything, but one tells what belongs to it.
  const Salvaged few(world, 0b01111);
  EXPECT_EQ(few.lost, (std::set<std::uint64_t>{offset_of(world, 0, 1), offset_of(world, 0, 2)}));
  EXPECT_EQ(few.blocks.at(offset_of(world, 0, 0)), crc_of(world, 0, 0));
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(few.blocks.at(offset_of(world, 1, i)), crc_of(world, 1, i)) << i;
  }
  EXPECT_EQ(few.report.fitted_rows, 1U);
}

TEST(ChunkSalvage, APieceThatNobodyTouchedSinceTheVersionGrewIsTaken) {
  ChunkWorld world(3, 2);
  world.write({.seq = 1}, 0, first(3));
  world.settle({.seq = 1});
  // Piece 4 is dropped; then only piece 0 is written.
  world.write({.version = 2, .seq = 2}, 0, 0b00001, ~PieceMask{0b10000});
  world.settle({.version = 2, .seq = 2}, ~PieceMask{0b10000});
  world.kill();
  const Salvaged salvaged(world, 0b11111);
  EXPECT_EQ(salvaged.report.newest, 0b01001U);
  EXPECT_EQ(salvaged.report.older, 0b10110U);
  EXPECT_EQ(salvaged.report.fitted_rows, 1U);
  EXPECT_EQ(salvaged.lost.size(), 0U);
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(salvaged.blocks.at(offset_of(world, 0, i)), crc_of(world, 0, i)) << i;
  }
}

// Its acknowledgement may have come when those that lack it were dropped from the chunk.
TEST(ChunkSalvage, AnOpThatSomeLackCountsWhereItCanBeMadeWhole) {
  ChunkWorld world(2, 1);
  world.write({.seq = 1}, 0, first(2));
  world.settle({.seq = 1});
  const std::uint32_t before = crc_of(world, 0, 0);
  world.write({.seq = 2}, 0, first(2), 0b101);
  const std::uint32_t after = crc_of(world, 0, 0);
  world.kill();
  const Salvaged all(world, 0b111);
  ASSERT_EQ(all.report.undecided.size(), 1U);
  EXPECT_TRUE(all.report.undecided[0].counts);
  EXPECT_EQ(all.report.undecided[0].with, 0b101U);
  EXPECT_EQ(all.report.undecided[0].without, 0b010U);
  EXPECT_EQ(all.blocks.at(0), after);
  EXPECT_EQ(all.blocks.at(offset_of(world, 0, 1)), crc_of(world, 0, 1));
  EXPECT_EQ(all.report.lost_blocks, 0U);
  // Too few are left to make it whole: the state before it is. But the one that is not here may
  // have had it, and the one that lacks it may have been dropped.
  const Salvaged two(world, 0b011, 0, true);
  EXPECT_FALSE(two.report.undecided[0].counts);
  EXPECT_EQ(two.blocks.at(0), before);
  EXPECT_EQ(two.report.lost_blocks, 0U);
  EXPECT_EQ(two.report.assumed_rows, 1U);
  const Salvaged sure(world, 0b011);
  EXPECT_EQ(sure.report.lost_blocks, 2U);
  EXPECT_EQ(sure.blocks.size(), 0U);
  // Only those that have it: it may have been acknowledged.
  const Salvaged others(world, 0b101);
  EXPECT_TRUE(others.report.undecided[0].counts);
  EXPECT_EQ(others.blocks, all.blocks);
}

// The MDS took piece 0 out of the chunk; the op was settled at the others before the next one
// brought them the new version.
TEST(ChunkSalvage, APieceThatMissedAWriteUnknownToAllIsFoundByTheParity) {
  ChunkWorld world(3, 2);
  world.write({.seq = 1}, 0, first(3));
  world.settle({.seq = 1});
  world.write({.seq = 2}, 0, first(3), 0b11110);
  world.settle({.seq = 2}, 0b11110);
  world.kill();
  const Salvaged all(world, 0b11111);
  EXPECT_EQ(all.blocks.at(0), crc_of(world, 0, 0));
  EXPECT_EQ(all.report.fitted_rows, 1U);
  // With one parity left somebody notices, at least.
  const Salvaged less(world, 0b01111);
  EXPECT_EQ(less.report.contradicting_rows, 1U);
}

// It takes those that lack the op for stale; they were sealed at the same version.
TEST(ChunkSalvage, WhatARecoveryTookForStaleIsOld) {
  ChunkWorld world(3, 2);
  world.write({.seq = 1}, 0, first(3));
  world.settle({.seq = 1});
  world.write({.seq = 2}, 0, first(3), 0b10111);
  world.seal(2, 5, 0b11111);
  world.resolve(2, 5, {{LeaseEpoch(1), OpSeq(2)}}, 0b10111);
  world.kill();
  const Salvaged all(world, 0b11111);
  EXPECT_EQ(all.report.newest, 0b10111U);
  EXPECT_EQ(all.report.older, 0b01000U);
  EXPECT_EQ(all.report.lost_blocks, 0U);
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(all.blocks.at(offset_of(world, 0, i)), crc_of(world, 0, i)) << i;
  }
  // One that is left of the others is not outvoted, and tells that it is not enough.
  const Salvaged two(world, 0b01001);
  EXPECT_EQ(two.lost, (std::set<std::uint64_t>{offset_of(world, 0, 1), offset_of(world, 0, 2)}));
}

// Cut between its seals, or between its resolves: nothing is lost, and the op under way is there
// wholly or not at all.
TEST(ChunkSalvage, ARecoveryMayEndAnywhere) {
  struct Cut {
    unsigned sealed, resolved;
    bool forward;  // as what all pieces have
  };
  for (const Cut& cut : {Cut{2, 0, true}, Cut{1, 0, false}, Cut{5, 3, true}, Cut{5, 2, false}}) {
    SCOPED_TRACE(fmt::format("sealed {} resolved {} {}", cut.sealed, cut.resolved, cut.forward));
    ChunkWorld world(3, 2);
    world.write({.seq = 1}, 0, first(3));
    world.write({.seq = 2}, 1, first(3));
    world.settle({.seq = 2});
    const std::uint32_t before = crc_of(world, 0, 0);
    world.write({.seq = 3}, 0, 0b01, cut.forward ? first(5) : 0b01000);
    const std::uint32_t after = crc_of(world, 0, 0);
    world.seal(2, 5, first(cut.sealed));
    std::vector<store::OpId> ops;
    if (cut.forward) ops.push_back({LeaseEpoch(1), OpSeq(3)});
    world.resolve(2, 5, std::move(ops), first(cut.resolved));
    world.kill();
    const Salvaged all(world, 0b11111);
    EXPECT_EQ(all.report.lost_blocks + all.report.contradicting_rows, 0U);
    const std::uint32_t got = all.blocks.at(0);
    EXPECT_TRUE(got == after || (got == before && !cut.forward));
    EXPECT_EQ(all.blocks.at(offset_of(world, 0, 1)), crc_of(world, 0, 1));
    EXPECT_EQ(all.blocks.at(offset_of(world, 1, 1)), crc_of(world, 1, 1));
  }
}

TEST(ChunkSalvage, AnOpThatOneHasSettledCountsEverywhere) {
  ChunkWorld world(2, 1);
  world.write({.seq = 1}, 0, first(2));
  world.settle({.seq = 1}, 0b010);
  world.kill();
  const Salvaged salvaged(world, 0b111);
  ASSERT_EQ(salvaged.report.undecided.size(), 1U);
  EXPECT_TRUE(salvaged.report.undecided[0].counts);
  EXPECT_EQ(salvaged.blocks.at(0), crc_of(world, 0, 0));
  EXPECT_EQ(salvaged.lost.size(), 0U);
}

TEST(ChunkSalvage, ADamagedBlockIsComputedFromTheOthers) {
  ChunkWorld world(2, 1);
  world.write({.seq = 1}, 0, first(2));
  world.settle({.seq = 1});
  world.kill();
  std::uint64_t at = 0;
  {
    const auto inspection = Inspection::open({.repository = world.repository(1)}).value();
    const auto row = inspection->row(ChunkWorld::piece(1)).value();
    at = inspection->located(ChunkWorld::piece(1), *row, 0).value()[0].base.disk;
  }
  { LiveStore(world.repository(1)).close(); }  // brings it home
  std::fstream file(world.repository(1) + "/data", std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(at * kBlockBytes));
  file.write("damaged", 7);
  file.close();
  const Salvaged salvaged(world, 0b111);
  EXPECT_EQ(salvaged.report.damaged_blocks, 1U);
  EXPECT_EQ(salvaged.report.lost_blocks, 0U);
  EXPECT_EQ(salvaged.blocks.at(offset_of(world, 0, 1)), crc_of(world, 0, 1));
  const Salvaged alone(world, 0b011);
  EXPECT_EQ(alone.lost, (std::set<std::uint64_t>{offset_of(world, 0, 1)}));
}

TEST(ChunkSalvage, APieceWithoutItsJournalIsNotTrusted) {
  ChunkWorld world(1, 2);
  world.write({.seq = 1}, 0, 1);
  world.settle({.seq = 1});
  world.kill();
  { LiveStore(world.repository(0)).close(); }
  // What is at home in the first one is all there is: it says that it may be old.
  const Salvaged alone(world, 0b001, 0b001);
  EXPECT_TRUE(alone.report.maybe_old);
  EXPECT_EQ(alone.blocks.at(0), crc_of(world, 0, 0));
  const Salvaged both(world, 0b011, 0b001);
  EXPECT_FALSE(both.report.maybe_old);
  EXPECT_EQ(both.report.newest, 0b010U);
  EXPECT_EQ(both.blocks.at(0), crc_of(world, 0, 0));
}

TEST(ChunkSalvage, RefusesPiecesThatContradictEachOtherAndUnknownCodes) {
  store::PieceRow row;
  row.facts = {.generator = 1, .data = 2, .parity = 1, .cell_bytes = 4096};
  store::PieceRow other = row;
  other.facts.data = 3;
  const ChunkPiece one{nullptr, ChunkWorld::piece(0), row};
  const ChunkPiece two{nullptr, ChunkWorld::piece(1), other};
  EXPECT_EQ(ChunkSalvage::make({one, two}).error().code(), Code::kCorrupt);
  const ChunkPiece outside{nullptr, ChunkWorld::piece(3), row};
  EXPECT_EQ(ChunkSalvage::make({one, outside}).error().code(), Code::kCorrupt);
  row.facts.generator = 2;
  EXPECT_EQ(ChunkSalvage::make({{nullptr, ChunkWorld::piece(0), row}}).error().code(),
            Code::kUnsupported);
}

}  // namespace
}  // namespace cairn::chunkserver::inspect
