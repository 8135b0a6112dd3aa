// PieceIndex: what journal records do to the rows of a RowStore, and where the blocks of a piece
// are. Pure.
//
// Owns:     the blocks that were freed since take_freed().
// Promises: apply() is deterministic: the same records on the same rows give the same rows, live
//           and in recovery.
// Requires: records in journal order; the live store has checked them against the fence before.
// Errors:   kCorrupt (rows that contradict a record), those of the rows. After an error the rows
//           are of no more use.
#pragma once

#include <optional>
#include <vector>

#include "chunkserver/store/row_store.h"

namespace cairn::chunkserver::store {

class PieceIndex {
 public:
  // `stale_zeroes`: see Sabotage.
  explicit PieceIndex(RowStore& rows, bool stale_zeroes = false)
      : rows_(rows), stale_zeroes_(stale_zeroes) {}

  // Takes the lists of the record; its other fields stay.
  Status apply(Record&& record);
  Status apply(const Record& record) { return apply(Record(record)); }
  // Blocks nothing refers to any more.
  std::vector<Extent> take_freed();

 private:
  Status take(PrepareRecord& record);
  Status take(const SettleRecord& record);
  Status take(const SealRecord& record);
  Status take(const ResolveRecord& record);
  Status take(const RemoveRecord& record);
  Status take(const FoldRecord& record);
  Status take(const HealRecord& record);

  // The row of a piece that must be there, to change it.
  Result<PieceRow*> existing(PieceId piece);
  // In the used-regions and the counters. Error: kCorrupt (it is so already).
  Status mark(Extent extent, bool used);
  Status use(const std::vector<Extent>& extents);
  Status release(const std::vector<Extent>& extents);
  // Blocks of the settled state lie there from now on; what they replace is released.
  Status put(PieceId piece, PieceRow& row, const std::vector<BlockRange>& blocks,
             const std::vector<Extent>& homes, const std::vector<std::uint32_t>& crcs);
  Status punch(PieceId piece, PieceRow& row, BlockRange range);
  // The op becomes part of the settled state, but for its deltas: they are released.
  Status settle_op(PieceId piece, PieceRow& row, const PendingOp& op);
  // The longest prefix of decided ops without deltas.
  Status settle_decided(PieceId piece, PieceRow& row);
  // What is below the mark is decided.
  Status settle_below(PieceId piece, PieceRow& row, OpId mark);
  // False: the block does not lie at `from` any more.
  Result<bool> move_block(PieceId piece, PieceRow& row, std::uint64_t block, BlockPlace from,
                          std::uint64_t to);

  RowStore& rows_;
  bool stale_zeroes_;
  std::vector<Extent> freed_;
};

// One block as a read sees it: its newest full content, then the deltas upon it, oldest first.
struct LocatedBlock {
  std::uint64_t block = 0;
  BlockPlace base;                 // disk 0: zeros
  std::vector<BlockPlace> deltas;  // of all ops, decided or not, in their order
};
// Blocks of `ranges` (sorted, disjoint) that are not holes, in order. `through`: as of that op;
// what comes later is not looked at.
Result<std::vector<LocatedBlock>> locate(RowReader& rows, PieceId piece, const PieceRow& row,
                                         const std::vector<BlockRange>& ranges,
                                         std::optional<OpId> through = std::nullopt);

// Delta blocks one fold reads at most (but for the first op's): it must fit a batch and memory.
inline constexpr std::uint64_t kFoldBlocksMax = kPrepareBlocksMax;

// What a fold of the piece has to write now: nullopt when its first op is not a decided one with
// deltas in reach (decided ops without deltas in front are settled by apply() itself).
struct FoldPlan {
  OpId through;                    // the last op of the decided prefix, as far as one fold reaches
  std::vector<BlockRange> blocks;  // newest layer as of `through` is a delta
  std::size_t delta_ops = 0;       // ops whose deltas it folds
};
std::optional<FoldPlan> plan_fold(const PieceRow& row);
// Decided ops with deltas: what a plan would fold at most, found faster.
std::size_t unfolded_ops(const PieceRow& row);

// Stored blocks of the newest state in [first, end of the piece), at most `most`, for the scrub.
Result<std::vector<BlockRange>> stored_ranges(RowReader& rows, PieceId piece, const PieceRow& row,
                                              std::uint64_t first, std::uint64_t most);

}  // namespace cairn::chunkserver::store
