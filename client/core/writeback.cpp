#include "client/core/writeback.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

namespace cairn::client {

namespace {
constexpr ByteCount kFirstFlushBytes = 1_MiB;  // dirty bytes of a file without a layout
constexpr Duration kSettleIdle = 300ms;

std::unexpected<Error> lost() {
  return fail(Code::kLeaseExpired, "the lease ended before the data was written");
}

bool stripe_is_full(const Inode& inode, std::uint64_t stripe) {
  const std::uint64_t blocks = inode.layout->stripe_bytes() / kBlockBytes;
  const std::vector<FileRun> runs = inode.cache.dirty_runs(stripe * blocks, blocks);
  return runs.size() == 1 && runs.front().count == blocks;
}
}  // namespace

Writeback::Writeback(runtime::Runtime& runtime, Session& session, const Options& options,
                     LeaseKeeper& leases, Writer& writer, CachePool& pool)
    : runtime_(runtime),
      session_(session),
      options_(options),
      leases_(leases),
      writer_(writer),
      pool_(pool),
      tasks_(runtime),
      room_(runtime) {}

bool Writeback::room(const InodePtr& inode, FileOffset offset, ByteCount length) {
  if (inode->layout.has_value()) {
    inode->cache.keep_old(inode->layout->encoding().data,
                          inode->layout->cell_bytes() / kBlockBytes);
  } else {
    inode->cache.keep_old(0, 0);
  }
  const FileCache& cache = inode->cache;
  const ByteCount busy = cache.dirty_bytes() + cache.claimed_blocks() * kBlockBytes;
  if (busy != 0 && busy + length > options_.dirty_bytes_per_file) return false;
  for (;;) {
    const std::uint64_t missing = cache.missing_segments(offset, length);
    if (!pool_.make_room(missing)) return false;
    // What was evicted may be where this write goes.
    if (cache.missing_segments(offset, length) == missing) return true;
  }
}

Task<void> Writeback::wait_room(InodePtr inode, Deadline deadline) {
  start(inode);
  const FileCache& cache = inode->cache;
  const ByteCount busy = cache.dirty_bytes() + cache.claimed_blocks() * kBlockBytes;
  if (busy < options_.dirty_bytes_per_file / 2) {
    // Others fill the cache.
    std::vector<InodePtr> all;
    for (const auto& [id, other] : delayed_) all.push_back(other);
    for (const InodePtr& other : all) start(other);
  }
  const Deadline look = std::min(deadline, runtime_.after(1s));
  co_await room_.wait_until(look);
}

void Writeback::wrote(InodePtr inode, FileOffset offset, ByteCount length) {
  delayed_.emplace(inode->id, inode);
  if (!inode->layout.has_value()) {
    if (inode->cache.dirty_bytes() < kFirstFlushBytes || inode->flushing || stopping_) return;
    inode->flushing = true;
    tasks_.spawn(stream_first(inode));
    return;
  }
  stream_full(inode, offset.raw(), length);
}

void Writeback::stream_full(const InodePtr& inode, ByteCount from, ByteCount length) {
  if (length == 0) return;
  const ByteCount stripe_bytes = inode->layout->stripe_bytes();
  const std::uint64_t last = (from + length - 1) / stripe_bytes;
  std::uint64_t stripe = from / stripe_bytes;
  for (; stripe <= last; ++stripe) {
    const std::optional<std::uint64_t> dirty =
        inode->cache.next_dirty(stripe * (stripe_bytes / kBlockBytes));
    if (!dirty.has_value()) return;
    stripe = std::max(stripe, *dirty / (stripe_bytes / kBlockBytes));
    if (stripe > last) return;
    const auto slot = inode->stripes.find(stripe);
    if (slot != inode->stripes.end() && slot->second.queued) continue;
    if (stripe_is_full(*inode, stripe)) tasks_.spawn(stream_stripe(inode, stripe));
  }
}

void Writeback::start(InodePtr inode) {
  if (inode->flushing || stopping_ || inode->mode != pb::LEASE_EXCLUSIVE) return;
  inode->flushing = true;
  tasks_.spawn(background(std::move(inode)));
}

Task<void> Writeback::background(InodePtr inode) {
  const Status flushed = co_await flush(inode);
  // Written bytes without their size are lost by a crash of this mount: tell the size soon too.
  if (flushed.has_value() && inode->mode == pb::LEASE_EXCLUSIVE) {
    const Deadline deadline = runtime_.after(options_.operation_timeout);
    const Status committed = co_await commit(inode, deadline);
    ignore(committed, "tried again by the next flush, reported by fsync");
  }
  inode->flushing = false;
  room_.notify_all();
}

Task<void> Writeback::stream_stripe(InodePtr inode, std::uint64_t stripe) {
  inode->stripes.try_emplace(stripe, runtime_).first->second.queued = true;
  Status result;
  co_await flush_stripe(inode, stripe, &result);
}

// The stripes of a new file that were full before its layout was known.
Task<void> Writeback::stream_first(InodePtr inode) {
  const Status known = co_await learn_layout(inode);
  inode->flushing = false;
  if (known.has_value()) stream_full(inode, 0, inode->size);
}

Task<Status> Writeback::learn_layout(InodePtr inode) {
  const std::uint64_t serial = inode->serial;
  const Status known = co_await writer_.learn_layout(inode);
  if (!known.has_value() && inode->serial == serial && known.error().code() != Code::kCancelled) {
    leases_.abandon(inode, known.error());
  }
  co_return known;
}

Task<void> Writeback::flush_stripe(InodePtr inode, std::uint64_t stripe, Status* result) {
  const std::uint64_t serial = inode->serial;
  const StripeGuard guard = co_await lock_stripe(&runtime_, inode, stripe);
  inode->stripes.at(stripe).queued = false;
  if (inode->serial != serial || inode->mode != pb::LEASE_EXCLUSIVE) {
    *result = lost();
    co_return;
  }
  *result = co_await writer_.write_stripe(inode, stripe);
  room_.notify_all();
  if (result->has_value() || inode->serial != serial) co_return;
  if (result->error().code() == Code::kCancelled) co_return;
  leases_.abandon(inode, result->error());
}

Task<Status> Writeback::flush(InodePtr inode) {
  const FileCache& cache = inode->cache;
  if (cache.dirty_bytes() == 0 && cache.claimed_blocks() == 0) co_return Status();
  const std::uint64_t serial = inode->serial;
  inode->cache.restart_age(runtime_.now());
  const Status layout = co_await learn_layout(inode);
  if (!layout.has_value()) co_return layout;
  const std::uint64_t blocks = inode->layout->stripe_bytes() / kBlockBytes;
  std::set<std::uint64_t> stripes;
  for (const auto& [stripe, slot] : inode->stripes) stripes.insert(stripe);
  std::optional<std::uint64_t> dirty = cache.next_dirty(0);
  while (dirty.has_value()) {
    stripes.insert(*dirty / blocks);
    dirty = cache.next_dirty((*dirty / blocks + 1) * blocks);
  }
  std::vector<Status> results(stripes.size());
  runtime::TaskGroup group(runtime_);
  std::size_t i = 0;
  for (const std::uint64_t stripe : stripes)
    group.spawn(flush_stripe(inode, stripe, &results[i++]));
  co_await group.join();
  for (const Status& result : results) {
    if (!result.has_value()) co_return result;
  }
  if (inode->serial != serial) {
    co_return lost();
  }
  co_return Status();
}

Task<Status> Writeback::commit(InodePtr inode, Deadline deadline) {
  const runtime::Semaphore::Permit permit = co_await inode->commit.lock();
  if (!inode->has_untold()) co_return Status();
  if (inode->mode != pb::LEASE_EXCLUSIVE) co_return Status();
  const std::uint64_t serial = inode->serial;
  const bool trimmed = inode->trimmed;
  pb::ClientRequest request;
  pb::CommitFile& commit = *request.mutable_commit_file();
  commit.set_inode(inode->id.raw());
  commit.set_epoch(inode->epoch.raw());
  pb::FileUpdate& update = *commit.mutable_update();
  update.set_size(inode->size);
  // Times that we do not delay may be older than those that a SetAttr on its way sets.
  const bool times = inode->attributes_dirty;
  if (times) update.set_mtime_ns(inode->attributes.mtime_ns());
  update.set_trimmed(trimmed);
  update.set_written_bytes(inode->untold_bytes);
  inode->attributes_dirty = false;
  inode->trimmed = false;
  inode->telling_bytes = std::exchange(inode->untold_bytes, 0);
  inode->committing = true;
  inode->telling_times = times;
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  inode->committing = false;
  inode->telling_times = false;
  if (inode->serial != serial) {
    co_return fail(Code::kLeaseExpired, "the lease ended before the size was told");
  }
  const ByteCount told = std::exchange(inode->telling_bytes, 0);
  if (reply.has_value()) {
    inode->attributes.set_blocks(reply->attributes().blocks());
    co_return Status();
  }
  inode->attributes_dirty = inode->attributes_dirty || times;
  inode->trimmed = inode->trimmed || trimmed;
  // It may have been done: then they count twice, which blocks allow.
  inode->untold_bytes += told;
  const Code code = reply.error().code();
  if (code == Code::kStaleEpoch || code == Code::kLeaseExpired)
    leases_.abandon(inode, reply.error());
  co_return fail(reply.error());
}

void Writeback::tick() {
  const Instant now = runtime_.now();
  std::vector<InodePtr> aged;
  for (auto at = delayed_.begin(); at != delayed_.end();) {
    const InodePtr& inode = at->second;
    const bool told = writer_.settle(inode, kSettleIdle);
    const bool old = now - inode->cache.dirty_since() >= options_.writeback_age ||
                     (inode->cache.dirty_bytes() == 0 && inode->has_delayed());
    if (old) aged.push_back(inode);
    const bool over = told && !inode->has_delayed() && !inode->flushing;
    at = over ? delayed_.erase(at) : std::next(at);
  }
  for (const InodePtr& inode : aged) start(inode);
}

Task<void> Writeback::stop() {
  stopping_ = true;
  room_.notify_all();
  co_await tasks_.join();
  delayed_.clear();
}

}  // namespace cairn::client
