#include "chunkserver/inspect/op_decisions.h"

#include <algorithm>
#include <bit>
#include <map>

namespace cairn::chunkserver::inspect {
namespace {

using erasure::PieceMask;

PieceMask bit_of(const PieceOps& piece) { return PieceMask{1} << piece.index; }

// What newer epochs settled may have been dropped by a recovery.
bool is_gone(const store::PieceRow& row, store::OpId op) {
  return op.epoch < row.fence.settled.epoch;
}

bool overlap(const std::vector<store::BlockRange>& a, const std::vector<store::BlockRange>& b) {
  return std::any_of(a.begin(), a.end(), [&b](const store::BlockRange& one) {
    return std::any_of(b.begin(), b.end(), [&one](const store::BlockRange& other) {
      return one.first < other.end() && other.first < one.end();
    });
  });
}

bool is_kept(const store::PieceRow& row, store::OpId op) {
  return (store::is_settled(row.fence, op) && !is_gone(row, op)) ||
         std::any_of(row.forwarded.begin(), row.forwarded.end(),
                     [op](const store::ForwardedOp& forwarded) { return forwarded.op == op; });
}

std::map<store::OpId, UndecidedOp> gather(const std::vector<PieceOps>& pieces) {
  std::map<store::OpId, UndecidedOp> ops;
  for (const PieceOps& piece : pieces) {
    for (const store::PendingOp& op : piece.row->pending) {
      UndecidedOp& found = ops[op.op];
      found.op = op.op;
      found.counts |= op.decided;
      found.with |= bit_of(piece);
      found.participants |= op.participants;
      for (const auto* ranges : {&op.writes, &op.zeroes, &op.deltas}) {
        found.touched.insert(found.touched.end(), ranges->begin(), ranges->end());
      }
    }
  }
  return ops;
}

}  // namespace

bool lacks_op_of(const PieceOps& piece, const PieceOps& other) {
  const store::PieceRow& row = *piece.row;
  return std::any_of(other.row->forwarded.begin(), other.row->forwarded.end(),
                     [&](const store::ForwardedOp& forwarded) {
                       if ((forwarded.participants & bit_of(piece)) == 0) return false;
                       const bool has = std::any_of(row.pending.begin(), row.pending.end(),
                                                    [&](const store::PendingOp& pending) {
                                                      return pending.op == forwarded.op;
                                                    });
                       return !has && !is_kept(row, forwarded.op) && !is_gone(row, forwarded.op);
                     });
}

std::vector<UndecidedOp> decide_ops(const std::vector<PieceOps>& pieces, unsigned data,
                                    PieceMask unwritten) {
  PieceMask newest = 0;
  for (const PieceOps& piece : pieces) {
    if (piece.newest) newest |= bit_of(piece);
  }
  std::vector<UndecidedOp> decided;
  for (auto& [id, op] : gather(pieces)) {
    for (const PieceOps& piece : pieces) {
      if ((op.participants & ~op.with & bit_of(piece)) == 0) continue;
      if (is_kept(*piece.row, id)) {
        op.with |= bit_of(piece);
        op.counts = true;
      } else if (!is_gone(*piece.row, id)) {
        op.without |= bit_of(piece);
      }
    }
    op.counts |= op.without == 0;
    op.sure = op.counts;
    const PieceMask whole = ((newest | op.with) & ~op.without) | unwritten;
    op.counts |= static_cast<unsigned>(std::popcount(whole)) >= data;
    std::sort(
        op.touched.begin(), op.touched.end(),
        [](const store::BlockRange& a, const store::BlockRange& b) { return a.first < b.first; });
    decided.push_back(std::move(op));
  }
  for (auto op = decided.begin(); op != decided.end(); ++op) {
    if (op->sure) continue;
    op->sure = std::any_of(op + 1, decided.end(), [op](const UndecidedOp& later) {
      return later.op.epoch == op->op.epoch && overlap(op->touched, later.touched);
    });
    op->counts |= op->sure;
  }
  return decided;
}

}  // namespace cairn::chunkserver::inspect
