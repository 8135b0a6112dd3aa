// What a durable batch does to PieceStore: rows, homes, freed blocks.
#include <algorithm>

#include "chunkserver/store/piece_store.h"
#include "common/base/check.h"

namespace cairn::chunkserver::store {

void PieceStore::unstage(const Record& record) {
  const auto it = staged_.find(piece_of(record));
  CHECK(it != staged_.end());
  Staged& staged = it->second;
  CHECK_GT(staged.records, std::size_t{0});
  ++applied_records_;
  if (--staged.records == 0) {
    staged_.erase(it);
    return;
  }
  if (const auto* prepare = std::get_if<PrepareRecord>(&record)) {
    std::erase_if(staged.ops, [&](const Staged::Op& op) { return op.op == prepare->op; });
  }
  if (std::holds_alternative<RemoveRecord>(record)) --staged.removals;
}

void PieceStore::withdraw(const Record& record) {
  unstage(record);
  const Payload* const payload = payload_of(record);
  if (payload != nullptr) give_back(payload->extents);
  progress_.notify_all();
}

Task<Status> PieceStore::apply(const CommittedBatch* batch) {
  if (failure_.has_value()) co_return fail(*failure_);
  Status status;
  if (!table_->has_for(batch->records)) {
    std::vector<const Record*> records(batch->records.begin(), batch->records.end());
    status = co_await table_->load_for(std::move(records));
  }
  // Nothing is suspended from here on: what was loaded is still there.
  if (status.has_value() && failure_.has_value()) status = fail(*failure_);
  if (status.has_value()) status = apply_rows(*batch);
  if (!status.has_value()) {
    fence(status.error());
    co_return status;
  }
  applied_ = batch->position;
  last_batch_ = runtime_.now();
  for (const Record* record : batch->records) {
    unstage(*record);
    fold_soon(piece_of(*record));
  }
  static_cast<void>(release_freed());
  table_->trim();
  progress_.notify_all();
  if (upkeep_is_due()) wake_upkeep();
  co_return Status();
}

namespace {

// The blocks that the records of a batch brought straight home, sorted.
std::vector<Extent> direct_homes(const CommittedBatch& batch) {
  std::vector<Extent> homes;
  for (const Record* const record : batch.records) {
    const Payload* const payload = payload_of(*record);
    if (payload == nullptr || payload->journaled) continue;
    homes.insert(homes.end(), payload->extents.begin(), payload->extents.end());
  }
  std::sort(homes.begin(), homes.end(),
            [](const Extent& a, const Extent& b) { return a.first < b.first; });
  return homes;
}

bool touches(const std::vector<Extent>& sorted, const Extent& extent) {
  const auto at =
      std::upper_bound(sorted.begin(), sorted.end(), extent.first,
                       [](std::uint64_t first, const Extent& e) { return first < e.end(); });
  return at != sorted.end() && at->first < extent.end();
}

}  // namespace

Status PieceStore::apply_rows(const CommittedBatch& batch) {
  // The rows take the lists of the records over: what else needs them comes first.
  const std::vector<Extent> brought = direct_homes(batch);
  place_blocks(batch);
  PieceIndex index(*table_, options_.sabotage.stale_zeroes);
  for (Record* record : batch.records) {
    TRY_VOID(index.apply(std::move(*record)));
  }
  // A block that this very batch brought may be dead already.
  free_blocks(brought, index.take_freed());
  return {};
}

void PieceStore::place_blocks(const CommittedBatch& batch) {
  homes_.begin_batch(batch.position.sequence);
  std::uint64_t ring_block = batch.first_data_block;
  bool journaled = false;
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    const Payload* const payload = payload_of(*batch.records[i]);
    if (payload == nullptr || !payload->journaled) continue;
    journaled = true;
    std::size_t at = 0;
    for (const Extent& extent : payload->extents) {
      for (std::uint64_t home = extent.first; home < extent.end(); ++home, ++at, ++ring_block) {
        homes_.add(home, {ring_block, payload->crcs[at],
                          batch.bodies[i]->slice(at * kBlockBytes, kBlockBytes)});
      }
    }
  }
  if (journaled) batch_times_.emplace_back(batch.position.sequence, runtime_.now());
}

// A start checks the direct blocks of the last batch against their CRCs. A block that this batch
// both brought and freed must not be written over before a later batch is durable, or that check
// would take a record for unfinished whose consequences stand.
void PieceStore::free_blocks(const std::vector<Extent>& brought, std::vector<Extent> freed) {
  gate_.hold(std::exchange(withheld_, {}));
  if (!brought.empty()) {
    const auto reusable = std::partition(freed.begin(), freed.end(), [&](const Extent& extent) {
      return !touches(brought, extent);
    });
    withheld_.assign(reusable, freed.end());
    freed.erase(reusable, freed.end());
  }
  for (const Extent& extent : withheld_) {
    homes_.forget(extent);
    damaged_.erase(damaged_.lower_bound(extent.first), damaged_.lower_bound(extent.end()));
  }
  for (const Extent& extent : freed) {
    if (!options_.sabotage.skip_forget) homes_.forget(extent);
    damaged_.erase(damaged_.lower_bound(extent.first), damaged_.lower_bound(extent.end()));
  }
  if (options_.sabotage.double_free) gate_.hold(freed);
  if (options_.sabotage.reuse_while_read) {
    give_back(freed);
    return;
  }
  gate_.hold(std::move(freed));
}

bool PieceStore::release_freed() {
  if (!gate_.holds()) return false;
  const std::vector<Extent> extents = gate_.take_reusable();
  for (const Extent& extent : extents) {
    const Status status = space_.free(extent);
    CHECK(status.has_value());
  }
  return !extents.empty();
}

}  // namespace cairn::chunkserver::store
