#include "client/core/chunk_state.h"

#include <algorithm>

namespace cairn::client {

std::shared_ptr<const ChunkView> ChunkView::from(const pb::Chunk& chunk) {
  auto view = std::make_shared<ChunkView>();
  view->id = ChunkId::from_raw(chunk.id());
  view->version = ChunkVersion(chunk.version());
  view->minimum = std::max(chunk.encoding().min(), 1U);
  view->seq_floor = OpSeq(std::max<std::uint64_t>(chunk.seq_floor(), 1));
  const unsigned count = std::min(chunk.encoding().data() + chunk.encoding().parity(), 32U);
  view->pieces.resize(count);
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.index() >= count) continue;
    Place& place = view->pieces[piece.index()];
    place.cs = NodeId::from_raw(piece.cs_id());
    place.address = piece.address();
    place.state = piece.cs_id() == 0 ? pb::PIECE_MISSING : piece.state();
    if (place.state == pb::PIECE_CURRENT) view->current |= piece_bit(piece.index());
    if (place.state == pb::PIECE_UNWRITTEN) view->unwritten |= piece_bit(piece.index());
    // Without a place there is nothing that could come back without a copy of everything.
    const bool may_return = place.state == pb::PIECE_MISSING && piece.cs_id() != 0;
    if (may_return) view->marked &= piece.missed();
  }
  return view;
}

bool ChunkState::quiet() const {
  // A repair copies what is marked: an op that is not would be decided without the piece's share.
  const layout::RegionMask marked = view == nullptr ? layout::kAllRegions : view->marked;
  return std::ranges::all_of(undecided, [marked](const auto& entry) {
    return entry.second.pending == 0 && (entry.second.regions & ~marked) == 0;
  });
}

void ChunkState::notify() {
  changed.notify_all();
  for (const auto& [seq, op] : undecided) op.news->notify_all();
}

layout::RegionMask ChunkState::touched() const {
  layout::RegionMask regions = 0;
  for (const auto& [seq, op] : undecided) regions |= op.regions;
  return regions;
}

}  // namespace cairn::client
