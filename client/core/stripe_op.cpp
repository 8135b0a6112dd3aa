#include "client/core/stripe_op.h"

namespace cairn::client {

StripeGeometry StripeGeometry::of(const layout::FileLayout& layout, std::uint64_t stripe) {
  StripeGeometry at;
  at.data = layout.encoding().data;
  at.parity = layout.encoding().parity;
  at.rows = layout.cell_bytes() / kBlockBytes;
  at.piece_blocks = layout.piece_bytes() / kBlockBytes;
  const std::uint64_t stripes = layout.piece_bytes() / layout.cell_bytes();
  at.chunk_index = stripe / stripes;
  at.piece_first = stripe % stripes * at.rows;
  at.file_first = stripe * at.rows * at.data;
  return at;
}

PieceMask StripeOp::writes_mask() const {
  PieceMask mask = 0;
  for (unsigned i = 0; i < pieces.size(); ++i) {
    if (!pieces[i].writes.empty() || !pieces[i].deltas.empty()) mask |= piece_bit(i);
  }
  return mask;
}

PieceMask StripeOp::zeroes_only_mask() const {
  PieceMask mask = 0;
  for (unsigned i = 0; i < pieces.size(); ++i) {
    const PieceWrite& piece = pieces[i];
    const bool holes_only = piece.writes.empty() && piece.deltas.empty();
    if (holes_only && !piece.zeroes.empty()) mask |= piece_bit(i);
  }
  return mask;
}

std::vector<RowRun> dirty_rows(const FileCache& cache, const StripeGeometry& geometry,
                               std::uint64_t from) {
  std::vector<bool> dirty(geometry.rows, false);
  for (unsigned piece = 0; piece < geometry.data; ++piece) {
    const std::uint64_t first = geometry.file_block(piece, 0);
    for (const FileRun& run : cache.dirty_runs(first, geometry.rows)) {
      for (std::uint64_t i = 0; i < run.count; ++i) dirty[run.first - first + i] = true;
    }
  }
  std::vector<RowRun> rows;
  std::uint64_t total = 0;
  for (std::uint64_t row = from; row < geometry.rows && total < kRowsPerOpMax; ++row) {
    if (!dirty[row]) continue;
    if (!rows.empty() && rows.back().first + rows.back().count == row) {
      ++rows.back().count;
    } else {
      rows.push_back({row, 1});
    }
    ++total;
  }
  return rows;
}

PieceMask touched_pieces(const FileCache& cache, const StripeGeometry& geometry,
                         const std::vector<RowRun>& rows) {
  PieceMask touched = geometry.parity_mask();
  for (unsigned piece = 0; piece < geometry.data; ++piece) {
    for (const RowRun& run : rows) {
      const std::uint64_t first = geometry.file_block(piece, run.first);
      const std::optional<std::uint64_t> dirty = cache.next_dirty(first);
      if (dirty.has_value() && *dirty < first + run.count) touched |= piece_bit(piece);
    }
  }
  return touched;
}

}  // namespace cairn::client
