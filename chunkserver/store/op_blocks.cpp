#include "chunkserver/store/op_blocks.h"

#include <algorithm>
#include <set>

namespace cairn::chunkserver::store {

void HomeCursor::skip(std::uint64_t blocks) {
  while (blocks != 0 && extent_ != extents_.size()) {
    const std::uint64_t left = extents_[extent_].count - within_;
    if (blocks < left) {
      within_ += blocks;
      return;
    }
    blocks -= left;
    ++extent_;
    within_ = 0;
  }
}

std::optional<std::size_t> index_in(const std::vector<BlockRange>& ranges, std::uint64_t block) {
  std::size_t before = 0;
  for (const BlockRange& range : ranges) {
    if (block < range.first) return std::nullopt;
    if (block < range.end()) return before + (block - range.first);
    before += range.count;
  }
  return std::nullopt;
}

std::uint64_t home_at(const std::vector<Extent>& extents, std::size_t index) {
  HomeCursor cursor(extents);
  cursor.skip(index);
  return cursor.next();
}

std::vector<Extent> with_home(const std::vector<Extent>& extents, std::size_t index,
                              std::uint64_t home) {
  std::vector<Extent> result;
  const auto add = [&](Extent extent) {
    if (extent.count == 0) return;
    if (!result.empty() && result.back().end() == extent.first) {
      result.back().count += extent.count;
    } else {
      result.push_back(extent);
    }
  };
  std::uint64_t before = 0;
  for (const Extent& extent : extents) {
    if (index < before || index >= before + extent.count) {
      add(extent);
    } else {
      const std::uint64_t within = index - before;
      add({extent.first, within});
      add({home, 1});
      add({extent.first + within + 1, extent.count - within - 1});
    }
    before += extent.count;
  }
  return result;
}

std::vector<Extent> delta_homes(const PendingOp& op) {
  std::vector<Extent> homes;
  if (op.deltas.empty()) return homes;
  std::uint64_t written = total_blocks(op.writes);
  for (const Extent& extent : op.extents) {
    const std::uint64_t skipped = std::min(written, extent.count);
    written -= skipped;
    if (skipped < extent.count) homes.push_back({extent.first + skipped, extent.count - skipped});
  }
  return homes;
}

std::vector<BlockRange> merged(const std::vector<BlockRange>& ranges) {
  std::vector<BlockRange> result;
  for (const BlockRange& range : ranges) {
    if (!result.empty() && result.back().end() == range.first) {
      result.back().count += range.count;
    } else {
      result.push_back(range);
    }
  }
  return result;
}

BlockRange hull_of(const PendingOp& op) {
  std::uint64_t first = kPieceBlocksMax;
  std::uint64_t end = 0;
  for (const std::vector<BlockRange>* ranges : {&op.writes, &op.zeroes, &op.deltas}) {
    if (ranges->empty()) continue;
    first = std::min(first, ranges->front().first);
    end = std::max(end, ranges->back().end());
  }
  return end == 0 ? BlockRange() : BlockRange{first, end - first};
}

std::vector<BlockRange> undecided_blocks(const PieceRow& row) {
  const auto held = [&row](const ForwardedOp& forwarded) {
    return std::ranges::find(row.pending, forwarded.op, &PendingOp::op) != row.pending.end();
  };
  if (!std::ranges::all_of(row.forwarded, held)) return {{0, kPieceBlocksMax}};
  std::vector<BlockRange> all;
  for (const PendingOp& op : row.pending) {
    const bool forwarded =
        std::ranges::find(row.forwarded, op.op, &ForwardedOp::op) != row.forwarded.end();
    if (op.decided && !forwarded) continue;
    for (const std::vector<BlockRange>* ranges : {&op.writes, &op.zeroes, &op.deltas}) {
      all.insert(all.end(), ranges->begin(), ranges->end());
    }
  }
  std::ranges::sort(all, {}, &BlockRange::first);
  std::vector<BlockRange> touched;
  for (const BlockRange& range : all) {
    if (touched.empty() || touched.back().end() < range.first) {
      touched.push_back(range);
    } else {
      touched.back().count = std::max(touched.back().end(), range.end()) - touched.back().first;
    }
  }
  return touched;
}

std::vector<BlockRange> delta_topped(const std::vector<PendingOp>& ops, std::size_t count) {
  std::set<std::uint64_t> blocks;
  const auto cover = [&](const std::vector<BlockRange>& ranges) {
    for (const BlockRange& range : ranges) {
      if (blocks.empty()) return;
      blocks.erase(blocks.lower_bound(range.first), blocks.lower_bound(range.end()));
    }
  };
  for (std::size_t i = 0; i < count; ++i) {
    cover(ops[i].writes);
    cover(ops[i].zeroes);
    for (const BlockRange& range : ops[i].deltas) {
      for (std::uint64_t block = range.first; block < range.end(); ++block) blocks.insert(block);
    }
  }
  std::vector<BlockRange> result;
  for (const std::uint64_t block : blocks) {
    if (!result.empty() && result.back().end() == block) {
      ++result.back().count;
    } else {
      result.push_back({block, 1});
    }
  }
  return result;
}

}  // namespace cairn::chunkserver::store
