// Where the blocks of a piece are: for reads, folds and the scrub.
#include <algorithm>

#include "chunkserver/store/op_blocks.h"
#include "chunkserver/store/piece_index.h"

namespace cairn::chunkserver::store {
namespace {

// The blocks that were asked for, and what is known of them so far.
class Window {
 public:
  explicit Window(const std::vector<BlockRange>& ranges) : ranges_(ranges) {
    blocks_.reserve(total_blocks(ranges));
    starts_.reserve(ranges.size());
    for (const BlockRange& range : ranges) {
      starts_.push_back(blocks_.size());
      for (std::uint64_t b = range.first; b < range.end(); ++b) blocks_.push_back({b, {}, {}});
    }
  }

  // Calls `visit(block, index)` for every block of `covered` that was asked for; `index` counts
  // the blocks of `covered`.
  template <class Visit>
  void each(const std::vector<BlockRange>& covered, Visit visit) {
    std::size_t before = 0;
    for (const BlockRange& range : covered) {
      for (std::size_t i = first_behind(range.first);
           i < ranges_.size() && ranges_[i].first < range.end(); ++i) {
        const std::uint64_t from = std::max(range.first, ranges_[i].first);
        const std::uint64_t until = std::min(range.end(), ranges_[i].end());
        LocatedBlock* block = &blocks_[starts_[i] + (from - ranges_[i].first)];
        for (std::uint64_t b = from; b < until; ++b) {
          visit(*block++, before + (b - range.first));
        }
      }
      before += range.count;
    }
  }

  std::vector<LocatedBlock> take_present() {
    std::erase_if(blocks_,
                  [](const LocatedBlock& b) { return b.base.disk == 0 && b.deltas.empty(); });
    return std::move(blocks_);
  }
  std::vector<LocatedBlock>& blocks() { return blocks_; }

 private:
  // The first range that ends behind `block`.
  std::size_t first_behind(std::uint64_t block) const {
    const auto at =
        std::upper_bound(ranges_.begin(), ranges_.end(), block,
                         [](std::uint64_t b, const BlockRange& range) { return b < range.end(); });
    return static_cast<std::size_t>(at - ranges_.begin());
  }

  const std::vector<BlockRange>& ranges_;
  std::vector<std::size_t> starts_;  // beside the ranges: where each begins in `blocks_`
  std::vector<LocatedBlock> blocks_;
};

// Homes of growing indices, each found from the one before.
class OpHomes {
 public:
  explicit OpHomes(const PendingOp& op) : op_(op), cursor_(op.extents) {}
  BlockPlace at(std::size_t index) {
    cursor_.skip(index - next_);
    next_ = index + 1;
    return {cursor_.next(), op_.crcs[index]};
  }

 private:
  const PendingOp& op_;
  HomeCursor cursor_;
  std::size_t next_ = 0;
};

void lay_over(Window& window, const PendingOp& op) {
  OpHomes written(op);
  window.each(op.writes, [&](LocatedBlock& block, std::size_t index) {
    block.base = written.at(index);
    block.deltas.clear();
  });
  window.each(op.zeroes, [](LocatedBlock& block, std::size_t) {
    block.base = BlockPlace();
    block.deltas.clear();
  });
  if (op.deltas.empty()) return;
  const std::size_t before = total_blocks(op.writes);
  OpHomes deltas(op);
  window.each(op.deltas, [&](LocatedBlock& block, std::size_t index) {
    block.deltas.push_back(deltas.at(before + index));
  });
}

// Segments in which a pending op has blocks, sorted.
std::vector<std::uint64_t> pending_segments(const PieceRow& row, std::uint64_t first) {
  std::vector<std::uint64_t> numbers;
  for (const PendingOp& op : row.pending) {
    for (const std::vector<BlockRange>* ranges : {&op.writes, &op.deltas}) {
      for (const BlockRange& range : *ranges) {
        const std::uint64_t end = (range.end() - 1) / kSegmentBlocks;
        for (std::uint64_t n = std::max(first, range.first / kSegmentBlocks); n <= end; ++n) {
          numbers.push_back(n);
        }
      }
    }
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

}  // namespace

Result<std::vector<LocatedBlock>> locate(RowReader& rows, PieceId piece, const PieceRow& row,
                                         const std::vector<BlockRange>& ranges,
                                         std::optional<OpId> through) {
  Window window(ranges);
  const Segment* segment = nullptr;
  std::uint64_t loaded = 0;
  if (row.blocks != 0) {
    for (LocatedBlock& located : window.blocks()) {
      const std::uint64_t number = located.block / kSegmentBlocks;
      if (segment == nullptr || loaded != number) {
        TRY(segment, rows.segment(piece, static_cast<std::uint32_t>(number)));
        loaded = number;
      }
      located.base = segment->get(located.block % kSegmentBlocks);
    }
  }
  for (const PendingOp& op : row.pending) {
    if (through.has_value() && op.op > *through) break;
    lay_over(window, op);
  }
  return window.take_present();
}

std::optional<FoldPlan> plan_fold(const PieceRow& row) {
  if (row.pending.empty() || !row.pending[0].decided || row.pending[0].deltas.empty()) {
    return std::nullopt;
  }
  FoldPlan plan;
  std::uint64_t delta_blocks = 0;
  std::size_t count = 0;
  for (const PendingOp& op : row.pending) {
    if (!op.decided) break;
    delta_blocks += total_blocks(op.deltas);
    if (count != 0 && delta_blocks > kFoldBlocksMax) break;
    plan.through = op.op;
    if (!op.deltas.empty()) ++plan.delta_ops;
    ++count;
  }
  plan.blocks = delta_topped(row.pending, count);
  return plan;
}

std::size_t unfolded_ops(const PieceRow& row) {
  std::size_t count = 0;
  for (const PendingOp& op : row.pending) {
    if (!op.decided) break;
    if (!op.deltas.empty()) ++count;
  }
  return count;
}

Result<std::vector<BlockRange>> stored_ranges(RowReader& rows, PieceId piece, const PieceRow& row,
                                              std::uint64_t first, std::uint64_t most) {
  std::vector<BlockRange> stored;
  const std::uint64_t begin = first / kSegmentBlocks;
  const std::vector<std::uint64_t> pending = pending_segments(row, begin);
  auto next_pending = pending.begin();
  std::uint64_t number = begin;
  for (; number < kPieceBlocksMax / kSegmentBlocks && most != 0; ++number) {
    const bool touched = next_pending != pending.end() && *next_pending == number;
    if (touched) ++next_pending;
    if (row.blocks == 0 && !touched) {
      // Nothing is settled: only pending blocks are left.
      if (next_pending == pending.end()) break;
      number = *next_pending - 1;
      continue;
    }
    if (!touched) {
      TRY(const Segment* const segment, rows.segment(piece, static_cast<std::uint32_t>(number)));
      if (segment->empty()) continue;
    }
    const std::uint64_t from = std::max(first, number * kSegmentBlocks);
    const std::vector<BlockRange> wanted = {{from, (number + 1) * kSegmentBlocks - from}};
    TRY(const std::vector<LocatedBlock> blocks, locate(rows, piece, row, wanted));
    for (const LocatedBlock& block : blocks) {
      if (most-- == 0) return stored;
      if (!stored.empty() && stored.back().end() == block.block) {
        ++stored.back().count;
      } else {
        stored.push_back({block.block, 1});
      }
    }
  }
  return stored;
}

}  // namespace cairn::chunkserver::store
