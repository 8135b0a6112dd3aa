#include "client/core/inode.h"

#include <algorithm>

namespace cairn::client {

namespace {
constexpr ByteCount kBlocksUnit = 512;  // of st_blocks
}  // namespace

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

Result<layout::FileLayout> layout_from(const pb::Layout& layout) {
  TRY(const erasure::Encoding encoding,
      erasure::Encoding::make(layout.encoding().data(), layout.encoding().parity(),
                              layout.encoding().min()));
  return layout::FileLayout::make(encoding, layout.cell_bytes(), layout.piece_bytes());
}

bool same_layout(const layout::FileLayout& a, const layout::FileLayout& b) {
  return a.encoding() == b.encoding() && a.cell_bytes() == b.cell_bytes() &&
         a.piece_bytes() == b.piece_bytes();
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
