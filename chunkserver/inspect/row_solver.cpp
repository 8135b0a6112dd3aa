#include "chunkserver/inspect/row_solver.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"

namespace cairn::chunkserver::inspect {

using erasure::PieceMask;

namespace {

PieceMask bit(std::size_t i) { return PieceMask{1} << i; }

unsigned count(PieceMask mask) { return static_cast<unsigned>(std::popcount(mask)); }

PieceMask all_that_are(const std::vector<Known>& known, Known wanted) {
  PieceMask mask = 0;
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (known[i] == wanted) mask |= bit(i);
  }
  return mask;
}

// 0: there are fewer.
PieceMask highest(PieceMask mask, unsigned wanted) {
  if (count(mask) < wanted) return 0;
  while (count(mask) > wanted) mask &= mask - 1;
  return mask;
}

}  // namespace

RowSolver::RowSolver(unsigned data, unsigned parity)
    : codec_(erasure::Codec::get(data, parity)), scratch_(data + parity) {}

void RowSolver::compute(PieceMask used, PieceMask want, const std::vector<std::byte*>& blocks,
                        std::size_t length) {
  std::vector<std::byte*> into = blocks;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if ((want & bit(i)) == 0) continue;
    scratch_[i].resize(length);
    into[i] = scratch_[i].data();
  }
  CHECK(codec_->rebuild(used, want, into, length).has_value());
}

bool RowSolver::fit(PieceMask have, PieceMask want, const std::vector<std::byte*>& blocks,
                    std::size_t length) {
  PieceMask used = 0;
  for (std::size_t i = 0; i < blocks.size() && count(used) < codec_->data(); ++i) {
    used |= have & bit(i);
  }
  const PieceMask spare = have & ~used;
  compute(used, want | spare, blocks, length);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const bool is_spare = (spare & bit(i)) != 0;
    if (is_spare && std::memcmp(scratch_[i].data(), blocks[i], length) != 0) return false;
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if ((want & bit(i)) != 0) std::memcpy(blocks[i], scratch_[i].data(), length);
  }
  return true;
}

PieceMask RowSolver::find_stale(PieceMask sure, PieceMask zeros,
                                const std::vector<std::byte*>& blocks, std::size_t length) {
  PieceMask stale = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const PieceMask rest = (sure & ~bit(i)) | zeros;
    if ((sure & bit(i)) == 0 || count(rest) <= codec_->data()) continue;
    if (fit(rest, 0, blocks, length)) stale |= bit(i);
  }
  return count(stale) == 1 ? stale : 0;
}

RowVerdict RowSolver::take_for_unwritten(const std::vector<Known>& known, PieceMask sure,
                                         const std::vector<std::byte*>& blocks, std::size_t length,
                                         bool from_begin) {
  const PieceMask data = bit(codec_->data()) - 1;
  const PieceMask absent = all_that_are(known, Known::kAbsent);
  const PieceMask unwritten = highest(absent, codec_->data() - count(sure));
  if (unwritten == 0) return RowVerdict::kLost;
  const PieceMask want = data & ~sure & ~unwritten;
  compute(sure | unwritten, want, blocks, length);
  // One that comes out as what was given for it is worth a parity block.
  unsigned agreeing = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const bool told = (want & bit(i)) != 0 && known[i] != Known::kNot;
    if (told && std::memcmp(scratch_[i].data(), blocks[i], length) == 0) ++agreeing;
  }
  const PieceMask there = data & ~absent;
  const PieceMask first_unwritten = unwritten & (~unwritten + 1);
  const bool last_ones = from_begin && first_unwritten > there;
  if (agreeing == 0 && from_begin) {
    // Or it is one of the others that is stale.
    const PieceMask stale = find_stale(sure, absent, blocks, length);
    if (stale != 0) {
      const PieceMask rest = (sure & ~stale) | absent;
      CHECK(fit(rest, data & ~rest, blocks, length));
      return RowVerdict::kFits;
    }
  }
  if (agreeing == 0 && !last_ones) return RowVerdict::kLost;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if ((want & bit(i)) != 0) std::memcpy(blocks[i], scratch_[i].data(), length);
  }
  // One alone could be two lost blocks that are equal: their sum is zero, too.
  const bool proven = agreeing >= 2 || (agreeing == 1 && last_ones);
  return proven ? RowVerdict::kFits : RowVerdict::kAssumed;
}

RowVerdict RowSolver::take_sure(PieceMask sure, const std::vector<std::byte*>& blocks,
                                std::size_t length) {
  const PieceMask data = bit(codec_->data()) - 1;
  if (fit(sure, data & ~sure, blocks, length)) return RowVerdict::kSure;
  const PieceMask stale = find_stale(sure, 0, blocks, length);
  if (stale == 0) return RowVerdict::kContradicts;
  const PieceMask rest = sure & ~stale;
  CHECK(fit(rest, data & ~rest, blocks, length));
  return RowVerdict::kFits;
}

bool RowSolver::solve_sure(const std::vector<Known>& known, const std::vector<std::byte*>& blocks,
                           std::size_t length) {
  const PieceMask sure = all_that_are(known, Known::kSure);
  const PieceMask data = bit(codec_->data()) - 1;
  return count(sure) >= codec_->data() && fit(sure, data & ~sure, blocks, length);
}

RowVerdict RowSolver::solve(const std::vector<Known>& known, const std::vector<std::byte*>& blocks,
                            std::size_t length, bool from_begin, PieceMask* lost) {
  CHECK_EQ(known.size(), scratch_.size());
  CHECK_EQ(blocks.size(), scratch_.size());
  const PieceMask sure = all_that_are(known, Known::kSure);
  const PieceMask older = all_that_are(known, Known::kOlder);
  const PieceMask absent = all_that_are(known, Known::kAbsent);
  const PieceMask data = bit(codec_->data()) - 1;
  CHECK_EQ((older | absent) & ~data, 0U);
  const PieceMask wanted = data & ~sure;
  RowVerdict verdict = RowVerdict::kSure;
  if (count(sure) >= codec_->data()) {
    verdict = take_sure(sure, blocks, length);
  } else if (wanted != 0) {
    const PieceMask have = sure | older | absent;
    const bool older_fit =
        older != 0 && count(have) > codec_->data() && fit(have, data & ~have, blocks, length);
    verdict =
        older_fit ? RowVerdict::kFits : take_for_unwritten(known, sure, blocks, length, from_begin);
  }
  const bool known_all = verdict != RowVerdict::kLost && verdict != RowVerdict::kContradicts;
  *lost = known_all ? 0 : wanted;
  return verdict;
}

}  // namespace cairn::chunkserver::inspect
