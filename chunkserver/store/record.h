// Journal records and batches: encode and decode. Pure. docs/formats/cs-journal.md tells the bytes.
//
// A batch is what one flush makes durable: a 64-byte header and records, in whole 4 KiB blocks. It
// carries its sequence number, the CRC of the batch before it and the journal's salt: nothing of an
// older lap, of another journal or of a torn write passes for the next batch.
// Errors:   kCorrupt; a decoder never reads beyond its bytes and never allocates more than they can
//           hold.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "chunkserver/store/types.h"
#include "common/base/buffer.h"
#include "common/base/result.h"

namespace cairn::chunkserver::store {

struct PrepareRecord {
  PieceId piece;
  ChunkVersion version;
  OpId op;
  OpSeq settled_below;
  std::uint32_t participants = 0;
  PieceFacts facts;
  std::vector<BlockRange> writes;   // sorted, disjoint
  std::vector<BlockRange> zeroes;   // sorted, disjoint, apart from writes
  std::vector<Extent> extents;      // where the blocks of `writes` lie, in order
  std::vector<std::uint32_t> crcs;  // one per block of `writes`
  friend bool operator==(const PrepareRecord&, const PrepareRecord&) = default;
};
struct SettleRecord {
  PieceId piece;
  OpId below;
  friend bool operator==(const SettleRecord&, const SettleRecord&) = default;
};
struct SealRecord {
  PieceId piece;
  ChunkVersion version;
  LeaseEpoch epoch;
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
using Record = std::variant<PrepareRecord, SettleRecord, SealRecord, ResolveRecord, RemoveRecord>;

PieceId piece_of(const Record& record);
// Tells two ops under one number apart, in memory.
std::uint32_t content_digest(const std::vector<BlockRange>& writes,
                             const std::vector<BlockRange>& zeroes,
                             const std::vector<std::uint32_t>& crcs);
// Bytes of the record in a batch, at most.
std::size_t encoded_size(const Record& record);

inline constexpr std::uint16_t kJournalFormat = 1;
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
  std::uint64_t at = 0;  // block of the ring; the scan fills it in
  std::uint64_t blocks = 0;
  std::vector<Record> records;
};

struct BatchHead {
  std::uint64_t sequence = 0;
  std::uint32_t previous_crc = 0;
  std::uint32_t crc = 0;
  std::uint32_t records = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t blocks() const { return div_ceil(kBatchHeaderBytes + payload_bytes, kBlockBytes); }
};

struct EncodedBatch {
  Buffer bytes;  // whole blocks
  std::uint32_t crc = 0;
};
EncodedBatch encode_batch(std::uint64_t salt, const JournalPosition& previous,
                          const std::vector<const Record*>& records);

// Looks at the first 64 bytes only; the CRC is not verified. Error: kCorrupt (no batch begins
// here).
Result<BatchHead> decode_head(Bytes bytes, std::uint64_t salt);
// Verifies and decodes the batch that begins here.
Result<Batch> decode_batch(Bytes bytes, std::uint64_t salt);

}  // namespace cairn::chunkserver::store
