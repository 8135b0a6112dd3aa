#include "client/core/inode.h"

#include <algorithm>

namespace cairn::client {

namespace {
constexpr ByteCount kBlocksUnit = 512;  // of st_blocks
}  // namespace

std::shared_ptr<const ChunkView> ChunkView::from(const pb::Chunk& chunk) {
  auto view = std::make_shared<ChunkView>();
  view->id = ChunkId::from_raw(chunk.id());
  view->version = ChunkVersion(chunk.version());
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
  }
  return view;
}

void Inode::overlay(pb::Attributes& from_master) const {
  if (mode != pb::LEASE_EXCLUSIVE) return;
  from_master.set_size(size);
  // Only the holder changes them, so ours are the newest: an answer may have crossed a commit.
  const ByteCount delayed = cache.dirty_bytes() + cache.claimed_blocks() * kBlockBytes;
  const ByteCount stored =
      attributes.blocks() * kBlocksUnit + telling_bytes + untold_bytes + delayed;
  from_master.set_blocks(std::min(stored, align_up(size, kBlockBytes)) / kBlocksUnit);
  if (!attributes_dirty && !telling_times) return;
  from_master.set_mtime_ns(attributes.mtime_ns());
  from_master.set_ctime_ns(std::max(from_master.ctime_ns(), attributes.mtime_ns()));
}

void Inode::forget() {
  mode = pb::LEASE_NONE;
  epoch = LeaseEpoch();
  ++serial;
  attributes_dirty = false;
  trim_pending = false;
  trimmed = false;
  untold_bytes = 0;
  telling_bytes = 0;
  size = 0;
  stored_end = 0;
  chunks.clear();
  cache.drop_all();
}

StripeGuard::~StripeGuard() {
  if (inode_ == nullptr) return;
  permit_.release();
  const auto slot = inode_->stripes.find(stripe_);
  CHECK(slot != inode_->stripes.end());
  if (--slot->second.users == 0) inode_->stripes.erase(slot);
}

Task<StripeGuard> lock_stripe(runtime::Runtime* runtime, InodePtr inode, std::uint64_t stripe) {
  StripeSlot& slot = inode->stripes.try_emplace(stripe, *runtime).first->second;
  ++slot.users;
  runtime::Semaphore::Permit permit = co_await slot.lock.lock();
  co_return StripeGuard(std::move(inode), stripe, std::move(permit));
}

Task<StripeGuard> lock_stripe_until(runtime::Runtime* runtime, InodePtr inode, std::uint64_t stripe,
                                    Deadline deadline) {
  StripeSlot& slot = inode->stripes.try_emplace(stripe, *runtime).first->second;
  ++slot.users;
  runtime::Semaphore::Permit permit = co_await slot.lock.lock_until(deadline);
  co_return StripeGuard(std::move(inode), stripe, std::move(permit));
}

}  // namespace cairn::client
