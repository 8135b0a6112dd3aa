// The self-check of PieceStore: rows, space map and counters tell one story.
#include <map>

#include "chunkserver/store/piece_store.h"
#include "common/base/check.h"

namespace cairn::chunkserver::store {

Status PieceStore::check_consistency() {
  CHECK(staged_.empty());
  CHECK(!gate_.reading());
  CHECK(!gate_.holds());
  space_.check_invariants();
  std::vector<Extent> referenced;
  Counters counted;
  const auto visit = [&](PieceId piece, const PieceRow& row) -> Status {
    ++counted.pieces;
    CHECK_GE(row.fence.epoch, row.fence.settled.epoch);
    bool undecided = false;
    for (const PendingOp& op : row.pending) {
      CHECK(op.decided || !is_settled(row.fence, op.op));
      CHECK(!(op.decided && undecided));
      undecided = undecided || !op.decided;
      referenced.insert(referenced.end(), op.extents.begin(), op.extents.end());
    }
    std::uint64_t found = 0;
    TRY(const std::vector<std::uint32_t> segments, table_->segments_of(piece));
    for (const std::uint32_t number : segments) {
      TRY(const Segment* const segment, table_->segment(piece, number));
      CHECK(!segment->empty());
      for (std::uint64_t i = 0; i < kSegmentBlocks; ++i) {
        const BlockPlace place = segment->get(i);
        if (place.disk == 0) continue;
        ++found;
        referenced.push_back({place.disk, 1});
      }
    }
    CHECK_EQ(found, row.blocks);
    return {};
  };
  TRY_VOID(table_->for_each_piece(visit));
  counted.used_blocks = total_blocks(referenced);
  CHECK(counted == table_->counters());
  // Every referenced block once, apart from the ring, and the map calls just these used.
  std::uint64_t ring_blocks = superblock_.ring.external() ? 0 : superblock_.ring.blocks;
  CHECK_EQ(space_.used_blocks(), counted.used_blocks + ring_blocks + total_blocks(withheld_));
  SpaceMap map(kReservedBlocks, space_.end());
  if (ring_blocks != 0) {
    TRY_VOID(map.take({superblock_.ring.first, ring_blocks}));
  }
  for (const Extent& extent : referenced) {
    TRY_VOID(map.take(extent));
    CHECK(!space_.is_free(extent.first));
  }
  return {};
}

}  // namespace cairn::chunkserver::store
