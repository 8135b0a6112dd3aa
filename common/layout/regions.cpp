#include "common/layout/regions.h"

#include <algorithm>

#include "common/base/check.h"

namespace cairn::layout {

RegionMask regions_of(BlockRun run, std::uint64_t piece_blocks) {
  if (run.count == 0) return 0;
  CHECK_LE(run.first + run.count, piece_blocks);
  const std::uint64_t size = region_blocks(piece_blocks);
  const std::uint64_t first = run.first / size;
  const std::uint64_t last = (run.first + run.count - 1) / size;
  return (kAllRegions << first) & (kAllRegions >> (kRegions - 1 - last));
}

std::vector<BlockRun> blocks_of(RegionMask regions, std::uint64_t piece_blocks) {
  const std::uint64_t size = region_blocks(piece_blocks);
  std::vector<BlockRun> runs;
  for (unsigned region = 0; region < kRegions; ++region) {
    const std::uint64_t first = region * size;
    if ((regions >> region & 1U) == 0 || first >= piece_blocks) continue;
    const std::uint64_t count = std::min(size, piece_blocks - first);
    if (!runs.empty() && runs.back().first + runs.back().count == first) {
      runs.back().count += count;
    } else {
      runs.push_back({first, count});
    }
  }
  return runs;
}

}  // namespace cairn::layout
