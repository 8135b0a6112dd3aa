#include "chunkserver/inspect/op_decisions.h"

#include <algorithm>
#include <bit>
#include <map>

namespace cairn::chunkserver::inspect {
namespace {

using erasure::PieceMask;

struct Found {
  UndecidedOp op;
  PieceMask participants = 0;
};

PieceMask bit_of(const PieceOps& piece) { return PieceMask{1} << piece.index; }

bool is_kept(const store::PieceRow& row, store::OpId op) {
  return store::is_settled(row.fence, op) ||
         std::any_of(row.forwarded.begin(), row.forwarded.end(),
                     [op](const store::ForwardedOp& forwarded) { return forwarded.op == op; });
}

std::map<store::OpId, Found> gather(const std::vector<PieceOps>& pieces) {
  std::map<store::OpId, Found> ops;
  for (const PieceOps& piece : pieces) {
    for (const store::PendingOp& op : piece.row->pending) {
      Found& found = ops[op.op];
      found.op.op = op.op;
      found.op.counts |= op.decided;
      found.op.with |= bit_of(piece);
      found.participants |= op.participants;
      for (const auto* ranges : {&op.writes, &op.zeroes, &op.deltas}) {
        found.op.touched.insert(found.op.touched.end(), ranges->begin(), ranges->end());
      }
    }
  }
  return ops;
}

}  // namespace

std::vector<UndecidedOp> decide_ops(const std::vector<PieceOps>& pieces, unsigned data,
                                    PieceMask unwritten) {
  PieceMask left = 0;
  for (const PieceOps& piece : pieces) left |= bit_of(piece);
  std::vector<UndecidedOp> decided;
  for (auto& [id, found] : gather(pieces)) {
    UndecidedOp& op = found.op;
    for (const PieceOps& piece : pieces) {
      if ((found.participants & ~op.with & bit_of(piece)) == 0) continue;
      if (is_kept(*piece.row, id)) {
        op.with |= bit_of(piece);
        op.counts = true;
      } else {
        op.without |= bit_of(piece);
      }
    }
    const PieceMask whole = (left & ~op.without) | unwritten;
    op.counts |= op.without == 0 || static_cast<unsigned>(std::popcount(whole)) >= data;
    std::sort(
        op.touched.begin(), op.touched.end(),
        [](const store::BlockRange& a, const store::BlockRange& b) { return a.first < b.first; });
    decided.push_back(std::move(op));
  }
  return decided;
}

}  // namespace cairn::chunkserver::inspect
