#include "client/core/writer.h"

#include <algorithm>
#include <utility>

#include "client/core/retry.h"
#include "common/runtime/task_group.h"
#include "proto/data_plane.pb.h"

namespace cairn::client {

namespace {
constexpr ByteCount kInFlightBytesMax = 64_MiB;
constexpr Duration kMetaTimeout = 30s;  // one question to the master; asked again if need be

std::unexpected<Error> lost() {
  return fail(Code::kLeaseExpired, "the lease ended during a write");
}
}  // namespace

Writer::Writer(runtime::Runtime& runtime, observe::Log& log, Session& session,
               const Options& options, CsLinks& links, ChunkMap& map, Reader& reader)
    : runtime_(runtime),
      log_(log),
      session_(session),
      options_(options),
      links_(links),
      map_(map),
      reader_(reader),
      in_flight_(runtime, kInFlightBytesMax),
      tasks_(runtime) {}

Task<Status> Writer::write_stripe(InodePtr inode, std::uint64_t stripe) {
  const std::uint64_t serial = inode->serial;
  CHECK(inode->layout.has_value());
  const StripeGeometry geometry = StripeGeometry::of(*inode->layout, stripe);
  // Once from the first row to the last: what is dirtied behind it may wait for the next call, and
  // must not be taken instead of what was dirty before.
  std::uint64_t from = 0;
  while (from < geometry.rows) {
    const std::vector<RowRun> rows = dirty_rows(inode->cache, geometry, from);
    if (rows.empty()) co_return Status();
    std::uint64_t taken = 0;
    for (const RowRun& run : rows) taken += run.count;
    const auto source = std::make_shared<StripeSource>(geometry, rows);
    from = taken < kRowsPerOpMax ? geometry.rows : source->end_row();
    const Result<ChunkPtr> chunk = co_await find_chunk(inode, geometry.chunk_index);
    if (inode->serial != serial) co_return lost();
    if (!chunk.has_value()) co_return fail(chunk.error());
    const Status written = co_await write_op(inode, *chunk, source);
    if (inode->serial != serial) co_return lost();
    if (!written.has_value()) co_return written;
  }
  co_return Status();
}

Task<Result<ChunkPtr>> Writer::find_chunk(InodePtr inode, std::uint64_t index) {
  const std::uint64_t serial = inode->serial;
  Backoff backoff(50ms, 1s);
  for (;;) {
    const Deadline deadline = runtime_.after(kMetaTimeout);
    Result<ChunkPtr> chunk = co_await map_.find(inode, index, deadline);
    if (chunk.has_value()) co_return chunk;
    if (inode->serial != serial) co_return lost();
    if (session_.stopping()) co_return fail(Code::kCancelled, "the mount is being stopped");
    if (!waits_for(chunk.error())) co_return chunk;
    co_await pause(&backoff);
  }
}

Task<Status> Writer::trim(InodePtr inode, ByteCount size) {
  if (!inode->layout.has_value()) co_return Status();
  const layout::FileLayout layout = *inode->layout;
  const ByteCount in_chunk = size % layout.chunk_bytes();
  if (in_chunk == 0) co_return Status();
  const std::uint64_t stripe = size / layout.stripe_bytes();
  const std::uint64_t serial = inode->serial;
  const StripeGuard guard = co_await lock_stripe(&runtime_, inode, stripe);
  // Under another lease there may be bytes past this size.
  if (inode->serial != serial) co_return lost();
  const StripeGeometry geometry = StripeGeometry::of(layout, stripe);
  const Deadline deadline = runtime_.after(kMetaTimeout);
  const Result<ChunkPtr> chunk = co_await map_.find(inode, geometry.chunk_index, deadline);
  if (inode->serial != serial) co_return lost();
  if (!chunk.has_value()) co_return fail(chunk.error());
  if ((*chunk)->view == nullptr) co_return Status();
  for (std::uint64_t row = 0; row < geometry.rows; row += kRowsPerOpMax) {
    const std::vector<RowRun> rows{{row, std::min(kRowsPerOpMax, geometry.rows - row)}};
    const auto source = std::make_shared<StripeSource>(geometry, rows);
    source->zero_from = div_ceil(size, kBlockBytes);
    source->zero_rest = row + kRowsPerOpMax >= geometry.rows;
    const Status written = co_await write_op(inode, *chunk, source);
    if (inode->serial != serial) co_return lost();
    if (!written.has_value()) co_return written;
  }
  co_return Status();
}

bool Writer::waits_for(const Error& error) const {
  switch (error.code()) {
    case Code::kNoSpace:
      return !options_.fail_on_nospace;
    case Code::kBelowMinimum:
    case Code::kTooFewPieces:
    case Code::kTimeout:
    case Code::kOverloaded:
    case Code::kStaleVersion:
      return options_.hard;
    default:
      return false;
  }
}

Task<void> Writer::pause(Backoff* backoff) {
  ++waiting_;
  const Duration delay = backoff->next(runtime_.random());
  co_await runtime::sleep_for(runtime_, delay);
  --waiting_;
}

// The pieces of chunk 0 that the dirty blocks will touch, if the file gets the layout that the last
// new one got: saves small files a question to the master. 0: no idea.
PieceMask Writer::guess_touch(const Inode& inode) const {
  if (!map_.guess().has_value()) return 0;
  const layout::FileLayout& layout = *map_.guess();
  const std::uint64_t stripe_blocks = layout.stripe_bytes() / kBlockBytes;
  const std::uint64_t cell_blocks = layout.cell_bytes() / kBlockBytes;
  PieceMask touch = 0;
  const std::uint64_t chunk_blocks = layout.chunk_bytes() / kBlockBytes;
  for (const FileRun& run : inode.cache.dirty_runs(0, chunk_blocks)) {
    const std::uint64_t last = run.first + run.count - 1;
    for (std::uint64_t block = run.first; block <= last;
         block = (block / cell_blocks + 1) * cell_blocks) {
      touch |= piece_bit(static_cast<unsigned>(block % stripe_blocks / cell_blocks));
    }
  }
  return touch == 0 ? 0 : touch | StripeGeometry::of(layout, 0).parity_mask();
}

Task<Status> Writer::learn_layout(InodePtr inode) {
  const std::uint64_t serial = inode->serial;
  Backoff backoff(50ms, 1s);
  for (;;) {
    if (inode->serial != serial) co_return lost();
    if (inode->layout.has_value()) co_return Status();
    if (session_.stopping()) co_return fail(Code::kCancelled, "the mount is being stopped");
    const Deadline deadline = runtime_.after(kMetaTimeout);
    const PieceMask touch = guess_touch(*inode);
    const Status step = co_await map_.learn_layout(inode, touch, deadline);
    if (step.has_value()) continue;
    if (inode->serial != serial) co_return lost();
    if (!waits_for(step.error())) co_return step;
    co_await pause(&backoff);
  }
}

Task<Status> Writer::write_op(InodePtr inode, ChunkPtr chunk,
                              std::shared_ptr<StripeSource> source) {
  const std::uint64_t serial = inode->serial;
  const Status ready = co_await get_ready(inode, chunk, source);
  if (!ready.has_value()) co_return ready;
  if (inode->serial != serial) co_return lost();
  const auto op = std::make_shared<StripeOp>(build_stripe_op(inode->cache, *source));
  // A piece that the master takes for written must be there, even if it holds nothing.
  for (unsigned i = 0; i < op->pieces.size(); ++i) {
    if ((chunk->stray & piece_bit(i)) == 0 || !op->pieces[i].empty()) continue;
    op->pieces[i].zeroes.push_back({source->geometry.piece_first + source->rows.front().first, 1});
  }
  const Status committed = co_await commit(inode, chunk, op);
  if (inode->serial != serial) co_return lost();
  if (!committed.has_value()) {
    // Not decided: the bytes stay dirty until the lease is abandoned.
    for (const FileRun& run : op->claimed) inode->cache.failed(run, runtime_.now());
    co_return committed;
  }
  inode->stored_end = std::max(inode->stored_end, op->file_end * kBlockBytes);
  for (const FileRun& run : op->claimed) inode->cache.done(run);
  for (const FileRun& run : op->claimed) {
    inode->untold_bytes += run.count * kBlockBytes;
    bytes_written_ += run.count * kBlockBytes;
  }
  co_return Status();
}

}  // namespace cairn::client
