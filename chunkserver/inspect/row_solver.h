// Row solver: the data blocks of one row of a chunk (the blocks at one number of all pieces) from what
// is left of them, and how sure that is. Pure.
//
// A block is kSure when it is of a piece of the newest version: verified, or a hole of it. It is
// kDoubtful when it is of a piece of an older version (which missed writes, or was not touched by any
// since) or of a piece that nobody has (zeros, if it was never written). Doubtful blocks are never
// taken on trust: only when a parity block that is sure, and is not needed to compute anything,
// agrees.
#pragma once

#include <memory>
#include <vector>

#include "common/erasure/codec.h"

namespace cairn::chunkserver::inspect {

enum class Known : std::uint8_t { kNot, kDoubtful, kSure };

enum class RowVerdict : std::uint8_t {
  kSure,
  kFits,  // doubtful blocks were taken: the parity agrees
  kLost,  // some data blocks are not known
};

class RowSolver {
 public:
  // Requires: an allowed code.
  RowSolver(unsigned data, unsigned parity);

  // `known` and `blocks` (`length` bytes each) beside the pieces, data first. Blocks of data pieces
  // that can be computed are written; `lost` are those that are not to be used. Parity may be kNot
  // or kSure only.
  RowVerdict solve(const std::vector<Known>& known, const std::vector<std::byte*>& blocks,
                   std::size_t length, erasure::PieceMask* lost);

 private:
  // Do the blocks in `have` (more than the code needs) fit together? Computes `want` then.
  bool fit(erasure::PieceMask have, erasure::PieceMask want, const std::vector<std::byte*>& blocks,
           std::size_t length);

  std::shared_ptr<const erasure::Codec> codec_;
  std::vector<std::vector<std::byte>> scratch_;
};

}  // namespace cairn::chunkserver::inspect
