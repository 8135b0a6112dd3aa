// PieceTable: the rows of the index, decoded in memory above a Kv. What records change stays here,
// dirty, until a checkpoint writes all of it in one batch: the journal has it meanwhile.
//
// Owns:     decoded rows: the dirty ones, those of a checkpoint under way, and clean ones as a
//           cache.
// Promises: load() reads what is missing off the loop (`offload`), so that the synchronous calls
//           after it find it; a row that is not there is read on the spot, slower, never wrongly.
//           freeze() takes everything dirty as it is now; later changes go to copies. Until
//           checkpointed() was told, frozen rows are answered from memory. Row pointers are good
//           until trim(), but a row that was looked at may be changed under or apart from its
//           pointer.
// Requires: the loop thread, except Frozen::batch(), which may run anywhere until checkpointed().
//           One checkpoint at a time. trim() only where no row pointer is held. Tasks end before
//           the table dies.
// Limits:   clean rows of `cache_bytes` after trim(); dirty ones are bounded by whoever calls
//           freeze() when dirty_bytes() is large.
// Errors:   kCorrupt, kDiskFailed.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <span>

#include "chunkserver/store/piece_index.h"
#include "chunkserver/store/table_rows.h"
#include "common/runtime/runtime.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task.h"

namespace cairn::chunkserver::store {

class TableLoad;

// Runs a blocking call off the loop; the task ends when it has ended.
using Offload = std::function<Task<Status>(std::move_only_function<Status()>)>;

class PieceTable final : public RowStore {
 public:
  struct Options {
    ByteCount cache_bytes = 64_MiB;
    Offload offload;  // empty: on the loop
  };
  // `kv` outlives it and may be read beside a write on another thread (RocksKv may).
  PieceTable(runtime::Runtime& runtime, kv::Kv& kv, Counters counters, Options options);
  ~PieceTable() override;

  // The piece's row and the segments under `ranges`.
  Task<Status> load(PieceId piece, std::vector<BlockRange> ranges);
  // Everything that applying the records will look at.
  Task<Status> load_for(std::vector<const Record*> records);
  // True: everything load() would read is here.
  bool has(PieceId piece, const std::vector<BlockRange>& ranges) const;
  // The same for load_for().
  bool has_for(std::span<const Record* const> records) const;

  Result<const PieceRow*> piece(PieceId piece) override;
  Result<const Segment*> segment(PieceId piece, std::uint32_t number) override;
  Result<PieceRow*> change_piece(PieceId piece) override;
  Status erase_piece(PieceId piece) override;
  Result<Segment*> change_segment(PieceId piece, std::uint32_t number) override;
  Result<std::vector<std::uint32_t>> segments_of(PieceId piece) override;
  Result<UsedRegion*> change_region(std::uint64_t number) override;
  Counters& counters() override { return counters_; }

  // The first piece after `after` (of any, when nullopt) in the order of keys, dirty ones included.
  Task<Result<std::optional<PieceId>>> next_piece(std::optional<PieceId> after);
  // Calls `visit` for every piece, in order of keys; for tests and self-checks, on the loop.
  Status for_each_piece(const std::function<Status(PieceId, const PieceRow&)>& visit);

  bool dirty() const;
  ByteCount dirty_bytes() const;
  // The changes since the last freeze, with counters.
  class Frozen {
   public:
    virtual ~Frozen() = default;
    // With `position` as the position row.
    virtual kv::Batch batch(const TablePosition& position) const = 0;
  };
  std::shared_ptr<const Frozen> freeze();
  // The frozen rows are in the Kv now.
  void checkpointed();
  // Drops clean rows above the limit, the longest unused first.
  void trim();

 private:
  // The entry of the piece with its row, read on the spot if need be.
  Result<TableRows::Piece*> known(PieceId piece);
  // One job reads what the load names; nothing of it is kept if a checkpoint ended meanwhile.
  Task<Status> run(std::shared_ptr<TableLoad> load);
  Task<Status> offload(std::move_only_function<Status()> job);
  // The smallest piece after `after` that is there and of which the Kv may know nothing.
  std::optional<PieceId> unsaved_after(std::optional<PieceId> after) const;
  bool is_gone(PieceId piece) const;

  kv::Kv& kv_;
  Counters counters_;
  Options options_;
  TableRows rows_;
  std::set<PieceId> loading_;  // rows that a job is reading
  runtime::Signal loaded_;
};

}  // namespace cairn::chunkserver::store
