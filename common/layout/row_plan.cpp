#include "common/layout/row_plan.h"

#include <bit>
#include <optional>

#include "common/base/check.h"

namespace cairn::layout {
namespace {

using erasure::PieceMask;

unsigned count_bits(PieceMask mask) { return static_cast<unsigned>(std::popcount(mask)); }
PieceMask low_bits(unsigned count) { return (PieceMask{1} << count) - 1; }

void mark(std::vector<RowState>& rows, PieceMask RowState::*field, unsigned piece,
          std::uint64_t first, std::uint64_t count) {
  CHECK_LE(first, rows.size());
  CHECK_LE(count, rows.size() - first);
  for (std::uint64_t row = first; row < first + count; ++row) {
    rows[row].*field |= PieceMask{1} << piece;
  }
}

struct RowChoice {
  RowMethod method = RowMethod::kEncode;
  PieceMask read = 0;
  PieceMask sources = 0;
  PieceMask rebuild = 0;
};

// Data pieces whose present block must become known: all for an encode, else only partly dirty
// ones.
PieceMask lacking(const StripeState& stripe, const RowState& row) {
  const PieceMask needed = stripe.targets != 0 ? low_bits(stripe.data) : row.dirty;
  return needed & ~row.known & ~row.old & ~stripe.unwritten;
}

std::optional<RowChoice> by_encode(const StripeState& stripe, const RowState& row) {
  const PieceMask read = lacking(stripe, row);
  if ((read & ~stripe.readable) != 0) return std::nullopt;
  return RowChoice{.method = RowMethod::kEncode, .read = read};
}

std::optional<RowChoice> by_delta(const StripeState& stripe, const RowState& row) {
  if (stripe.targets == 0 || !stripe.deltas) return std::nullopt;
  // Also completes what is partly dirty.
  const PieceMask read = row.dirty & ~row.old & ~stripe.unwritten;
  if ((read & ~stripe.readable) != 0) return std::nullopt;
  return RowChoice{.method = RowMethod::kDelta, .read = read};
}

std::optional<RowChoice> by_decode(const StripeState& stripe, const RowState& row) {
  const PieceMask lacks = lacking(stripe, row);
  // Old blocks at hand without reading: clean copies, kept old bytes, zeros.
  const PieceMask clean = row.known & ~row.dirty;
  const PieceMask free = clean | row.old | stripe.unwritten;
  RowChoice choice{.method = RowMethod::kDecode};
  // What is lacking and can be read comes first: it need not be rebuilt then.
  for (const PieceMask group : {free, lacks & stripe.readable, stripe.readable}) {
    PieceMask rest = group & ~choice.sources;
    while (rest != 0 && count_bits(choice.sources) < stripe.data) {
      choice.sources |= rest & (~rest + 1);
      rest &= rest - 1;
    }
  }
  if (count_bits(choice.sources) < stripe.data) return std::nullopt;
  choice.read = choice.sources & ~free;
  choice.rebuild = lacks & ~choice.sources;
  return choice;
}

Result<RowChoice> choose(const StripeState& stripe, const RowState& row) {
  std::optional<RowChoice> best;
  // In order of preference when they read equally much.
  for (const std::optional<RowChoice>& choice :
       {by_encode(stripe, row), by_delta(stripe, row), by_decode(stripe, row)}) {
    if (!choice) continue;
    if (!best || count_bits(choice->read) < count_bits(best->read)) best = choice;
  }
  if (!best) {
    return fail(Code::kTooFewPieces, "only " + std::to_string(count_bits(stripe.readable)) +
                                         " of " + std::to_string(stripe.data + stripe.parity) +
                                         " pieces are readable");
  }
  return *best;
}

void add_read(std::vector<BlockRun>& reads, std::uint64_t first, std::uint64_t count) {
  if (!reads.empty() && reads.back().first + reads.back().count == first) {
    reads.back().count += count;
  } else {
    reads.push_back({.first = first, .count = count});
  }
}

void check(const StripeState& stripe) {
  const PieceMask all = low_bits(stripe.data + stripe.parity);
  CHECK_GE(stripe.data, 1U);
  CHECK_EQ((stripe.readable | stripe.unwritten) & ~all, 0U);
  CHECK_EQ(stripe.targets & ~(all & ~low_bits(stripe.data)), 0U);
  for (const RowState& row : stripe.rows) {
    CHECK_EQ((row.dirty | row.known) & ~low_bits(stripe.data), 0U);
    CHECK_EQ(row.old & ~row.dirty & (low_bits(stripe.data) | ~all), 0U);
  }
}

}  // namespace

void StripeState::mark_dirty(unsigned piece, std::uint64_t first, std::uint64_t count) {
  CHECK_LT(piece, data);
  mark(rows, &RowState::dirty, piece, first, count);
}
void StripeState::mark_known(unsigned piece, std::uint64_t first, std::uint64_t count) {
  CHECK_LT(piece, data);
  mark(rows, &RowState::known, piece, first, count);
}
void StripeState::mark_old(unsigned piece, std::uint64_t first, std::uint64_t count) {
  CHECK_LT(piece, data + parity);
  mark(rows, &RowState::old, piece, first, count);
}

Result<RowPlan> plan_rows(const StripeState& stripe) {
  check(stripe);
  RowPlan plan;
  plan.reads.resize(stripe.data + stripe.parity);
  std::uint64_t next = 0;
  for (std::uint64_t first = 0; first < stripe.rows.size(); first = next) {
    const RowState& row = stripe.rows[first];
    next = first + 1;
    while (next < stripe.rows.size() && stripe.rows[next] == row) ++next;
    if (row.dirty == 0) continue;
    TRY(const RowChoice choice, choose(stripe, row));
    const std::uint64_t count = next - first;
    plan.runs.push_back({.first = first,
                         .count = count,
                         .method = choice.method,
                         .state = row,
                         .read = choice.read,
                         .sources = choice.sources,
                         .rebuild = choice.rebuild});
    for (PieceMask rest = choice.read; rest != 0; rest &= rest - 1) {
      add_read(plan.reads[static_cast<unsigned>(std::countr_zero(rest))], stripe.base + first,
               count);
    }
    plan.blocks_read += count * count_bits(choice.read);
  }
  return plan;
}

}  // namespace cairn::layout
