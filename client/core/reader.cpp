#include "client/core/reader.h"

#include <algorithm>
#include <utility>

#include "client/core/retry.h"
#include "common/base/crc32c.h"
#include "common/base/limits.h"
#include "common/runtime/task_group.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {

constexpr Duration kSlowRead = 1500ms;  // then it is read around, if that is possible
constexpr Duration kAttempt = 8s;       // when it is not
constexpr Duration kRetryFirst = 50ms;
constexpr Duration kRetryMost = 1s;
// After a read waited for its whole time in vain, the next ones wait only a little: long enough for
// a chunk server that came back to be found.
constexpr Duration kHopelessWait = 3s;
constexpr Duration kHopelessFor = 10s;
constexpr Duration kAskAgain = 5s;  // for the address of a chunk server that cannot be reached
constexpr std::uint64_t kSpanBlocksMax = limits::kReadBytesMax / kBlockBytes;

unsigned count_of(PieceMask mask) { return static_cast<unsigned>(std::popcount(mask)); }

// The reply's blocks, checked, with zeros for the holes.
Result<std::vector<Buffer>> assemble(const net::Payload& answer, layout::BlockRun run) {
  pb::ReadReply reply;
  if (!reply.ParseFromString(answer.meta)) return fail(Code::kProtocol, "bad ReadReply");
  const Buffer body = answer.body.empty() ? Buffer() : answer.body.front();
  if (answer.body.size() > 1 || reply.crcs().size() % 4 != 0 ||
      body.size() != reply.crcs().size() / 4 * kBlockBytes) {
    return fail(Code::kProtocol, "ReadReply and its body disagree");
  }
  std::vector<Buffer> parts;
  std::uint64_t at = run.first;
  std::size_t taken = 0;  // blocks of the body
  const std::size_t blocks = body.size() / kBlockBytes;
  for (const pb::BlockRange& range : reply.present()) {
    if (range.first() < at || range.count() > blocks - taken ||
        range.first() - run.first > run.count ||
        range.count() > run.count - (range.first() - run.first)) {
      return fail(Code::kProtocol, "ReadReply with blocks that were not asked for");
    }
    append_zeros(parts, (range.first() - at) * kBlockBytes);
    if (range.count() != 0) {
      parts.push_back(body.slice(taken * kBlockBytes, range.count() * kBlockBytes));
    }
    taken += range.count();
    at = range.first() + range.count();
  }
  if (taken != blocks) return fail(Code::kProtocol, "ReadReply with too many blocks");
  append_zeros(parts, (run.first + run.count - at) * kBlockBytes);
  const auto* crcs = reinterpret_cast<const std::byte*>(reply.crcs().data());
  for (std::size_t i = 0; i < blocks; ++i) {
    const Bytes block = body.span().subspan(i * kBlockBytes, kBlockBytes);
    if (crc32c(block) != load_le<std::uint32_t>(crcs + 4 * i)) {
      return fail(Code::kChecksumMismatch, "a block arrived with a wrong CRC");
    }
  }
  return parts;
}

Buffer contiguous(const std::vector<Buffer>& parts, std::size_t bytes) {
  if (parts.size() == 1) return parts.front();
  Buffer whole = Buffer::allocate(bytes);
  std::size_t at = 0;
  for (const Buffer& part : parts) {
    std::memcpy(whole.data() + at, part.data(), part.size());
    at += part.size();
  }
  CHECK_EQ(at, bytes);
  return whole;
}

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
                         cell.piece,
                         index * stripes_per_chunk + cell.stripe,
                         {run.first, kSpanBlocksMax}});
      }
      spans.push_back({*chunk, cell.piece, index * stripes_per_chunk + cell.stripe, run});
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
  bool down = false;
  for (unsigned i = 0; i < view->pieces.size(); ++i) {
    const bool current = (view->current & piece_bit(i)) != 0;
    down = down || (current && links_.down_for(view->pieces[i].address) != Duration());
  }
  if (!down) co_return;
  chunk->ask_again = runtime_.after(kAskAgain);
  const Status refreshed = co_await map_.refresh(inode, chunk, deadline);
  ignore(refreshed, "the old map may still do");
}

Task<Reader::PartsResult> Reader::try_span(InodePtr inode, Span span, StripeLock lock,
                                           Deadline deadline) {
  const std::shared_ptr<const ChunkView> view = span.chunk->view;
  const PieceMask zero = view == nullptr ? ~PieceMask{0} : view->unwritten | span.chunk->fresh;
  const unsigned data = inode->layout->encoding().data;
  const bool replicas = data == 1;
  const bool hole = replicas ? view == nullptr || (view->current & ~zero) == 0
                             : (zero & piece_bit(span.piece)) != 0;
  if (hole && (!replicas || view == nullptr || zero != 0)) {
    Parts parts;
    append_zeros(parts, span.run.count * kBlockBytes);
    co_return parts;
  }
  const PieceMask readable = view->current & ~zero;
  // Replicas are all alike: the work is spread over them.
  const unsigned pieces = static_cast<unsigned>(view->pieces.size());
  unsigned first = span.piece;
  if (replicas) {
    first = static_cast<unsigned>((view->id.raw() + span.run.first / kSpanBlocksMax) % pieces);
  }
  PieceMask broken = 0;
  for (unsigned i = 0; i < (replicas ? pieces : 1); ++i) {
    const unsigned piece = (first + i) % pieces;
    const PieceMask others = (readable | zero) & ~broken & ~piece_bit(piece);
    const bool spare = count_of(others & ((PieceMask{1} << pieces) - 1)) >= data;
    const bool avoid = spare && links_.avoided(view->pieces[piece].address);
    if ((readable & piece_bit(piece)) != 0 && !avoid) {
      const Deadline until = std::min(deadline, runtime_.after(spare ? kSlowRead : kAttempt));
      PartsResult direct = co_await read_piece(view, piece, span.run, until);
      if (direct.has_value()) co_return direct;
      if (direct.error().code() == Code::kCancelled) co_return direct;
    }
    if (!avoid || !replicas) broken |= piece_bit(piece);
  }
  if (!replicas && lock == StripeLock::kFree && inode->mode == pb::LEASE_EXCLUSIVE) {
    // A write of the stripe may wait for space as long as it likes; reads end.
    const StripeGuard guard = co_await lock_stripe_until(&runtime_, inode, span.stripe, deadline);
    if (!guard.held()) co_return fail(Code::kTimeout, "a write of the stripe is under way");
    PartsResult rebuilt = co_await rebuild(inode, span, broken, deadline);
    co_return rebuilt;
  }
  PartsResult rebuilt = co_await rebuild(inode, span, broken, deadline);
  co_return rebuilt;
}

Task<void> Reader::read_into(InodePtr /*inode*/, Span span, unsigned piece,
                             std::shared_ptr<const ChunkView> view, Deadline deadline,
                             PartsResult* result) {
  *result = co_await read_piece(std::move(view), piece, span.run, deadline);
}

Task<Reader::PartsResult> Reader::rebuild(InodePtr inode, Span span, PieceMask broken,
                                          Deadline deadline) {
  const std::shared_ptr<const ChunkView> view = span.chunk->view;
  const erasure::Encoding encoding = inode->layout->encoding();
  const unsigned pieces = static_cast<unsigned>(view->pieces.size());
  const std::size_t bytes = span.run.count * kBlockBytes;
  std::vector<Buffer> have(pieces);
  std::vector<unsigned> candidates;
  PieceMask got = 0;
  const PieceMask zero = view->unwritten | span.chunk->fresh;
  for (unsigned i = 0; i < pieces && count_of(got) < encoding.data; ++i) {
    if ((zero & piece_bit(i)) == 0 || i == span.piece) continue;
    have[i] = zeros(bytes);
    got |= piece_bit(i);
  }
  for (unsigned i = 0; i < pieces; ++i) {
    if ((view->current & ~zero & ~broken & piece_bit(i)) != 0) candidates.push_back(i);
  }
  std::ranges::stable_partition(
      candidates, [&](unsigned i) { return !links_.avoided(view->pieces[i].address); });
  std::size_t next = 0;
  while (count_of(got) < encoding.data) {
    const std::size_t need = encoding.data - count_of(got);
    if (candidates.size() - next < need) {
      co_return fail(Code::kTooFewPieces, "fewer than " + std::to_string(encoding.data) +
                                              " pieces of chunk " + std::to_string(view->id.raw()) +
                                              " can be read");
    }
    const bool spare = candidates.size() - next > need;
    const Deadline until = std::min(deadline, runtime_.after(spare ? kSlowRead : kAttempt));
    std::vector<PartsResult> results(need);
    runtime::TaskGroup group(runtime_);
    for (std::size_t i = 0; i < need; ++i) {
      group.spawn(read_into(inode, span, candidates[next + i], view, until, &results[i]));
    }
    co_await group.join();
    for (std::size_t i = 0; i < need; ++i) {
      const unsigned piece = candidates[next + i];
      if (!results[i].has_value()) continue;
      have[piece] = contiguous(*results[i], bytes);
      got |= piece_bit(piece);
    }
    next += need;
  }
  if (encoding.data == 1) {
    Parts parts;
    parts.push_back(have[static_cast<unsigned>(std::countr_zero(got))]);
    co_return parts;
  }
  have[span.piece] = Buffer::allocate(bytes);
  std::vector<std::byte*> pointers;
  for (Buffer& buffer : have) pointers.push_back(buffer.data());
  const auto codec = erasure::Codec::get(encoding.data, encoding.parity);
  CO_TRY_VOID(codec->rebuild(got, piece_bit(span.piece), pointers, bytes));
  Parts parts;
  parts.push_back(std::move(have[span.piece]));
  co_return parts;
}

Task<Reader::PartsResult> Reader::read_piece(std::shared_ptr<const ChunkView> view, unsigned piece,
                                             layout::BlockRun run, Deadline deadline) {
  const ChunkView::Place& place = view->pieces[piece];
  pb::Read ask;
  ask.set_chunk(view->id.raw());
  ask.set_piece(piece);
  ask.set_version(view->version.raw());
  pb::BlockRange& range = *ask.add_ranges();
  range.set_first(run.first);
  range.set_count(static_cast<std::uint32_t>(run.count));
  net::Payload request;
  request.meta = ask.SerializeAsString();
  std::string address = place.address;
  const Result<net::Payload> answer =
      co_await links_.call(std::move(address), pb::OP_READ, std::move(request), deadline);
  if (!answer.has_value()) {
    if (answer.error().code() == Code::kTimeout) links_.mark_slow(place.address);
    co_return fail(answer.error());
  }
  co_return assemble(*answer, run);
}

}  // namespace cairn::client
