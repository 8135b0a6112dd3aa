#include "chunkserver/store/rows.h"

#include <algorithm>

#include "chunkserver/store/byte_codec.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint8_t kRowFormat = 1;

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

template <class Range>
void put_ranges(ByteWriter& out, const std::vector<Range>& ranges) {
  out.put(static_cast<std::uint32_t>(ranges.size()));
  for (const Range& range : ranges) {
    out.put(range.first);
    out.put(static_cast<std::uint32_t>(range.count));
  }
}
template <class Range>
std::vector<Range> get_ranges(ByteReader& in) {
  std::vector<Range> ranges(in.get_count(12));
  for (Range& range : ranges) {
    range.first = in.get<std::uint64_t>();
    range.count = in.get<std::uint32_t>();
  }
  return ranges;
}
void put_op(ByteWriter& out, OpId op) {
  out.put(op.epoch.raw());
  out.put(op.seq.raw());
}
OpId get_op(ByteReader& in) {
  const auto epoch = in.get<std::uint64_t>();
  const auto seq = in.get<std::uint64_t>();
  return {LeaseEpoch(epoch), OpSeq(seq)};
}

PendingOp get_pending(ByteReader& in) {
  PendingOp op;
  op.op = get_op(in);
  op.participants = in.get<std::uint32_t>();
  op.writes = get_ranges<BlockRange>(in);
  op.zeroes = get_ranges<BlockRange>(in);
  op.extents = get_ranges<Extent>(in);
  op.crcs.resize(in.get_count(4));
  for (std::uint32_t& crc : op.crcs) crc = in.get<std::uint32_t>();
  if (total_blocks(op.writes) != op.crcs.size()) in.fail();
  if (total_blocks(op.extents) != op.crcs.size()) in.fail();
  return op;
}

}  // namespace

bool Segment::empty() const {
  return std::all_of(places.begin(), places.end(), [](const BlockPlace& p) { return p.disk == 0; });
}
bool UsedRegion::empty() const {
  return std::all_of(bits.begin(), bits.end(), [](std::uint64_t word) { return word == 0; });
}

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

std::string encode(const PieceRow& row) {
  ByteWriter out;
  out.put(kRowFormat);
  out.put(row.fence.version.raw());
  out.put(row.fence.epoch.raw());
  put_op(out, row.fence.settled);
  out.put(row.facts.generator);
  out.put(row.facts.data);
  out.put(row.facts.parity);
  out.put(row.facts.cell_bytes);
  out.put(row.facts.inode);
  out.put(row.facts.chunk_index);
  out.put(row.blocks);
  out.put(static_cast<std::uint32_t>(row.forwarded.size()));
  for (const ForwardedOp& op : row.forwarded) {
    put_op(out, op.op);
    out.put(op.participants);
  }
  out.put(static_cast<std::uint32_t>(row.pending.size()));
  for (const PendingOp& op : row.pending) {
    put_op(out, op.op);
    out.put(op.participants);
    put_ranges(out, op.writes);
    put_ranges(out, op.zeroes);
    put_ranges(out, op.extents);
    out.put(static_cast<std::uint32_t>(op.crcs.size()));
    for (const std::uint32_t crc : op.crcs) out.put(crc);
  }
  return out.take();
}

Result<PieceRow> decode_piece_row(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.get<std::uint8_t>() != kRowFormat) return corrupt("piece of another format");
  PieceRow row;
  row.fence.exists = true;
  row.fence.version = ChunkVersion(in.get<std::uint64_t>());
  row.fence.epoch = LeaseEpoch(in.get<std::uint64_t>());
  row.fence.settled = get_op(in);
  row.facts.generator = in.get<std::uint32_t>();
  row.facts.data = in.get<std::uint32_t>();
  row.facts.parity = in.get<std::uint32_t>();
  row.facts.cell_bytes = in.get<std::uint32_t>();
  row.facts.inode = in.get<std::uint64_t>();
  row.facts.chunk_index = in.get<std::uint64_t>();
  row.blocks = in.get<std::uint64_t>();
  row.forwarded.resize(in.get_count(20));
  for (ForwardedOp& op : row.forwarded) {
    op.op = get_op(in);
    op.participants = in.get<std::uint32_t>();
  }
  const std::uint32_t pending = in.get_count(36);
  for (std::uint32_t i = 0; i < pending; ++i) row.pending.push_back(get_pending(in));
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
  ByteWriter crcs;
  for (std::size_t i = 0; i < kSegmentBlocks; ++i) {
    const BlockPlace& place = segment.places[i];
    if (place.disk == 0) continue;
    crcs.put(place.crc);
    if (!runs.empty() && runs.back().first + runs.back().count == static_cast<int>(i) &&
        runs.back().disk + runs.back().count == place.disk) {
      ++runs.back().count;
    } else {
      runs.push_back({static_cast<std::uint16_t>(i), 1, place.disk});
    }
  }
  ByteWriter out;
  out.put(kRowFormat);
  out.put(static_cast<std::uint16_t>(runs.size()));
  for (const Run& run : runs) {
    out.put(run.first);
    out.put(run.count);
    out.put(run.disk);
  }
  out.append(crcs.take());
  return out.take();
}

Result<Segment> decode_segment(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.get<std::uint8_t>() != kRowFormat) return corrupt("segment of another format");
  const auto runs = in.get<std::uint16_t>();
  if (runs > kSegmentBlocks) return corrupt("segment");
  Segment segment;
  std::vector<std::size_t> order;
  order.reserve(kSegmentBlocks);
  std::size_t past = 0;
  for (std::uint16_t r = 0; r < runs; ++r) {
    const std::size_t first = in.get<std::uint16_t>();
    const std::size_t count = in.get<std::uint16_t>();
    const auto disk = in.get<std::uint64_t>();
    if (first < past || count == 0 || first + count > kSegmentBlocks || disk == 0) {
      return corrupt("segment");
    }
    for (std::size_t i = 0; i < count; ++i) {
      segment.places[first + i].disk = disk + i;
      order.push_back(first + i);
    }
    past = first + count;
  }
  for (const std::size_t index : order) segment.places[index].crc = in.get<std::uint32_t>();
  if (!in.finished()) return corrupt("segment");
  return segment;
}

std::string encode(const UsedRegion& region) {
  ByteWriter out;
  out.put(kRowFormat);
  for (const std::uint64_t word : region.bits) out.put(word);
  return out.take();
}
Result<UsedRegion> decode_region(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.get<std::uint8_t>() != kRowFormat) return corrupt("region of another format");
  UsedRegion region;
  for (std::uint64_t& word : region.bits) word = in.get<std::uint64_t>();
  if (!in.finished()) return corrupt("region");
  return region;
}

std::string encode(const JournalPosition& position) {
  ByteWriter out;
  out.put(kRowFormat);
  out.put(position.sequence);
  out.put(position.next_block);
  out.put(position.crc);
  return out.take();
}
Result<JournalPosition> decode_position(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.get<std::uint8_t>() != kRowFormat) return corrupt("position of another format");
  JournalPosition position;
  position.sequence = in.get<std::uint64_t>();
  position.next_block = in.get<std::uint64_t>();
  position.crc = in.get<std::uint32_t>();
  if (!in.finished()) return corrupt("position");
  return position;
}

std::string encode(const Counters& counters) {
  ByteWriter out;
  out.put(kRowFormat);
  out.put(counters.pieces);
  out.put(counters.used_blocks);
  return out.take();
}
Result<Counters> decode_counters(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.get<std::uint8_t>() != kRowFormat) return corrupt("counters of another format");
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
