#include "chunkserver/inspect/row_solver.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"

namespace cairn::chunkserver::inspect {

using erasure::PieceMask;

RowSolver::RowSolver(unsigned data, unsigned parity)
    : codec_(erasure::Codec::get(data, parity)), scratch_(data + parity) {}

bool RowSolver::fit(PieceMask have, PieceMask want, const std::vector<std::byte*>& blocks,
                    std::size_t length) {
  std::vector<std::byte*> into = blocks;
  PieceMask used = 0;
  PieceMask spare = 0;
  for (unsigned i = 0; i < blocks.size(); ++i) {
    const PieceMask bit = PieceMask{1} << i;
    if ((have & bit) == 0) continue;
    if (static_cast<unsigned>(std::popcount(used)) < codec_->data()) {
      used |= bit;
      continue;
    }
    spare |= bit;
    scratch_[i].resize(length);
    into[i] = scratch_[i].data();
  }
  CHECK(codec_->rebuild(used, want | spare, into, length).has_value());
  for (unsigned i = 0; i < blocks.size(); ++i) {
    const bool is_spare = (spare >> i & 1U) != 0;
    if (is_spare && std::memcmp(into[i], blocks[i], length) != 0) return false;
  }
  return true;
}

RowVerdict RowSolver::solve(const std::vector<Known>& known,
                            const std::vector<std::byte*>& blocks, std::size_t length,
                            PieceMask* lost) {
  CHECK_EQ(known.size(), scratch_.size());
  CHECK_EQ(blocks.size(), scratch_.size());
  PieceMask sure = 0;
  PieceMask doubtful = 0;
  for (unsigned i = 0; i < known.size(); ++i) {
    if (known[i] == Known::kSure) sure |= PieceMask{1} << i;
    if (known[i] == Known::kDoubtful) doubtful |= PieceMask{1} << i;
  }
  const PieceMask data = (PieceMask{1} << codec_->data()) - 1;
  CHECK_EQ(doubtful & ~data, 0U);
  *lost = 0;
  const PieceMask wanted = data & ~sure;
  if (wanted == 0) return RowVerdict::kSure;
  if (static_cast<unsigned>(std::popcount(sure)) >= codec_->data()) {
    CHECK(codec_->rebuild(sure, wanted, blocks, length).has_value());
    return RowVerdict::kSure;
  }
  const PieceMask have = sure | doubtful;
  const bool can_tell = static_cast<unsigned>(std::popcount(have)) > codec_->data();
  if (can_tell && fit(have, data & ~have, blocks, length)) return RowVerdict::kFits;
  *lost = wanted;
  return RowVerdict::kLost;
}

}  // namespace cairn::chunkserver::inspect
