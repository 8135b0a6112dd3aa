#include "chunkserver/store/rows.h"

#include <fmt/format.h>

#include "chunkserver/store/range_codec.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint8_t kRowFormat = 2;
// Of a piece row: with flags. Those of kRowFormat have none.
constexpr std::uint8_t kPieceRowFormat = 3;
constexpr std::uint8_t kCopyFlag = 1;
constexpr std::size_t kPendingBytesMin = 41;  // of an op without any block
constexpr std::size_t kRunBytes = 12;

std::unexpected<Error> corrupt(const char* what) {
  return fail(Code::kCorrupt, std::string("undecodable index row: ") + what);
}

void append_be(std::string& key, std::uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    key.push_back(static_cast<char>(value >> shift & 0xff));
  }
}
std::uint64_t read_be(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

// Every value begins with the format.
ByteWriter begin_row(std::uint8_t format = kRowFormat) {
  ByteWriter out;
  out.put(format);
  return out;
}
Result<std::uint8_t> get_format(ByteReader& in, std::uint8_t newest) {
  const auto format = in.get<std::uint8_t>();
  if (!in.ok()) return corrupt("empty");
  if (format >= kRowFormat && format <= newest) return format;
  return fail(Code::kUnsupported,
              fmt::format("index row of format {}, this program knows {}", format, newest));
}
Status check_format(ByteReader& in) {
  TRY_VOID(get_format(in, kRowFormat));
  return {};
}

void put_position(ByteWriter& out, const JournalPosition& position) {
  out.put(position.sequence);
  out.put(position.next_block);
  out.put(position.crc);
}
JournalPosition get_position(ByteReader& in) {
  JournalPosition position;
  position.sequence = in.get<std::uint64_t>();
  position.next_block = in.get<std::uint64_t>();
  position.crc = in.get<std::uint32_t>();
  return position;
}

void put_pending(ByteWriter& out, const PendingOp& op) {
  put_op(out, op.op);
  out.put(op.participants);
  out.put(static_cast<std::uint8_t>(op.decided ? 1 : 0));
  put_ranges(out, op.writes);
  put_ranges(out, op.zeroes);
  put_ranges(out, op.deltas);
  put_ranges(out, op.extents);
  put_numbers(out, op.crcs);
}
PendingOp get_pending(ByteReader& in) {
  PendingOp op;
  op.op = get_op(in);
  op.participants = in.get<std::uint32_t>();
  const auto flags = in.get<std::uint8_t>();
  if (flags > 1) in.fail();
  op.decided = flags == 1;
  op.writes = get_block_ranges(in);
  op.zeroes = get_block_ranges(in);
  op.deltas = get_block_ranges(in);
  op.extents = get_extents(in);
  op.crcs = get_numbers<std::uint32_t>(in);
  if (total_blocks(op.writes) + total_blocks(op.deltas) != op.crcs.size()) in.fail();
  if (total_blocks(op.extents) != op.crcs.size()) in.fail();
  return op;
}

}  // namespace

std::string piece_key(PieceId piece) {
  std::string key(kPiecePrefix);
  append_be(key, piece.chunk.raw(), 8);
  append_be(key, piece.index.raw(), 1);
  return key;
}
std::string segment_prefix(PieceId piece) {
  std::string key(kSegmentPrefix);
  append_be(key, piece.chunk.raw(), 8);
  append_be(key, piece.index.raw(), 1);
  return key;
}
std::string segment_key(PieceId piece, std::uint32_t segment) {
  std::string key = segment_prefix(piece);
  append_be(key, segment, 4);
  return key;
}
std::string region_key(std::uint64_t region) {
  std::string key(kRegionPrefix);
  append_be(key, region, 8);
  return key;
}
Result<PieceId> parse_piece_key(std::string_view key) {
  if (key.size() != 10 || !key.starts_with(kPiecePrefix)) return corrupt("piece key");
  return PieceId{ChunkId::from_raw(read_be(key.substr(1, 8))),
                 PieceIndex(static_cast<std::uint8_t>(key[9]))};
}
Result<std::uint64_t> parse_region_key(std::string_view key) {
  if (key.size() != 9 || !key.starts_with(kRegionPrefix)) return corrupt("region key");
  return read_be(key.substr(1));
}

Result<std::uint32_t> parse_segment_number(std::string_view key) {
  if (key.size() != 14 || !key.starts_with(kSegmentPrefix)) return corrupt("segment key");
  const std::uint64_t number = read_be(key.substr(10));
  if (number >= kPieceBlocksMax / kSegmentBlocks) return corrupt("segment key");
  return static_cast<std::uint32_t>(number);
}

std::string encode(const PieceRow& row) {
  ByteWriter out = begin_row(kPieceRowFormat);
  out.put(row.fence.version.raw());
  out.put(row.fence.epoch.raw());
  put_op(out, row.fence.settled);
  out.put(row.fence.copy ? kCopyFlag : std::uint8_t{0});
  put_facts(out, row.facts);
  out.put(row.blocks);
  out.put(static_cast<std::uint32_t>(row.forwarded.size()));
  for (const ForwardedOp& op : row.forwarded) {
    put_op(out, op.op);
    out.put(op.participants);
  }
  out.put(static_cast<std::uint32_t>(row.pending.size()));
  for (const PendingOp& op : row.pending) put_pending(out, op);
  return out.take();
}

Result<PieceRow> decode_piece_row(std::string_view bytes) {
  ByteReader in(bytes);
  TRY(const std::uint8_t format, get_format(in, kPieceRowFormat));
  PieceRow row;
  row.fence.exists = true;
  row.fence.version = ChunkVersion(in.get<std::uint64_t>());
  row.fence.epoch = LeaseEpoch(in.get<std::uint64_t>());
  row.fence.settled = get_op(in);
  const auto flags = format == kRowFormat ? std::uint8_t{0} : in.get<std::uint8_t>();
  if (flags > kCopyFlag) in.fail();
  row.fence.copy = flags == kCopyFlag;
  row.facts = get_facts(in);
  row.blocks = in.get<std::uint64_t>();
  row.forwarded.resize(in.get_count(20));
  for (ForwardedOp& op : row.forwarded) {
    op.op = get_op(in);
    op.participants = in.get<std::uint32_t>();
  }
  const std::uint32_t pending = in.get_count(kPendingBytesMin);
  row.pending.reserve(pending);
  for (std::uint32_t i = 0; i < pending && in.ok(); ++i) {
    PendingOp op = get_pending(in);
    if (!row.pending.empty()) {
      const PendingOp& before = row.pending.back();
      if (op.op <= before.op || (op.decided && !before.decided)) in.fail();
    }
    row.pending.push_back(std::move(op));
  }
  if (!in.finished()) return corrupt("piece");
  return row;
}

std::string encode(const Segment& segment) {
  struct Run {
    std::uint16_t first;
    std::uint16_t count;
    std::uint64_t disk;
  };
  std::vector<Run> runs;
  std::vector<std::uint32_t> crcs;
  crcs.reserve(segment.stored());
  for (std::size_t i = segment.begin_index(); i < segment.end_index(); ++i) {
    const BlockPlace place = segment.get(i);
    if (place.disk == 0) continue;
    crcs.push_back(place.crc);
    if (!runs.empty() && runs.back().first + runs.back().count == static_cast<int>(i) &&
        runs.back().disk + runs.back().count == place.disk) {
      ++runs.back().count;
    } else {
      runs.push_back({static_cast<std::uint16_t>(i), 1, place.disk});
    }
  }
  ByteWriter out = begin_row();
  out.put(static_cast<std::uint16_t>(runs.size()));
  for (const Run& run : runs) {
    out.put(run.first);
    out.put(run.count);
    out.put(run.disk);
  }
  for (const std::uint32_t crc : crcs) out.put(crc);
  return out.take();
}

Result<Segment> decode_segment(std::string_view bytes) {
  ByteReader in(bytes);
  TRY_VOID(check_format(in));
  const auto count = in.get<std::uint16_t>();
  if (count > kSegmentBlocks) return corrupt("segment");
  // The checksums lie behind the runs.
  ByteReader crcs = in;
  crcs.get_bytes(std::size_t{count} * kRunBytes);
  Segment segment;
  std::size_t past = 0;
  for (std::uint16_t r = 0; r < count; ++r) {
    const std::size_t first = in.get<std::uint16_t>();
    const std::size_t blocks = in.get<std::uint16_t>();
    const auto disk = in.get<std::uint64_t>();
    if (first < past || blocks == 0 || first + blocks > kSegmentBlocks || disk == 0 ||
        disk + blocks < disk) {
      return corrupt("segment");
    }
    for (std::size_t i = 0; i < blocks; ++i) {
      segment.set(first + i, {disk + i, crcs.get<std::uint32_t>()});
    }
    past = first + blocks;
  }
  if (!crcs.finished()) return corrupt("segment");
  return segment;
}

std::string encode(const UsedRegion& region) {
  ByteWriter out = begin_row();
  for (const std::uint64_t word : region.bits) out.put(word);
  return out.take();
}
Result<UsedRegion> decode_region(std::string_view bytes) {
  ByteReader in(bytes);
  TRY_VOID(check_format(in));
  UsedRegion region;
  for (std::uint64_t& word : region.bits) word = in.get<std::uint64_t>();
  if (!in.finished()) return corrupt("region");
  return region;
}

std::string encode(const TablePosition& position) {
  ByteWriter out = begin_row();
  out.put(position.ring);
  out.put(position.generation);
  put_position(out, position.applied);
  put_position(out, position.tail);
  return out.take();
}
Result<TablePosition> decode_position(std::string_view bytes) {
  ByteReader in(bytes);
  TRY_VOID(check_format(in));
  TablePosition position;
  position.ring = in.get<std::uint64_t>();
  position.generation = in.get<std::uint64_t>();
  position.applied = get_position(in);
  position.tail = get_position(in);
  if (!in.finished() || position.tail.sequence > position.applied.sequence) {
    return corrupt("position");
  }
  return position;
}

std::string encode(const Counters& counters) {
  ByteWriter out = begin_row();
  out.put(counters.pieces);
  out.put(counters.used_blocks);
  return out.take();
}
Result<Counters> decode_counters(std::string_view bytes) {
  ByteReader in(bytes);
  TRY_VOID(check_format(in));
  Counters counters;
  counters.pieces = in.get<std::uint64_t>();
  counters.used_blocks = in.get<std::uint64_t>();
  if (!in.finished()) return corrupt("counters");
  return counters;
}

Result<std::optional<PieceRow>> load_piece(const kv::Reader& reader, PieceId piece) {
  TRY(const std::optional<std::string> bytes, reader.get(piece_key(piece)));
  if (!bytes.has_value()) return std::optional<PieceRow>();
  TRY(PieceRow row, decode_piece_row(*bytes));
  return std::optional<PieceRow>(std::move(row));
}
Result<Segment> load_segment(const kv::Reader& reader, PieceId piece, std::uint32_t segment) {
  TRY(const std::optional<std::string> bytes, reader.get(segment_key(piece, segment)));
  if (!bytes.has_value()) return Segment();
  return decode_segment(*bytes);
}
Result<UsedRegion> load_region(const kv::Reader& reader, std::uint64_t region) {
  TRY(const std::optional<std::string> bytes, reader.get(region_key(region)));
  if (!bytes.has_value()) return UsedRegion();
  return decode_region(*bytes);
}
Result<Counters> load_counters(const kv::Reader& reader) {
  TRY(const std::optional<std::string> bytes, reader.get(kCountersKey));
  if (!bytes.has_value()) return Counters();
  return decode_counters(*bytes);
}

}  // namespace cairn::chunkserver::store
