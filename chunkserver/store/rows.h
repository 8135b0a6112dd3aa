// The rows of the index: keys and values in the Kv. Pure. docs/formats/cs-index.md tells the bytes.
//
// 'p' chunk piece          -> PieceRow     fence, facts, undecided ops 's' chunk piece segment  ->
// Segment      where 256 blocks of the piece lie, with their CRCs 'u' region               ->
// UsedRegion   which of 4096 disk blocks are used 'j'                      -> JournalPosition up to
// which the journal is in the rows 'c'                      -> Counters 'i'                      ->
// salt of the data file these rows belong to Numbers in keys are big-endian.
// Errors:   kCorrupt.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "chunkserver/store/fence.h"
#include "chunkserver/store/record.h"
#include "common/kv/kv.h"

namespace cairn::chunkserver::store {

inline constexpr std::uint64_t kSegmentBlocks = 256;
inline constexpr std::uint64_t kRegionBlocks = 4096;

// An op that is durable and not settled: its blocks are apart from the piece's.
struct PendingOp {
  OpId op;
  std::uint32_t participants = 0;
  std::vector<BlockRange> writes;
  std::vector<BlockRange> zeroes;
  std::vector<Extent> extents;
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
  std::vector<PendingOp> pending;      // by op
  std::vector<ForwardedOp> forwarded;  // by op
  friend bool operator==(const PieceRow&, const PieceRow&) = default;
};

// Where one block lies. Disk block 0 is the superblock, so 0 says: a hole.
struct BlockPlace {
  std::uint64_t disk = 0;
  std::uint32_t crc = 0;
  friend bool operator==(const BlockPlace&, const BlockPlace&) = default;
};
struct Segment {
  std::array<BlockPlace, kSegmentBlocks> places;
  bool empty() const;
};

// One bit per block.
struct UsedRegion {
  std::array<std::uint64_t, kRegionBlocks / 64> bits = {};
  bool get(std::uint64_t index) const { return (bits[index / 64] >> (index % 64) & 1) != 0; }
  void flip(std::uint64_t index) { bits[index / 64] ^= std::uint64_t{1} << (index % 64); }
  bool empty() const;
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
inline constexpr std::string_view kSaltKey = "i";
inline constexpr std::string_view kPiecePrefix = "p";
inline constexpr std::string_view kSegmentPrefix = "s";
inline constexpr std::string_view kRegionPrefix = "u";
Result<PieceId> parse_piece_key(std::string_view key);
Result<std::uint64_t> parse_region_key(std::string_view key);

std::string encode(const PieceRow& row);
std::string encode(const Segment& segment);
std::string encode(const UsedRegion& region);
std::string encode(const JournalPosition& position);
std::string encode(const Counters& counters);
Result<PieceRow> decode_piece_row(std::string_view bytes);
Result<Segment> decode_segment(std::string_view bytes);
Result<UsedRegion> decode_region(std::string_view bytes);
Result<JournalPosition> decode_position(std::string_view bytes);
Result<Counters> decode_counters(std::string_view bytes);

// Absent rows: nullopt, an empty segment, an empty region, zeros.
Result<std::optional<PieceRow>> load_piece(const kv::Reader& reader, PieceId piece);
Result<Segment> load_segment(const kv::Reader& reader, PieceId piece, std::uint32_t segment);
Result<UsedRegion> load_region(const kv::Reader& reader, std::uint64_t region);
Result<Counters> load_counters(const kv::Reader& reader);

}  // namespace cairn::chunkserver::store
