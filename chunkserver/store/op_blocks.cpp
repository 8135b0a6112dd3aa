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
