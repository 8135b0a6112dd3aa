#include "chunkserver/inspect/chunk_salvage.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/base/limits.h"

namespace cairn::chunkserver::inspect {
namespace {

using erasure::PieceMask;

// Of pieces that are there twice: the combinations are tried.
constexpr std::size_t kSparesMost = 4;

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

}  // namespace

Result<ChunkSalvage> ChunkSalvage::make(std::vector<ChunkPiece> pieces, bool assume) {
  CHECK(!pieces.empty());
  std::stable_sort(pieces.begin(), pieces.end(), [](const ChunkPiece& a, const ChunkPiece& b) {
    if (a.id.index != b.id.index) return a.id.index < b.id.index;
    if (a.row.fence.copy != b.row.fence.copy) return b.row.fence.copy;
    if (a.row.fence.version != b.row.fence.version) {
      return a.row.fence.version > b.row.fence.version;
    }
    return a.row.fence.epoch > b.row.fence.epoch;
  });
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
      places_(layout.encoding().pieces()),
      versions_(layout.encoding().pieces()) {
  choose_newest();
}

bool ChunkSalvage::is_eligible(const ChunkPiece& piece) const {
  if (!report_.only_copies) return !piece.row.fence.copy;
  // One that was cut short has not settled its ops.
  return piece.row.pending.empty();
}

void ChunkSalvage::choose_newest() {
  report_.only_copies = std::all_of(pieces_.begin(), pieces_.end(),
                                    [](const ChunkPiece& piece) { return piece.row.fence.copy; });
  for (const ChunkPiece& piece : pieces_) {
    if (is_eligible(piece)) report_.version = std::max(report_.version, piece.row.fence.version);
  }
  const auto is_newest = [this](const ChunkPiece& piece) {
    return is_eligible(piece) && piece.row.fence.version == report_.version;
  };
  // A piece without its journal may lack what others of its version have.
  report_.maybe_old = std::none_of(pieces_.begin(), pieces_.end(), [&](const ChunkPiece& piece) {
    return is_newest(piece) && !piece.from->summary().without_journal;
  });
  for (unsigned i = 0; i < places_.size(); ++i) places_[i].index = i;
  for (const ChunkPiece& piece : pieces_) {
    const bool whole = report_.maybe_old || !piece.from->summary().without_journal;
    const unsigned index = piece.id.index.raw();
    const bool stale = std::any_of(pieces_.begin(), pieces_.end(), [&](const ChunkPiece& other) {
      return is_newest(other) && lacks_op_of({index, &piece.row}, {0, &other.row});
    });
    const State state = is_newest(piece) && whole && !stale ? State::kNewest : State::kOlder;
    if (piece.row.fence.copy) report_.copies |= bit_of(piece);
    if (places_[index].piece == nullptr) {
      places_[index].piece = &piece;
      places_[index].state = state;
      places_[index].stale = stale;
      (state == State::kNewest ? report_.newest : report_.older) |= bit_of(piece);
    } else if (places_.size() < total() + kSparesMost) {
      Place& spare = places_.emplace_back();
      spare.piece = &piece;
      spare.index = index;
      spare.spare = true;
      spare.state = State::kOlder;
    }
  }
}

void ChunkSalvage::settle_ops() {
  std::vector<PieceOps> pieces;
  PieceMask absent = 0;
  for (unsigned i = 0; i < total(); ++i) {
    const Place& place = places_[i];
    // The ops of a copy are its own.
    if (place.usable() && !place.piece->row.fence.copy) {
      pieces.push_back({i, &place.piece->row, place.state == State::kNewest});
    }
    if (place.state == State::kAbsent && i < data()) absent |= PieceMask{1} << i;
  }
  report_.undecided = decide_ops(pieces, data(), from_begin_ ? absent : 0);
  // What was decided all others had.
  for (const UndecidedOp& op : report_.undecided) missing_ |= op.sure ? op.without : 0;
  for (const PieceOps& piece : pieces) {
    const Place& place = places_[piece.index];
    if (!place.stale && !place.piece->from->summary().without_journal) {
      versions_[piece.index] = piece.row->fence.version.raw();
    }
  }
  solver_.know(missing_, versions_);
  // The latest first: what lies upon another is a later one.
  std::vector<bool> guesses;
  for (UndecidedOp& op : report_.undecided) guesses.push_back(std::exchange(op.counts, true));
  for (std::size_t i = report_.undecided.size(); i-- > 0;) {
    UndecidedOp& op = report_.undecided[i];
    if (!op.sure) try_op(&op, guesses[i]);
  }
}

// Of what is whole in both ways the op is taken.
void ChunkSalvage::try_op(UndecidedOp* op, bool guess) {
  const Trial with = try_rows(op->touched);
  if (with.loss == 0) return;
  const std::vector<ChunkPiece> before = pieces_;
  const auto undo = [this, op] {
    op->counts = false;
    for (ChunkPiece& piece : pieces_) {
      if (piece.row.fence.copy) continue;
      std::erase_if(piece.row.pending,
                    [op](const store::PendingOp& pending) { return pending.op == op->op; });
    }
  };
  const auto redo = [this, op, &before] {
    op->counts = true;
    for (std::size_t i = 0; i < pieces_.size(); ++i) pieces_[i].row = before[i].row;
  };
  undo();
  const Trial without = try_rows(op->touched);
  if (with.loss < without.loss || (with.loss == without.loss && guess)) {
    redo();
    return;
  }
  Rows proven = rows_after(*op, with, without);
  if (!proven.empty()) {
    redo();
    const Rows known = std::exchange(proven_, proven);
    const Trial again = try_rows(op->touched);
    proven_ = known;
    if (again.loss == 0) {
      proven_.merge(proven);
      return;
    }
    undo();
  }
  op->in_doubt = may_be_acknowledged(*op, without.unseen);
}

// It may have been acknowledged with pieces that are not here, and those that lack it may be old
// ones of pieces that have another place now. But what was right before it, and has it or was in
// the chunk and took no part in it, is right after it: as many as the code needs are enough then,
// without one to spare.
ChunkSalvage::Rows ChunkSalvage::rows_after(const UndecidedOp& op, const Trial& with,
                                            const Trial& without) const {
  const PieceMask all_data = (PieceMask{1} << data()) - 1;
  PieceMask all = 0;
  PieceMask able = op.with;
  // At least that old the op is.
  std::uint64_t since = report_.version.raw();
  for (unsigned i = 0; i < total(); ++i) {
    if ((op.with >> i & 1U) != 0 && versions_[i] != 0) since = std::min(since, versions_[i]);
  }
  for (unsigned i = 0; i < total(); ++i) {
    const bool zeros = places_[i].state == State::kAbsent && i < data();
    const bool then = places_[i].state == State::kNewest || versions_[i] >= since;
    if (places_[i].usable() || zeros) all |= PieceMask{1} << i;
    // One that was dropped before the op may have changed on the others: nothing is computed by it.
    if (then || zeros) able |= PieceMask{1} << i;
  }
  Rows proven;
  for (const auto& [row, kept] : with.kept) {
    // Nobody had anything there: zeros, all of it.
    const auto before = without.kept.find(row);
    const PieceMask right = (before == without.kept.end() ? all : before->second) & ~op.without;
    if ((right & all_data) == all_data) {
      proven.emplace(row, all_data);  // nothing is computed
    } else if (static_cast<unsigned>(std::popcount(right & able)) >= data()) {
      proven.emplace(row, right & able);
    } else {
      return {};
    }
  }
  return proven;
}

// By pieces that are not here, or whose blocks cannot be read: with those that are its rows would
// be whole. Unless no more than the code needs are enough to acknowledge: then nothing proves them.
bool ChunkSalvage::may_be_acknowledged(const UndecidedOp& op, PieceMask unseen) const {
  const PieceMask data_pieces = (PieceMask{1} << data()) - 1;
  // Parity that took no part was missing when the op began.
  const PieceMask bystanders = data_pieces & ~op.participants;
  const PieceMask all = (op.participants | bystanders) & ~op.without;
  if (static_cast<unsigned>(std::popcount(all)) < solver_.min()) return false;
  return solver_.min() <= data() || (all & unseen) != 0;
}

ChunkSalvage::Trial ChunkSalvage::try_rows(const std::vector<store::BlockRange>& ranges) {
  Trial trial;
  const ChunkReport before = report_;
  report_.lost_blocks = report_.contradicting_rows = 0;
  for (const std::uint32_t segment : segments_) {
    const std::uint64_t first = std::uint64_t{segment} * store::kSegmentBlocks;
    const bool touches =
        std::any_of(ranges.begin(), ranges.end(), [first](const store::BlockRange& range) {
          return range.first < first + store::kSegmentBlocks && first < range.end();
        });
    if (!touches) continue;
    locate(segment, &ranges);
    read_and_solve();
    for (std::size_t row = 0; row < rows_.size(); ++row) trial.kept[rows_[row]] = kept_[row];
    for (unsigned i = 0; i < total(); ++i) trial.unseen |= unseen_rows(i) ? PieceMask{1} << i : 0;
  }
  trial.loss = report_.lost_blocks + report_.contradicting_rows;
  std::vector<std::string> unreadable = std::move(report_.unreadable);
  report_ = before;
  report_.unreadable = std::move(unreadable);
  return trial;
}

void ChunkSalvage::give_up(Place& place, const Error& error) {
  const std::string why =
      error.message().empty() ? std::string(code_name(error.code())) : error.message();
  report_.unreadable.push_back(fmt::format("piece {}: {}", place.piece->id.index.raw(), why));
  place.state = State::kUnreadable;
  place.segments.clear();
  place.located.clear();
}

void ChunkSalvage::find_segments() {
  for (Place& place : places_) {
    if (!place.usable()) continue;
    Result<std::vector<std::uint32_t>> found =
        place.piece->from->segments(place.piece->id, place.piece->row);
    if (!found.has_value()) {
      give_up(place, found.error());
      continue;
    }
    place.segments = std::move(*found);
    segments_.insert(segments_.end(), place.segments.begin(), place.segments.end());
  }
  std::sort(segments_.begin(), segments_.end());
  segments_.erase(std::unique(segments_.begin(), segments_.end()), segments_.end());
}

Status ChunkSalvage::each_run(const VisitRun& visit) {
  find_segments();
  if (!segments_.empty()) {
    locate(segments_.back());
    from_begin_ = !rows_.empty() && rows_.back() < layout_.cell_bytes() / kBlockBytes;
  }
  settle_ops();
  for (const std::uint32_t segment : segments_) {
    locate(segment);
    if (rows_.empty()) continue;
    if (rows_.back() >= layout_.piece_bytes() / kBlockBytes) {
      return fail(Code::kUnsupported, "its pieces are larger than this program knows them");
    }
    read_and_solve();
    doubt_rows();
    for (unsigned i = 0; i < data(); ++i) {
      TRY_VOID(tell(i, visit));
    }
  }
  return {};
}

}  // namespace cairn::chunkserver::inspect
