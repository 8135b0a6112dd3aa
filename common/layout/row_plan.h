// RowPlan: what a writer must read before it can compute the parity of a partly written stripe.
//
// A row is the blocks at one block number of all pieces. Each row with a dirty block gets a method:
//   kEncode   read the data blocks that the writer lacks, encode anew ("reconstruct-write");
//   kDelta    read the old bytes of the dirty blocks, and send coefficient x (old XOR new) to the
//             parity pieces, which add it to what they have: old parity is not read;
//   kDecode   get M old blocks of the row, rebuild from them what is lacking, encode: when a block
//             that kEncode lacks cannot be read, or when enough old blocks are at hand already.
// The feasible method that reads the fewest blocks is taken; the first named of equals, since a new
// encode also heals parity and a delta has to be folded later. A partly dirty block is completed
// before it is used: its old bytes are read, kept, rebuilt or zeros. A dirty block whose piece is
// missing counts like any other: its new content lives in parity only. Pure.
// Errors: kTooFewPieces (some row cannot be completed from what is readable).
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/result.h"
#include "common/erasure/codec.h"
#include "common/layout/file_layout.h"

namespace cairn::layout {

// What the writer knows of one row; bit i is piece i, of the data pieces unless told.
struct RowState {
  erasure::PieceMask dirty = 0;  // the write changes this block
  // Its present bytes are in memory, complete: the new bytes of a dirty block, or a clean copy. A
  // dirty block that is not known is written in part.
  erasure::PieceMask known = 0;
  // The bytes before the write are still in memory: of dirty blocks, and of parity.
  erasure::PieceMask old = 0;
  friend bool operator==(const RowState&, const RowState&) = default;
};

struct StripeState {
  unsigned data = 1;
  unsigned parity = 0;
  std::uint64_t base = 0;            // piece block of the first of `rows`
  bool deltas = true;                // kDelta is allowed
  erasure::PieceMask readable = 0;   // pieces whose old blocks may be read
  erasure::PieceMask unwritten = 0;  // pieces on no disk: zeros, never read
  erasure::PieceMask targets = 0;    // parity pieces to compute; those not missing
  std::vector<RowState> rows;        // neighbours; at most the blocks of a cell

  // Requires: first + count <= rows.size().
  void mark_dirty(unsigned piece, std::uint64_t first, std::uint64_t count);
  void mark_known(unsigned piece, std::uint64_t first, std::uint64_t count);
  void mark_old(unsigned piece, std::uint64_t first, std::uint64_t count);
};

enum class RowMethod : std::uint8_t { kEncode, kDelta, kDecode };

// rows[first] .. rows[first + count - 1] are done alike.
struct RowRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  RowMethod method = RowMethod::kEncode;
  RowState state;
  erasure::PieceMask read = 0;     // old blocks to read
  erasure::PieceMask sources = 0;  // kDecode: the M pieces whose old blocks rebuild the others
  erasure::PieceMask rebuild = 0;  // kDecode: data pieces whose old block is rebuilt from `sources`
  friend bool operator==(const RowRun&, const RowRun&) = default;
};

struct RowPlan {
  std::vector<RowRun> runs;                  // in row order; rows without dirty blocks are absent
  std::vector<std::vector<BlockRun>> reads;  // by piece (M + N), in blocks of the piece, in order
  std::uint64_t blocks_read = 0;
};

Result<RowPlan> plan_rows(const StripeState& stripe);

}  // namespace cairn::layout
