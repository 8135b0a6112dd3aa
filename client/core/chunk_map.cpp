#include "client/core/chunk_map.h"

#include <algorithm>
#include <utility>

namespace cairn::client {

namespace {
constexpr std::uint32_t kChunksAtOnce = 16;

std::unexpected<Error> lost() { return fail(Code::kLeaseExpired, "the lease ended meanwhile"); }
constexpr std::size_t kChunksKeptMax = 4096;

// Chunks of a huge file that nobody works on can be asked for again.
void forget_some(Inode& inode) {
  if (inode.chunks.size() < kChunksKeptMax) return;
  std::erase_if(inode.chunks, [&](const auto& entry) {
    const ChunkState& chunk = *entry.second;
    const bool open =
        chunk.view != nullptr && inode.epoch.raw() != 0 && chunk.opened == inode.epoch;
    return entry.second.use_count() == 1 && !open;
  });
}
}  // namespace

void ChunkMap::learn(ChunkState& chunk, const pb::Chunk& from, PieceMask made) {
  const std::shared_ptr<const ChunkView> old = chunk.view;
  if (old != nullptr && old->id.raw() != from.id()) return;
  if (old != nullptr && old->version.raw() > from.version()) return;
  std::shared_ptr<const ChunkView> now = ChunkView::from(from);
  if (old != nullptr && old->version == now->version) {
    // Answers may cross. Inside of a version pieces are only written, and regions only marked.
    if ((now->unwritten & old->current) != 0) return;
    if ((old->marked & ~now->marked) != 0) {
      ChunkView both = *now;
      both.marked |= old->marked;
      now = std::make_shared<const ChunkView>(std::move(both));
    }
  }
  // What was unwritten under our lease is current by our OpenChunk only.
  if (old != nullptr) made = old->unwritten;
  chunk.fresh = (chunk.fresh | made) & now->current;
  chunk.stray &= now->current;
  chunk.next_seq = std::max(chunk.next_seq, now->seq_floor);
  const bool same = old != nullptr && old->version == now->version &&
                    old->current == now->current && old->unwritten == now->unwritten &&
                    old->marked == now->marked;
  chunk.view = std::move(now);
  // What is missing needs nothing any more, also when a repair made it current again: the copy has
  // every op that was under way.
  for (auto& [seq, op] : chunk.undecided) op.pending &= chunk.view->current;
  if (!same) chunk.notify();
}

Status ChunkMap::accept_layout(const InodePtr& inode, const pb::Layout& told) {
  if (told.cell_bytes() == 0) return Status();
  TRY(const layout::FileLayout layout, layout_from(told));
  if (inode->layout.has_value() && !same_layout(*inode->layout, layout)) {
    stale_(inode);
    return fail(Code::kLeaseExpired, "the file has another layout than its lease said");
  }
  inode->layout = layout;
  guess_ = layout;
  return Status();
}

Task<Result<ChunkPtr>> ChunkMap::find(InodePtr inode, std::uint64_t index, Deadline deadline) {
  const auto known = inode->chunks.find(index);
  if (known != inode->chunks.end()) co_return known->second;
  if (!inode->layout.has_value()) {
    // No layout: the file has no chunk at all.
    const ChunkPtr hole = std::make_shared<ChunkState>(runtime_, index);
    inode->chunks.emplace(index, hole);
    co_return hole;
  }
  const std::uint64_t serial = inode->serial;
  pb::ClientRequest request;
  request.mutable_get_chunks()->set_inode(inode->id.raw());
  request.mutable_get_chunks()->set_first(index);
  request.mutable_get_chunks()->set_count(kChunksAtOnce);
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  if (!reply.has_value()) co_return fail(reply.error());
  if (inode->serial != serial) co_return lost();
  const pb::GetChunksReply& got = reply->get_chunks();
  forget_some(*inode);
  CO_TRY_VOID(accept_layout(inode, got.layout()));
  std::uint64_t last = index;
  for (const pb::Chunk& chunk : got.chunks()) {
    if (chunk.index() < index) continue;
    last = std::max(last, chunk.index());
    const auto [at, added] = inode->chunks.try_emplace(chunk.index());
    if (!added) continue;  // learnt meanwhile, and perhaps changed by us
    at->second = std::make_shared<ChunkState>(runtime_, chunk.index());
    learn(*at->second, chunk, 0);
  }
  // What is absent between is a hole. Past the last one nothing is remembered but what was asked
  // for: most files are small, and their holes would be most of what a mount holds.
  for (std::uint64_t i = index; i <= last; ++i) {
    const auto [at, added] = inode->chunks.try_emplace(i);
    if (added) at->second = std::make_shared<ChunkState>(runtime_, i);
    if (i - index > 4 * kChunksAtOnce) break;
  }
  co_return inode->chunks.at(index);
}

Task<Status> ChunkMap::refresh(InodePtr inode, ChunkPtr chunk, Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  pb::ClientRequest request;
  request.mutable_get_chunks()->set_inode(inode->id.raw());
  request.mutable_get_chunks()->set_first(chunk->index);
  request.mutable_get_chunks()->set_count(1);
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  if (!reply.has_value()) co_return fail(reply.error());
  if (inode->serial != serial) co_return lost();
  CO_TRY_VOID(accept_layout(inode, reply->get_chunks().layout()));
  for (const pb::Chunk& one : reply->get_chunks().chunks()) {
    if (one.index() == chunk->index) learn(*chunk, one, ~PieceMask{0});
  }
  co_return Status();
}

Task<Result<pb::OpenChunkReply>> ChunkMap::ask_open(InodePtr inode, std::uint64_t index,
                                                    PieceMask touch, Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  pb::ClientRequest request;
  pb::OpenChunk& open = *request.mutable_open_chunk();
  open.set_inode(inode->id.raw());
  open.set_epoch(inode->epoch.raw());
  open.set_index(index);
  open.set_touch(touch);
  Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  if (inode->serial != serial) co_return lost();
  if (!reply.has_value()) co_return fail(std::move(reply).error());
  CO_TRY_VOID(accept_layout(inode, reply->open_chunk().layout()));
  co_return std::move(*reply->mutable_open_chunk());
}

Task<Status> ChunkMap::learn_layout(InodePtr inode, PieceMask touch, Deadline deadline) {
  const std::optional<layout::FileLayout> guessed = guess_;
  const Result<ChunkPtr> first = co_await find(inode, 0, deadline);
  if (!first.has_value()) co_return fail(first.error());
  const ChunkPtr chunk = *first;
  Status opened = co_await open(inode, chunk, touch, deadline);
  const bool refused = !opened.has_value() && opened.error().code() == Code::kInvalidArgument;
  if (refused && touch != 0) opened = co_await open(inode, chunk, 0, deadline);
  if (!opened.has_value()) co_return opened;
  if (!inode->layout.has_value()) co_return fail(Code::kProtocol, "the MDS told no layout");
  if (!guessed.has_value() || !same_layout(*guessed, *inode->layout)) chunk->stray |= chunk->fresh;
  co_return Status();
}

Task<Status> ChunkMap::open(InodePtr inode, ChunkPtr chunk, PieceMask touch, Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  const runtime::Semaphore::Permit permit = co_await chunk->opening.lock();
  for (;;) {
    if (inode->serial != serial || inode->mode != pb::LEASE_EXCLUSIVE) co_return lost();
    if (!chunk->holding) break;
    if (runtime_.now() >= deadline) co_return fail(Code::kTimeout, "the chunk is being repaired");
    co_await chunk->changed.wait_until(deadline);
  }
  if (chunk->is_open(inode->epoch) && (touch & chunk->view->unwritten) == 0) co_return Status();
  const LeaseEpoch epoch = inode->epoch;
  const std::uint64_t index = chunk->index;
  const std::uint64_t holds = chunk->holds;
  const PieceMask before = chunk->view == nullptr ? ~PieceMask{0} : chunk->view->unwritten;
  const Result<pb::OpenChunkReply> reply = co_await ask_open(inode, index, touch, deadline);
  if (!reply.has_value()) co_return fail(reply.error());
  const bool first = chunk->opened != epoch;
  if (first) {
    chunk->opened = epoch;
    chunk->next_seq = OpSeq(1);
    chunk->undecided.clear();
    chunk->fresh = 0;
    chunk->stray = 0;
    chunk->last_regions = 0;
  }
  learn(*chunk, reply->chunk(), ~PieceMask{0});
  if (first) chunk->settled_told = chunk->next_seq;
  // Done before a hold that came meanwhile, or after it: nobody can tell.
  chunk->must_open = chunk->holds != holds;
  // Also what an earlier request made current whose answer was lost: no op may come for that.
  chunk->stray |= before & chunk->fresh & ~touch;
  if ((touch & chunk->view->unwritten) != 0) {
    co_return fail(Code::kProtocol, "the MDS left touched pieces unwritten");
  }
  chunk->notify();
  co_return Status();
}

// Requires: chunk->lock is held.
Task<Status> ChunkMap::tell(InodePtr inode, ChunkPtr chunk, PieceMask pieces,
                            layout::RegionMask regions, Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  pb::ClientRequest request;
  pb::DropPieces& drop = *request.mutable_drop_pieces();
  drop.set_inode(inode->id.raw());
  drop.set_epoch(inode->epoch.raw());
  drop.set_chunk(chunk->view->id.raw());
  drop.set_version(chunk->view->version.raw());
  drop.set_pieces(pieces);
  drop.set_regions(regions);
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  if (inode->serial != serial) co_return lost();
  if (reply.has_value()) {
    learn(*chunk, reply->open_chunk().chunk(), 0);
    co_return Status();
  }
  if (reply.error().code() != Code::kStaleVersion) co_return fail(reply.error());
  const Status looked = co_await refresh(std::move(inode), std::move(chunk), deadline);
  co_return looked;
}

Task<Status> ChunkMap::drop(InodePtr inode, ChunkPtr chunk, ChunkVersion version, PieceMask pieces,
                            Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  const runtime::Semaphore::Permit permit = co_await chunk->lock.lock();
  if (inode->serial != serial || inode->mode != pb::LEASE_EXCLUSIVE) co_return lost();
  // Another op dropped some in the meantime: look again.
  if (chunk->view->version != version) co_return Status();
  const layout::RegionMask regions = chunk->touched();
  const Status told = co_await tell(std::move(inode), std::move(chunk), pieces, regions, deadline);
  co_return told;
}

Task<Status> ChunkMap::mark(InodePtr inode, ChunkPtr chunk, layout::RegionMask regions,
                            Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  chunk->asked |= regions;
  const runtime::Semaphore::Permit permit = co_await chunk->lock.lock();
  if (inode->serial != serial || inode->mode != pb::LEASE_EXCLUSIVE) co_return lost();
  // Closed: whoever still wants it asks again when the chunk is open.
  const bool done = chunk->must_open || (regions & ~chunk->view->marked) == 0;
  if (done) {
    chunk->asked &= ~regions;
    co_return Status();
  }
  const layout::RegionMask sent = chunk->asked | regions;
  const Status told = co_await tell(std::move(inode), chunk, 0, sent, deadline);
  chunk->asked &= ~sent;
  if (!told.has_value() || (regions & ~chunk->view->marked) == 0) co_return told;
  co_return fail(Code::kStaleVersion, "the MDS did not mark the regions of a write");
}

Task<Status> ChunkMap::close(InodePtr inode, ChunkPtr chunk, ChunkId id, OpSeq next_seq,
                             Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  pb::ClientRequest request;
  pb::CloseChunk& close = *request.mutable_close_chunk();
  close.set_inode(inode->id.raw());
  close.set_epoch(inode->epoch.raw());
  close.set_chunk(id.raw());
  close.set_next_seq(next_seq.raw());
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  if (inode->serial != serial) co_return lost();
  if (!reply.has_value()) co_return fail(reply.error());
  const bool known = chunk != nullptr && reply->open_chunk().chunk().id() == id.raw();
  if (known) learn(*chunk, reply->open_chunk().chunk(), 0);
  co_return Status();
}

}  // namespace cairn::client
