// The rows of the index: keys and values in the Kv. Pure. docs/formats/cs-index.md tells the bytes.
//
//   'p' chunk piece          PieceRow: fence, facts, undecided and unfolded ops
//   's' chunk piece segment  Segment: where 256 blocks of the piece lie, with their CRCs
//   'u' region               UsedRegion: which of 4096 disk blocks are used
//   'j'                      TablePosition: up to where the journal is in the rows
//   'c'                      Counters
//   'i'                      id of the store these rows belong to
//
// Numbers in keys are big-endian. Errors: kCorrupt; kUnsupported (a row of another format).
#pragma once

#include <optional>
#include <string>

#include "chunkserver/store/fence.h"
#include "chunkserver/store/record.h"
#include "chunkserver/store/segment.h"
#include "common/kv/kv.h"

namespace cairn::chunkserver::store {

// An op that is durable and not part of the settled state yet: its blocks are apart from the
// piece's.
struct PendingOp {
  OpId op;
  std::uint32_t participants = 0;
  bool decided =
      false;  // it cannot be dropped any more; it waits for a fold, its own or one before
  std::vector<BlockRange> writes;
  std::vector<BlockRange> zeroes;
  std::vector<BlockRange> deltas;
  std::vector<Extent> extents;  // homes of the blocks of `writes`, then of `deltas`
  std::vector<std::uint32_t> crcs;
  friend bool operator==(const PendingOp&, const PendingOp&) = default;
};
// An op that Resolve rolled forward. Remembered until the next epoch writes, so that a recovery
// that is begun again finds the same answer.
struct ForwardedOp {
  OpId op;
  std::uint32_t participants = 0;
  friend bool operator==(const ForwardedOp&, const ForwardedOp&) = default;
};

struct PieceRow {
  FenceState fence;  // fence.exists is true
  PieceFacts facts;
  std::uint64_t blocks = 0;            // stored blocks of the settled state
  std::vector<PendingOp> pending;      // by op; the decided ones come first
  std::vector<ForwardedOp> forwarded;  // by op
  friend bool operator==(const PieceRow&, const PieceRow&) = default;
};

// What the rows contain of the journal, and where the start has to begin to read.
struct TablePosition {
  std::uint64_t ring = 0;        // id of the ring both speak of
  std::uint64_t generation = 0;  // of the superblock that named it
  JournalPosition applied;
  JournalPosition tail;  // behind it lies whatever is not at home yet; never behind `applied`
  friend bool operator==(const TablePosition&, const TablePosition&) = default;
};

struct Counters {
  std::uint64_t pieces = 0;
  std::uint64_t used_blocks = 0;
  friend bool operator==(const Counters&, const Counters&) = default;
};

std::string piece_key(PieceId piece);
std::string segment_key(PieceId piece, std::uint32_t segment);
std::string segment_prefix(PieceId piece);
std::string region_key(std::uint64_t region);
inline constexpr std::string_view kPositionKey = "j";
inline constexpr std::string_view kCountersKey = "c";
inline constexpr std::string_view kStoreIdKey = "i";
inline constexpr std::string_view kPiecePrefix = "p";
inline constexpr std::string_view kSegmentPrefix = "s";
inline constexpr std::string_view kRegionPrefix = "u";
Result<PieceId> parse_piece_key(std::string_view key);
Result<std::uint64_t> parse_region_key(std::string_view key);
// `key` begins with segment_prefix(piece).
Result<std::uint32_t> parse_segment_number(std::string_view key);

std::string encode(const PieceRow& row);
std::string encode(const Segment& segment);
std::string encode(const UsedRegion& region);
std::string encode(const TablePosition& position);
std::string encode(const Counters& counters);
Result<PieceRow> decode_piece_row(std::string_view bytes);
Result<Segment> decode_segment(std::string_view bytes);
Result<UsedRegion> decode_region(std::string_view bytes);
Result<TablePosition> decode_position(std::string_view bytes);
Result<Counters> decode_counters(std::string_view bytes);

// Absent rows: nullopt, an empty segment, an empty region, zeros.
Result<std::optional<PieceRow>> load_piece(const kv::Reader& reader, PieceId piece);
Result<Segment> load_segment(const kv::Reader& reader, PieceId piece, std::uint32_t segment);
Result<UsedRegion> load_region(const kv::Reader& reader, std::uint64_t region);
Result<Counters> load_counters(const kv::Reader& reader);

}  // namespace cairn::chunkserver::store
