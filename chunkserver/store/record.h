// Journal records and batches: encode and decode. Pure. docs/formats/cs-journal.md tells the bytes.
//
// A batch is what one flush makes durable: a 64-byte header and records in whole 4 KiB blocks, then
// the blocks of its journaled records, in the order of the records. It carries its sequence number,
// the CRC of the batch before it and the ring's id: nothing of an older lap, of another ring or of
// a torn write passes for the next batch. The blocks behind the records are covered by the CRCs in
// the records only.
// Errors:   kCorrupt; a decoder never reads beyond its bytes and never allocates more than they can
//           hold.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "chunkserver/store/types.h"
#include "common/base/buffer.h"
#include "common/base/result.h"

namespace cairn::chunkserver::store {

// The blocks a record brings: where their home is in the data file, what they are, and whether they
// lie behind the batch (journaled) or are at home already when the record is durable (direct).
struct Payload {
  std::vector<Extent> extents;
  std::vector<std::uint32_t> crcs;  // one per block
  bool journaled = false;
  friend bool operator==(const Payload&, const Payload&) = default;
};

struct PrepareRecord {
  PieceId piece;
  ChunkVersion version;
  OpId op;
  OpSeq settled_below;
  std::uint32_t participants = 0;
  PieceFacts facts;
  std::vector<BlockRange> writes;  // sorted, disjoint
  std::vector<BlockRange> zeroes;  // sorted, disjoint, apart from writes
  std::vector<BlockRange> deltas;  // sorted, disjoint, apart from both
  Payload payload;                 // the blocks of `writes`, then those of `deltas`
  bool copy = false;               // of a repair
  friend bool operator==(const PrepareRecord&, const PrepareRecord&) = default;
};
struct SettleRecord {
  PieceId piece;
  OpId below;
  ChunkVersion version = {};  // 0: unknown
  friend bool operator==(const SettleRecord&, const SettleRecord&) = default;
};
struct SealRecord {
  PieceId piece;
  ChunkVersion version;
  LeaseEpoch epoch;
  bool copy = false;  // a repair begins
  friend bool operator==(const SealRecord&, const SealRecord&) = default;
};
struct ResolveRecord {
  PieceId piece;
  LeaseEpoch epoch;
  std::vector<OpId> forward;  // sorted
  friend bool operator==(const ResolveRecord&, const ResolveRecord&) = default;
};
struct RemoveRecord {
  PieceId piece;
  friend bool operator==(const RemoveRecord&, const RemoveRecord&) = default;
};
// All decided ops of the piece up to `through` become part of its settled state; `blocks` are those
// whose newest layer among them was a delta, with their content after `through`.
struct FoldRecord {
  PieceId piece;
  OpId through;
  std::vector<BlockRange> blocks;  // sorted, disjoint
  Payload payload;
  friend bool operator==(const FoldRecord&, const FoldRecord&) = default;
};
// Damaged blocks get a fresh home, each only if it still lies at its old one.
struct HealRecord {
  PieceId piece;
  std::vector<BlockRange> blocks;        // sorted, disjoint
  std::vector<std::uint64_t> old_homes;  // one per block
  Payload payload;                       // CRCs are those that the table holds
  friend bool operator==(const HealRecord&, const HealRecord&) = default;
};
using Record = std::variant<PrepareRecord, SettleRecord, SealRecord, ResolveRecord, RemoveRecord,
                            FoldRecord, HealRecord>;

PieceId piece_of(const Record& record);
// nullptr: the record brings no blocks.
const Payload* payload_of(const Record& record);
// Blocks behind the batch.
std::uint64_t journaled_blocks(const Record& record);
// Tells two ops under one number apart, in memory.
std::uint32_t content_digest(const std::vector<BlockRange>& writes,
                             const std::vector<BlockRange>& zeroes,
                             const std::vector<BlockRange>& deltas,
                             const std::vector<std::uint32_t>& crcs);
// Bytes of the record in a batch, at most.
std::size_t encoded_size(const Record& record);

inline constexpr std::uint16_t kJournalFormat = 2;
inline constexpr std::size_t kBatchHeaderBytes = 64;

// Names a place in the chain of batches: the last one that was written or applied.
struct JournalPosition {
  std::uint64_t sequence = 0;    // of that batch; 0: none yet
  std::uint64_t next_block = 0;  // block of the ring after it
  std::uint32_t crc = 0;         // of that batch
  friend bool operator==(const JournalPosition&, const JournalPosition&) = default;
};

struct Batch {
  std::uint64_t sequence = 0;
  std::uint32_t previous_crc = 0;
  std::uint32_t crc = 0;
  std::uint64_t at = 0;           // block of the ring; the scan fills it in
  std::uint64_t blocks = 0;       // with the journaled blocks
  std::uint64_t data_blocks = 0;  // the journaled blocks: the last ones
  std::vector<Record> records;
  std::uint64_t first_data_block() const { return at + blocks - data_blocks; }  // of the ring
};

struct BatchHead {
  std::uint64_t sequence = 0;
  std::uint32_t previous_crc = 0;
  std::uint32_t crc = 0;
  std::uint32_t records = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t data_blocks = 0;
  std::uint64_t record_blocks() const {
    return div_ceil(kBatchHeaderBytes + payload_bytes, kBlockBytes);
  }
  std::uint64_t blocks() const { return record_blocks() + data_blocks; }
};

// Header and records only: the journaled blocks follow, as they are.
struct EncodedBatch {
  Buffer bytes;  // whole blocks
  std::uint64_t data_blocks = 0;
  std::uint32_t crc = 0;
};
// `bytes`: of the records, about: what is reserved for them.
EncodedBatch encode_batch(std::uint64_t ring, const JournalPosition& previous,
                          std::span<const Record* const> records, ByteCount bytes = 0);

// Looks at the first 64 bytes only; the CRC is not verified. Error: kCorrupt (no batch begins
// here).
Result<BatchHead> decode_head(Bytes bytes, std::uint64_t ring);
// Verifies and decodes the batch that begins here; the journaled blocks need not be in `bytes`.
Result<Batch> decode_batch(Bytes bytes, std::uint64_t ring);

}  // namespace cairn::chunkserver::store
