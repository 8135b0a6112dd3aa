// The files of a store at its start: superblock, ring and the index rows that must agree with them;
// made anew when the store was never used. docs/protocols/chunk-store.md, "Start".
//
// Promises: a store that was interrupted while it was made is made again. One that was ever used is
//           never made anew: whatever does not fit together is an error, nothing is written over.
// Errors:   kCorrupt (superblock, index damaged, or of different files), kJournalFailed (the ring
//           is lost or another store's), kUnsupported (another format), kNoSpace, kDiskFailed.
#pragma once

#include "chunkserver/store/ring_device.h"
#include "chunkserver/store/rows.h"
#include "chunkserver/store/space_map.h"

namespace cairn::chunkserver::store {

struct StoreFiles {
  Superblock superblock;
  std::unique_ptr<RingDevice> ring;
  // Of the ring above: after a switch the rows speak of the one before, that is, of an empty ring.
  TablePosition position;
  bool current = false;  // the row in the index says just this
  bool made = false;
};

// `wanted`: the ring of a new store; its id and place are chosen here.
Task<Result<StoreFiles>> open_store_files(runtime::Runtime* runtime, io::BlockDevice* device,
                                          kv::Kv* kv, RingPlace wanted, const OpenRing* open);

// The space map of a store: what the index calls used, and a ring in the data file. `counters` must
// agree.
Result<SpaceMap> load_space(const kv::Reader& reader, const RingPlace& ring,
                            const Counters& counters, std::uint64_t end);

}  // namespace cairn::chunkserver::store
