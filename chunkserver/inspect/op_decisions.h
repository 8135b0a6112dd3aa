// Which of the ops that are not settled everywhere count, when only some pieces of a chunk are left
// and nobody can ask the MDS. Pure.
//
// An op that a piece settled, decided or rolled forward counts. So does one below which another
// lies: the writer sends that one when the first is decided. So does one that all its pieces have
// that are left. One that some lack was either never acknowledged, or the pieces that lack it
// were dropped from the chunk before it was: then it must count. It does, wherever its rows can be
// made whole without those that lack it: to take an op that nobody acknowledged is never wrong.
// Else it does not count: the pieces as they were before it fit together. Whether rows can be made
// whole only the blocks tell (chunk_salvage.h); what `counts` says of such an op is a guess.
#pragma once

#include <vector>

#include "chunkserver/store/rows.h"
#include "common/erasure/codec.h"

namespace cairn::chunkserver::inspect {

struct UndecidedOp {
  store::OpId op;
  bool counts = false;
  bool sure = false;                       // no block can tell otherwise
  bool in_doubt = false;                   // it does not count, and may have been acknowledged
  erasure::PieceMask participants = 0;     // as far as anybody knows
  erasure::PieceMask with = 0;             // pieces that are left and have it
  erasure::PieceMask without = 0;          // participants that are left and lack it
  std::vector<store::BlockRange> touched;  // its blocks at all pieces, sorted, may overlap
};

struct PieceOps {
  unsigned index = 0;
  const store::PieceRow* row = nullptr;
  bool newest = true;  // its version is
};

// Does it lack an op that the other cannot undo any more? Both of the same version: a recovery
// sealed them, and took the one for stale.
bool lacks_op_of(const PieceOps& piece, const PieceOps& other);

// `pieces`: those whose ops are the writer's: no copies that nobody confirmed. Each once. A piece
// that is not of the newest version is no help to an op that it does not have. `unwritten`: data
// pieces that are not there and may never have been. In order.
std::vector<UndecidedOp> decide_ops(const std::vector<PieceOps>& pieces, unsigned data,
                                    erasure::PieceMask unwritten);

}  // namespace cairn::chunkserver::inspect
