#include "client/core/reader.h"

#include <algorithm>
#include <utility>

#include "client/core/retry.h"
#include "common/base/limits.h"

namespace cairn::client {

namespace {

constexpr Duration kAttempt = 8s;  // of a read that nobody else can answer
constexpr Duration kRetryFirst = 50ms;
constexpr Duration kRetryMost = 1s;
// After a read waited for its whole time in vain, the next ones wait only a little: long enough for
// a chunk server that came back to be found.
constexpr Duration kHopelessWait = 3s;
constexpr Duration kHopelessFor = 10s;
// For the address of a chunk server that cannot be reached, or a piece that came back.
constexpr Duration kAskAgain = 5s;
constexpr std::uint64_t kSpanBlocksMax = limits::kReadBytesMax / kBlockBytes;

unsigned count_of(PieceMask mask) { return static_cast<unsigned>(std::popcount(mask)); }

}  // namespace

Buffer zeros(std::size_t bytes) {
  static const Buffer kZeros = Buffer::zeroed(1_MiB);
  return bytes <= kZeros.size() ? kZeros.slice(0, bytes) : Buffer::zeroed(bytes);
}

void append_zeros(std::vector<Buffer>& parts, ByteCount bytes) {
  while (bytes != 0) {
    const ByteCount part = std::min<ByteCount>(bytes, 1_MiB);
    parts.push_back(zeros(part));
    bytes -= part;
  }
}

Task<Reader::PartsResult> Reader::read(InodePtr inode, FileRun blocks, StripeLock lock,
                                       Deadline deadline) {
  Parts parts;
  if (!inode->layout.has_value()) {
    append_zeros(parts, blocks.count * kBlockBytes);
    co_return parts;
  }
  const layout::FileLayout layout = *inode->layout;
  const std::uint64_t stripes_per_chunk = layout.piece_bytes() / layout.cell_bytes();
  std::vector<Span> spans;
  FileOffset at(blocks.first * kBlockBytes);
  ByteCount left = blocks.count * kBlockBytes;
  while (left != 0) {
    const std::uint64_t index = layout.chunk_index(at);
    const ChunkOffset offset = layout.in_chunk(at);
    const ByteCount length = std::min<ByteCount>(left, layout.chunk_bytes() - offset.raw());
    const Result<ChunkPtr> chunk = co_await map_.find(inode, index, deadline);
    if (!chunk.has_value()) co_return fail(chunk.error());
    for (const layout::CellRange& cell : layout.map(offset, length)) {
      layout::BlockRun run{cell.piece_offset.raw() / kBlockBytes, cell.length / kBlockBytes};
      const bool follows = !spans.empty() && spans.back().chunk == *chunk &&
                           spans.back().piece == cell.piece &&
                           spans.back().run.first + spans.back().run.count == run.first &&
                           spans.back().run.count + run.count <= kSpanBlocksMax;
      if (follows) {
        spans.back().run.count += run.count;
        continue;
      }
      for (; run.count > kSpanBlocksMax; run.first += kSpanBlocksMax, run.count -= kSpanBlocksMax) {
        spans.push_back({*chunk,
                         layout.encoding(),
                         cell.piece,
                         index * stripes_per_chunk + cell.stripe,
                         {run.first, kSpanBlocksMax}});
      }
      const std::uint64_t stripe = index * stripes_per_chunk + cell.stripe;
      spans.push_back({*chunk, layout.encoding(), cell.piece, stripe, run});
    }
    at = advance(at, length);
    left -= length;
  }
  std::vector<PartsResult> results(spans.size());
  runtime::TaskGroup group(runtime_);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    group.spawn(read_span(inode, spans[i], lock, deadline, &results[i]));
  }
  co_await group.join();
  for (PartsResult& result : results) {
    if (!result.has_value()) co_return fail(std::move(result).error());
    for (Buffer& part : *result) parts.push_back(std::move(part));
  }
  co_return parts;
}

Task<void> Reader::read_span(InodePtr inode, Span span, StripeLock lock, Deadline deadline,
                             PartsResult* result) {
  const std::uint64_t serial = inode->serial;
  Backoff backoff(kRetryFirst, kRetryMost);
  // The kernel asks several times for one read (read-ahead, then the page): only the first waits
  // for
  // its whole time.
  const bool hopeless = runtime_.now() < span.chunk->hopeless_until;
  const Deadline limit = hopeless ? std::min(deadline, runtime_.after(kHopelessWait)) : deadline;
  for (;;) {
    co_await look_for_moved(inode, span.chunk, deadline);
    *result = co_await try_span(inode, span, lock, deadline);
    if (result->has_value()) {
      span.chunk->hopeless_until = Instant();
      co_return;
    }
    if (inode->serial != serial) {
      *result = fail(Code::kLeaseExpired, "the lease ended during a read");
      co_return;
    }
    const Instant again = runtime_.after(backoff.next(runtime_.random()));
    if (result->error().code() == Code::kCancelled) co_return;
    if (again >= limit) {
      if (limit == deadline) span.chunk->hopeless_until = runtime_.after(kHopelessFor);
      co_return;
    }
    co_await runtime::sleep_until(runtime_, again);
    const Status refreshed = co_await map_.refresh(inode, span.chunk, deadline);
    ignore(refreshed, "the old map may still do");
  }
}

Task<void> Reader::look_for_moved(InodePtr inode, ChunkPtr chunk, Deadline deadline) {
  const std::shared_ptr<const ChunkView> view = chunk->view;
  if (view == nullptr || runtime_.now() < chunk->ask_again) co_return;
  bool down = !view->all_live();
  for (unsigned i = 0; i < view->pieces.size(); ++i) {
    const bool current = (view->current & piece_bit(i)) != 0;
    down = down || (current && links_.down_for(view->pieces[i].address) != Duration());
  }
  if (!down) co_return;
  chunk->ask_again = runtime_.after(kAskAgain);
  const Status refreshed = co_await map_.refresh(inode, chunk, deadline);
  ignore(refreshed, "the old map may still do");
}

// The piece itself, or of copies one that is not avoided: the work is spread over them.
unsigned Reader::choose(const ChunkView& view, PieceMask readable, const Span& span,
                        bool replicas) {
  if (!replicas) return span.piece;
  const unsigned pieces = static_cast<unsigned>(view.pieces.size());
  const auto first =
      static_cast<unsigned>((view.id.raw() + span.run.first / kSpanBlocksMax) % pieces);
  unsigned chosen = first;
  for (unsigned i = pieces; i-- != 0;) {
    const unsigned piece = (first + i) % pieces;
    if ((readable & piece_bit(piece)) == 0) continue;
    const bool better = (readable & piece_bit(chosen)) == 0;
    if (better || !links_.avoided(view.pieces[piece].address)) chosen = piece;
  }
  return chosen;
}

Task<Reader::PartsResult> Reader::try_span(InodePtr inode, Span span, StripeLock lock,
                                           Deadline deadline) {
  const std::shared_ptr<const ChunkView> view = span.chunk->view;
  const PieceMask zero = view == nullptr ? ~PieceMask{0} : view->unwritten | span.chunk->fresh;
  const unsigned data = span.encoding.data;
  const bool replicas = data == 1;
  const bool hole = replicas ? view == nullptr || (view->current & ~zero) == 0
                             : (zero & piece_bit(span.piece)) != 0;
  if (hole && (!replicas || view == nullptr || zero != 0)) {
    Parts parts;
    append_zeros(parts, span.run.count * kBlockBytes);
    co_return parts;
  }
  const PieceMask readable = view->current & ~zero;
  const PieceMask all = (PieceMask{1} << view->pieces.size()) - 1;
  const unsigned piece = choose(*view, readable, span, replicas);
  const bool spare = count_of((readable | zero) & all & ~piece_bit(piece)) >= data;
  const bool avoid = spare && links_.avoided(view->pieces[piece].address);
  if ((readable & piece_bit(piece)) != 0 && !avoid) {
    Raced direct;
    if (spare) {
      direct = co_await race(inode, span, lock, view, piece, deadline);
    } else {
      const Deadline until = std::min(deadline, runtime_.after(kAttempt));
      direct.result = co_await read_piece(view, piece, span.run, until);
    }
    const bool final = direct.result.has_value() || direct.all_asked ||
                       direct.result.error().code() == Code::kCancelled;
    if (final) co_return std::move(direct.result);
  }
  // A copy that is only slow is better than none.
  const PieceMask broken = avoid && replicas ? 0 : piece_bit(piece);
  if (!must_lock(*inode, span, lock)) {
    PartsResult rebuilt = co_await rebuild(inode, span, broken, deadline);
    co_return rebuilt;
  }
  // A write of the stripe may wait for space as long as it likes; reads end.
  const StripeGuard guard = co_await lock_stripe_until(&runtime_, inode, span.stripe, deadline);
  if (!guard.held()) co_return fail(Code::kTimeout, "a write of the stripe is under way");
  PartsResult rebuilt = co_await rebuild(inode, span, broken, deadline);
  co_return rebuilt;
}

Task<void> Reader::stop() { co_await tasks_.join(); }

}  // namespace cairn::client
