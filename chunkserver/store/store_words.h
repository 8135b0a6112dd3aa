// What goes into a PieceStore and comes out of it: options, requests, answers, figures.
#pragma once

#include <string>
#include <vector>

#include "chunkserver/store/piece_table.h"
#include "chunkserver/store/ring_device.h"
#include "chunkserver/store/sabotage.h"
#include "chunkserver/store/types.h"
#include "common/base/buffer.h"
#include "common/base/time.h"

namespace cairn::chunkserver::store {

struct StoreOptions {
  // The ring of a new store; later it is where the superblock says.
  ByteCount journal_bytes = 64_MiB;
  std::string journal_directory;  // empty: in the data file
  bool journal = true;            // false: only records and deltas go to the ring
  OpenRing open_ring;             // needed for rings outside the data file
  RemoveRing remove_ring;
  // Bodies up to this size are journaled, larger ones go straight home.
  ByteCount journal_write_max = 64_KiB;
  ByteCount size_bytes = 0;          // of the data file with its ring; 0: what the filesystem has
  ByteCount grow_bytes = 256_MiB;    // steps of growth
  ByteCount write_budget = 128_MiB;  // bytes of PREPAREs under way
  ByteCount read_budget = 128_MiB;
  ByteCount cache_bytes = 64_MiB;      // of clean rows
  ByteCount dirty_bytes_max = 32_MiB;  // of changed rows: a checkpoint is begun at half of it
  ByteCount keep_bytes = 32_MiB;       // of journaled blocks in memory
  bool verify_on_read = true;          // make-cs -S: false
  Duration home_delay = 1s;            // a journaled block may wait so long for company
  Duration fold_delay = 200ms;         // and a decided delta
  // Runs a blocking call (the Kv) off the loop; empty: on it.
  Offload offload;
  Sabotage sabotage;  // tests of the tests only
};

struct PrepareRequest {
  PieceId piece;
  ChunkVersion version;
  OpId op;
  OpSeq settled_below;
  std::uint32_t participants = 0;
  bool create = false;
  bool copy = false;  // of a repair: never on the wire
  PieceFacts facts;
  std::vector<BlockRange> writes;   // sorted, disjoint
  std::vector<std::uint32_t> crcs;  // of the body: writes, then deltas; verified by the caller
  std::vector<BlockRange> zeroes;   // sorted, disjoint, apart from writes
  std::vector<BlockRange> deltas;   // sorted, disjoint, apart from both
  bool unaligned = false;           // for the RMW counters
};

struct ReadAnswer {
  std::vector<BlockRange> present;
  std::vector<std::uint32_t> crcs;
  Buffer bytes;  // the blocks of `present`, in order
};

struct UndecidedOp {
  OpId op;
  std::uint32_t participants = 0;
  bool forwarded = false;  // by an earlier resolve: it cannot be dropped any more
  // Hull of the blocks it changes. A forwarded op that was applied is known by its number only: the
  // hull is all that a piece can have.
  BlockRange hull = {};
  friend bool operator==(const UndecidedOp&, const UndecidedOp&) = default;
};
struct SealAnswer {
  std::vector<UndecidedOp> undecided;  // by op
  std::vector<BlockRange> touched;     // by any of them: sorted, as few ranges as possible
  OpId settled;
};

struct PieceStatusAnswer {
  ChunkVersion version;
  LeaseEpoch epoch;
  std::uint64_t blocks = 0;
  std::uint32_t undecided = 0;
  bool copy = false;  // unconfirmed
};

// A block whose bytes are not what its CRC says, or that the drive could not read.
struct DamagedBlock {
  PieceId piece;
  std::uint64_t block = 0;
  std::uint64_t home = 0;
  std::uint32_t crc = 0;  // of the right content
  friend auto operator<=>(const DamagedBlock&, const DamagedBlock&) = default;
};
// Blocks that only folds and heals may take: a full store can still make its deltas whole.
inline constexpr std::uint64_t kUpkeepReserveBlocks = kPrepareBlocksMax;
// How often a call that waits for its turn looks whether the store was fenced.
inline constexpr Duration kFenceLook = 500ms;
inline constexpr std::size_t kDamagedBlocksMax =
    65536;  // remembered; the scrub finds the rest again

struct StoreStatistics {
  ByteCount space_bytes = 0;
  ByteCount free_bytes = 0;
  std::uint64_t pieces = 0;
  ByteCount used_bytes = 0;
  std::uint64_t checksum_errors = 0;  // since the start
  std::uint64_t read_errors = 0;
  std::uint64_t damaged_blocks = 0;  // now
  std::uint64_t healed_blocks = 0;   // since the start
  std::uint64_t rmw = 0;
  std::uint64_t jrmw = 0;
  bool journal = true;
  std::string journal_directory;
  ByteCount journal_bytes = 0;
  ByteCount journal_used_bytes = 0;
  ByteCount journal_backlog_bytes = 0;  // not at home yet
  bool clean = true;                    // nothing to commit: the ring may be lost without loss
};

// Where the ring should go; see StoreOptions.
struct RingPlan {
  std::string directory;
  ByteCount bytes = 0;
  bool journal = true;
};

}  // namespace cairn::chunkserver::store
