#include "chunkserver/store/piece_index.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/check.h"

namespace cairn::chunkserver::store {
namespace {

std::unexpected<Error> contradiction(PieceId piece, const char* what) {
  return fail(Code::kCorrupt, fmt::format("index and journal disagree about piece {}.{}: {}",
                                          piece.chunk.raw(), piece.index.raw(), what));
}

PrepareTicket ticket_of(const PrepareRecord& record) {
  return {record.version, record.op, record.settled_below, true};
}

// Calls `visit(block, disk, crc)` for every block an op writes, in order.
template <class Visit>
Status for_each_block(const PendingOp& op, Visit visit) {
  std::size_t extent = 0;
  std::uint64_t in_extent = 0;
  std::size_t index = 0;
  for (const BlockRange& range : op.writes) {
    for (std::uint64_t block = range.first; block < range.end(); ++block, ++index) {
      while (in_extent == op.extents[extent].count) {
        ++extent;
        in_extent = 0;
      }
      TRY_VOID(visit(block, op.extents[extent].first + in_extent, op.crcs[index]));
      ++in_extent;
    }
  }
  return {};
}

}  // namespace

Status PieceIndex::apply(const Record& record) {
  return std::visit([this](const auto& r) { return apply(r); }, record);
}

Result<std::optional<PieceRow>*> PieceIndex::piece_row(PieceId piece) {
  const auto it = pieces_.find(piece);
  if (it != pieces_.end()) return &it->second;
  TRY(std::optional<PieceRow> row, load_piece(reader_, piece));
  return &pieces_.emplace(piece, std::move(row)).first->second;
}

Result<PieceRow*> PieceIndex::existing(PieceId piece) {
  TRY(std::optional<PieceRow>* const row, piece_row(piece));
  if (!row->has_value()) return contradiction(piece, "it is not there");
  return &**row;
}

Result<Segment*> PieceIndex::segment(PieceId piece, std::uint32_t number) {
  const std::pair key(piece, number);
  const auto it = segments_.find(key);
  if (it != segments_.end()) return &it->second;
  TRY(Segment loaded, load_segment(reader_, piece, number));
  return &segments_.emplace(key, loaded).first->second;
}

Status PieceIndex::load_counters_once() {
  if (counters_.has_value()) return {};
  TRY(counters_, load_counters(reader_));
  return {};
}

Status PieceIndex::set_used(Extent extent, bool used) {
  TRY_VOID(load_counters_once());
  for (std::uint64_t block = extent.first; block < extent.end();) {
    const std::uint64_t number = block / kRegionBlocks;
    auto it = regions_.find(number);
    if (it == regions_.end()) {
      TRY(UsedRegion loaded, load_region(reader_, number));
      it = regions_.emplace(number, loaded).first;
    }
    const std::uint64_t until = std::min(extent.end(), (number + 1) * kRegionBlocks);
    for (; block < until; ++block) {
      if (it->second.get(block % kRegionBlocks) == used) {
        return fail(Code::kCorrupt,
                    fmt::format("disk block {} is {} twice", block, used ? "used" : "freed"));
      }
      it->second.flip(block % kRegionBlocks);
    }
  }
  if (used) {
    counters_->used_blocks += extent.count;
  } else {
    counters_->used_blocks -= extent.count;
  }
  return {};
}

Status PieceIndex::release(std::uint64_t disk, std::uint64_t count) {
  TRY_VOID(set_used({disk, count}, false));
  if (!freed_.empty() && freed_.back().end() == disk) {
    freed_.back().count += count;
  } else {
    freed_.push_back({disk, count});
  }
  return {};
}

Status PieceIndex::put_block(PieceId piece, PieceRow& row, std::uint64_t block, BlockPlace place) {
  TRY(Segment* const rows, segment(piece, static_cast<std::uint32_t>(block / kSegmentBlocks)));
  BlockPlace& at = rows->places[block % kSegmentBlocks];
  if (at.disk != 0) {
    TRY_VOID(release(at.disk, 1));
  } else {
    ++row.blocks;
  }
  at = place;
  return {};
}

Status PieceIndex::punch(PieceId piece, PieceRow& row, BlockRange range) {
  std::uint64_t block = range.first;
  while (block < range.end() && row.blocks != 0) {
    const std::uint64_t number = block / kSegmentBlocks;
    const std::uint64_t until = std::min(range.end(), (number + 1) * kSegmentBlocks);
    TRY(Segment* const rows, segment(piece, static_cast<std::uint32_t>(number)));
    for (; block < until; ++block) {
      BlockPlace& at = rows->places[block % kSegmentBlocks];
      if (at.disk == 0) continue;
      TRY_VOID(release(at.disk, 1));
      at = BlockPlace();
      CHECK_GT(row.blocks, std::uint64_t{0});
      --row.blocks;
    }
  }
  return {};
}

Status PieceIndex::settle_op(PieceId piece, PieceRow& row, const PendingOp& op) {
  TRY_VOID(for_each_block(op, [&](std::uint64_t block, std::uint64_t disk, std::uint32_t crc) {
    return put_block(piece, row, block, {disk, crc});
  }));
  for (const BlockRange& range : op.zeroes) {
    TRY_VOID(punch(piece, row, range));
  }
  return {};
}

Status PieceIndex::drop_op(const PendingOp& op) {
  for (const Extent& extent : op.extents) {
    TRY_VOID(release(extent.first, extent.count));
  }
  return {};
}

Status PieceIndex::settle_below(PieceId piece, PieceRow& row, OpId mark) {
  std::size_t settled = 0;
  for (; settled < row.pending.size() && row.pending[settled].op < mark; ++settled) {
    TRY_VOID(settle_op(piece, row, row.pending[settled]));
  }
  row.pending.erase(row.pending.begin(),
                    row.pending.begin() + static_cast<std::ptrdiff_t>(settled));
  std::erase_if(row.forwarded, [&](const ForwardedOp& op) { return op.op < mark; });
  return {};
}

Status PieceIndex::apply(const PrepareRecord& record) {
  TRY(std::optional<PieceRow>* const slot, piece_row(record.piece));
  if (!slot->has_value()) {
    TRY_VOID(load_counters_once());
    ++counters_->pieces;
    slot->emplace();
    (*slot)->facts = record.facts;
  }
  PieceRow& row = **slot;
  row.fence = after_prepare(row.fence, ticket_of(record));
  TRY_VOID(settle_below(record.piece, row, row.fence.settled));
  for (const Extent& extent : record.extents) {
    TRY_VOID(set_used(extent, true));
  }
  PendingOp op{record.op,     record.participants, record.writes,
               record.zeroes, record.extents,      record.crcs};
  const auto at = std::lower_bound(row.pending.begin(), row.pending.end(), op.op,
                                   [](const PendingOp& a, OpId b) { return a.op < b; });
  if (at != row.pending.end() && at->op == op.op)
    return contradiction(record.piece, "an op came twice");
  // An op of an epoch before the mark cannot pass the fence.
  if (is_settled(row.fence, op.op)) return contradiction(record.piece, "an op after its end");
  row.pending.insert(at, std::move(op));
  return {};
}

Status PieceIndex::apply(const SettleRecord& record) {
  TRY(PieceRow* const row, existing(record.piece));
  row->fence = after_settle(row->fence, record.below);
  return settle_below(record.piece, *row, row->fence.settled);
}

Status PieceIndex::apply(const SealRecord& record) {
  TRY(PieceRow* const row, existing(record.piece));
  row->fence = after_seal(row->fence, record.version, record.epoch);
  return {};
}

Status PieceIndex::apply(const ResolveRecord& record) {
  TRY(PieceRow* const row, existing(record.piece));
  std::vector<PendingOp> keep;
  for (PendingOp& op : row->pending) {
    if (op.op.epoch >= record.epoch) {
      keep.push_back(std::move(op));
    } else if (std::binary_search(record.forward.begin(), record.forward.end(), op.op)) {
      TRY_VOID(settle_op(record.piece, *row, op));
      row->forwarded.push_back({op.op, op.participants});
    } else {
      TRY_VOID(drop_op(op));
    }
  }
  row->pending = std::move(keep);
  return {};
}

Status PieceIndex::apply(const RemoveRecord& record) {
  TRY(std::optional<PieceRow>* const slot, piece_row(record.piece));
  if (!slot->has_value()) return {};
  PieceRow& row = **slot;
  for (const PendingOp& op : row.pending) {
    TRY_VOID(drop_op(op));
  }
  // Every segment the reader knows, and those that only this batch made.
  std::vector<std::uint32_t> numbers;
  const std::string prefix = segment_prefix(record.piece);
  TRY_VOID(
      reader_.scan(prefix, kv::prefix_end(prefix), [&](std::string_view key, std::string_view) {
        std::uint32_t number = 0;
        for (const char c : key.substr(prefix.size()))
          number = number << 8 | static_cast<unsigned char>(c);
        numbers.push_back(number);
        return true;
      }));
  for (const auto& [key, rows] : segments_) {
    if (key.first == record.piece) numbers.push_back(key.second);
  }
  for (const std::uint32_t number : numbers) {
    TRY_VOID(punch(record.piece, row, {number * kSegmentBlocks, kSegmentBlocks}));
    // Present in the batch even where it held nothing, so that the row goes.
    TRY_VOID(segment(record.piece, number));
  }
  if (row.blocks != 0) return contradiction(record.piece, "blocks are left after its removal");
  TRY_VOID(load_counters_once());
  if (counters_->pieces == 0) return contradiction(record.piece, "the count of pieces");
  --counters_->pieces;
  slot->reset();
  return {};
}

Result<PieceIndex::Change> PieceIndex::take(const JournalPosition& position) {
  TRY_VOID(load_counters_once());
  Change change;
  for (const auto& [piece, row] : pieces_) {
    if (row.has_value()) {
      change.batch.put(piece_key(piece), encode(*row));
    } else {
      change.batch.erase(piece_key(piece));
    }
  }
  for (const auto& [key, rows] : segments_) {
    if (rows.empty()) {
      change.batch.erase(segment_key(key.first, key.second));
    } else {
      change.batch.put(segment_key(key.first, key.second), encode(rows));
    }
  }
  for (const auto& [number, region] : regions_) {
    if (region.empty()) {
      change.batch.erase(region_key(number));
    } else {
      change.batch.put(region_key(number), encode(region));
    }
  }
  change.batch.put(std::string(kCountersKey), encode(*counters_));
  change.batch.put(std::string(kPositionKey), encode(position));
  change.counters = *counters_;
  change.freed = std::move(freed_);
  pieces_.clear();
  segments_.clear();
  regions_.clear();
  counters_.reset();
  freed_.clear();
  return change;
}

namespace {

// Calls `visit(index in located order)` for the part of `places` that lies in [first, end).
class Window {
 public:
  explicit Window(const std::vector<BlockRange>& ranges) {
    for (const BlockRange& range : ranges) {
      starts_.push_back({range, blocks_.size()});
      for (std::uint64_t b = range.first; b < range.end(); ++b)
        blocks_.push_back({b, BlockPlace()});
    }
  }
  // The slot of a piece block, nullptr when it was not asked for.
  LocatedBlock* find(std::uint64_t block) {
    auto it = std::upper_bound(starts_.begin(), starts_.end(), block,
                               [](std::uint64_t b, const Start& s) { return b < s.range.first; });
    if (it == starts_.begin()) return nullptr;
    --it;
    if (block >= it->range.end()) return nullptr;
    return &blocks_[it->at + (block - it->range.first)];
  }
  void punch(BlockRange zero) {
    for (const Start& start : starts_) {
      const std::uint64_t from = std::max(zero.first, start.range.first);
      const std::uint64_t until = std::min(zero.end(), start.range.end());
      for (std::uint64_t b = from; b < until; ++b) {
        blocks_[start.at + (b - start.range.first)].place = BlockPlace();
      }
    }
  }
  std::vector<LocatedBlock> take_present() {
    std::erase_if(blocks_, [](const LocatedBlock& b) { return b.place.disk == 0; });
    return std::move(blocks_);
  }
  std::vector<LocatedBlock>& blocks() { return blocks_; }

 private:
  struct Start {
    BlockRange range;
    std::size_t at;
  };
  std::vector<Start> starts_;
  std::vector<LocatedBlock> blocks_;
};

}  // namespace

Result<std::vector<LocatedBlock>> locate(const kv::Reader& reader, PieceId piece,
                                         const PieceRow& row,
                                         const std::vector<BlockRange>& ranges) {
  Window window(ranges);
  std::optional<std::uint64_t> loaded;
  Segment rows;
  for (LocatedBlock& located : window.blocks()) {
    if (row.blocks == 0) break;
    const std::uint64_t number = located.block / kSegmentBlocks;
    if (loaded != number) {
      TRY(rows, load_segment(reader, piece, static_cast<std::uint32_t>(number)));
      loaded = number;
    }
    located.place = rows.places[located.block % kSegmentBlocks];
  }
  for (const PendingOp& op : row.pending) {
    TRY_VOID(for_each_block(op, [&](std::uint64_t block, std::uint64_t disk, std::uint32_t crc) {
      LocatedBlock* const at = window.find(block);
      if (at != nullptr) at->place = {disk, crc};
      return Status();
    }));
    for (const BlockRange& zero : op.zeroes) window.punch(zero);
  }
  return window.take_present();
}

}  // namespace cairn::chunkserver::store
