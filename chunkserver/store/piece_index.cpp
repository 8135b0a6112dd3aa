#include "chunkserver/store/piece_index.h"

#include <fmt/format.h>

#include <algorithm>

#include "chunkserver/store/op_blocks.h"

namespace cairn::chunkserver::store {
namespace {

std::unexpected<Error> contradiction(PieceId piece, const char* what) {
  return fail(Code::kCorrupt, fmt::format("index and journal disagree about piece {}.{}: {}",
                                          piece.chunk.raw(), piece.index.raw(), what));
}

PrepareTicket ticket_of(const PrepareRecord& record) {
  return {record.version, record.op, record.settled_below, true, record.copy};
}

// Neighbouring blocks as one extent.
void append(std::vector<Extent>& extents, Extent extent) {
  if (!extents.empty() && extents.back().end() == extent.first) {
    extents.back().count += extent.count;
  } else {
    extents.push_back(extent);
  }
}

}  // namespace

Status PieceIndex::apply(Record&& record) {
  return std::visit([this](auto& r) { return take(r); }, record);
}

std::vector<Extent> PieceIndex::take_freed() { return std::exchange(freed_, {}); }

Result<PieceRow*> PieceIndex::existing(PieceId piece) {
  TRY(const PieceRow* const row, rows_.piece(piece));
  if (row == nullptr) return contradiction(piece, "it is not there");
  return rows_.change_piece(piece);
}

Status PieceIndex::mark(Extent extent, bool used) {
  for (std::uint64_t block = extent.first; block < extent.end();) {
    const std::uint64_t number = block / kRegionBlocks;
    const std::uint64_t first = block % kRegionBlocks;
    const std::uint64_t count = std::min(extent.end() - block, kRegionBlocks - first);
    TRY(UsedRegion* const region, rows_.change_region(number));
    if (!region->mark(first, count, used)) {
      return fail(Code::kCorrupt, fmt::format("a disk block of {} + {} is {} twice", block, count,
                                              used ? "used" : "freed"));
    }
    block += count;
  }
  Counters& counters = rows_.counters();
  if (!used && counters.used_blocks < extent.count) {
    return fail(Code::kCorrupt, "more blocks are freed than were used");
  }
  counters.used_blocks += used ? extent.count : -extent.count;
  return {};
}

Status PieceIndex::use(const std::vector<Extent>& extents) {
  for (const Extent& extent : extents) {
    TRY_VOID(mark(extent, true));
  }
  return {};
}

Status PieceIndex::release(const std::vector<Extent>& extents) {
  for (const Extent& extent : extents) {
    TRY_VOID(mark(extent, false));
    append(freed_, extent);
  }
  return {};
}

Status PieceIndex::put(PieceId piece, PieceRow& row, const std::vector<BlockRange>& blocks,
                       const std::vector<Extent>& homes, const std::vector<std::uint32_t>& crcs) {
  std::vector<Extent> replaced;
  HomeCursor home(homes);
  std::size_t index = 0;
  for (const BlockRange& range : blocks) {
    for (std::uint64_t block = range.first; block < range.end();) {
      const std::uint64_t number = block / kSegmentBlocks;
      const std::uint64_t until = std::min(range.end(), (number + 1) * kSegmentBlocks);
      TRY(Segment* const segment, rows_.change_segment(piece, static_cast<std::uint32_t>(number)));
      for (; block < until; ++block) {
        const std::size_t at = block % kSegmentBlocks;
        const std::uint64_t old = segment->get(at).disk;
        if (old != 0) {
          append(replaced, {old, 1});
        } else {
          ++row.blocks;
        }
        segment->set(at, {home.next(), crcs[index++]});
      }
    }
  }
  return release(replaced);
}

Status PieceIndex::punch(PieceId piece, PieceRow& row, BlockRange range) {
  std::vector<Extent> punched;
  std::uint64_t block = range.first;
  while (block < range.end() && row.blocks != 0) {
    const auto number = static_cast<std::uint32_t>(block / kSegmentBlocks);
    const std::uint64_t begin = std::uint64_t{number} * kSegmentBlocks;
    const std::uint64_t until = std::min(range.end(), begin + kSegmentBlocks);
    TRY(const Segment* const seen, rows_.segment(piece, number));
    const std::uint64_t first = std::max<std::uint64_t>(block - begin, seen->begin_index());
    const std::uint64_t end = std::min<std::uint64_t>(until - begin, seen->end_index());
    block = until;
    if (seen->empty() || first >= end) continue;
    TRY(Segment* const segment, rows_.change_segment(piece, number));
    for (std::uint64_t at = first; at < end; ++at) {
      const std::uint64_t old = segment->get(at).disk;
      if (old == 0) continue;
      if (row.blocks == 0) return contradiction(piece, "it has more blocks than it counts");
      append(punched, {old, 1});
      segment->set(at, BlockPlace());
      --row.blocks;
    }
  }
  return release(punched);
}

Status PieceIndex::settle_op(PieceId piece, PieceRow& row, const PendingOp& op) {
  TRY_VOID(put(piece, row, op.writes, op.extents, op.crcs));
  for (const BlockRange& range : stale_zeroes_ ? std::vector<BlockRange>() : op.zeroes) {
    TRY_VOID(punch(piece, row, range));
  }
  // A fold brings what the deltas made.
  return release(delta_homes(op));
}

Status PieceIndex::settle_decided(PieceId piece, PieceRow& row) {
  std::size_t settled = 0;
  for (const PendingOp& op : row.pending) {
    if (!op.decided || !op.deltas.empty()) break;
    TRY_VOID(settle_op(piece, row, op));
    ++settled;
  }
  row.pending.erase(row.pending.begin(),
                    row.pending.begin() + static_cast<std::ptrdiff_t>(settled));
  return {};
}

Status PieceIndex::settle_below(PieceId piece, PieceRow& row, OpId mark) {
  const auto open = std::partition_point(row.pending.begin(), row.pending.end(),
                                         [](const PendingOp& op) { return op.decided; });
  for (auto op = open; op != row.pending.end() && op->op < mark; ++op) op->decided = true;
  std::erase_if(row.forwarded, [&](const ForwardedOp& op) { return op.op < mark; });
  return settle_decided(piece, row);
}

Status PieceIndex::take(PrepareRecord& record) {
  TRY(PieceRow* const row, rows_.change_piece(record.piece));
  if (!row->fence.exists) {
    ++rows_.counters().pieces;
    row->facts = record.facts;
  }
  row->fence = after_prepare(row->fence, ticket_of(record));
  TRY_VOID(settle_below(record.piece, *row, row->fence.settled));
  const auto at = std::lower_bound(row->pending.begin(), row->pending.end(), record.op,
                                   [](const PendingOp& a, OpId b) { return a.op < b; });
  if (at != row->pending.end() && at->op == record.op) {
    return contradiction(record.piece, "an op came twice");
  }
  // What was decided knew all ops before it.
  if (is_settled(row->fence, record.op) || (at != row->pending.end() && at->decided)) {
    return contradiction(record.piece, "an op after its end");
  }
  TRY_VOID(use(record.payload.extents));
  PendingOp op;
  op.op = record.op;
  op.participants = record.participants;
  op.writes = std::move(record.writes);
  op.zeroes = std::move(record.zeroes);
  op.deltas = std::move(record.deltas);
  op.extents = std::move(record.payload.extents);
  op.crcs = std::move(record.payload.crcs);
  row->pending.insert(at, std::move(op));
  return {};
}

Status PieceIndex::take(const SettleRecord& record) {
  TRY(PieceRow* const row, existing(record.piece));
  row->fence = after_settle(row->fence, record.below, record.version);
  return settle_below(record.piece, *row, row->fence.settled);
}

Status PieceIndex::take(const SealRecord& record) {
  TRY(PieceRow* const row, existing(record.piece));
  row->fence = after_seal(row->fence, record.version, record.epoch, record.copy);
  return {};
}

Status PieceIndex::take(const ResolveRecord& record) {
  TRY(PieceRow* const row, existing(record.piece));
  std::vector<PendingOp> keep;
  keep.reserve(row->pending.size());
  for (PendingOp& op : row->pending) {
    const bool open = !op.decided && op.op.epoch < record.epoch;
    if (open && !std::binary_search(record.forward.begin(), record.forward.end(), op.op)) {
      TRY_VOID(release(op.extents));
      continue;
    }
    if (open) {
      op.decided = true;
      const auto at = std::lower_bound(row->forwarded.begin(), row->forwarded.end(), op.op,
                                       [](const ForwardedOp& a, OpId b) { return a.op < b; });
      row->forwarded.insert(at, {op.op, op.participants});
    }
    keep.push_back(std::move(op));
  }
  row->pending = std::move(keep);
  return settle_decided(record.piece, *row);
}

Status PieceIndex::take(const RemoveRecord& record) {
  TRY(const PieceRow* const seen, rows_.piece(record.piece));
  if (seen == nullptr) return {};
  TRY(PieceRow* const row, rows_.change_piece(record.piece));
  for (const PendingOp& op : row->pending) {
    TRY_VOID(release(op.extents));
  }
  TRY(const std::vector<std::uint32_t> numbers, rows_.segments_of(record.piece));
  for (const std::uint32_t number : numbers) {
    TRY_VOID(punch(record.piece, *row, {number * kSegmentBlocks, kSegmentBlocks}));
  }
  if (row->blocks != 0) return contradiction(record.piece, "blocks are left after its removal");
  Counters& counters = rows_.counters();
  if (counters.pieces == 0) return contradiction(record.piece, "the count of pieces");
  --counters.pieces;
  return rows_.erase_piece(record.piece);
}

Status PieceIndex::take(const FoldRecord& record) {
  TRY(PieceRow* const row, existing(record.piece));
  std::size_t count = 0;
  while (count < row->pending.size() && row->pending[count].op <= record.through) ++count;
  if (count == 0 || row->pending[count - 1].op != record.through) {
    return contradiction(record.piece, "a fold through an op that is not there");
  }
  // The decided ones come first.
  if (!row->pending[count - 1].decided) {
    return contradiction(record.piece, "a fold of an op that is not decided");
  }
  if (delta_topped(row->pending, count) != merged(record.blocks)) {
    return contradiction(record.piece, "a fold of other blocks than the deltas");
  }
  TRY_VOID(use(record.payload.extents));
  for (std::size_t i = 0; i < count; ++i) {
    TRY_VOID(settle_op(record.piece, *row, row->pending[i]));
  }
  row->pending.erase(row->pending.begin(),
                     row->pending.begin() + static_cast<std::ptrdiff_t>(count));
  TRY_VOID(put(record.piece, *row, record.blocks, record.payload.extents, record.payload.crcs));
  return settle_decided(record.piece, *row);
}

Result<bool> PieceIndex::move_block(PieceId piece, PieceRow& row, std::uint64_t block,
                                    BlockPlace from, std::uint64_t to) {
  const auto number = static_cast<std::uint32_t>(block / kSegmentBlocks);
  const std::size_t at = block % kSegmentBlocks;
  TRY(const Segment* const seen, rows_.segment(piece, number));
  if (seen->get(at) == from) {
    TRY(Segment* const segment, rows_.change_segment(piece, number));
    segment->set(at, {to, from.crc});
    return true;
  }
  for (PendingOp& op : row.pending) {
    std::optional<std::size_t> index = index_in(op.writes, block);
    if (!index.has_value()) {
      index = index_in(op.deltas, block);
      if (index.has_value()) *index += total_blocks(op.writes);
    }
    if (!index.has_value()) continue;
    if (op.crcs[*index] != from.crc || home_at(op.extents, *index) != from.disk) continue;
    op.extents = with_home(op.extents, *index, to);
    return true;
  }
  return false;
}

Status PieceIndex::take(const HealRecord& record) {
  TRY_VOID(use(record.payload.extents));
  TRY(const PieceRow* const seen, rows_.piece(record.piece));
  if (seen == nullptr) return release(record.payload.extents);
  TRY(PieceRow* const row, rows_.change_piece(record.piece));
  HomeCursor home(record.payload.extents);
  std::size_t index = 0;
  for (const BlockRange& range : record.blocks) {
    for (std::uint64_t block = range.first; block < range.end(); ++block, ++index) {
      const std::uint64_t to = home.next();
      const BlockPlace from{record.old_homes[index], record.payload.crcs[index]};
      bool moved = false;
      if (from.disk != 0) {
        TRY(moved, move_block(record.piece, *row, block, from, to));
      }
      TRY_VOID(release({{moved ? from.disk : to, 1}}));
    }
  }
  return {};
}

}  // namespace cairn::chunkserver::store
