#include "client/core/stripe_op_plan.h"

#include <algorithm>
#include <array>

#include "client/core/reader.h"
#include "common/base/limits.h"

namespace cairn::client {

namespace {

void mark_piece(const FileCache& cache, const StripeSource& source, unsigned piece,
                const RowRun& run, layout::StripeState* state) {
  const StripeGeometry& at = source.geometry;
  const std::uint64_t first = at.file_block(piece, run.first);
  const std::uint64_t row = run.first - source.first_row();  // of the state
  std::uint64_t kept = run.count;
  if (source.zero_from.has_value()) {
    kept = *source.zero_from <= first ? 0 : std::min(kept, *source.zero_from - first);
  }
  for (const FileRun& dirty : cache.dirty_runs(first, kept)) {
    state->mark_dirty(piece, row + dirty.first - first, dirty.count);
  }
  for (const FileRun& valid : cache.valid_runs(first, kept)) {
    state->mark_known(piece, row + valid.first - first, valid.count);
  }
  // What is cut off is known to become zero.
  state->mark_dirty(piece, row + kept, run.count - kept);
  state->mark_known(piece, row + kept, run.count - kept);
  for (std::uint64_t i = 0; i < run.count; ++i) {
    layout::RowState& known = state->rows[row + i];
    const PieceMask bit = piece_bit(piece);
    const bool zero = i < kept && first + i >= source.stored_end;
    const bool dirty = (known.dirty & bit) != 0;
    if (!dirty && (known.known & bit) != 0) continue;
    const bool here = zero || !source.old.at(piece, run.first + i).empty() ||
                      (dirty && cache.old(first + i) != nullptr);
    if (here) (dirty ? known.old : known.known) |= bit;
  }
}

// One row of a decode; the sources are copied: the codec takes pieces that it may write to.
void rebuild_row(const FileCache& cache, const layout::RowRun& run, std::uint64_t row,
                 Buffer& scratch, StripeSource& source) {
  const StripeGeometry& at = source.geometry;
  std::array<std::byte*, limits::kPiecesPerChunkMax> pieces{};
  for (unsigned i = 0; i < at.pieces(); ++i) {
    pieces[i] = scratch.data() + i * kBlockBytes;
    if ((run.sources & piece_bit(i)) == 0) continue;
    const std::byte* bytes = old_bytes(cache, source, i, row);
    CHECK(bytes != nullptr);
    std::memcpy(pieces[i], bytes, kBlockBytes);
  }
  const auto codec = erasure::Codec::get(at.data, at.parity);
  const std::span<std::byte* const> all(pieces.data(), at.pieces());
  CHECK(codec->rebuild(run.sources, run.rebuild, all, kBlockBytes).has_value());
  for (unsigned i = 0; i < at.data; ++i) {
    if ((run.rebuild & piece_bit(i)) == 0) continue;
    source.old.put(i, row, Buffer::copy_of({pieces[i], kBlockBytes}));
  }
}

}  // namespace

const std::byte* zero_block() {
  static const Buffer kZero = zeros(kBlockBytes);
  return kZero.data();
}

Result<layout::RowPlan> plan_stripe(const FileCache& cache, const StripeSource& source) {
  const StripeGeometry& at = source.geometry;
  if (at.data == 1) return layout::RowPlan();  // copies of what is written
  layout::StripeState state;
  state.data = at.data;
  state.parity = at.parity;
  state.base = at.piece_first + source.first_row();
  // A truncation makes parity anew.
  state.deltas = !source.zero_from.has_value();
  state.readable = source.readable;
  state.unwritten = source.unwritten;
  state.targets = source.targets;
  state.rows.resize(source.end_row() - source.first_row());
  for (const RowRun& run : source.rows) {
    for (unsigned piece = 0; piece < at.data; ++piece) {
      mark_piece(cache, source, piece, run, &state);
    }
    for (unsigned piece = at.data; piece < at.pieces(); ++piece) {
      for (std::uint64_t row = run.first; row < run.first + run.count; ++row) {
        if (source.old.at(piece, row).empty()) continue;
        state.mark_old(piece, row - source.first_row(), 1);
      }
    }
  }
  return layout::plan_rows(state);
}

bool rebuild_old(const FileCache& cache, StripeSource& source) {
  bool any = false;
  Buffer scratch;
  for (const layout::RowRun& run : source.plan.runs) {
    if (run.method != layout::RowMethod::kDecode) continue;
    CHECK_EQ(run.read, PieceMask{0});
    any = true;
    if (scratch.empty()) scratch = Buffer::allocate(source.geometry.pieces() * kBlockBytes);
    for (std::uint64_t row = run.first; row < run.first + run.count; ++row) {
      rebuild_row(cache, run, source.first_row() + row, scratch, source);
    }
  }
  return any;
}

const std::byte* old_bytes(const FileCache& cache, const StripeSource& source, unsigned piece,
                           std::uint64_t row) {
  if ((source.unwritten & piece_bit(piece)) != 0) return zero_block();
  const Buffer& read = source.old.at(piece, row);
  if (!read.empty()) return read.data();
  if (piece >= source.geometry.data) return nullptr;
  const std::uint64_t block = source.geometry.file_block(piece, row);
  if (source.is_cut(block)) return nullptr;  // zeros from now on, but not before
  if (cache.dirty(block)) {
    if (const std::byte* kept = cache.old(block); kept != nullptr) return kept;
  } else {
    const std::byte* clean = nullptr;
    if (cache.valid_run(block, 1, &clean) != 0) return clean;
  }
  return block >= source.stored_end ? zero_block() : nullptr;
}

}  // namespace cairn::client
