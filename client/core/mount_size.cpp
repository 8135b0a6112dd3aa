// Mount: truncation and extension (docs/protocols/data-path.md, "Truncate").
#include <algorithm>
#include <optional>
#include <utility>

#include "client/core/mount.h"
#include "common/base/limits.h"
#include "common/runtime/completion.h"

namespace cairn::client {

namespace {
Task<void> finish(Task<Status> work, runtime::Completion<Status> done) {
  Status status = co_await work;
  done.set(std::move(status));
}
}  // namespace

Task<Status> Mount::bounded(Task<Status> work, Deadline deadline) {
  runtime::Completion<Status> done(runtime_);
  tasks_.spawn(finish(std::move(work), done));
  std::optional<Status> status = co_await done.wait_until(deadline);
  if (!status.has_value()) co_return fail(Code::kTimeout, "the cluster takes no writes");
  co_return std::move(*status);
}

Task<Result<pb::Attributes>> Mount::extend(InodeId inode, ByteCount size) {
  if (options_.read_only) co_return fail(Code::kReadOnly);
  pb::SetAttr change;
  change.set_inode(inode.raw());
  change.set_size(size);
  Result<pb::Attributes> extended =
      co_await set_size(leases_.get(inode), std::move(change), Resize::kGrowOnly);
  co_return extended;
}

Task<Result<pb::Attributes>> Mount::set_size(InodePtr inode, pb::SetAttr change, Resize resize) {
  if (change.size() > limits::kFileBytesMax) co_return fail(Code::kFileTooBig);
  const Deadline deadline = leases_.lease_deadline();
  for (;;) {
    Result<Alone> alone = co_await leases_.enter_alone(inode, pb::LEASE_EXCLUSIVE, deadline);
    if (!alone.has_value()) co_return fail(std::move(alone).error());
    if (resize == Resize::kGrowOnly && change.size() <= inode->size) {
      pb::Attributes attributes = inode->attributes;
      inode->overlay(attributes);
      co_return attributes;
    }
    if (inode->trim_pending) {
      const Status trimmed = co_await trim_alone(inode, deadline);
      if (!trimmed.has_value()) co_return fail(trimmed.error());
    }
    const std::uint64_t serial = inode->serial;
    // Nothing may be on its way to what will be cut off. It may wait for space for ever; who waits
    // for us may not.
    Task<Status> flushing = writeback_.flush(inode);
    const Status flushed = co_await bounded(std::move(flushing), deadline);
    if (inode->serial != serial && runtime_.now() < deadline) continue;
    if (!flushed.has_value()) co_return fail(flushed.error());
    Result<pb::Attributes> sized = co_await set_size_alone(inode, std::move(change));
    co_return sized;
  }
}

Task<Result<pb::Attributes>> Mount::set_size_alone(InodePtr inode, pb::SetAttr change) {
  const Deadline deadline = leases_.lease_deadline();
  const std::uint64_t serial = inode->serial;
  const ByteCount size = change.size();
  // The master must know how far the file reached, to know what it has to forget.
  const Status committed = co_await writeback_.commit(inode, deadline);
  if (!committed.has_value()) co_return fail(committed.error());
  change.set_epoch(inode->epoch.raw());
  pb::ClientRequest request;
  *request.mutable_set_attr() = std::move(change);
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  if (!reply.has_value()) {
    // It may have been done: what we hold of the file may be cut off already.
    if (reply.error().code() == Code::kTimeout && inode->serial == serial) {
      leases_.abandon(inode, reply.error());
    }
    co_return fail(reply.error());
  }
  if (inode->serial != serial) co_return reply->attributes();
  const ByteCount old_size = inode->size;
  inode->attributes = reply->attributes();
  inode->size = size;
  inode->attributes_dirty = false;
  // The master cannot know whether an open chunk holds bytes past the old size; we do.
  if (size > old_size && inode->layout.has_value()) inode->trimmed = true;
  if (size < old_size) {
    inode->trim_pending = true;
    const Status trimmed = co_await trim_alone(inode, deadline);
    // The size is set; the trim is done before the next write at the latest.
    if (!trimmed.has_value()) {
      log_.warning("inode {}: trimming: {}", inode->id.raw(), trimmed.error().to_string());
    }
  }
  pb::Attributes attributes = reply->attributes();
  inode->overlay(attributes);
  co_return attributes;
}

// The lease was granted with bytes past the size that may be stale.
Task<Status> Mount::ensure_trimmed(InodePtr inode, Deadline deadline) {
  Result<Alone> alone = co_await leases_.enter_alone(inode, pb::LEASE_EXCLUSIVE, deadline);
  if (!alone.has_value()) co_return fail(std::move(alone).error());
  if (!inode->trim_pending) co_return Status();
  const Status trimmed = co_await trim_alone(inode, deadline);
  co_return trimmed;
}

// The tail of the block at `size` becomes zero, in the cache and then at the chunk servers.
Task<Status> Mount::zero_edge(InodePtr inode, ByteCount size, Deadline deadline) {
  const std::uint64_t block = size / kBlockBytes;
  const std::uint64_t serial = inode->serial;
  if (size % kBlockBytes != 0 && !inode->cache.valid(block) &&
      block * kBlockBytes < inode->stored_end) {
    const FileRun run{block, 1};
    const Result<Parts> parts = co_await reader_.read(inode, run, StripeLock::kFree, deadline);
    if (!parts.has_value()) co_return fail(parts.error());
    if (inode->serial != serial) co_return fail(Code::kLeaseExpired);
    inode->cache.fill(block, parts->front().span());
  }
  inode->cache.truncate(size, runtime_.now());
  co_return Status();
}

// Alone, and nothing dirty: cuts off everything past the size, here and at the chunk servers.
Task<Status> Mount::trim_alone(InodePtr inode, Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  const ByteCount size = inode->size;
  if (inode->layout.has_value()) {
    const std::uint64_t first_gone = div_ceil(size, inode->layout->chunk_bytes());
    inode->chunks.erase(inode->chunks.lower_bound(first_gone), inode->chunks.end());
  }
  const Status zeroed = co_await zero_edge(inode, size, deadline);
  if (!zeroed.has_value()) co_return zeroed;
  inode->stored_end = std::min(inode->stored_end, align_up(size, kBlockBytes));
  Task<Status> trimming = writer_.trim(inode, size);
  const Status trimmed = co_await bounded(std::move(trimming), deadline);
  if (inode->serial != serial) co_return fail(Code::kLeaseExpired, "the lease ended during a trim");
  if (!trimmed.has_value()) {
    if (trimmed.error().code() == Code::kCancelled) co_return trimmed;
    // Its op may be undecided at some pieces. Only the zeroed tail is dirty: no byte of the
    // application is lost with it.
    inode->cache.drop_all();
    leases_.abandon(inode, trimmed.error());
    co_return trimmed;
  }
  inode->trim_pending = false;
  inode->trimmed = true;
  const Status committed = co_await writeback_.commit(inode, deadline);
  co_return committed;
}

}  // namespace cairn::client
