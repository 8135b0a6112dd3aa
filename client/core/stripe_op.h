// StripeOp: one write op, ready to be sent: which blocks go to which piece, with parity and CRCs.
// Built in one go from the cache, so that what is sent is what was encoded. Pure.
//
// A row is the blocks of all pieces at one block of the cell: M data blocks and their N parity
// blocks. An op covers whole rows of one stripe: dirty blocks are written, and all parity pieces
// get new blocks or deltas, as planned (stripe_op_plan.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/core/chunk_state.h"
#include "client/core/file_cache.h"
#include "common/base/check.h"
#include "common/layout/file_layout.h"
#include "common/layout/row_plan.h"

namespace cairn::client {

// More rows make a second op: bounds a PREPARE to a MiB a piece.
inline constexpr std::uint64_t kRowsPerOpMax = 256;

// Where a stripe lies; all in blocks.
struct StripeGeometry {
  unsigned data = 1;
  unsigned parity = 0;
  std::uint64_t rows = 0;          // blocks of a cell
  std::uint64_t file_first = 0;    // first file block of the stripe
  std::uint64_t piece_first = 0;   // first piece block of the stripe
  std::uint64_t piece_blocks = 0;  // what one piece of the chunk holds
  std::uint64_t chunk_index = 0;

  static StripeGeometry of(const layout::FileLayout& layout, std::uint64_t stripe);
  std::uint64_t file_block(unsigned piece, std::uint64_t row) const {
    return file_first + piece * rows + row;
  }
  std::uint64_t blocks() const { return data * rows; }
  unsigned pieces() const { return data + parity; }
  PieceMask parity_mask() const {
    return ((PieceMask{1} << pieces()) - 1) & ~((PieceMask{1} << data) - 1);
  }
};

// Rows of the stripe.
using RowRun = layout::BlockRun;

struct PieceWrite {
  std::vector<layout::BlockRun> writes;  // piece blocks, in order
  std::vector<layout::BlockRun> zeroes;  // become holes
  std::vector<layout::BlockRun> deltas;  // XORed onto what is there
  std::vector<Buffer> body;              // the blocks of `writes`, then those of `deltas`
  std::string crcs;                      // 4 bytes a block, in the same order
  // The application wrote over a part only of some block that this piece's blocks depend on.
  bool unaligned = false;
  bool empty() const { return writes.empty() && zeroes.empty() && deltas.empty(); }
};

struct StripeOp {
  std::vector<PieceWrite> pieces;  // by index
  std::vector<FileRun> claimed;    // of the cache: to be given back
  std::uint64_t file_end = 0;      // file block after the last one written
  ByteCount bytes = 0;             // of all bodies
  PieceMask writes_mask() const;
  PieceMask zeroes_only_mask() const;
};

// Blocks of some rows as they are at the chunk servers: read, or rebuilt.
class OldBlocks {
 public:
  OldBlocks() = default;
  OldBlocks(unsigned pieces, std::uint64_t first_row, std::uint64_t rows)
      : first_row_(first_row), rows_(rows), blocks_(pieces * rows) {}
  // Empty: not here.
  const Buffer& at(unsigned piece, std::uint64_t row) const { return blocks_[index(piece, row)]; }
  void put(unsigned piece, std::uint64_t row, Buffer block) {
    blocks_[index(piece, row)] = std::move(block);
  }

 private:
  std::size_t index(unsigned piece, std::uint64_t row) const {
    CHECK(row >= first_row_ && row - first_row_ < rows_);
    return piece * rows_ + (row - first_row_);
  }
  std::uint64_t first_row_ = 0;
  std::uint64_t rows_ = 0;
  std::vector<Buffer> blocks_;
};

// What a plan and a build need to know.
struct StripeSource {
  StripeSource(const StripeGeometry& stripe, std::vector<RowRun> runs)
      : geometry(stripe),
        rows(std::move(runs)),
        old(stripe.pieces(), first_row(), end_row() - first_row()) {}

  const StripeGeometry geometry;
  const std::vector<RowRun> rows;  // at least one
  OldBlocks old;
  // Truncation: file blocks of these rows from here on become holes; with `zero_rest` all stripes
  // of the chunk after this one too.
  std::optional<std::uint64_t> zero_from;
  bool zero_rest = false;

  // As the chunk's map is now.
  PieceMask readable = 0;
  PieceMask unwritten = 0;       // on no disk: zeros
  PieceMask targets = 0;         // parity pieces that are not missing
  std::uint64_t stored_end = 0;  // file blocks from here on are zeros at the chunk servers
  layout::RowPlan plan;          // rows[0] of it is first_row()

  std::uint64_t first_row() const { return rows.front().first; }
  std::uint64_t end_row() const { return rows.back().first + rows.back().count; }
  bool is_cut(std::uint64_t file_block) const {
    return zero_from.has_value() && file_block >= *zero_from;
  }
};

// Rows of the stripe with dirty blocks, from row `from` on, at most kRowsPerOpMax.
std::vector<RowRun> dirty_rows(const FileCache& cache, const StripeGeometry& geometry,
                               std::uint64_t from);
// Pieces that an op on these rows writes: those with dirty blocks, and all parity.
PieceMask touched_pieces(const FileCache& cache, const StripeGeometry& geometry,
                         const std::vector<RowRun>& rows);
// Claims the dirty blocks, encodes, makes deltas. Requires: `source.plan` was made since anything
// last changed, and reads nothing.
StripeOp build_stripe_op(FileCache& cache, const StripeSource& source);

}  // namespace cairn::client
