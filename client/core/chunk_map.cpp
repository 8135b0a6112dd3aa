#include "client/core/chunk_map.h"

#include <utility>

namespace cairn::client {

namespace {
constexpr std::uint32_t kChunksAtOnce = 16;

std::unexpected<Error> lost() { return fail(Code::kLeaseExpired, "the lease ended meanwhile"); }
constexpr std::size_t kChunksKeptMax = 4096;

bool same_layout(const layout::FileLayout& a, const layout::FileLayout& b) {
  return a.encoding() == b.encoding() && a.cell_bytes() == b.cell_bytes() &&
         a.piece_bytes() == b.piece_bytes();
}

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

void ChunkMap::learn(ChunkState& chunk, const pb::Chunk& from) {
  if (chunk.view != nullptr && chunk.view->version.raw() > from.version()) return;
  chunk.view = ChunkView::from(from);
}

Status ChunkMap::learn_layout(Inode& inode, const pb::Layout& layout) {
  if (inode.layout.has_value() || layout.cell_bytes() == 0) return Status();
  TRY(const erasure::Encoding encoding,
      erasure::Encoding::make(layout.encoding().data(), layout.encoding().parity(),
                              layout.encoding().min()));
  TRY(const layout::FileLayout arithmetic,
      layout::FileLayout::make(encoding, layout.cell_bytes(), layout.piece_bytes()));
  inode.layout = arithmetic;
  guess_ = arithmetic;
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
  CO_TRY_VOID(learn_layout(*inode, got.layout()));
  std::uint64_t last = index;
  for (const pb::Chunk& chunk : got.chunks()) {
    if (chunk.index() < index) continue;
    last = std::max(last, chunk.index());
    const auto [at, added] = inode->chunks.try_emplace(chunk.index());
    if (!added) continue;  // learnt meanwhile, and perhaps changed by us
    at->second = std::make_shared<ChunkState>(runtime_, chunk.index());
    learn(*at->second, chunk);
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
  for (const pb::Chunk& one : reply->get_chunks().chunks()) {
    if (one.index() == chunk->index) learn(*chunk, one);
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
  CO_TRY_VOID(learn_layout(*inode, reply->open_chunk().layout()));
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
  const runtime::Semaphore::Permit permit = co_await chunk->lock.lock();
  if (inode->serial != serial || inode->mode != pb::LEASE_EXCLUSIVE) co_return lost();
  const bool ours = chunk->view != nullptr && chunk->opened == inode->epoch;
  if (ours && (touch & chunk->view->unwritten) == 0) co_return Status();
  const LeaseEpoch epoch = inode->epoch;
  const std::uint64_t index = chunk->index;
  const PieceMask before = chunk->view == nullptr ? ~PieceMask{0} : chunk->view->unwritten;
  const Result<pb::OpenChunkReply> reply = co_await ask_open(inode, index, touch, deadline);
  if (!reply.has_value()) co_return fail(reply.error());
  if (chunk->opened != epoch) {
    chunk->opened = epoch;
    chunk->next_seq = OpSeq(1);
    chunk->undecided.clear();
    chunk->settled_told = OpSeq(1);
    chunk->fresh = 0;
  }
  learn(*chunk, reply->chunk());
  // Also what an earlier request made current whose answer was lost: no op may come for that.
  const PieceMask made = before & chunk->view->current;
  chunk->fresh |= made;
  chunk->stray |= made & ~touch;
  if ((touch & chunk->view->unwritten) != 0) {
    co_return fail(Code::kProtocol, "the MDS left touched pieces unwritten");
  }
  co_return Status();
}

Task<Status> ChunkMap::drop(InodePtr inode, ChunkPtr chunk, ChunkVersion version, PieceMask pieces,
                            Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  const runtime::Semaphore::Permit permit = co_await chunk->lock.lock();
  if (inode->serial != serial || inode->mode != pb::LEASE_EXCLUSIVE) co_return lost();
  // Another op dropped some in the meantime: look again.
  if (chunk->view->version != version) co_return Status();
  pb::ClientRequest request;
  pb::DropPieces& drop = *request.mutable_drop_pieces();
  drop.set_inode(inode->id.raw());
  drop.set_epoch(inode->epoch.raw());
  drop.set_chunk(chunk->view->id.raw());
  drop.set_version(version.raw());
  drop.set_pieces(pieces);
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  if (inode->serial != serial) co_return lost();
  if (reply.has_value()) {
    learn(*chunk, reply->open_chunk().chunk());
    co_return Status();
  }
  if (reply.error().code() != Code::kStaleVersion) co_return fail(reply.error());
  const Result<pb::OpenChunkReply> again = co_await ask_open(inode, chunk->index, 0, deadline);
  if (!again.has_value()) co_return fail(again.error());
  learn(*chunk, again->chunk());
  co_return Status();
}

}  // namespace cairn::client
