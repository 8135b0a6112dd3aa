// A model executes every plan on real bytes and compares the parity with a fresh encode.
#include "common/layout/row_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "common/base/prng.h"

namespace cairn::layout {
namespace {

using erasure::Codec;
using erasure::PieceMask;

constexpr std::size_t kBlock = 8;
constexpr std::size_t kPiecesMax = 6;
using Block = std::array<std::byte, kBlock>;
using Row = std::array<Block, kPiecesMax>;
using Pointers = std::array<std::byte*, kPiecesMax>;

unsigned count_bits(PieceMask mask) { return static_cast<unsigned>(std::popcount(mask)); }
bool has(PieceMask mask, unsigned i) { return (mask >> i & 1U) != 0; }

Pointers pointers(Row& row) {
  Pointers at{};
  std::transform(row.begin(), row.end(), at.begin(), [](Block& block) { return block.data(); });
  return at;
}

void encode(const Codec& codec, Row& row) {
  const Pointers at = pointers(row);
  std::array<const std::byte*, kPiecesMax> data{};
  std::copy(at.begin(), at.end(), data.begin());
  codec.encode(std::span(data).first(codec.data()),
               std::span(at).subspan(codec.data(), codec.parity()), kBlock);
}

// One row as it is on the disks, and as it should become.
struct World {
  Row before{};
  Row after{};
};

void randomize(Block& block, std::size_t bytes, Prng& prng) {
  const std::uint64_t value = prng.next();
  std::memcpy(block.data(), &value, bytes);
}

World make_world(const Codec& codec, const StripeState& stripe, Prng& prng) {
  World world;
  // A parity piece on no disk means that the whole row is zero.
  const bool zero = stripe.unwritten >> codec.data() != 0;
  for (unsigned i = 0; i < codec.data(); ++i) {
    if (!zero && !has(stripe.unwritten, i)) randomize(world.before[i], kBlock, prng);
  }
  encode(codec, world.before);
  world.after = world.before;
  const RowState& row = stripe.rows.front();
  for (unsigned i = 0; i < codec.data(); ++i) {
    // A partly dirty block changes in its first half only.
    if (has(row.dirty, i)) {
      randomize(world.after[i], has(row.known, i) ? kBlock : kBlock / 2, prng);
    }
  }
  encode(codec, world.after);
  return world;
}

// Carries out one run of one row: a writer, from what a writer has (memory and reads), and the
// parity pieces, which take new blocks, or deltas onto what they have.
class Executor {
 public:
  Executor(const Codec& codec, const StripeState& stripe, const World& world, const RowRun& run)
      : codec_(codec), stripe_(stripe), world_(world), run_(run) {
    has_old_ = run.read | run.state.old | (run.state.known & ~run.state.dirty) | stripe.unwritten;
    for (unsigned i = 0; i < stripe.data + stripe.parity; ++i) {
      old_[i].fill(std::byte{0xee});  // bytes that nobody may use
      if (has(stripe.unwritten, i)) old_[i].fill(std::byte{0});
      if (has(has_old_ & ~stripe.unwritten, i)) old_[i] = world.before[i];
    }
  }

  // What the pieces have afterwards.
  Row run() {
    if (run_.method == RowMethod::kDecode) {
      EXPECT_EQ(count_bits(run_.sources), stripe_.data);
      EXPECT_EQ(run_.sources & ~has_old_, 0U);
      const Pointers at = pointers(old_);
      const std::span<std::byte* const> all(at.data(), stripe_.data + stripe_.parity);
      EXPECT_TRUE(codec_.rebuild(run_.sources, run_.rebuild, all, kBlock).has_value());
      has_old_ |= run_.rebuild;
    }
    Row row = old_;
    for (unsigned i = 0; i < stripe_.data; ++i) {
      if (has(run_.state.dirty, i)) row[i] = complete(i);
    }
    if (stripe_.targets == 0) return row;
    if (run_.method == RowMethod::kDelta) {
      add_deltas(row);
      return row;
    }
    for (unsigned i = 0; i < stripe_.data; ++i) {
      EXPECT_TRUE(has(has_old_ | run_.state.dirty, i)) << "encode without piece " << i;
    }
    encode(codec_, row);
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
  void add_deltas(Row& row) const {
    // The pieces add them to their own old parity, whether the writer ever saw it or not.
    for (unsigned j = stripe_.data; j < stripe_.data + stripe_.parity; ++j) {
      row[j] = world_.before[j];
    }
    const Pointers at = pointers(row);
    for (unsigned i = 0; i < stripe_.data; ++i) {
      if (!has(run_.state.dirty, i)) continue;
      EXPECT_TRUE(has(has_old_, i)) << "delta without the old bytes of piece " << i;
      Block delta;
      for (std::size_t x = 0; x < kBlock; ++x) delta[x] = row[i][x] ^ old_[i][x];
      codec_.apply_delta(PieceIndex(static_cast<std::uint8_t>(i)), delta.data(),
                         std::span(at).subspan(stripe_.data, stripe_.parity), kBlock);
    }
  }

  const Codec& codec_;
  const StripeState& stripe_;
  const World& world_;
  const RowRun& run_;
  Row old_{};
  PieceMask has_old_ = 0;
};

void expect_plan_works(const Codec& codec, const StripeState& stripe, const RowPlan& plan,
                       Prng& prng) {
  const World world = make_world(codec, stripe, prng);
  ASSERT_EQ(plan.runs.size(), 1U);
  const RowRun& run = plan.runs.front();
  ASSERT_EQ(run.read & ~stripe.readable, 0U);
  ASSERT_EQ(run.read & stripe.unwritten, 0U);
  ASSERT_EQ(plan.blocks_read, count_bits(run.read));
  ASSERT_TRUE(stripe.deltas || run.method != RowMethod::kDelta);
  const Row row = Executor(codec, stripe, world, run).run();
  for (unsigned i = 0; i < stripe.data + stripe.parity; ++i) {
    if (has(run.state.dirty | stripe.targets, i)) {
      ASSERT_EQ(row[i], world.after[i]) << "piece " << i;
    }
  }
}

// The cheapest number of reads by a second, brute-force way: try every set of readable pieces.
struct Fewest {
  std::optional<unsigned> reads;
  bool by_encode = false;  // it can be had so
};
Fewest fewest_reads(const StripeState& stripe) {
  const RowState& row = stripe.rows.front();
  const PieceMask data = (PieceMask{1} << stripe.data) - 1;
  Fewest best;
  for (PieceMask read = stripe.readable;; read = (read - 1) & stripe.readable) {
    const PieceMask direct = read | row.old | (row.known & ~row.dirty) | stripe.unwritten;
    const bool decodes = count_bits(direct) >= stripe.data;
    const PieceMask old = decodes ? (PieceMask{1} << (stripe.data + stripe.parity)) - 1 : direct;
    const bool completes = (row.dirty & ~row.known & ~old) == 0;
    const bool encodes = (data & ~(row.known | old)) == 0;
    const bool deltas = stripe.deltas && (row.dirty & ~old) == 0;
    if (completes && (stripe.targets == 0 || encodes || deltas)) {
      const PieceMask needed = stripe.targets == 0 ? row.dirty : data;
      const bool plainly = (needed & ~row.known & ~direct) == 0;
      const unsigned count = count_bits(read);
      if (!best.reads || count < *best.reads) {
        best = {count, plainly};
      } else if (count == *best.reads) {
        best.by_encode = best.by_encode || plainly;
      }
    }
    if (read == 0) return best;
  }
}

// Every state of a row: per data block clean or dirty, known or not, old bytes kept or not.
StripeState state_of(unsigned data, unsigned parity, std::uint64_t code) {
  StripeState stripe{.data = data, .parity = parity, .rows = std::vector<RowState>(1)};
  for (unsigned i = 0; i < data; ++i, code /= 6) {
    const std::uint64_t kind = code % 6;  // clean, clean known, then dirty in four ways
    if (kind >= 2) stripe.mark_dirty(i, 0, 1);
    if (kind % 2 == 1) stripe.mark_known(i, 0, 1);
    if (kind >= 4) stripe.mark_old(i, 0, 1);
  }
  return stripe;
}

struct Checked {
  std::uint64_t encodes = 0;
  std::uint64_t deltas = 0;
  std::uint64_t decodes = 0;
};

void check_one(const Codec& codec, const StripeState& stripe, bool execute, Prng& prng,
               Checked* checked) {
  const Result<RowPlan> plan = plan_rows(stripe);
  if (stripe.rows.front().dirty == 0) {
    ASSERT_TRUE(plan.has_value() && plan->runs.empty());
    return;
  }
  const Fewest fewest = fewest_reads(stripe);
  ASSERT_EQ(plan.has_value(), fewest.reads.has_value());
  if (!plan.has_value()) {
    ASSERT_EQ(plan.error().code(), Code::kTooFewPieces);
    return;
  }
  ASSERT_EQ(plan->blocks_read, *fewest.reads);
  const RowMethod method = plan->runs.front().method;
  ASSERT_EQ(method == RowMethod::kEncode, fewest.by_encode) << "encode wins ties";
  ++(method == RowMethod::kEncode  ? checked->encodes
     : method == RowMethod::kDelta ? checked->deltas
                                   : checked->decodes);
  if (execute) expect_plan_works(codec, stripe, *plan, prng);
}

// All sets of readable pieces, of unwritten ones, of parity pieces to compute. `parts`: every so
// many of the cases with other old parity at hand, without deltas, and executed.
Checked check_every_state(unsigned data, unsigned parity, std::uint64_t parts) {
  Prng prng(data * 10 + parity);
  const auto codec = Codec::get(data, parity);
  const PieceMask all = (PieceMask{1} << (data + parity)) - 1;
  std::uint64_t states = 1;
  for (unsigned i = 0; i < data; ++i) states *= 6;
  Checked checked;
  for (std::uint64_t code = 0; code < states; ++code) {
    StripeState stripe = state_of(data, parity, code);
    const PieceMask old = stripe.rows.front().old;
    for (PieceMask readable = 0; readable <= all; ++readable) {
      stripe.readable = readable;
      const PieceMask rest = all & ~readable;
      for (PieceMask unwritten = rest;; unwritten = (unwritten - 1) & rest) {
        stripe.unwritten = unwritten;
        for (PieceMask more = 0; more < PieceMask{2} << (2 * parity); ++more) {
          stripe.targets = (more & all >> data) << data;
          const PieceMask kept = more >> parity & all >> data;
          const bool plain = more >> parity == 0;
          if (!plain && !prng.chance(1000 / parts)) continue;
          stripe.deltas = (more >> (2 * parity)) == 0;
          stripe.rows.front().old = old | kept << data;
          check_one(*codec, stripe, prng.chance(1000 / parts), prng, &checked);
          if (testing::Test::HasFailure()) {
            ADD_FAILURE() << data << "+" << parity << " state " << code << " readable " << readable
                          << " unwritten " << unwritten << " more " << more;
            return checked;
          }
        }
        if (unwritten == 0) break;
      }
    }
  }
  return checked;
}

TEST(RowPlan, GivesTheRightParityWithTheFewestReadsInEveryState) {
  struct Case {
    unsigned data;
    unsigned parity;
    std::uint64_t parts;
  };
  for (const Case& one : {Case{1, 0, 1}, Case{1, 1, 1}, Case{1, 2, 1}, Case{2, 1, 1}, Case{3, 1, 1},
                          Case{3, 2, 4}, Case{4, 1, 4}, Case{4, 2, 10}}) {
    const Checked checked = check_every_state(one.data, one.parity, one.parts);
    if (HasFailure()) return;
    EXPECT_GT(checked.encodes, 0U);
    if (one.data < 2) continue;
    EXPECT_GT(checked.deltas, 100U);
    EXPECT_GT(checked.decodes, 100U);
  }
}

StripeState healthy(unsigned data, unsigned parity, std::uint64_t rows) {
  const PieceMask all = (PieceMask{1} << (data + parity)) - 1;
  return {.data = data,
          .parity = parity,
          .base = 2 * rows,
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
  EXPECT_EQ(plan->blocks_read, 4U * 1 + 2U * 2);
  // Stripe 2 of 16 rows starts at piece block 32.
  EXPECT_EQ(plan->reads[3], (std::vector<BlockRun>{{36, 4}}));
  EXPECT_EQ(plan->reads[6], (std::vector<BlockRun>{{40, 2}}));
  EXPECT_TRUE(plan->reads[8].empty()) << "parity adds the deltas itself";
  EXPECT_TRUE(plan->reads[0].empty());
}

TEST(RowPlan, JoinsReadsOfNeighbouringRuns) {
  StripeState stripe = healthy(3, 1, 4);
  for (unsigned i = 0; i < 2; ++i) {
    stripe.mark_dirty(i, 0, 4);
    stripe.mark_known(i, 0, 4);
  }
  stripe.mark_old(0, 1, 2);  // no reason to do these rows otherwise
  const Result<RowPlan> plan = plan_rows(stripe);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->runs.size(), 3U);
  EXPECT_EQ(plan->reads[2], (std::vector<BlockRun>{{8, 4}}));
  EXPECT_EQ(plan->blocks_read, 4U);
}

TEST(RowPlan, ADirtyBlockOnAMissingPieceNeedsTheOthersOrItsOldBytes) {
  StripeState stripe = healthy(4, 2, 1);
  stripe.mark_dirty(1, 0, 1);
  stripe.mark_known(1, 0, 1);
  stripe.readable = 0b111101;
  Result<RowPlan> plan = plan_rows(stripe);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->runs[0].method, RowMethod::kEncode);
  EXPECT_EQ(plan->blocks_read, 3U);
  // Another one is missing as well: M of the rest, once.
  stripe.readable = 0b111100;
  plan = plan_rows(stripe);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->runs[0].method, RowMethod::kDecode);
  EXPECT_EQ(plan->runs[0].sources, 0b111100U);
  EXPECT_EQ(plan->runs[0].rebuild, 0b000001U);
  stripe.mark_old(1, 0, 1);
  plan = plan_rows(stripe);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->runs[0].method, RowMethod::kDelta);
  EXPECT_EQ(plan->blocks_read, 0U);
}

TEST(RowPlan, SendsNoDeltasWhereTheyAreNotAllowed) {
  StripeState stripe = healthy(4, 2, 1);
  stripe.mark_dirty(1, 0, 1);
  stripe.mark_known(1, 0, 1);
  stripe.deltas = false;
  const Result<RowPlan> plan = plan_rows(stripe);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->runs[0].method, RowMethod::kEncode);
  EXPECT_EQ(plan->blocks_read, 3U);
}

TEST(RowPlan, SaysWhenTooFewPiecesAreReadable) {
  StripeState stripe = healthy(3, 2, 1);
  stripe.mark_dirty(0, 0, 1);
  stripe.mark_known(0, 0, 1);
  stripe.readable = 0b00010;
  EXPECT_EQ(plan_rows(stripe).error().code(), Code::kTooFewPieces);
}

}  // namespace
}  // namespace cairn::layout
