// Recovery: opens or makes the data file, brings the index up to the end of the journal, loads the
// space map.
//
// The data file: block 0 superblock, blocks 1..255 reserved, the journal's ring, then data. The
// superblock is written last when the file is made: a file without one was never used.
// Promises: every record of every whole batch is in the index; an op of the *last* batch whose
//           blocks are not on the disk was never acknowledged and is dropped whole. When it returns
//           the index is durable and the ring is empty: time is bounded by the journal and the
//           disk's size / 16 MiB, not by the pieces.
// Errors:   kCorrupt (superblock, index or journal damaged, or of different files), kNoSpace,
//           kDiskFailed.
#pragma once

#include "chunkserver/io/block_device.h"
#include "chunkserver/store/journal.h"
#include "chunkserver/store/rows.h"
#include "chunkserver/store/space_map.h"
#include "common/kv/kv.h"
#include "common/runtime/runtime.h"

namespace cairn::chunkserver::store {

inline constexpr std::uint64_t kReservedBlocks = 256;
inline constexpr std::uint64_t kJournalBlocksMin = 32;
inline constexpr std::uint64_t kJournalBlocksMax = 4_GiB / kBlockBytes;

struct RecoveredStore {
  JournalGeometry journal;
  std::uint64_t data_first = 0;
  JournalPosition position;
  Counters counters;
  SpaceMap space{0, 0};
  std::uint64_t batches = 0;  // replayed
  std::uint64_t dropped = 0;  // unacknowledged ops that were not whole
  bool made = false;
};

Task<Result<RecoveredStore>> recover(runtime::Runtime* runtime, io::BlockDevice* device, kv::Kv* kv,
                                     std::uint64_t journal_blocks);

}  // namespace cairn::chunkserver::store
