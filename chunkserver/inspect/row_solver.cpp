#include "chunkserver/inspect/row_solver.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"

namespace cairn::chunkserver::inspect {

using erasure::PieceMask;

namespace {

// Choices of one row that are looked at.
constexpr unsigned kChoicesMost = 4096;

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

unsigned default_min(unsigned data, unsigned parity) {
  if (data == 1) return parity <= 1 ? 1 : (1 + parity) / 2 + 1;
  return parity >= 2 ? data + 1 : data;
}

// The bits of `mask` that `choice` says, counted from its lowest.
PieceMask chosen(PieceMask mask, std::uint64_t choice) {
  PieceMask out = 0;
  for (; choice != 0; choice >>= 1, mask &= mask - 1) {
    if ((choice & 1) != 0) out |= mask & (~mask + 1);
  }
  return out;
}

// The next number with as many bits.
std::uint64_t next_choice(std::uint64_t choice) {
  if (choice == 0) return UINT64_MAX;
  const std::uint64_t low = choice & (~choice + 1);
  const std::uint64_t carried = choice + low;
  return carried | ((choice ^ carried) / low) >> 2;
}

}  // namespace

RowSolver::RowSolver(unsigned data, unsigned parity)
    : codec_(erasure::Codec::get(data, parity)),
      min_(default_min(data, parity)),
      scratch_(data + parity) {}

RowSolver::Masks RowSolver::masks_of(const std::vector<Known>& known, bool from_begin) const {
  Masks masks;
  masks.sure = all_that_are(known, Known::kSure);
  masks.older = all_that_are(known, Known::kOlder);
  masks.absent = all_that_are(known, Known::kAbsent);
  const PieceMask data = bit(codec_->data()) - 1;
  CHECK_EQ(masks.absent & ~data, 0U);
  const PieceMask first_absent = masks.absent & (~masks.absent + 1);
  masks.absent_are_last = from_begin && first_absent > (data & ~masks.absent);
  return masks;
}

// What is settled at a piece was decided in its version or before. A parity piece that was in the
// chunk then, or later, has it: what is left out is old. But what was in the chunk later than all
// parity that is kept may have more: it is the others that are old, among them maybe pieces that
// have another place by now. nullopt: so it is.
std::optional<PieceMask> RowSolver::outdated_by(PieceMask kept, const Masks& masks) const {
  std::uint64_t newest = 0;
  for (std::size_t i = codec_->data(); i < versions_.size(); ++i) {
    if ((kept & bit(i)) != 0) newest = std::max(newest, versions_[i]);
  }
  PieceMask outdated = 0;
  for (std::size_t i = 0; i < versions_.size(); ++i) {
    const bool left_out = (masks.older & ~kept & bit(i)) != 0;
    if (!left_out || versions_[i] == 0) continue;
    if (versions_[i] > newest) return std::nullopt;
    outdated |= bit(i);
  }
  return outdated;
}

bool RowSolver::is_proof(PieceMask kept, const Masks& masks) const {
  const unsigned data = codec_->data();
  if (count(kept) <= data) return false;
  // One block to spare alone could be two lost ones that are equal: their sum is zero, too.
  const bool zeros = (kept & masks.absent) != 0;
  if (zeros && !masks.absent_are_last && count(kept) < data + 2) return false;
  const PieceMask parity = ~(bit(data) - 1);
  if ((kept & masks.sure & parity) != 0) return true;
  const PieceMask there = kept & ~masks.absent;
  const auto total = static_cast<unsigned>(scratch_.size());
  // Else they are of before a write that was acknowledged. Of these pieces all parity was missing
  // then, and only data that it did not touch was not.
  const std::optional<PieceMask> outdated = outdated_by(kept, masks);
  if (!outdated.has_value()) return false;
  const PieceMask without = missing_ | *outdated;
  return count((there & parity) | without) > total - min_ ||
         total - count(there | without) + data <= min_;
}

bool RowSolver::same_data(PieceMask one, PieceMask other, const std::vector<std::byte*>& blocks,
                          std::size_t length) {
  const PieceMask data = bit(codec_->data()) - 1;
  const auto data_of = [&](PieceMask kept) {
    std::vector<std::byte> bytes;
    CHECK(fit(kept, 0, blocks, length));
    compute(kept, data & ~kept, blocks, length);
    for (unsigned i = 0; i < codec_->data(); ++i) {
      const std::byte* const from = (kept & bit(i)) != 0 ? blocks[i] : scratch_[i].data();
      bytes.insert(bytes.end(), from, from + length);
    }
    return bytes;
  };
  return data_of(one) == data_of(other);
}

bool RowSolver::take_older(const Masks& masks, const std::vector<std::byte*>& blocks,
                           std::size_t length) {
  const PieceMask data = bit(codec_->data()) - 1;
  const PieceMask doubtful = masks.older | masks.absent;
  const PieceMask all = masks.sure | doubtful;
  unsigned choices = 0;
  for (unsigned out = 0; out <= count(doubtful) && count(all) - out > codec_->data(); ++out) {
    PieceMask found = 0;
    const std::uint64_t end = std::uint64_t{1} << count(doubtful);
    for (std::uint64_t choice = (std::uint64_t{1} << out) - 1; choice < end;
         choice = next_choice(choice)) {
      const PieceMask kept = all & ~chosen(doubtful, choice);
      if (!is_proof(kept, masks)) continue;
      if (++choices > kChoicesMost) return false;
      if (!fit(kept, 0, blocks, length)) continue;
      if (found != 0 && !same_data(found, kept, blocks, length)) return false;
      if (found == 0) found = kept;
    }
    if (found == 0) continue;
    kept_ = found;
    return fit(found, data & ~found, blocks, length);
  }
  return false;
}

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
      kept_ = rest;
      return RowVerdict::kFits;
    }
  }
  if (agreeing == 0 && !last_ones) return RowVerdict::kLost;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if ((want & bit(i)) != 0) std::memcpy(blocks[i], scratch_[i].data(), length);
  }
  kept_ = sure | unwritten;
  // One alone could be two lost blocks that are equal: their sum is zero, too.
  const bool proven = agreeing >= 2 || (agreeing == 1 && last_ones);
  return proven ? RowVerdict::kFits : RowVerdict::kAssumed;
}

RowVerdict RowSolver::take_sure(PieceMask sure, const std::vector<std::byte*>& blocks,
                                std::size_t length) {
  const PieceMask data = bit(codec_->data()) - 1;
  kept_ = sure;
  if (fit(sure, data & ~sure, blocks, length)) return RowVerdict::kSure;
  const PieceMask stale = find_stale(sure, 0, blocks, length);
  if (stale == 0) return RowVerdict::kContradicts;
  const PieceMask rest = sure & ~stale;
  CHECK(fit(rest, data & ~rest, blocks, length));
  kept_ = rest;
  return RowVerdict::kFits;
}

std::optional<RowVerdict> RowSolver::solve_plain(const std::vector<Known>& known,
                                                 const std::vector<std::byte*>& blocks,
                                                 std::size_t length, bool from_begin) {
  const Masks masks = masks_of(known, from_begin);
  const PieceMask data = bit(codec_->data()) - 1;
  if (count(masks.sure) >= codec_->data()) {
    if (!fit(masks.sure, data & ~masks.sure, blocks, length)) return std::nullopt;
    kept_ = masks.sure;
    return RowVerdict::kSure;
  }
  const PieceMask all = masks.sure | masks.older | masks.absent;
  if (masks.older == 0 || !is_proof(all, masks)) return std::nullopt;
  if (!fit(all, data & ~all, blocks, length)) return std::nullopt;
  kept_ = all;
  return RowVerdict::kFits;
}

RowVerdict RowSolver::solve(const std::vector<Known>& known, const std::vector<std::byte*>& blocks,
                            std::size_t length, bool from_begin, PieceMask* lost) {
  CHECK_EQ(known.size(), scratch_.size());
  CHECK_EQ(blocks.size(), scratch_.size());
  const Masks masks = masks_of(known, from_begin);
  RowVerdict verdict = RowVerdict::kLost;
  if (count(masks.sure) >= codec_->data()) {
    verdict = take_sure(masks.sure, blocks, length);
  } else if (masks.older != 0 && take_older(masks, blocks, length)) {
    verdict = RowVerdict::kFits;
  } else {
    verdict = take_for_unwritten(known, masks.sure, blocks, length, from_begin);
  }
  const bool known_all = verdict != RowVerdict::kLost && verdict != RowVerdict::kContradicts;
  *lost = known_all ? 0 : (bit(codec_->data()) - 1) & ~masks.sure;
  return verdict;
}

}  // namespace cairn::chunkserver::inspect
