#include "chunkserver/inspect/chunk_salvage.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

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

bool has_forwarded(const store::PieceRow& row, store::OpId op) {
  return std::any_of(row.forwarded.begin(), row.forwarded.end(),
                     [op](const store::ForwardedOp& forwarded) { return forwarded.op == op; });
}

const store::PendingOp* find_pending(const store::PieceRow& row, store::OpId op) {
  const auto at = std::find_if(row.pending.begin(), row.pending.end(),
                               [op](const store::PendingOp& pending) { return pending.op == op; });
  return at == row.pending.end() ? nullptr : &*at;
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
  decide_ops();
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

void ChunkSalvage::decide_ops() {
  std::map<store::OpId, UndecidedOp> ops;
  for (const ChunkPiece& piece : pieces_) {
    if ((report_.newest & bit_of(piece)) == 0) continue;
    for (const store::PendingOp& op : piece.row.pending) {
      UndecidedOp& found = ops[op.op];
      found.op = op.op;
      found.counts |= op.decided;
      found.participants |= op.participants;
      found.with |= bit_of(piece);
    }
  }
  for (auto& [id, op] : ops) {
    for (const ChunkPiece& piece : pieces_) {
      const bool concerned = (op.participants & report_.newest & bit_of(piece)) != 0;
      if (!concerned || find_pending(piece.row, id) != nullptr) continue;
      // It cannot undo what it settled or was told to keep.
      op.counts |= store::is_settled(piece.row.fence, id) || has_forwarded(piece.row, id);
      op.without |= bit_of(piece);
    }
    op.counts |= op.without == 0;
  }
  for (ChunkPiece& piece : pieces_) {
    std::erase_if(piece.row.pending, [&ops](const store::PendingOp& op) {
      const auto found = ops.find(op.op);
      return found != ops.end() && !found->second.counts;
    });
  }
  for (const auto& [id, op] : ops) report_.undecided.push_back(op);
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

void ChunkSalvage::read(Place& place, bool is_data) {
  Known holes = Known::kNot;
  if (place.state == State::kNewest) holes = Known::kSure;
  // Parity of an older version missed what the newest has.
  if (place.state == State::kOlder && is_data) holes = Known::kOlder;
  if (place.state == State::kAbsent && is_data) holes = Known::kAbsent;
  place.bytes = Buffer::zeroed(rows_.size() * kBlockBytes);
  place.known.assign(rows_.size(), holes);
  if (holes == Known::kNot || place.located.empty()) return;
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

void ChunkSalvage::read_rows() {
  bool all_sure = true;
  for (unsigned i = 0; i < data(); ++i) {
    if (places_[i].state != State::kNewest) {
      all_sure = false;
      continue;
    }
    read(places_[i], true);
    all_sure &= std::find(places_[i].known.begin(), places_[i].known.end(), Known::kNot) ==
                places_[i].known.end();
  }
  if (all_sure) return;
  for (unsigned i = 0; i < places_.size(); ++i) {
    if (places_[i].known.empty()) read(places_[i], i < data());
  }
}

void ChunkSalvage::solve_rows() {
  lost_.assign(rows_.size(), 0);
  if (places_.back().known.empty()) return;  // not even read: all is there
  std::vector<Known> known(places_.size());
  std::vector<std::byte*> blocks(places_.size());
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      known[i] = places_[i].known[row];
      blocks[i] = places_[i].bytes.data() + row * kBlockBytes;
    }
    const RowVerdict verdict = solver_.solve(known, blocks, kBlockBytes, from_begin_, &lost_[row]);
    if (verdict == RowVerdict::kFits) ++report_.fitted_rows;
    if (verdict == RowVerdict::kAssumed) {
      ++report_.assumed_rows;
      if (!assume_) lost_[row] = unsure_data(known, data());
    }
    report_.lost_blocks += static_cast<std::uint64_t>(std::popcount(lost_[row]));
  }
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
  for (const std::uint32_t segment : segments) {
    locate(segment);
    if (rows_.empty()) continue;
    if (rows_.back() >= layout_.piece_bytes() / kBlockBytes) {
      return fail(Code::kUnsupported, "its pieces are larger than this program knows them");
    }
    read_rows();
    solve_rows();
    for (unsigned i = 0; i < data(); ++i) {
      TRY_VOID(tell(i, visit));
    }
  }
  return {};
}

}  // namespace cairn::chunkserver::inspect
