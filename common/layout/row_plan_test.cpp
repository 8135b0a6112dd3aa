// A model executes every plan on real bytes and compares the parity with a fresh encode.
#include "common/layout/row_plan.h"

#include <gtest/gtest.h>

#include <bit>

#include "common/base/prng.h"

namespace cairn::layout {
namespace {

using erasure::Codec;
using erasure::PieceMask;

constexpr std::size_t kBlock = 8;
using Block = std::array<std::byte, kBlock>;
using Row = std::vector<Block>;

unsigned count_bits(PieceMask mask) { return static_cast<unsigned>(std::popcount(mask)); }
bool has(PieceMask mask, unsigned i) { return (mask >> i & 1U) != 0; }

std::vector<std::byte*> pointers(Row& row) {
  std::vector<std::byte*> at;
  for (Block& block : row) at.push_back(block.data());
  return at;
}

void encode(const Codec& codec, Row& row) {
  const std::vector<std::byte*> at = pointers(row);
  const std::vector<const std::byte*> data(at.begin(), at.begin() + codec.data());
  codec.encode(data, std::span(at).subspan(codec.data()), kBlock);
}

// One row as it is on the disks, and as it should become.
struct World {
  Row before;
  Row after;
};

World make_world(const Codec& codec, const StripeState& stripe, Prng& prng) {
  World world;
  world.before.resize(codec.data() + codec.parity());
  // A parity piece on no disk means that the whole row is zero.
  const bool zero = stripe.unwritten >> codec.data() != 0;
  for (unsigned i = 0; i < codec.data(); ++i) {
    for (std::byte& b : world.before[i]) {
      b = zero || has(stripe.unwritten, i) ? std::byte{0} : static_cast<std::byte>(prng.next());
    }
  }
  encode(codec, world.before);
  world.after = world.before;
  const RowState& row = stripe.rows.front();
  for (unsigned i = 0; i < codec.data(); ++i) {
    if (!has(row.dirty, i)) continue;
    // A partly dirty block changes in its first half only.
    const bool whole = has(row.known, i);
    for (std::size_t x = 0; x < (whole ? kBlock : kBlock / 2); ++x) {
      world.after[i][x] = static_cast<std::byte>(prng.next());
    }
  }
  encode(codec, world.after);
  return world;
}

// Carries out one run of one row the way a writer does, from what a writer has: memory and reads.
class Executor {
 public:
  Executor(const Codec& codec, const StripeState& stripe, const World& world, const RowRun& run)
      : codec_(codec), stripe_(stripe), world_(world), run_(run) {
    old_.resize(stripe.data + stripe.parity);
    has_old_ = run.read | run.state.old | (run.state.known & ~run.state.dirty) | stripe.unwritten;
    for (unsigned i = 0; i < old_.size(); ++i) {
      old_[i].fill(std::byte{0xee});  // bytes that nobody may use
      if (has(stripe.unwritten, i)) old_[i].fill(std::byte{0});
      if (has(has_old_ & ~stripe.unwritten, i)) old_[i] = world.before[i];
    }
  }

  Row run() {
    if (run_.method == RowMethod::kDecode) {
      EXPECT_EQ(count_bits(run_.sources), stripe_.data);
      EXPECT_EQ(run_.sources & ~has_old_, 0U);
      EXPECT_TRUE(codec_.rebuild(run_.sources, run_.rebuild, pointers(old_), kBlock).has_value());
      has_old_ |= run_.rebuild;
    }
    Row row = old_;
    for (unsigned i = 0; i < stripe_.data; ++i) {
      if (has(run_.state.dirty, i)) row[i] = complete(i);
      if (run_.method != RowMethod::kDelta && stripe_.targets != 0 && !has(run_.state.dirty, i)) {
        EXPECT_TRUE(has(has_old_, i)) << "encode without piece " << i;
      }
    }
    if (stripe_.targets == 0) return row;
    if (run_.method == RowMethod::kDelta) {
      apply_deltas(row);
    } else {
      encode(codec_, row);
    }
    return row;
  }

 private:
  Block complete(unsigned i) const {
    Block block = world_.after[i];
    if (has(run_.state.known, i)) return block;
    EXPECT_TRUE(has(has_old_, i)) << "nothing completes the partly dirty piece " << i;
    std::copy(old_[i].begin() + kBlock / 2, old_[i].end(), block.begin() + kBlock / 2);
    return block;
  }
  void apply_deltas(Row& row) const {
    const std::vector<std::byte*> at = pointers(row);
    for (unsigned i = 0; i < stripe_.data; ++i) {
      if (!has(run_.state.dirty, i)) continue;
      EXPECT_TRUE(has(has_old_, i)) << "delta without the old bytes of piece " << i;
      Block delta;
      for (std::size_t x = 0; x < kBlock; ++x) delta[x] = row[i][x] ^ old_[i][x];
      codec_.apply_delta(PieceIndex(static_cast<std::uint8_t>(i)), delta.data(),
                         std::span(at).subspan(stripe_.data), kBlock);
    }
  }

  const Codec& codec_;
  const StripeState& stripe_;
  const World& world_;
  const RowRun& run_;
  Row old_;
  PieceMask has_old_ = 0;
};

void expect_plan_works(const StripeState& stripe, const RowPlan& plan, Prng& prng) {
  const auto codec = Codec::get(stripe.data, stripe.parity);
  const World world = make_world(*codec, stripe, prng);
  ASSERT_EQ(plan.runs.size(), 1U);
  const RowRun& run = plan.runs.front();
  ASSERT_EQ(run.read & ~stripe.readable, 0U);
  ASSERT_EQ(plan.blocks_read, count_bits(run.read));
  const Row row = Executor(*codec, stripe, world, run).run();
  for (unsigned i = 0; i < stripe.data + stripe.parity; ++i) {
    if (has(run.state.dirty | stripe.targets, i)) {
      ASSERT_EQ(row[i], world.after[i]) << "piece " << i;
    }
  }
}

// The cheapest number of reads by a second, brute-force way: try every set of readable pieces.
std::optional<unsigned> fewest_reads(const StripeState& stripe) {
  const RowState& row = stripe.rows.front();
  const PieceMask data = (PieceMask{1} << stripe.data) - 1;
  std::optional<unsigned> best;
  for (PieceMask read = stripe.readable;; read = (read - 1) & stripe.readable) {
    PieceMask old = read | row.old | (row.known & ~row.dirty) | stripe.unwritten;
    const bool decodes = count_bits(old) >= stripe.data;
    if (decodes) old = (PieceMask{1} << (stripe.data + stripe.parity)) - 1;
    const bool completes = (row.dirty & ~row.known & ~old) == 0;
    const bool encodes = (data & ~(row.known | old)) == 0;
    const bool deltas = ((row.dirty | stripe.targets) & ~old) == 0;
    if (completes && (stripe.targets == 0 || encodes || deltas)) {
      best = std::min(best.value_or(UINT32_MAX), count_bits(read));
    }
    if (read == 0) return best;
  }
}

// Every state of a row: per data block clean or dirty, known or not, old bytes kept or not; every
// set of readable pieces, of unwritten pieces and of parity pieces to compute.
void check_every_state(unsigned data, unsigned parity) {
  Prng prng(data * 10 + parity);
  const PieceMask all = (PieceMask{1} << (data + parity)) - 1;
  std::uint64_t states = 1;
  for (unsigned i = 0; i < data; ++i) states *= 6;
  for (std::uint64_t code = 0; code < states; ++code) {
    StripeState stripe{.data = data, .parity = parity, .rows = std::vector<RowState>(1)};
    std::uint64_t rest = code;
    for (unsigned i = 0; i < data; ++i, rest /= 6) {
      const std::uint64_t kind = rest % 6;  // clean, clean known, then dirty in four ways
      if (kind >= 2) stripe.mark_dirty(i, 0, 1);
      if (kind % 2 == 1) stripe.mark_known(i, 0, 1);
      if (kind >= 4) stripe.mark_old(i, 0, 1);
    }
    for (PieceMask readable = 0; readable <= all; ++readable) {
      for (PieceMask targets = 0; targets <= all >> data; ++targets) {
        stripe.readable = readable;
        stripe.targets = targets << data;
        // Unwritten pieces are not readable; all subsets of the rest would be many: none, all,
        // some.
        const PieceMask rest_of = all & ~readable;
        for (const PieceMask unwritten : {PieceMask{0}, rest_of, rest_of & 0b01101U}) {
          stripe.unwritten = unwritten;
          const Result<RowPlan> plan = plan_rows(stripe);
          if (stripe.rows.front().dirty == 0) {
            ASSERT_TRUE(plan.has_value() && plan->runs.empty());
            continue;
          }
          const std::optional<unsigned> fewest = fewest_reads(stripe);
          ASSERT_EQ(plan.has_value(), fewest.has_value());
          if (!plan.has_value()) {
            ASSERT_EQ(plan.error().code(), Code::kTooFewPieces);
            continue;
          }
          ASSERT_EQ(plan->blocks_read, *fewest);
          expect_plan_works(stripe, *plan, prng);
          if (testing::Test::HasFailure()) {
            FAIL() << data << "+" << parity << " state " << code << " readable " << readable
                   << " unwritten " << unwritten << " targets " << stripe.targets;
          }
        }
      }
    }
  }
}

TEST(RowPlan, GivesTheRightParityWithTheFewestReadsInEveryState) {
  for (const auto& [data, parity] : {std::pair{1U, 0U}, std::pair{1U, 2U}, std::pair{2U, 1U},
                                     std::pair{3U, 1U}, std::pair{3U, 2U}}) {
    check_every_state(data, parity);
    if (HasFatalFailure()) return;
  }
}

StripeState healthy(unsigned data, unsigned parity, std::uint64_t rows) {
  const PieceMask all = (PieceMask{1} << (data + parity)) - 1;
  return {.data = data,
          .parity = parity,
          .stripe = 2,
          .readable = all,
          .unwritten = 0,
          .targets = all & ~((PieceMask{1} << data) - 1),
          .rows = std::vector<RowState>(rows)};
}

TEST(RowPlan, ReadsNothingForAWholeStripe) {
  StripeState stripe = healthy(4, 2, 8);
  for (unsigned i = 0; i < 4; ++i) {
    stripe.mark_dirty(i, 0, 8);
    stripe.mark_known(i, 0, 8);
  }
  const Result<RowPlan> plan = plan_rows(stripe);
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->runs.size(), 1U);
  EXPECT_EQ(plan->runs[0].count, 8U);
  EXPECT_EQ(plan->runs[0].method, RowMethod::kEncode);
  EXPECT_EQ(plan->blocks_read, 0U);
}

TEST(RowPlan, TakesDeltaForASmallWriteAndEncodeForALargeOne) {
  StripeState stripe = healthy(8, 2, 16);
  stripe.mark_dirty(3, 4, 4);
  stripe.mark_known(3, 4, 4);
  for (unsigned i = 0; i < 6; ++i) {
    stripe.mark_dirty(i, 8, 2);
    stripe.mark_known(i, 8, 2);
  }
  const Result<RowPlan> plan = plan_rows(stripe);
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->runs.size(), 2U);
  EXPECT_EQ(plan->runs[0].method, RowMethod::kDelta);
  EXPECT_EQ(plan->runs[0].first, 4U);
  EXPECT_EQ(plan->runs[1].method, RowMethod::kEncode);
  EXPECT_EQ(plan->blocks_read, 4U * 3 + 2U * 2);
  // Stripe 2 of 16 rows starts at piece block 32.
  EXPECT_EQ(plan->reads[3], (std::vector<BlockRun>{{36, 4}}));
  EXPECT_EQ(plan->reads[6], (std::vector<BlockRun>{{40, 2}}));
  EXPECT_EQ(plan->reads[8], (std::vector<BlockRun>{{36, 4}}));
  EXPECT_TRUE(plan->reads[0].empty());
}

TEST(RowPlan, JoinsReadsOfNeighbouringRuns) {
  StripeState stripe = healthy(2, 1, 4);
  stripe.mark_dirty(0, 0, 4);
  stripe.mark_known(0, 0, 2);  // the other rows are partly dirty: both blocks are read there
  const Result<RowPlan> plan = plan_rows(stripe);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->runs.size(), 2U);
  EXPECT_EQ(plan->reads[1], (std::vector<BlockRun>{{8, 4}}));
  EXPECT_EQ(plan->reads[0], (std::vector<BlockRun>{{10, 2}}));
}

TEST(RowPlan, SaysWhenTooFewPiecesAreReadable) {
  StripeState stripe = healthy(3, 2, 1);
  stripe.mark_dirty(0, 0, 1);
  stripe.mark_known(0, 0, 1);
  stripe.readable = 0b00011;
  EXPECT_EQ(plan_rows(stripe).error().code(), Code::kTooFewPieces);
}

}  // namespace
}  // namespace cairn::layout
