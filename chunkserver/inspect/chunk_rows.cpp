// The rows of a chunk, one segment of 256 at a time: what is known of their blocks, and what comes
// of it.
#include <algorithm>
#include <bit>
#include <cstring>

#include "chunkserver/inspect/chunk_salvage.h"

namespace cairn::chunkserver::inspect {
namespace {

using erasure::PieceMask;

// Bit i: the block of data piece i is not sure.
PieceMask unsure_data(const std::vector<Known>& known, unsigned data) {
  PieceMask mask = 0;
  for (unsigned i = 0; i < data; ++i) {
    if (known[i] != Known::kSure) mask |= PieceMask{1} << i;
  }
  return mask;
}

bool is_within(const std::vector<store::BlockRange>& ranges, std::uint64_t block) {
  return std::any_of(ranges.begin(), ranges.end(), [block](const store::BlockRange& range) {
    return range.first <= block && block < range.end();
  });
}

Buffer copy_of(const std::vector<std::byte*>& blocks) {
  Buffer copy = Buffer::allocate(blocks.size() * kBlockBytes);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    std::memcpy(copy.data() + i * kBlockBytes, blocks[i], kBlockBytes);
  }
  return copy;
}

}  // namespace

// Lacks the piece an op that counts and touches the block?
bool ChunkSalvage::is_stale(unsigned index, std::uint64_t block) const {
  return std::any_of(
      report_.undecided.begin(), report_.undecided.end(), [&](const UndecidedOp& op) {
        return op.counts && (op.without >> index & 1U) != 0 && is_within(op.touched, block);
      });
}

void ChunkSalvage::locate(std::uint32_t segment, const std::vector<store::BlockRange>* only) {
  rows_.clear();
  for (Place& place : places_) {
    place.located.clear();
    place.bytes = Buffer();
    place.known.clear();
    if (!place.usable() ||
        !std::binary_search(place.segments.begin(), place.segments.end(), segment)) {
      continue;
    }
    Result<std::vector<store::LocatedBlock>> found =
        place.piece->from->located(place.piece->id, place.piece->row, segment);
    if (!found.has_value()) {
      give_up(place, found.error());
      continue;
    }
    place.located = std::move(*found);
    if (only != nullptr) {
      std::erase_if(place.located, [only](const store::LocatedBlock& block) {
        return !is_within(*only, block.block);
      });
    }
    for (const store::LocatedBlock& block : place.located) rows_.push_back(block.block);
  }
  std::sort(rows_.begin(), rows_.end());
  rows_.erase(std::unique(rows_.begin(), rows_.end()), rows_.end());
}

std::size_t ChunkSalvage::row_of(std::uint64_t block) const {
  return static_cast<std::size_t>(std::lower_bound(rows_.begin(), rows_.end(), block) -
                                  rows_.begin());
}

void ChunkSalvage::read(Place& place) {
  Known holes = Known::kNot;
  if (place.state == State::kNewest) holes = Known::kSure;
  if (place.state == State::kOlder) holes = Known::kOlder;
  if (place.state == State::kAbsent && place.index < data()) holes = Known::kAbsent;
  place.bytes = Buffer::zeroed(rows_.size() * kBlockBytes);
  place.known.assign(rows_.size(), holes);
  read_blocks(place);
  // What other blocks of the row proved.
  for (std::size_t row = 0; row < rows_.size() && !place.spare; ++row) {
    const auto proven = proven_.find(rows_[row]);
    if (proven == proven_.end()) continue;
    const bool is_proven = (proven->second >> place.index & 1U) != 0;
    place.known[row] = is_proven ? Known::kSure : Known::kNot;
  }
}

void ChunkSalvage::read_blocks(Place& place) {
  if (!place.usable()) return;
  const bool has_ops = !place.spare && !place.piece->row.fence.copy;
  for (std::size_t row = 0; row < rows_.size() && has_ops; ++row) {
    if (!is_stale(place.index, rows_[row])) continue;
    // Each op changes all parity of its rows, but not all data.
    place.known[row] = place.index < data() ? Known::kOlder : Known::kNot;
  }
  if (place.located.empty()) return;
  const PieceBlocks read = place.piece->from->read(place.located);
  for (std::size_t i = 0; i < read.blocks.size(); ++i) {
    const std::size_t row = row_of(read.blocks[i]);
    if (!read.missing[i].empty()) {
      ++report_.damaged_blocks;
      place.known[row] = Known::kNot;
      continue;
    }
    std::memcpy(place.bytes.data() + row * kBlockBytes, read.bytes.data() + i * kBlockBytes,
                kBlockBytes);
  }
}

void ChunkSalvage::read_and_solve() {
  for (Place& place : places_) read(place);
  lost_.assign(rows_.size(), 0);
  kept_.assign(rows_.size(), 0);
  for (std::size_t begin = 0; begin < rows_.size();) {
    // Rows of which the same is known.
    std::size_t end = begin + 1;
    const auto same_known = [&](const Place& place) {
      return place.known[end] == place.known[begin];
    };
    const auto pieces_end = places_.begin() + total();
    while (end < rows_.size() && std::all_of(places_.begin(), pieces_end, same_known)) ++end;
    solve_rows(begin, end);
    begin = end;
  }
}

bool ChunkSalvage::unseen_rows(unsigned index) const {
  const Place& place = places_[index];
  if (place.state == State::kAbsent && index < data()) {
    // Zeros are all that it has, whether it was ever written or not.
    const Bytes bytes = place.bytes.span();
    return std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
  }
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    if (place.known[row] == Known::kNot && !is_stale(index, rows_[row])) return true;
  }
  return false;
}

void ChunkSalvage::doubt_rows() {
  const PieceMask all_data = (PieceMask{1} << data()) - 1;
  for (const UndecidedOp& op : report_.undecided) {
    if (!op.in_doubt) continue;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (!is_within(op.touched, rows_[row])) continue;
      ++report_.assumed_rows;
      const PieceMask more = op.participants & all_data & ~lost_[row];
      if (assume_) continue;
      lost_[row] |= more;
      report_.lost_blocks += static_cast<std::uint64_t>(std::popcount(more));
    }
  }
}

// Mostly all is as it should be: many rows in one go. Else those that are not are looked for.
void ChunkSalvage::solve_rows(std::size_t begin, std::size_t end) {
  if (solve_plain(begin, end)) return;
  if (end - begin == 1) {
    solve_row(begin);
    return;
  }
  const std::size_t middle = begin + (end - begin) / 2;
  solve_rows(begin, middle);
  solve_rows(middle, end);
}

bool ChunkSalvage::solve_plain(std::size_t begin, std::size_t end) {
  std::vector<Known> known;
  std::vector<std::byte*> blocks;
  for (unsigned i = 0; i < total(); ++i) {
    known.push_back(places_[i].known[begin]);
    blocks.push_back(block_at(places_[i], begin));
  }
  const std::optional<RowVerdict> verdict =
      solver_.solve_plain(known, blocks, (end - begin) * kBlockBytes, from_begin_);
  if (verdict == RowVerdict::kFits) report_.fitted_rows += end - begin;
  if (verdict.has_value()) std::fill_n(&kept_[begin], end - begin, solver_.kept());
  return verdict.has_value();
}

void ChunkSalvage::solve_row(std::size_t row) {
  std::vector<Known> known;
  std::vector<std::byte*> blocks;
  for (unsigned i = 0; i < total(); ++i) {
    known.push_back(places_[i].known[row]);
    blocks.push_back(block_at(places_[i], row));
  }
  Buffer given;
  if (places_.size() > total()) given = copy_of(blocks);
  RowVerdict verdict = solver_.solve(known, blocks, kBlockBytes, from_begin_, &lost_[row]);
  const bool whole = verdict == RowVerdict::kSure || verdict == RowVerdict::kFits;
  if (whole) kept_[row] = solver_.kept();
  if (!whole && !given.empty() && solve_with_spares(row, known, given)) verdict = RowVerdict::kFits;
  if (verdict == RowVerdict::kFits) ++report_.fitted_rows;
  if (verdict == RowVerdict::kContradicts) ++report_.contradicting_rows;
  if (verdict == RowVerdict::kAssumed) {
    ++report_.assumed_rows;
    if (!assume_) lost_[row] = unsure_data(known, data());
  }
  report_.lost_blocks += static_cast<std::uint64_t>(std::popcount(lost_[row]));
}

// Pieces that are there twice: with the others, in every combination.
bool ChunkSalvage::solve_with_spares(std::size_t row, const std::vector<Known>& known,
                                     const Buffer& given) {
  const std::size_t spares = places_.size() - total();
  for (unsigned choice = 1; choice < 1U << spares; ++choice) {
    Buffer work = Buffer::copy_of(given.span());
    std::vector<Known> with = known;
    PieceMask missing = missing_;
    std::vector<std::uint64_t> versions = versions_;
    std::vector<std::byte*> blocks;
    for (unsigned i = 0; i < total(); ++i) blocks.push_back(work.data() + i * kBlockBytes);
    for (std::size_t i = 0; i < spares; ++i) {
      Place& spare = places_[total() + i];
      if ((choice >> i & 1U) == 0 || known[spare.index] == Known::kSure) continue;
      with[spare.index] = spare.known[row];
      std::memcpy(blocks[spare.index], block_at(spare, row), kBlockBytes);
      // That was known of the other one.
      missing &= ~(PieceMask{1} << spare.index);
      versions[spare.index] = 0;
    }
    PieceMask lost = 0;
    solver_.know(missing, std::move(versions));
    const RowVerdict verdict = solver_.solve(with, blocks, kBlockBytes, from_begin_, &lost);
    solver_.know(missing_, versions_);
    if (verdict != RowVerdict::kFits) continue;
    for (unsigned i = 0; i < data(); ++i) {
      std::memcpy(block_at(places_[i], row), blocks[i], kBlockBytes);
    }
    lost_[row] = 0;
    return true;
  }
  return false;
}

bool ChunkSalvage::is_worth_telling(unsigned index, std::size_t row) const {
  const Place& place = places_[index];
  if ((lost_[row] >> index & 1U) != 0) return true;
  const auto stored = std::lower_bound(
      place.located.begin(), place.located.end(), rows_[row],
      [](const store::LocatedBlock& block, std::uint64_t number) { return block.block < number; });
  if (stored != place.located.end() && stored->block == rows_[row]) return true;
  const Bytes block = place.bytes.span().subspan(row * kBlockBytes, kBlockBytes);
  return std::any_of(block.begin(), block.end(), [](std::byte b) { return b != std::byte{0}; });
}

Status ChunkSalvage::tell(unsigned index, const VisitRun& visit) const {
  const std::uint64_t cell_blocks = layout_.cell_bytes() / kBlockBytes;
  for (std::size_t row = 0; row < rows_.size();) {
    if (!is_worth_telling(index, row)) {
      ++row;
      continue;
    }
    const bool lost = (lost_[row] >> index & 1U) != 0;
    std::size_t end = row + 1;
    while (end < rows_.size() && rows_[end] == rows_[end - 1] + 1 &&
           rows_[end] % cell_blocks != 0 && is_worth_telling(index, end) &&
           ((lost_[end] >> index & 1U) != 0) == lost) {
      ++end;
    }
    ChunkRun run;
    run.offset =
        layout_.unmap(static_cast<std::uint8_t>(index), PieceOffset(rows_[row] * kBlockBytes));
    run.length = (end - row) * kBlockBytes;
    if (!lost) run.bytes = places_[index].bytes.span().subspan(row * kBlockBytes, run.length);
    TRY_VOID(visit(run));
    row = end;
  }
  return {};
}

}  // namespace cairn::chunkserver::inspect
