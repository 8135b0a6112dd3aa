// PieceIndex: what journal records do to the rows of the index. Pure: reads through a kv::Reader,
// answers a kv::Batch.
//
// Owns:     the rows touched since take(), decoded.
// Promises: apply() is deterministic: the same records on the same rows give the same rows, live
//           and in recovery. The journal position goes into the same batch as what it stands for.
// Requires: records in journal order; the live store has checked them against the fence before.
// Errors:   kCorrupt (rows that contradict a record, undecodable rows), those of the reader. After
//           an error the object is of no more use.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "chunkserver/store/rows.h"

namespace cairn::chunkserver::store {

class PieceIndex {
 public:
  explicit PieceIndex(const kv::Reader& reader) : reader_(reader) {}

  Status apply(const Record& record);

  struct Change {
    kv::Batch batch;
    std::vector<Extent> freed;  // blocks nothing refers to any more
    Counters counters;
  };
  // Everything applied, as one batch that also says "the journal is in here up to `position`".
  Result<Change> take(const JournalPosition& position);

 private:
  Status apply(const PrepareRecord& record);
  Status apply(const SettleRecord& record);
  Status apply(const SealRecord& record);
  Status apply(const ResolveRecord& record);
  Status apply(const RemoveRecord& record);

  // Moves pending ops below `mark` into the segments, in order.
  Status settle_below(PieceId piece, PieceRow& row, OpId mark);
  Status settle_op(PieceId piece, PieceRow& row, const PendingOp& op);
  Status drop_op(const PendingOp& op);
  Status put_block(PieceId piece, PieceRow& row, std::uint64_t block, BlockPlace place);
  Status punch(PieceId piece, PieceRow& row, BlockRange range);
  Status set_used(Extent extent, bool used);
  Status release(std::uint64_t disk, std::uint64_t count);

  Result<std::optional<PieceRow>*> piece_row(PieceId piece);
  // The row of a record whose piece must be there.
  Result<PieceRow*> existing(PieceId piece);
  Result<Segment*> segment(PieceId piece, std::uint32_t number);
  Status load_counters_once();

  const kv::Reader& reader_;
  std::map<PieceId, std::optional<PieceRow>> pieces_;
  std::map<std::pair<PieceId, std::uint32_t>, Segment> segments_;
  std::map<std::uint64_t, UsedRegion> regions_;
  std::optional<Counters> counters_;
  std::vector<Extent> freed_;
};

// One block of the newest prepared state.
struct LocatedBlock {
  std::uint64_t block = 0;
  BlockPlace place;
};
// The blocks of `ranges` that exist: settled ones overlaid with the undecided ops, newest last.
// `ranges` is sorted and disjoint.
Result<std::vector<LocatedBlock>> locate(const kv::Reader& reader, PieceId piece,
                                         const PieceRow& row,
                                         const std::vector<BlockRange>& ranges);

}  // namespace cairn::chunkserver::store
