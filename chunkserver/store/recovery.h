// Recovery: opens or makes the store's files, brings the table up to the end of the ring, rebuilds
// the home map, loads the space map. docs/protocols/chunk-store.md, "Start".
//
// Promises: every record of every whole batch is in the table, durably; an op of the *last* batch
//           whose blocks are not there was never acknowledged and is dropped whole. What was read
//           is durable before anything relies on it. Time is bounded by the used part of the ring
//           and the disk's size / 16 MiB, not by the pieces. Memory: one batch at a time and the
//           home map.
// Errors:   kCorrupt (superblock, index damaged, or of different files), kJournalFailed (the ring
//           is lost, damaged or another store's), kUnsupported (another format), kNoSpace,
//           kDiskFailed.
#pragma once

#include <set>

#include "chunkserver/store/home_map.h"
#include "chunkserver/store/journal.h"
#include "chunkserver/store/piece_table.h"
#include "chunkserver/store/sabotage.h"
#include "chunkserver/store/space_map.h"

namespace cairn::chunkserver::store {

struct RecoveryOptions {
  RingPlace ring;  // of a new store: blocks, directory, journal; id and first are chosen
  OpenRing open_ring;
  RemoveRing remove_ring;
  PieceTable::Options table;
  ByteCount keep_bytes = 32_MiB;  // of HomeMap
  Sabotage sabotage;
};

struct RecoveredStore {
  // Without `old_ring` when nothing of it is left.
  Superblock superblock;
  std::unique_ptr<RingDevice> ring;
  std::unique_ptr<PieceTable> table;
  HomeMap homes{0};
  // From kReservedBlocks on. A ring in the data file is taken in it, and in no used-region.
  SpaceMap space{0, 0};
  // Everything up to `applied` is in the table (in memory at least), `tail` as in TablePosition.
  JournalPosition applied;
  JournalPosition tail;
  // Batches behind `tail`, for Journal's usage of the ring.
  std::vector<RingUsage::Live> live;
  std::set<PieceId> touched;  // pieces whose rows this start changed
  std::uint64_t batches = 0;  // applied by this start
  std::uint64_t dropped = 0;  // unacknowledged ops that were not whole
  bool made = false;
  // Why the file of the ring before the last switch could not be removed.
  std::optional<Error> left_over;
};

Task<Result<RecoveredStore>> recover(runtime::Runtime* runtime, io::BlockDevice* device, kv::Kv* kv,
                                     RecoveryOptions options);

}  // namespace cairn::chunkserver::store
