#include "chunkserver/care/repair_plan.h"

#include <gtest/gtest.h>

#include <functional>

#include "chunkserver/care/fake_door.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::care {
namespace {

using store::BlockRange;
using testing::random_block;
using Ranges = std::vector<BlockRange>;

// Piece 1 of a 4+2 chunk is to be repaired at CS 2001; pieces have 1024 blocks.
pb::Repair request() {
  pb::Repair repair;
  pb::Chunk& chunk = *repair.mutable_chunk();
  chunk.set_id(7);
  chunk.set_version(3);
  chunk.mutable_encoding()->set_data(4);
  chunk.mutable_encoding()->set_parity(2);
  chunk.mutable_encoding()->set_min(5);
  chunk.set_cell_bytes(64_KiB);
  chunk.set_piece_bytes(4_MiB);
  for (unsigned i = 0; i < 6; ++i) {
    pb::Piece& piece = *chunk.add_pieces();
    piece.set_index(i);
    piece.set_cs_id(2000 + i);
    piece.set_state(i == 1 ? pb::PIECE_MISSING : pb::PIECE_CURRENT);
    piece.set_address("10.0.0." + std::to_string(i + 1) + ":2600");
  }
  repair.set_piece(1);
  repair.set_version(4);
  repair.set_epoch(5);
  repair.set_first_seq(9);
  repair.set_regions(0b101);
  repair.set_blocks(1024);
  return repair;
}

TEST(RepairPlan, SaysWhatIsAskedFor) {
  pb::Repair repair = request();
  repair.mutable_chunk()->mutable_pieces(3)->set_state(pb::PIECE_UNWRITTEN);
  repair.mutable_chunk()->mutable_pieces(0)->clear_address();
  repair.mutable_chunk()->mutable_pieces(2)->set_state(pb::PIECE_MISSING);
  const Result<RepairPlan> plan = plan_repair(repair, 2001);
  ASSERT_TRUE(plan.has_value()) << plan.error().to_string();
  EXPECT_EQ(plan->piece, testing::piece_id(7, 1));
  EXPECT_EQ(plan->version, ChunkVersion(4));
  EXPECT_EQ(plan->first_seq, OpSeq(9));
  EXPECT_EQ(plan->piece_blocks, 1024U);
  std::vector<unsigned> order;
  for (const RepairSource& source : plan->sources) order.push_back(source.piece);
  EXPECT_EQ(order, (std::vector<unsigned>{3, 4, 5}));
  EXPECT_TRUE(plan->sources[0].unwritten);
  EXPECT_EQ(plan->absent, (std::vector<std::string>{"piece 0 is at CS 2000, which is away",
                                                    "piece 2 is missing"}));
  repair.set_whole(true);
  repair.set_first_seq(0);
  EXPECT_EQ(plan_repair(repair, 2001)->regions, layout::kAllRegions);
  EXPECT_EQ(plan_repair(repair, 2001)->first_seq, OpSeq(1)) << "numbers count from 1";
}

TEST(RepairPlan, RefusesNonsense) {
  struct Row {
    const char* name;
    std::function<void(pb::Repair&)> spoil;
  };
  const std::vector<Row> rows = {
      {"no chunk", [](pb::Repair& r) { r.clear_chunk(); }},
      {"chunk 0", [](pb::Repair& r) { r.mutable_chunk()->set_id(0); }},
      {"an encoding that is none",
       [](pb::Repair& r) { r.mutable_chunk()->mutable_encoding()->set_data(1000); }},
      {"pieces lack", [](pb::Repair& r) { r.mutable_chunk()->mutable_pieces()->RemoveLast(); }},
      {"another index", [](pb::Repair& r) { r.set_piece(6); }},
      {"pieces out of order",
       [](pb::Repair& r) { r.mutable_chunk()->mutable_pieces(3)->set_index(4); }},
      {"another place",
       [](pb::Repair& r) { r.mutable_chunk()->mutable_pieces(1)->set_cs_id(2007); }},
      {"no place", [](pb::Repair& r) { r.mutable_chunk()->mutable_pieces(1)->set_cs_id(0); }},
      {"two pieces here",
       [](pb::Repair& r) { r.mutable_chunk()->mutable_pieces(2)->set_cs_id(2001); }},
      {"a current piece",
       [](pb::Repair& r) { r.mutable_chunk()->mutable_pieces(1)->set_state(pb::PIECE_CURRENT); }},
      {"the version it has", [](pb::Repair& r) { r.set_version(3); }},
      {"no epoch", [](pb::Repair& r) { r.set_epoch(0); }},
      {"too many blocks", [](pb::Repair& r) { r.set_blocks(1025); }},
      {"no size", [](pb::Repair& r) { r.mutable_chunk()->set_piece_bytes(0); }},
      {"half a block", [](pb::Repair& r) { r.mutable_chunk()->set_piece_bytes(4_MiB + 1); }},
      {"a huge piece", [](pb::Repair& r) { r.mutable_chunk()->set_piece_bytes(8_GiB); }},
  };
  ASSERT_TRUE(plan_repair(request(), 2001).has_value());
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    pb::Repair repair = request();
    row.spoil(repair);
    const Result<RepairPlan> plan = plan_repair(repair, 2001);
    ASSERT_FALSE(plan.has_value());
    EXPECT_EQ(plan.error().code(), Code::kInvalidArgument);
  }
}

TEST(RepairPlan, CopiesTheRegionsAndWhatIsUndecided) {
  RepairPlan plan = *plan_repair(request(), 2001);
  EXPECT_EQ(blocks_to_copy(plan, {}), (Ranges{{0, 16}, {32, 16}}));
  EXPECT_EQ(blocks_to_copy(plan, {{10, 7}, {40, 1}, {100, 2}}),
            (Ranges{{0, 17}, {32, 16}, {100, 2}}));
  EXPECT_EQ(blocks_to_copy(plan, {{1000, 5000}, {6000, 1}}),
            (Ranges{{0, 16}, {32, 16}, {1000, 24}}));
  EXPECT_EQ(blocks_to_copy(plan, {{0, store::kPieceBlocksMax}}), (Ranges{{0, 1024}}));
  // Too many single blocks for one op: their regions.
  Ranges crumbs;
  for (std::uint64_t block = 65; block < 512; block += 3) crumbs.push_back({block, 1});
  EXPECT_EQ(blocks_to_copy(plan, crumbs), (Ranges{{0, 16}, {32, 16}, {64, 448}}));
  plan.regions = 0;
  EXPECT_TRUE(blocks_to_copy(plan, {}).empty());
  // A tiny piece has fewer blocks than there are regions.
  plan.regions = layout::kAllRegions;
  plan.piece_blocks = 5;
  EXPECT_EQ(blocks_to_copy(plan, {}), (Ranges{{0, 5}}));
}

TEST(RepairSteps, CutsAllOfTheRangesAndTakesLargerStepsThroughHoles) {
  RepairSteps steps({{10, 100}, {200, 300}, {1000, 4000}}, 4);
  EXPECT_EQ(steps.next(), (Ranges{{10, 100}, {200, 156}}));
  EXPECT_EQ(steps.next(), (Ranges{{356, 144}, {1000, 112}}));
  steps.was_empty(true);
  EXPECT_EQ(steps.next(), (Ranges{{1112, 1024}}));
  steps.was_empty(false);
  EXPECT_EQ(steps.next(), (Ranges{{2136, 256}}));
  std::uint64_t left = 0;
  for (Ranges step = steps.next(); !step.empty(); step = steps.next()) {
    left += store::total_blocks(step);
  }
  EXPECT_EQ(left, 5000U - 2392);
  EXPECT_TRUE(steps.next().empty());
  EXPECT_TRUE(RepairSteps({}, 4).next().empty());
}

TEST(RepairSteps, AreNeverTooManyOpsNorTooMuchMemory) {
  RepairSteps huge({{0, store::kPieceBlocksMax}}, 17);
  std::size_t count = 0;
  for (Ranges step = huge.next(); !step.empty(); step = huge.next()) {
    EXPECT_LE(store::total_blocks(step), store::kPrepareBlocksMax);
    ++count;
  }
  EXPECT_LE(count, store::kPendingOpsMax / 2);
  RepairSteps wide({{0, 16384}}, 17);
  wide.was_empty(true);
  EXPECT_EQ(store::total_blocks(wide.next()), kRepairStepBlocks);
}

class Content : public ::testing::Test {
 protected:
  Content() : encoding_(*erasure::Encoding::make(3, 2, 3)), codec_(erasure::Codec::get(3, 2)) {
    for (std::size_t n = 0; n < blocks_.size(); ++n) {
      std::vector<Buffer> row;
      for (unsigned i = 0; i < 5; ++i) row.push_back(Buffer::zeroed(kBlockBytes));
      // The second row has a hole in piece 0, the last one is a hole.
      for (unsigned i = n == 1 ? 1 : 0; i < 3 && n != 3; ++i) row[i] = random_block(10 * n + i);
      const std::vector<const std::byte*> data{row[0].data(), row[1].data(), row[2].data()};
      const std::vector<std::byte*> parity{row[3].data(), row[4].data()};
      codec_->encode(data, parity, kBlockBytes);
      rows_.push_back(row);
    }
  }
  std::vector<Buffer> piece(unsigned index, std::vector<std::size_t> without = {}) {
    std::vector<Buffer> content;
    for (std::size_t n = 0; n < rows_.size(); ++n) content.push_back(rows_[n][index]);
    for (const std::size_t n : without) content[n] = Buffer();
    return content;
  }
  void expect_built(const StepContent::Built& built, unsigned wanted) {
    std::vector<std::uint32_t> crcs;
    Ranges writes;
    const Buffer zeros = Buffer::zeroed(kBlockBytes);
    for (std::size_t n = 0; n < rows_.size(); ++n) {
      const Bytes right = std::as_const(rows_[n][wanted]).span();
      if (std::memcmp(right.data(), zeros.data(), kBlockBytes) == 0) continue;
      EXPECT_EQ(std::memcmp(built.body.span().data() + crcs.size() * kBlockBytes, right.data(),
                            kBlockBytes),
                0);
      crcs.push_back(crc32c(right));
      if (!writes.empty() && writes.back().end() == blocks_[n]) {
        ++writes.back().count;
      } else {
        writes.push_back({blocks_[n], 1});
      }
    }
    EXPECT_EQ(built.crcs, crcs);
    EXPECT_EQ(built.writes, writes);
    EXPECT_EQ(built.body.size(), crcs.size() * kBlockBytes);
  }

  erasure::Encoding encoding_;
  std::shared_ptr<const erasure::Codec> codec_;
  std::vector<std::uint64_t> blocks_{4, 5, 6, 7, 20};
  std::vector<std::vector<Buffer>> rows_;
};

TEST_F(Content, IsBuiltFromAnyThreePiecesAndHolesAreLeftOut) {
  for (unsigned wanted = 0; wanted < 5; ++wanted) {
    for (unsigned left_out = 0; left_out < 5; ++left_out) {
      if (left_out == wanted) continue;
      StepContent content(encoding_, blocks_);
      EXPECT_EQ(content.lacking(), 3U);
      for (unsigned i = 0; i < 5; ++i) {
        if (i != wanted && i != left_out) content.add(i, piece(i));
      }
      EXPECT_EQ(content.lacking(), 0U);
      expect_built(content.build(*codec_, wanted), wanted);
    }
  }
}

TEST_F(Content, TakesEachBlockFromWhoeverHasIt) {
  StepContent content(encoding_, blocks_);
  content.add(1, piece(1, {0}));
  content.add(2, piece(2, {4}));
  content.add(3, piece(3, {1, 2}));
  EXPECT_EQ(content.lacking(), 1U);
  content.add(4, piece(4));
  EXPECT_EQ(content.lacking(), 0U);
  expect_built(content.build(*codec_, 0), 0);
}

TEST_F(Content, OfZerosIsNothing) {
  StepContent content(encoding_, blocks_);
  for (const unsigned i : {0U, 2U, 4U}) content.add_zeros(i);
  EXPECT_EQ(content.lacking(), 0U);
  const StepContent::Built built = content.build(*codec_, 1);
  EXPECT_TRUE(built.writes.empty());
  EXPECT_TRUE(built.body.empty());
}

}  // namespace
}  // namespace cairn::chunkserver::care
