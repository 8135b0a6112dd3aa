// Row solver: the data blocks of one row of a chunk (the blocks at one number of all pieces) from
// what is left of them, and how sure that is. Pure.
//
// A block is kSure when it is of a piece of the newest version: verified, or a hole of it. It is
// kOlder when it is of a piece of an older version, which missed writes, or was not touched by any
// since. It is kAbsent when nobody has the piece: lost, or never written and thus zeros; only the
// MDS knows which. kOlder and kAbsent are never taken on trust: a parity block that is sure, and
// not
// needed to compute anything, has to agree. Or, for kAbsent and with a verdict of its own: no more
// pieces are lost than the code bears, and what was never written are the last ones.
#pragma once

#include <memory>
#include <vector>

#include "common/erasure/codec.h"

namespace cairn::chunkserver::inspect {

enum class Known : std::uint8_t { kNot, kAbsent, kOlder, kSure };

enum class RowVerdict : std::uint8_t {
  kSure,
  kFits,  // the parity proves what was taken: older blocks, zeros for absent ones, or all but the
          // one of a stale piece
  kAssumed,      // zeros were taken for absent ones: nothing speaks against it
  kContradicts,  // blocks that are sure do not fit together: left as they are
  kLost,         // some data blocks are not known
};

class RowSolver {
 public:
  // Requires: an allowed code.
  RowSolver(unsigned data, unsigned parity);

  // `known` and `blocks` (`length` bytes each, zeros of absent ones) beside the pieces, data first.
  // Blocks of data pieces that can be computed are written; `lost` are those that are not to be
  // used. Parity is kNot or kSure. `from_begin`: the chunk may be one of which only the begin was
  // ever written.
  RowVerdict solve(const std::vector<Known>& known, const std::vector<std::byte*>& blocks,
                   std::size_t length, bool from_begin, erasure::PieceMask* lost);

  // The same for the plain case, for many rows in one go: true when there is nothing to tell but
  // kSure. Else nothing was done.
  bool solve_sure(const std::vector<Known>& known, const std::vector<std::byte*>& blocks,
                  std::size_t length);

 private:
  // Enough blocks are sure: do they fit, all or all but one?
  RowVerdict take_sure(erasure::PieceMask sure, const std::vector<std::byte*>& blocks,
                       std::size_t length);
  // The one of `sure` without which the others, and `zeros`, fit together; 0: none, or several.
  erasure::PieceMask find_stale(erasure::PieceMask sure, erasure::PieceMask zeros,
                                const std::vector<std::byte*>& blocks, std::size_t length);
  // Do the blocks in `have` (at least what the code needs) fit together? Computes `want` then.
  bool fit(erasure::PieceMask have, erasure::PieceMask want, const std::vector<std::byte*>& blocks,
           std::size_t length);
  // Computes the pieces in `want` from just enough others, beside `blocks`.
  void compute(erasure::PieceMask used, erasure::PieceMask want,
               const std::vector<std::byte*>& blocks, std::size_t length);
  // Takes the last absent pieces for never written, as many as the code needs.
  RowVerdict take_for_unwritten(const std::vector<Known>& known, erasure::PieceMask sure,
                                const std::vector<std::byte*>& blocks, std::size_t length,
                                bool from_begin);

  std::shared_ptr<const erasure::Codec> codec_;
  std::vector<std::vector<std::byte>> scratch_;
};

}  // namespace cairn::chunkserver::inspect
