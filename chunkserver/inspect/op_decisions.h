// Which of the ops that are not settled everywhere count, when only some pieces of a chunk are left
// and nobody can ask the MDS. Pure.
//
// An op that a piece settled, decided or rolled forward counts. So does one that all its pieces
// have that are left. One that some lack was either never acknowledged, or the pieces that lack it
// were dropped from the chunk before it was: then it must count. It does, wherever its rows can be
// made whole without those that lack it: to take an op that nobody acknowledged is never wrong.
// Else it does not count: the pieces as they were before it fit together.
#pragma once

#include <vector>

#include "chunkserver/store/rows.h"
#include "common/erasure/codec.h"

namespace cairn::chunkserver::inspect {

struct UndecidedOp {
  store::OpId op;
  bool counts = false;
  erasure::PieceMask with = 0;             // pieces that are left and have it
  erasure::PieceMask without = 0;          // participants that are left and lack it
  std::vector<store::BlockRange> touched;  // its blocks at all pieces, sorted, may overlap
};

struct PieceOps {
  unsigned index = 0;
  const store::PieceRow* row = nullptr;
};

// `pieces`: those of the newest version, each once. `unwritten`: data pieces that are not there and
// may never have been. In order.
std::vector<UndecidedOp> decide_ops(const std::vector<PieceOps>& pieces, unsigned data,
                                    erasure::PieceMask unwritten);

}  // namespace cairn::chunkserver::inspect
