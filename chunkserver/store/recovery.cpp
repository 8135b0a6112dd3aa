#include "chunkserver/store/recovery.h"

#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/ring_scan.h"
#include "chunkserver/store/store_files.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/fault_point.h"

namespace cairn::chunkserver::store {
namespace {

// Changed rows in memory before they are written in between.
constexpr ByteCount kDirtyBytesMax = 32_MiB;

// What one start works on.
struct Start {
  io::BlockDevice* device = nullptr;
  kv::Kv* kv = nullptr;
  RecoveredStore* store = nullptr;
  RingScan* scan = nullptr;
  Sabotage sabotage;
  TablePosition position;         // of the index, as it is now
  bool current = false;           // the index says just that
  JournalPosition known_applied;  // by the index when the start began
  std::uint64_t homes_end = 0;    // the data file must reach to here
};

Status write_table(Start& start, const TablePosition& position) {
  const std::shared_ptr<const PieceTable::Frozen> frozen = start.store->table->freeze();
  TRY_VOID(start.kv->write(frozen->batch(position)));
  start.store->table->checkpointed();
  start.position = position;
  start.current = true;
  return {};
}

// Unreadable is not unwritten: if the op was acknowledged it must stay, damaged, and be healed; if
// not, it is as good as an op that nobody decided yet. But one block that can be read and is
// another one tells that the op is not whole.
Task<Result<bool>> is_at_home(Start* start, std::uint64_t home, std::uint32_t crc) {
  Buffer block = Buffer::allocate(kBlockBytes);
  const Status read = co_await start->device->read(DiskOffset(home * kBlockBytes), block.span());
  if (!read.has_value() && read.error().code() != Code::kDiskFailed) co_return fail(read.error());
  co_return !read.has_value() || crc32c(block.span()) == crc;
}

Task<Result<bool>> are_at_home(Start* start, const Payload* payload) {
  std::size_t index = 0;
  for (const Extent& extent : payload->extents) {
    if (extent.end() * kBlockBytes > start->device->size()) co_return false;
    Buffer bytes = Buffer::allocate(extent.count * kBlockBytes);
    const DiskOffset offset(extent.first * kBlockBytes);
    const Status read = co_await start->device->read(offset, bytes.span());
    for (std::uint64_t i = 0; i < extent.count; ++i, ++index) {
      if (!read.has_value()) {
        CO_TRY(const bool there,
               co_await is_at_home(start, extent.first + i, payload->crcs[index]));
        if (!there) co_return false;
        continue;
      }
      const Bytes block = std::as_const(bytes).span().subspan(i * kBlockBytes, kBlockBytes);
      if (crc32c(block) != payload->crcs[index]) co_return false;
    }
  }
  co_return true;
}

// Which records of the last batch are whole. Others were never acknowledged.
Task<Result<std::vector<bool>>> find_whole(Start* start, const Batch* batch) {
  std::vector<bool> whole;
  std::uint64_t data_block = batch->first_data_block();
  const bool shared = start->store->ring->shares_data_device();
  for (const Record& record : batch->records) {
    const Payload* payload = payload_of(record);
    bool is_whole = true;
    if (payload != nullptr && payload->journaled) {
      CO_TRY(const std::vector<bool> right,
             co_await start->scan->check_blocks(data_block, payload->crcs));
      is_whole = std::find(right.begin(), right.end(), false) == right.end();
    } else if (payload != nullptr && shared) {
      // With a ring elsewhere they were durable before the record was written.
      CO_TRY(is_whole, co_await are_at_home(start, payload));
    }
    data_block += journaled_blocks(record);
    whole.push_back(is_whole);
  }
  co_return whole;
}

// Which homes wait in the ring after this batch.
void place_homes(Start& start, const Batch& batch, const std::vector<bool>& whole) {
  HomeMap& homes = start.store->homes;
  std::uint64_t data_block = batch.first_data_block();
  homes.begin_batch(batch.sequence);
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    const Payload* payload = payload_of(batch.records[i]);
    if (payload == nullptr) continue;
    if (whole[i]) {
      std::size_t index = 0;
      for (const Extent& extent : payload->extents) {
        if (!payload->journaled) {
          homes.forget(extent);
          continue;
        }
        for (std::uint64_t home = extent.first; home < extent.end(); ++home, ++index) {
          homes.add(home, {data_block + index, payload->crcs[index], Buffer()});
        }
        start.homes_end = std::max(start.homes_end, extent.end());
      }
    }
    data_block += journaled_blocks(batch.records[i]);
  }
}

Task<Status> apply_batch(Start* start, const Batch* batch, std::vector<bool> whole, bool last) {
  PieceTable* table = start->store->table.get();
  std::vector<const Record*> records;
  for (std::size_t i = 0; i < batch->records.size(); ++i) {
    if (whole[i]) records.push_back(&batch->records[i]);
  }
  start->store->dropped += batch->records.size() - records.size();
  CO_TRY_VOID(co_await table->load_for(records));
  PieceIndex index(*table);
  for (const Record* record : records) {
    if (last && !std::holds_alternative<PrepareRecord>(*record)) {
      // It may speak of a piece whose creation was dropped from this batch: nothing to do then.
      CO_TRY(const PieceRow* const row, table->piece(piece_of(*record)));
      if (row == nullptr) continue;
    }
    CO_TRY_VOID(index.apply(*record));
    start->store->touched.insert(piece_of(*record));
  }
  for (const Extent& extent : index.take_freed()) start->store->homes.forget(extent);
  table->trim();
  ++start->store->batches;
  co_return Status();
}

Task<Status> take_batch(Start* start, const Batch* batch, bool last) {
  RecoveredStore& store = *start->store;
  const JournalPosition reached{batch->sequence, batch->at + batch->blocks, batch->crc};
  const bool is_new = batch->sequence > start->known_applied.sequence;
  if (batch->sequence == start->known_applied.sequence && reached != start->known_applied) {
    co_return fail(store.ring->damage(
        fmt::format("batch {} is not the one that the index holds", batch->sequence)));
  }
  std::vector<bool> whole(batch->records.size(), true);
  if (last && is_new && !start->sabotage.skip_last_batch_check) {
    CO_TRY(whole, co_await find_whole(start, batch));
  }
  place_homes(*start, *batch, whole);
  if (is_new) {
    CO_TRY_VOID(co_await apply_batch(start, batch, std::move(whole), last));
    store.applied = reached;
  }
  store.live.push_back({reached, batch->at, batch->blocks});
  if (is_new && store.table->dirty_bytes() > kDirtyBytesMax) {
    TablePosition position = start->position;
    position.applied = reached;
    CO_TRY_VOID(write_table(*start, position));
    CO_TRY_VOID(start->kv->flush());
  }
  co_return Status();
}

// Takes every batch of the ring behind `tail`. One is held back until it is known not to be the
// last.
Task<Status> take_batches(Start* start) {
  std::optional<Batch> held;
  for (;;) {
    CO_TRY(std::optional<Batch> next, co_await start->scan->next());
    const bool more = next.has_value();
    if (held.has_value()) {
      CO_TRY_VOID(co_await take_batch(start, &*held, !more));
    }
    if (!more) break;
    held = std::move(next);
  }
  const JournalPosition& end = start->scan->end();
  if (end.sequence < start->known_applied.sequence) {
    co_return fail(
        start->store->ring->damage(fmt::format("it ends with batch {}, but the index holds {}",
                                               end.sequence, start->known_applied.sequence)));
  }
  if (end == start->position.tail) {
    const JournalPosition tail = end;
    CO_TRY_VOID(co_await start->scan->check_tail(tail));
  }
  co_return co_await start->scan->check_nothing_beyond();
}

// Lets go of the batches that nothing needs any more.
void move_tail(RecoveredStore& store, const JournalPosition& known_tail) {
  const std::uint64_t tail = store.homes.tail_sequence(store.applied.sequence);
  const auto first_needed =
      std::find_if(store.live.begin(), store.live.end(),
                   [tail](const RingUsage::Live& live) { return live.position.sequence > tail; });
  store.tail = known_tail;
  if (first_needed != store.live.begin()) store.tail = std::prev(first_needed)->position;
  store.live.erase(store.live.begin(), first_needed);
}

// Makes the table durable and loads the space map.
Task<Status> finish(Start* start) {
  RecoveredStore& store = *start->store;
  if (start->homes_end * kBlockBytes > start->device->size()) {
    // The file grew for these homes, but that was not durable yet.
    CO_TRY_VOID(co_await start->device->grow(start->homes_end * kBlockBytes));
  }
  TablePosition position = start->position;
  position.applied = store.applied;
  // Also when a batch brought nothing because all of it was dropped: it must not be read again.
  bool written = !start->current || store.table->dirty() || position != start->position;
  if (written) {
    CO_TRY_VOID(write_table(*start, position));
  }
  CO_TRY(store.space, load_space(*start->kv, store.ring->place(), store.table->counters(),
                                 start->device->size() / kBlockBytes));
  for (const std::uint64_t home : store.homes.homes()) {
    if (store.space.is_free(home)) store.homes.forget({home, 1});
  }
  move_tail(store, position.tail);
  position.tail = store.tail;
  if (position != start->position) {
    kv::Batch row;
    row.put(std::string(kPositionKey), encode(position));
    CO_TRY_VOID(start->kv->write(row));
    start->position = position;
    written = true;
  }
  if (!written) co_return Status();
  if (start->sabotage.unsure_start) co_return Status();
  FAULT_POINT("store.start.rows");
  co_return start->kv->flush();
}

// The file of the ring before the last switch, if it is still there.
Task<void> drop_old_ring(RecoveredStore* store, const RecoveryOptions* options) {
  if (!store->superblock.old_ring.has_value()) co_return;
  const RingPlace old = *store->superblock.old_ring;
  Status removed;
  if (old.external()) {
    removed = co_await remove_old_ring(old, store->superblock.store_id, &options->open_ring,
                                       &options->remove_ring);
  }
  if (removed.has_value()) {
    store->superblock.old_ring.reset();
  } else {
    store->left_over = removed.error();
  }
}

}  // namespace

Task<Result<RecoveredStore>> recover(runtime::Runtime* runtime, io::BlockDevice* device, kv::Kv* kv,
                                     RecoveryOptions options) {
  CHECK_GE(options.ring.blocks, kRingBlocksMin);
  CHECK_LE(options.ring.blocks, kRingBlocksMax);
  RecoveredStore store;
  Result<StoreFiles> opened =
      co_await open_store_files(runtime, device, kv, options.ring, &options.open_ring);
  if (!opened.has_value()) co_return fail(std::move(opened).error());
  StoreFiles& files = *opened;
  store.superblock = std::move(files.superblock);
  store.ring = std::move(files.ring);
  store.made = files.made;
  store.applied = files.position.applied;
  store.homes = HomeMap(options.keep_bytes);
  CO_TRY(const Counters counters, load_counters(*kv));
  store.table = std::make_unique<PieceTable>(*runtime, *kv, counters, options.table);

  // What a process that was killed left in a cache becomes durable before it is read.
  if (!options.sabotage.unsure_start) {
    CO_TRY_VOID(co_await device->flush());
  }
  if (!store.ring->shares_data_device() && !options.sabotage.unsure_start) {
    CO_TRY_VOID(co_await store.ring->flush());
  }

  FAULT_POINT("store.start.flushed");
  RingScan scan(*store.ring, files.position.tail);
  Start start{.device = device,
              .kv = kv,
              .store = &store,
              .scan = &scan,
              .sabotage = options.sabotage,
              .position = files.position,
              .current = files.current,
              .known_applied = files.position.applied};
  CO_TRY_VOID(co_await take_batches(&start));
  CHECK(store.applied == scan.end());
  FAULT_POINT("store.start.applied");
  CO_TRY_VOID(co_await finish(&start));
  FAULT_POINT("store.start.durable");
  co_await drop_old_ring(&store, &options);
  co_return std::move(store);
}

}  // namespace cairn::chunkserver::store
