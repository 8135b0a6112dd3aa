// What the writer tells beside its ops: regions that will change, what is settled, and that a chunk
// is at rest because the master wants to repair it.
#include <bit>
#include <utility>

#include "client/core/writer.h"
#include "client/core/writer_ops.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {

constexpr Duration kMetaTimeout = 30s;
// The master waits no longer either; then ops go on.
constexpr Duration kHoldPatience = 10s;
// An OpenChunk that was done before the hold is answered by then; others wait for the hold's end.
constexpr Duration kAnswerTakes = 300ms;
// Of a sequence of ops: regions that are asked for ahead, and when.
constexpr unsigned kMarkAhead = 8;
constexpr unsigned kMarkAgain = 4;

// The `count` regions behind the last one of `regions`.
layout::RegionMask behind(layout::RegionMask regions, unsigned count) {
  layout::RegionMask next = 0;
  for (auto i = static_cast<unsigned>(std::bit_width(regions)); i < layout::kRegions && count != 0;
       ++i, --count) {
    next |= layout::RegionMask{1} << i;
  }
  return next;
}

bool goes_on(layout::RegionMask last, layout::RegionMask now) {
  if (last == 0 || now == 0) return false;
  const int first = std::countr_zero(now);
  return first > std::countr_zero(last) && first <= static_cast<int>(std::bit_width(last));
}

}  // namespace

layout::RegionMask regions_of(const StripeOp& op, std::uint64_t piece_blocks) {
  layout::RegionMask regions = 0;
  for (const PieceWrite& piece : op.pieces) {
    for (const auto* runs : {&piece.writes, &piece.zeroes, &piece.deltas}) {
      for (const layout::BlockRun& run : *runs) regions |= layout::regions_of(run, piece_blocks);
    }
  }
  return regions;
}

void Writer::mark_ahead(const Commit& it) {
  ChunkState& chunk = *it.chunk;
  const layout::RegionMask last = std::exchange(chunk.last_regions, it.regions);
  const layout::RegionMask known = chunk.view->marked | chunk.asked;
  if (known == layout::kAllRegions || stopping_ || it.sabotage.skip_regions) return;
  layout::RegionMask soon = it.regions;
  layout::RegionMask wanted = it.regions;
  if (goes_on(last, it.regions)) {
    soon |= behind(it.regions, kMarkAgain);
    wanted |= behind(it.regions, kMarkAhead);
  }
  if ((soon & ~known) != 0) tasks_.spawn(mark(it.inode, it.chunk, wanted & ~chunk.view->marked));
}

Task<void> Writer::mark(InodePtr inode, ChunkPtr chunk, layout::RegionMask regions) {
  const Deadline deadline = runtime_.after(kMetaTimeout);
  const Status marked = co_await map_.mark(std::move(inode), std::move(chunk), regions, deadline);
  ignore(marked, "an op that needs it asks itself");
}

bool Writer::settle(const InodePtr& inode, Duration idle) {
  bool all = true;
  const Instant now = runtime_.now();
  for (const auto& [index, chunk] : inode->chunks) {
    if (chunk->view == nullptr || chunk->opened != inode->epoch) continue;
    const bool told = chunk->settled_below() <= chunk->settled_told;
    // A closed chunk was told of everything when it was closed.
    if (chunk->undecided.empty() && (told || chunk->must_open)) continue;
    if (told || chunk->must_open || chunk->holding || now - chunk->last_op < idle) {
      all = false;
      continue;
    }
    tell_settled(*inode, *chunk);
  }
  return all;
}

void Writer::tell_settled(const Inode& inode, ChunkState& chunk) {
  chunk.settled_told = chunk.settled_below();
  for (unsigned i = 0; i < chunk.view->pieces.size(); ++i) {
    if ((chunk.view->current & piece_bit(i)) == 0) continue;
    pb::Settle settle;
    settle.set_chunk(chunk.view->id.raw());
    settle.set_piece(i);
    settle.set_epoch(inode.epoch.raw());
    settle.set_settled_below(chunk.settled_told.raw());
    settle.set_version(chunk.view->version.raw());
    net::Payload payload;
    payload.meta = settle.SerializeAsString();
    links_.post(chunk.view->pieces[i].address, pb::OP_SETTLE, std::move(payload));
  }
}

void Writer::hold(const InodePtr& inode, const pb::HoldChunk& hold) {
  // Of another lease: the master knows better than we do.
  const bool ours = inode->mode == pb::LEASE_EXCLUSIVE && inode->epoch.raw() == hold.epoch();
  if (!ours || stopping_) return;
  const auto found = inode->chunks.find(hold.index());
  ChunkPtr chunk = found == inode->chunks.end() ? nullptr : found->second;
  // Another one lies there by now.
  const bool other =
      chunk != nullptr && chunk->view != nullptr && chunk->view->id.raw() != hold.chunk();
  if (other) chunk = nullptr;
  if (chunk != nullptr) {
    if (chunk->holding) return;
    chunk->holding = true;
    ++chunk->holds;
    held_.insert(chunk);
  }
  tasks_.spawn(serve_hold(inode, std::move(chunk), hold));
}

Task<void> Writer::serve_hold(InodePtr inode, ChunkPtr chunk, pb::HoldChunk hold) {
  const ChunkId id = ChunkId::from_raw(hold.chunk());
  const LeaseEpoch epoch(hold.epoch());
  if (chunk == nullptr) {
    const Deadline deadline = runtime_.after(kMetaTimeout);
    const Status closed = co_await map_.close(inode, nullptr, id, OpSeq(1), deadline);
    ignore(closed, "the master asks again");
    co_return;
  }
  {
    const Deadline answered = runtime_.after(kAnswerTakes);
    const runtime::Semaphore::Permit permit = co_await chunk->opening.lock_until(answered);
  }
  const bool at_once = options_.sabotage.hold_at_once;
  const Deadline patience = at_once ? runtime_.now() : runtime_.after(kHoldPatience);
  while (!stopping_ && inode->epoch == epoch && !chunk->quiet() && runtime_.now() < patience) {
    co_await chunk->changed.wait_until(patience);
  }
  if (!stopping_ && inode->epoch == epoch && (at_once || chunk->quiet())) {
    co_await make_fresh(inode, chunk);
    const bool quiet = at_once || (chunk->quiet() && chunk->fresh == 0);
    if (!stopping_ && inode->epoch == epoch && quiet) co_await close_held(inode, chunk, id);
  }
  chunk->holding = false;
  ++chunk->holds;
  held_.erase(chunk);
  chunk->notify();
}

// Pieces that the map has, but not their chunk servers: the ops that want them wait for the hold. A
// repair could not read them, and once the chunk is closed nobody could tell that they are zeros.
Task<void> Writer::make_fresh(InodePtr inode, ChunkPtr chunk) {
  if (chunk->fresh == 0) co_return;
  const auto nothing = std::make_shared<StripeOp>();
  nothing->pieces.resize(chunk->view->pieces.size());
  Commit it;
  it.inode = inode;
  it.chunk = chunk;
  it.op = nothing;
  it.serial = inode->serial;
  it.participants = chunk->fresh;
  begin(&it);
  Status sent;
  while (sent.has_value() && !it.gone() && !stopping_ && it.state().pending != 0) {
    sent = co_await send_round(&it);
  }
  if (it.gone()) co_return;
  // It changes nothing, so it does not matter who has it.
  const bool made = it.state().pending == 0;
  if (!made) it.participants = 0;
  decide(it);
}

// Nothing that could change the chunk begins from now on, here or at the master.
Task<void> Writer::close_held(InodePtr inode, ChunkPtr chunk, ChunkId id) {
  const LeaseEpoch epoch = inode->epoch;
  const runtime::Semaphore::Permit permit = co_await chunk->lock.lock();
  if (inode->epoch != epoch || stopping_) co_return;
  // Whoever had the lock may have made another piece missing.
  if (!chunk->quiet() && !options_.sabotage.hold_at_once) co_return;
  const bool opened = chunk->view != nullptr && chunk->opened == inode->epoch;
  if (opened && chunk->settled_told < chunk->settled_below()) tell_settled(*inode, *chunk);
  // Also when the answer never comes: opening a chunk that is open does no harm.
  chunk->must_open = true;
  const OpSeq next = opened ? chunk->next_seq : OpSeq(1);
  const Deadline deadline = runtime_.after(kMetaTimeout);
  const Status closed = co_await map_.close(inode, chunk, id, next, deadline);
  if (closed.has_value()) co_return;
  log_.warning("inode {}: closing chunk {} for its repair: {}", inode->id.raw(), chunk->index,
               closed.error().to_string());
}

void Writer::interrupt() {
  stopping_ = true;
  for (const ChunkPtr& chunk : held_) chunk->changed.notify_all();
}

Task<void> Writer::stop() {
  interrupt();
  co_await tasks_.join();
}

}  // namespace cairn::client
