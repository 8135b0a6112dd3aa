// StripeOp: one write op, ready to be sent: which blocks go to which piece, with parity and CRCs.
// Built in one go from the cache, so that what is sent is what was encoded. Pure.
//
// A row is the blocks of all pieces at one block of the cell: M data blocks and their N parity
// blocks. An op covers whole rows of one stripe: dirty blocks are written, all parity of these rows
// is computed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/core/chunk_state.h"
#include "client/core/file_cache.h"
#include "common/layout/file_layout.h"

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
  std::vector<Buffer> body;              // the blocks of `writes`
  std::string crcs;                      // 4 bytes a block
  // The application wrote over a part only of some block that this piece's blocks depend on.
  bool unaligned = false;
  bool empty() const { return writes.empty() && zeroes.empty(); }
};

struct StripeOp {
  std::vector<PieceWrite> pieces;  // by index
  std::vector<FileRun> claimed;    // of the cache: to be given back
  std::uint64_t file_end = 0;      // file block after the last one written
  ByteCount bytes = 0;             // of all bodies
  PieceMask writes_mask() const;
  PieceMask zeroes_only_mask() const;
};

// What a build needs to know.
struct StripeSource {
  StripeGeometry geometry;
  std::vector<RowRun> rows;
  // Blocks of these rows that are not in the cache, as they are at the chunk servers. What is
  // neither here nor in the cache is zero.
  std::map<std::uint64_t, Buffer> old;  // by file block, 4 KiB each
  // Truncation: file blocks of these rows from here on become holes; with `zero_rest` all stripes
  // of the chunk after this one too.
  std::optional<std::uint64_t> zero_from;
  bool zero_rest = false;
};

// Rows of the stripe with dirty blocks, from row `from` on, at most kRowsPerOpMax.
std::vector<RowRun> dirty_rows(const FileCache& cache, const StripeGeometry& geometry,
                               std::uint64_t from);
// Pieces that an op on these rows writes: those with dirty blocks, and all parity.
PieceMask touched_pieces(const FileCache& cache, const StripeGeometry& geometry,
                         const std::vector<RowRun>& rows);
// File blocks of these rows that parity depends on and that are neither in the cache, nor in `old`,
// nor past `stored_end`. Empty for replicas and without parity.
std::vector<FileRun> missing_blocks(const FileCache& cache, const StripeSource& source,
                                    ByteCount stored_end);
// Claims the dirty blocks and encodes.
StripeOp build_stripe_op(FileCache& cache, const StripeSource& source);

}  // namespace cairn::client
