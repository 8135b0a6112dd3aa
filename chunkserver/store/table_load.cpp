#include "chunkserver/store/table_load.h"

#include <algorithm>

#include "chunkserver/store/op_blocks.h"

namespace cairn::chunkserver::store {
namespace {

// From so many segments on, one scan of the piece is cheaper than looking for each.
constexpr std::uint64_t kWholeFrom = 16;

std::uint64_t last_segment(const BlockRange& range) { return (range.end() - 1) / kSegmentBlocks; }
std::uint64_t first_segment(const BlockRange& range) { return range.first / kSegmentBlocks; }

bool is_wide(const std::vector<BlockRange>& ranges) {
  std::uint64_t segments = 0;
  for (const BlockRange& range : ranges) segments += last_segment(range) - first_segment(range) + 1;
  // Many small ranges of one segment count once for each: a guess is enough.
  return segments >= kWholeFrom && ranges.size() < segments;
}

}  // namespace

void TableLoad::want_segments(PieceId piece, const TableRows::Piece* known,
                              const std::vector<BlockRange>& ranges) {
  if (ranges.empty() || (known != nullptr && known->complete)) return;
  if (is_wide(ranges)) {
    pieces_[piece].whole = true;
    return;
  }
  for (const BlockRange& range : ranges) {
    for (std::uint64_t n = first_segment(range); n <= last_segment(range); ++n) {
      const auto number = static_cast<std::uint32_t>(n);
      if (known == nullptr || !known->has(number)) pieces_[piece].numbers.insert(number);
    }
  }
}

void TableLoad::want_region(std::uint64_t disk) {
  const std::uint64_t number = disk / kRegionBlocks;
  if (!rows_->has_region(number)) regions_.try_emplace(number);
}

void TableLoad::want_regions(const std::vector<Extent>& extents) {
  for (const Extent& extent : extents) {
    for (std::uint64_t disk = extent.first; disk < extent.end();) {
      want_region(disk);
      disk = (disk / kRegionBlocks + 1) * kRegionBlocks;
    }
  }
}

void TableLoad::want_replaced(const TableRows::Piece& known,
                              const std::vector<BlockRange>& ranges) {
  std::uint64_t last = UINT64_MAX;
  for (const BlockRange& range : ranges) {
    for (std::uint64_t n = first_segment(range); n <= last_segment(range); ++n) {
      const TableRows::SegmentSlot* const slot = known.find(static_cast<std::uint32_t>(n));
      if (slot == nullptr || slot->slot.row == nullptr) continue;
      const Segment& segment = *slot->slot.row;
      const std::uint64_t begin = n * kSegmentBlocks;
      const std::uint64_t first = std::max(range.first, begin + segment.begin_index());
      const std::uint64_t end = std::min(range.end(), begin + segment.end_index());
      for (std::uint64_t block = first; block < end; ++block) {
        const std::uint64_t disk = segment.get(block - begin).disk;
        if (disk == 0 || disk / kRegionBlocks == last) continue;
        last = disk / kRegionBlocks;
        want_region(disk);
      }
    }
  }
}

void TableLoad::want_settled(const TableRows::Piece& known, const PendingOp& op) {
  want_segments(known.id, &known, op.writes);
  want_segments(known.id, &known, op.zeroes);
  want_replaced(known, op.writes);
  want_replaced(known, op.zeroes);
  if (!op.deltas.empty()) want_regions(delta_homes(op));
}

void TableLoad::want_settled_below(const TableRows::Piece& known, OpId mark) {
  for (const PendingOp& op : known.row.row->pending) {
    if (!(op.decided || op.op < mark) || !op.deltas.empty()) return;
    want_settled(known, op);
  }
}

void TableLoad::want(const TableRows::Piece& known, const PrepareRecord& record) {
  // They are replaced when the op is settled, maybe by the next record.
  want_segments(record.piece, &known, record.writes);
  want_segments(record.piece, &known, record.zeroes);
  const PrepareTicket ticket{record.version, record.op, record.settled_below, true};
  want_settled_below(known, after_prepare(known.row.row->fence, ticket).settled);
}
void TableLoad::want(const TableRows::Piece& known, const SettleRecord& record) {
  want_settled_below(known,
                     after_settle(known.row.row->fence, record.below, record.version).settled);
}
void TableLoad::want(const TableRows::Piece& /*known*/, const SealRecord& /*record*/) {}
void TableLoad::want(const TableRows::Piece& known, const ResolveRecord& record) {
  for (const PendingOp& op : known.row.row->pending) {
    if (op.decided || op.op.epoch >= record.epoch) continue;
    if (std::binary_search(record.forward.begin(), record.forward.end(), op.op)) {
      want_settled(known, op);
    } else {
      want_regions(op.extents);
    }
  }
}
void TableLoad::want(const TableRows::Piece& known, const RemoveRecord& record) {
  for (const PendingOp& op : known.row.row->pending) want_regions(op.extents);
  want_segments(record.piece, &known, {{0, kPieceBlocksMax}});
  for (const TableRows::SegmentSlot& slot : known.segments) {
    want_replaced(known, {{slot.number * kSegmentBlocks, kSegmentBlocks}});
  }
}
void TableLoad::want(const TableRows::Piece& known, const FoldRecord& record) {
  for (const PendingOp& op : known.row.row->pending) {
    if (op.op <= record.through) want_settled(known, op);
  }
  want_segments(record.piece, &known, record.blocks);
  want_replaced(known, record.blocks);
}
void TableLoad::want(const TableRows::Piece& known, const HealRecord& record) {
  want_segments(record.piece, &known, record.blocks);
  for (const std::uint64_t home : record.old_homes) want_region(home);
}

void TableLoad::want(PieceId piece, const std::vector<BlockRange>& ranges) {
  const TableRows::Piece* const known = rows_->peek(piece);
  if (known == nullptr || !known->known) {
    pieces_[piece].read_row = true;
    want_segments(piece, known, ranges);
  } else if (known->row.row != nullptr) {
    want_segments(piece, known, ranges);
  }
}

void TableLoad::want(const Record& record) {
  const PieceId piece = piece_of(record);
  if (const Payload* const payload = payload_of(record)) want_regions(payload->extents);
  const TableRows::Piece* const known = rows_->peek(piece);
  if (known == nullptr || !known->known) {
    pieces_[piece].read_row = true;
    if (const auto* const prepare = std::get_if<PrepareRecord>(&record)) {
      want_segments(piece, known, prepare->writes);
    } else if (std::holds_alternative<RemoveRecord>(record)) {
      pieces_[piece].whole = true;
    }
  } else if (known->row.row != nullptr) {
    std::visit([&](const auto& r) { want(*known, r); }, record);
  }
}

std::vector<PieceId> TableLoad::unknown_pieces() const {
  std::vector<PieceId> unknown;
  for (const auto& [id, piece] : pieces_) {
    if (piece.read_row) unknown.push_back(id);
  }
  return unknown;
}

Status read_segments(const kv::Reader& reader, PieceId piece,
                     std::map<std::uint32_t, Segment>* segments) {
  Status status;
  const std::string prefix = segment_prefix(piece);
  const auto visit = [&](std::string_view key, std::string_view value) {
    const Result<std::uint32_t> number = parse_segment_number(key);
    Result<Segment> segment = decode_segment(value);
    if (!number.has_value()) status = fail(number.error());
    if (!segment.has_value()) status = fail(segment.error());
    if (status.has_value()) segments->emplace(*number, std::move(*segment));
    return status.has_value();
  };
  TRY_VOID(reader.scan(prefix, kv::prefix_end(prefix), visit));
  return status;
}

Status TableLoad::read_piece(const kv::Reader& reader, PieceId id, Piece* piece) {
  if (piece->read_row) {
    TRY(piece->row, load_piece(reader, id));
    // Then there is no segment either.
    if (!piece->row.has_value() || piece->row->blocks == 0) return {};
    for (const PendingOp& op : piece->row->pending) {
      for (const std::vector<BlockRange>* ranges : {&op.writes, &op.zeroes, &op.deltas}) {
        piece->whole = piece->whole || is_wide(*ranges);
        for (const BlockRange& range : *ranges) {
          for (std::uint64_t n = first_segment(range); !piece->whole && n <= last_segment(range);
               ++n) {
            piece->numbers.insert(static_cast<std::uint32_t>(n));
          }
        }
      }
    }
  }
  if (piece->whole) return read_segments(reader, id, &piece->segments);
  for (const std::uint32_t number : piece->numbers) {
    TRY(Segment segment, load_segment(reader, id, number));
    piece->segments.emplace(number, std::move(segment));
  }
  return {};
}

Status TableLoad::read(const kv::Reader& reader) {
  for (auto& [id, piece] : pieces_) {
    TRY_VOID(read_piece(reader, id, &piece));
  }
  for (auto& [number, region] : regions_) {
    TRY(region, load_region(reader, number));
  }
  return {};
}

void TableLoad::deliver(TableRows& rows) {
  for (auto& [id, piece] : pieces_) {
    TableRows::Piece& entry =
        piece.read_row ? rows.learn_piece(id, std::move(piece.row)) : rows.entry(id);
    for (auto& [number, segment] : piece.segments) {
      rows.learn_segment(entry, number, std::move(segment));
    }
    if (piece.whole) rows.learn_all_segments(entry);
  }
  for (const auto& [number, region] : regions_) rows.learn_region(number, region);
}

}  // namespace cairn::chunkserver::store
