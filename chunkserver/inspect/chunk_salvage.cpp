#include "chunkserver/inspect/chunk_salvage.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"
#include "common/base/limits.h"

namespace cairn::chunkserver::inspect {
namespace {

using erasure::PieceMask;

PieceMask bit_of(const ChunkPiece& piece) { return PieceMask{1} << piece.id.index.raw(); }

Result<layout::FileLayout> layout_of(const store::PieceFacts& facts) {
  if (facts.generator != erasure::kGeneratorVersion) {
    return fail(Code::kUnsupported, fmt::format("its code has generator {}, this program knows {}",
                                                facts.generator, erasure::kGeneratorVersion));
  }
  // What a write must reach is of no interest here: the least that is allowed.
  TRY(const erasure::Encoding encoding,
      erasure::Encoding::make(facts.data, facts.parity, facts.data));
  return layout::FileLayout::make(encoding, facts.cell_bytes, limits::kPieceBytesDefault);
}

// Bit i: the block of data piece i is not sure.
PieceMask unsure_data(const std::vector<Known>& known, unsigned data) {
  PieceMask mask = 0;
  for (unsigned i = 0; i < data; ++i) {
    if (known[i] != Known::kSure) mask |= PieceMask{1} << i;
  }
  return mask;
}

}  // namespace

Result<ChunkSalvage> ChunkSalvage::make(std::vector<ChunkPiece> pieces, bool assume) {
  CHECK(!pieces.empty());
  // The newest of each, by index.
  std::stable_sort(pieces.begin(), pieces.end(), [](const ChunkPiece& a, const ChunkPiece& b) {
    if (a.id.index != b.id.index) return a.id.index < b.id.index;
    if (a.row.fence.version != b.row.fence.version) {
      return a.row.fence.version > b.row.fence.version;
    }
    return a.row.fence.epoch > b.row.fence.epoch;
  });
  pieces.erase(std::unique(pieces.begin(), pieces.end(),
                           [](const ChunkPiece& a, const ChunkPiece& b) {
                             return a.id.index == b.id.index;
                           }),
               pieces.end());
  const auto newest =
      std::max_element(pieces.begin(), pieces.end(), [](const ChunkPiece& a, const ChunkPiece& b) {
        return a.row.fence.version < b.row.fence.version;
      });
  TRY(layout::FileLayout layout, layout_of(newest->row.facts));
  for (const ChunkPiece& piece : pieces) {
    const bool same = piece.row.facts == newest->row.facts;
    if (same && piece.id.index.raw() < layout.encoding().pieces()) continue;
    return fail(Code::kCorrupt, fmt::format("its pieces {} and {} contradict each other",
                                            newest->id.index.raw(), piece.id.index.raw()));
  }
  return ChunkSalvage(std::move(pieces), layout, assume);
}

ChunkSalvage::ChunkSalvage(std::vector<ChunkPiece> pieces, layout::FileLayout layout, bool assume)
    : pieces_(std::move(pieces)),
      layout_(layout),
      assume_(assume),
      solver_(layout.encoding().data, layout.encoding().parity),
      places_(layout.encoding().pieces()) {
  choose_newest();
}

void ChunkSalvage::choose_newest() {
  for (const ChunkPiece& piece : pieces_) {
    report_.version = std::max(report_.version, piece.row.fence.version);
  }
  const auto is_newest = [this](const ChunkPiece& piece) {
    return piece.row.fence.version == report_.version;
  };
  // A piece without its journal may lack what others of its version have.
  report_.maybe_old = std::none_of(pieces_.begin(), pieces_.end(), [&](const ChunkPiece& piece) {
    return is_newest(piece) && !piece.from->summary().without_journal;
  });
  for (const ChunkPiece& piece : pieces_) {
    const bool whole = report_.maybe_old || !piece.from->summary().without_journal;
    Place& place = places_[piece.id.index.raw()];
    place.piece = &piece;
    place.state = is_newest(piece) && whole ? State::kNewest : State::kOlder;
    (place.state == State::kNewest ? report_.newest : report_.older) |= bit_of(piece);
  }
}

void ChunkSalvage::settle_ops() {
  std::vector<PieceOps> newest;
  PieceMask absent = 0;
  for (unsigned i = 0; i < places_.size(); ++i) {
    if (places_[i].state == State::kNewest) newest.push_back({i, &places_[i].piece->row});
    if (places_[i].state == State::kAbsent && i < data()) absent |= PieceMask{1} << i;
  }
  report_.undecided = decide_ops(newest, data(), from_begin_ ? absent : 0);
  for (ChunkPiece& piece : pieces_) {
    std::erase_if(piece.row.pending, [this](const store::PendingOp& pending) {
      return std::any_of(report_.undecided.begin(), report_.undecided.end(),
                         [&](const UndecidedOp& op) { return op.op == pending.op && !op.counts; });
    });
  }
}

// Lacks the piece an op that counts and touches the block?
bool ChunkSalvage::is_stale(unsigned index, std::uint64_t block) const {
  return std::any_of(report_.undecided.begin(), report_.undecided.end(),
                     [&](const UndecidedOp& op) {
                       return op.counts && (op.without >> index & 1U) != 0 &&
                              std::any_of(op.touched.begin(), op.touched.end(),
                                          [block](const store::BlockRange& range) {
                                            return range.first <= block && block < range.end();
                                          });
                     });
}

void ChunkSalvage::give_up(Place& place, const Error& error) {
  const std::string why =
      error.message().empty() ? std::string(code_name(error.code())) : error.message();
  report_.unreadable.push_back(fmt::format("piece {}: {}", place.piece->id.index.raw(), why));
  place.state = State::kUnreadable;
  place.segments.clear();
  place.located.clear();
}

std::vector<std::uint32_t> ChunkSalvage::find_segments() {
  std::vector<std::uint32_t> numbers;
  for (Place& place : places_) {
    if (!place.usable()) continue;
    Result<std::vector<std::uint32_t>> found =
        place.piece->from->segments(place.piece->id, place.piece->row);
    if (!found.has_value()) {
      give_up(place, found.error());
      continue;
    }
    place.segments = std::move(*found);
    numbers.insert(numbers.end(), place.segments.begin(), place.segments.end());
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

void ChunkSalvage::locate(std::uint32_t segment) {
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
    for (const store::LocatedBlock& block : place.located) rows_.push_back(block.block);
  }
  std::sort(rows_.begin(), rows_.end());
  rows_.erase(std::unique(rows_.begin(), rows_.end()), rows_.end());
}

std::size_t ChunkSalvage::row_of(std::uint64_t block) const {
  return static_cast<std::size_t>(std::lower_bound(rows_.begin(), rows_.end(), block) -
                                  rows_.begin());
}

void ChunkSalvage::read(unsigned index) {
  Place& place = places_[index];
  Known holes = Known::kNot;
  if (place.state == State::kNewest) holes = Known::kSure;
  // Parity of an older version missed what the newest has.
  if (place.state == State::kOlder && index < data()) holes = Known::kOlder;
  if (place.state == State::kAbsent && index < data()) holes = Known::kAbsent;
  place.bytes = Buffer::zeroed(rows_.size() * kBlockBytes);
  place.known.assign(rows_.size(), holes);
  if (holes == Known::kNot) return;
  if (holes == Known::kSure) {
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (!is_stale(index, rows_[row])) continue;
      place.known[row] = index < data() ? Known::kOlder : Known::kNot;
    }
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

void ChunkSalvage::solve_rows() {
  lost_.assign(rows_.size(), 0);
  std::vector<Known> known(places_.size());
  std::vector<std::byte*> blocks(places_.size());
  const auto same_known = [&](std::size_t row) {
    return std::all_of(places_.begin(), places_.end(),
                       [&, i = std::size_t{0}](const Place& place) mutable {
                         return place.known[row] == known[i++];
                       });
  };
  for (std::size_t row = 0; row < rows_.size();) {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      known[i] = places_[i].known[row];
      blocks[i] = places_[i].bytes.data() + row * kBlockBytes;
    }
    std::size_t end = row + 1;
    while (end < rows_.size() && same_known(end)) ++end;
    // Mostly all is as it should be: many rows in one go.
    if (solver_.solve_sure(known, blocks, (end - row) * kBlockBytes)) {
      row = end;
      continue;
    }
    solve_row(row++, known, blocks);
  }
}

void ChunkSalvage::solve_row(std::size_t row, const std::vector<Known>& known,
                             const std::vector<std::byte*>& blocks) {
  const RowVerdict verdict = solver_.solve(known, blocks, kBlockBytes, from_begin_, &lost_[row]);
  if (verdict == RowVerdict::kFits) ++report_.fitted_rows;
  if (verdict == RowVerdict::kContradicts) ++report_.contradicting_rows;
  if (verdict == RowVerdict::kAssumed) {
    ++report_.assumed_rows;
    if (!assume_) lost_[row] = unsure_data(known, data());
  }
  report_.lost_blocks += static_cast<std::uint64_t>(std::popcount(lost_[row]));
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

Status ChunkSalvage::each_run(const VisitRun& visit) {
  const std::vector<std::uint32_t> segments = find_segments();
  if (!segments.empty()) {
    locate(segments.back());
    from_begin_ = !rows_.empty() && rows_.back() < layout_.cell_bytes() / kBlockBytes;
  }
  settle_ops();
  for (const std::uint32_t segment : segments) {
    locate(segment);
    if (rows_.empty()) continue;
    if (rows_.back() >= layout_.piece_bytes() / kBlockBytes) {
      return fail(Code::kUnsupported, "its pieces are larger than this program knows them");
    }
    for (unsigned i = 0; i < places_.size(); ++i) read(i);
    solve_rows();
    for (unsigned i = 0; i < data(); ++i) {
      TRY_VOID(tell(i, visit));
    }
  }
  return {};
}

}  // namespace cairn::chunkserver::inspect
