// What comes before a write op is built: old blocks read as planned, the chunk open.
#include <algorithm>
#include <utility>

#include "client/core/retry.h"
#include "client/core/stripe_op_plan.h"
#include "client/core/writer.h"
#include "common/runtime/task_group.h"

namespace cairn::client {

namespace {
constexpr Duration kMetaTimeout = 30s;
constexpr Duration kReadOldTimeout = 30s;
constexpr Duration kReadParityTimeout = 2s;  // then other pieces are read instead
constexpr std::size_t kReadsAtOnce = 64;

std::unexpected<Error> lost() {
  return fail(Code::kLeaseExpired, "the lease ended during a write");
}

void look_at_map(const Inode& inode, const ChunkState& chunk, StripeSource* source) {
  const PieceMask all = (PieceMask{1} << source->geometry.pieces()) - 1;
  const PieceMask current = chunk.view == nullptr ? 0 : chunk.view->current;
  const PieceMask unwritten = chunk.view == nullptr ? all : chunk.view->unwritten;
  // A fresh piece that is missing by now is not zero any more: parity may have what it missed.
  source->unwritten = (unwritten | (chunk.fresh & current)) & all;
  source->readable = current & ~source->unwritten;
  source->targets = source->geometry.parity_mask() & (current | unwritten);
  source->stored_end = div_ceil(inode.stored_end, kBlockBytes);
}
}  // namespace

// Around chunk servers that are known to be slow or away, if that is possible.
Result<layout::RowPlan> Writer::plan(const Inode& inode, const ChunkState& chunk,
                                     PieceMask unreadable, StripeSource* source) const {
  look_at_map(inode, chunk, source);
  source->readable &= ~unreadable;
  const PieceMask readable = source->readable;
  for (unsigned i = 0; i < source->geometry.pieces(); ++i) {
    if ((readable & piece_bit(i)) == 0) continue;
    if (links_.avoided(chunk.view->pieces[i].address)) source->readable &= ~piece_bit(i);
  }
  Result<layout::RowPlan> planned = plan_stripe(inode.cache, *source);
  if (planned.has_value() || source->readable == readable) return planned;
  source->readable = readable;
  return plan_stripe(inode.cache, *source);
}

Task<void> Writer::read_run(InodePtr inode, ChunkPtr chunk, unsigned piece, layout::BlockRun run,
                            FileRun blocks, OldRead* read) {
  if (blocks.count != 0) {
    const Deadline deadline = runtime_.after(kReadOldTimeout);
    read->parts = co_await reader_.read(inode, blocks, StripeLock::kHeld, deadline);
    co_return;
  }
  const Deadline deadline = runtime_.after(kReadParityTimeout);
  read->parts = co_await reader_.read_piece(chunk->view, piece, run, deadline);
}

// What the plan asks for. Data goes through the Reader, which gets it from the other pieces if need
// be; a parity piece that cannot be read is added to `unreadable`.
Task<Status> Writer::read_old(InodePtr inode, ChunkPtr chunk, std::shared_ptr<StripeSource> source,
                              PieceMask* unreadable) {
  const std::uint64_t serial = inode->serial;
  const StripeGeometry& at = source->geometry;
  std::vector<OldRead> reads;
  for (unsigned piece = 0; piece < at.pieces(); ++piece) {
    for (const layout::BlockRun& run : source->plan.reads[piece]) {
      reads.push_back({.piece = piece, .row = run.first - at.piece_first, .count = run.count});
    }
  }
  for (std::size_t first = 0; first < reads.size(); first += kReadsAtOnce) {
    const std::size_t end = std::min(reads.size(), first + kReadsAtOnce);
    runtime::TaskGroup group(runtime_);
    for (std::size_t i = first; i < end; ++i) {
      const OldRead& read = reads[i];
      const layout::BlockRun run{at.piece_first + read.row, read.count};
      const FileRun blocks{at.file_block(read.piece, read.row),
                           read.piece < at.data ? read.count : 0};
      group.spawn(read_run(inode, chunk, read.piece, run, blocks, &reads[i]));
    }
    co_await group.join();
    if (inode->serial != serial) co_return lost();
  }
  Status status;
  for (const OldRead& read : reads) {
    if (!read.parts.has_value()) {
      if (read.piece < at.data) {
        status = fail(read.parts.error());
      } else {
        *unreadable |= piece_bit(read.piece);
      }
      continue;
    }
    std::uint64_t row = read.row;
    for (const Buffer& part : *read.parts) {
      for (std::size_t in = 0; in < part.size(); in += kBlockBytes) {
        source->old.put(read.piece, row++, part.slice(in, kBlockBytes));
      }
    }
    CHECK_EQ(row, read.row + read.count);
  }
  co_return status;
}

// Until all old blocks are here and all pieces open: both wait, and more may have become dirty
// meanwhile. When it returns, the plan is that of this moment: the op must be built and begun
// before anything else happens.
Task<Status> Writer::get_ready(InodePtr inode, ChunkPtr chunk,
                               std::shared_ptr<StripeSource> source) {
  const std::uint64_t serial = inode->serial;
  Backoff backoff(50ms, 1s);
  const Instant give_up = runtime_.after(options_.operation_timeout);
  PieceMask unreadable = 0;
  for (;;) {
    if (inode->serial != serial) co_return lost();
    if (session_.stopping()) co_return fail(Code::kCancelled, "the mount is being stopped");
    const Deadline deadline = runtime_.after(kMetaTimeout);
    Result<layout::RowPlan> planned = plan(*inode, *chunk, unreadable, source.get());
    Status step;
    if (!planned.has_value()) {
      // Something may have been repaired, or answer again.
      step = co_await map_.refresh(inode, chunk, deadline);
      if (step.has_value()) step = fail(planned.error());
      unreadable = 0;
    } else if (planned->blocks_read != 0) {
      source->plan = std::move(*planned);
      step = co_await read_old(inode, chunk, source, &unreadable);
    } else {
      source->plan = std::move(*planned);
      if (rebuild_old(inode->cache, *source)) continue;
      PieceMask touch = touched_pieces(inode->cache, source->geometry, source->rows);
      // A truncation writes parity only where there is some.
      const PieceMask parity = source->geometry.parity_mask();
      if (source->zero_from.has_value() && (touch & ~parity) == 0) touch = 0;
      if (chunk->is_open(inode->epoch) && (chunk->view->unwritten & touch) == 0) co_return Status();
      step = co_await map_.open(inode, chunk, touch, deadline);
    }
    if (step.has_value()) continue;
    if (inode->serial != serial) co_return lost();
    // Soft mounts too give pieces time to come back, as the Reader does.
    const bool patient = !planned.has_value() && runtime_.now() < give_up;
    if (!patient && !waits_for(step.error())) co_return step;
    co_await pause(&backoff);
  }
}

}  // namespace cairn::client
