// Mount: handles, reads, writes, fsync.
#include <algorithm>
#include <cstring>
#include <utility>

#include "client/core/mount.h"
#include "common/base/limits.h"

namespace cairn::client {

namespace {

constexpr ByteCount kWritePartMax = 4_MiB;  // longer writes go in parts, so that they fit any cache

// Bytes [skip, skip + length) of parts in a row.
std::vector<Buffer> cut(const std::vector<Buffer>& parts, ByteCount skip, ByteCount length) {
  std::vector<Buffer> result;
  for (const Buffer& part : parts) {
    if (skip >= part.size()) {
      skip -= part.size();
      continue;
    }
    const ByteCount take = std::min<ByteCount>(part.size() - skip, length);
    if (take == 0) break;
    result.push_back(part.slice(skip, take));
    length -= take;
    skip = 0;
  }
  CHECK_EQ(length, ByteCount{0});
  return result;
}

}  // namespace

Deadline Mount::write_deadline() const {
  return options_.hard ? Instant::infinite() : runtime_.after(options_.operation_timeout);
}

Status Mount::take_error(Inode& inode) {
  if (!inode.error.has_value()) return Status();
  const Error error = *std::exchange(inode.error, std::nullopt);
  return fail(error);
}

Task<Result<pb::Attributes>> Mount::open(InodeId id, OpenMode mode) {
  if (options_.read_only && mode == OpenMode::kWrite) co_return fail(Code::kReadOnly);
  const InodePtr inode = leases_.get(id);
  const Deadline deadline = leases_.lease_deadline();
  const Status opened = co_await leases_.open(inode, mode, deadline);
  if (!opened.has_value()) co_return fail(opened.error());
  pb::Attributes attributes = inode->attributes;
  inode->overlay(attributes);
  co_return attributes;
}

void Mount::release(InodeId id, OpenMode mode) {
  const InodePtr inode = leases_.find(id);
  CHECK(inode != nullptr);
  leases_.release(inode, mode);
}

Task<Result<std::vector<Buffer>>> Mount::read(InodeId id, FileOffset offset, ByteCount length) {
  const InodePtr inode = leases_.get(id);
  const Deadline deadline = leases_.lease_deadline();
  ++reads_;
  for (;;) {
    Result<Usage> usage = co_await leases_.enter(inode, inode->wanted(), deadline);
    if (!usage.has_value()) co_return fail(std::move(usage).error());
    const std::uint64_t serial = inode->serial;
    const Deadline until = runtime_.after(options_.operation_timeout);
    Result<Parts> parts = co_await read_held(inode, offset, length, until);
    // The lease may have run out while we read: then somebody may have written since.
    if (!leases_.holds(*inode, serial) && runtime_.now() < deadline) continue;
    if (!leases_.holds(*inode, serial))
      co_return fail(Code::kLeaseExpired, "no lease to read under");
    if (!parts.has_value()) co_return fail(std::move(parts).error());
    for (const Buffer& part : *parts) bytes_read_ += part.size();
    co_return parts;
  }
}

Task<Result<Mount::Parts>> Mount::read_held(InodePtr inode, FileOffset offset, ByteCount length,
                                            Deadline deadline) {
  Parts none;
  const ByteCount size = inode->size;
  if (offset.raw() >= size || length == 0) co_return none;
  length = std::min(length, size - offset.raw());
  const std::uint64_t first = offset.raw() / kBlockBytes;
  const std::uint64_t end = div_ceil(offset.raw() + length, kBlockBytes);
  const ByteCount skip = offset.raw() - first * kBlockBytes;
  bool cached = false;
  for (std::uint64_t block = first; block < end && !cached && !inode->cache.empty(); ++block) {
    cached = inode->cache.valid(block);
  }
  if (cached) {
    const Result<Buffer> mixed = co_await read_mixed(inode, {first, end - first}, deadline);
    if (!mixed.has_value()) co_return fail(mixed.error());
    none.push_back(mixed->slice(skip, length));
    co_return none;
  }
  // Nothing of it is here: the buffers of the network are the answer.
  const std::uint64_t stored = std::clamp(inode->stored_end / kBlockBytes, first, end);
  Parts parts;
  if (stored > first) {
    Result<Parts> fetched =
        co_await reader_.read(inode, {first, stored - first}, StripeLock::kFree, deadline);
    if (!fetched.has_value()) co_return fail(std::move(fetched).error());
    parts = std::move(*fetched);
  }
  append_zeros(parts, (end - stored) * kBlockBytes);
  co_return cut(parts, skip, length);
}

// Blocks some of which are in the cache: copied out at once, so that what is cached now cannot be
// replaced by something older; the others are fetched.
Task<Result<Buffer>> Mount::read_mixed(InodePtr inode, FileRun blocks, Deadline deadline) {
  Buffer whole = Buffer::allocate(blocks.count * kBlockBytes);
  const std::uint64_t stored = inode->stored_end / kBlockBytes;
  std::uint64_t low = blocks.count;
  std::uint64_t high = 0;
  std::vector<bool> absent(blocks.count, false);
  for (std::uint64_t i = 0; i < blocks.count; ++i) {
    const MutableBytes into = whole.span().subspan(i * kBlockBytes, kBlockBytes);
    if (inode->cache.valid(blocks.first + i)) {
      inode->cache.copy_out(blocks.first + i, 0, into);
    } else if (blocks.first + i >= stored) {
      std::memset(into.data(), 0, into.size());
    } else {
      absent[i] = true;
      low = std::min(low, i);
      high = i + 1;
    }
  }
  if (low >= high) co_return whole;
  const FileRun fetch{blocks.first + low, high - low};
  const Result<Parts> parts = co_await reader_.read(inode, fetch, StripeLock::kFree, deadline);
  if (!parts.has_value()) co_return fail(parts.error());
  std::uint64_t i = low;
  for (const Buffer& part : *parts) {
    for (std::size_t at = 0; at < part.size(); at += kBlockBytes, ++i) {
      if (absent[i]) std::memcpy(whole.data() + i * kBlockBytes, part.data() + at, kBlockBytes);
    }
  }
  CHECK_EQ(i, high);
  co_return whole;
}

Task<Status> Mount::write(InodeId id, FileOffset offset, Bytes bytes, bool append) {
  if (options_.read_only) co_return fail(Code::kReadOnly);
  const InodePtr inode = leases_.get(id);
  ++writes_;
  while (!bytes.empty()) {
    const Bytes part = bytes.first(std::min<std::size_t>(bytes.size(), kWritePartMax));
    const Status written = co_await write_part(inode, offset, part, append);
    if (!written.has_value()) co_return written;
    offset = advance(offset, part.size());
    bytes = bytes.subspan(part.size());
  }
  co_return Status();
}

Task<Status> Mount::write_part(InodePtr inode, FileOffset offset, Bytes bytes, bool append) {
  const Deadline deadline = write_deadline();
  for (;;) {
    const Deadline lease = std::min(deadline, leases_.lease_deadline());
    Result<Usage> usage = co_await leases_.enter(inode, pb::LEASE_EXCLUSIVE, lease);
    if (!usage.has_value()) co_return fail(std::move(usage).error());
    const Status before = take_error(*inode);
    if (!before.has_value()) co_return before;
    if (inode->trim_pending) {
      usage->end();
      const Status trimmed = co_await ensure_trimmed(inode, lease);
      if (trimmed.has_value()) continue;
      // Like the write itself, it may wait for space.
      const Code code = trimmed.error().code();
      const bool again = code == Code::kTimeout || code == Code::kLeaseExpired;
      if (!again || runtime_.now() >= deadline) co_return trimmed;
      continue;
    }
    const std::uint64_t serial = inode->serial;
    const Result<bool> stored = co_await store(inode, offset, bytes, append);
    if (stored.has_value() && *stored) co_return Status();
    if (inode->serial != serial) continue;
    if (!stored.has_value()) co_return fail(stored.error());
    usage->end();
    if (runtime_.now() >= deadline) co_return fail(Code::kTimeout, "waiting for room in the cache");
    co_await writeback_.wait_room(inode, deadline);
  }
}

// Puts the bytes into the cache, under the lease that the caller holds: it is not let go while old
// bytes are fetched, or two mounts could take turns for ever. False: there is no room now.
Task<Result<bool>> Mount::store(InodePtr inode, FileOffset offset, Bytes bytes, bool append) {
  const std::uint64_t serial = inode->serial;
  const Deadline until = runtime_.after(options_.operation_timeout);
  for (;;) {
    // The end of the file and the cache may move whenever we wait.
    const FileOffset at = append ? FileOffset(inode->size) : offset;
    if (at.raw() > limits::kFileBytesMax - bytes.size()) co_return fail(Code::kFileTooBig);
    if (!writeback_.room(inode, at, bytes.size())) co_return false;
    if (!inode->cache.unknown_edges(at, bytes.size()).empty()) {
      const Status filled = co_await fill_edges(inode, at, bytes.size(), until);
      if (!filled.has_value()) co_return fail(filled.error());
      if (!leases_.holds(*inode, serial)) co_return fail(Code::kLeaseExpired, "during a write");
      continue;
    }
    const ByteCount older_end = std::min(inode->stored_end, inode->size);
    inode->cache.write(at, bytes, runtime_.now(), older_end);
    inode->size = std::max(inode->size, at.raw() + bytes.size());
    const std::int64_t now = runtime_.wall_now().raw();
    inode->attributes.set_mtime_ns(now);
    inode->attributes.set_ctime_ns(now);
    inode->attributes_dirty = true;
    writeback_.wrote(inode, at, bytes.size());
    co_return true;
  }
}

// The old bytes of blocks that a write covers only in part.
Task<Status> Mount::fill_edges(InodePtr inode, FileOffset offset, ByteCount length,
                               Deadline deadline) {
  const std::uint64_t serial = inode->serial;
  for (const std::uint64_t block : inode->cache.unknown_edges(offset, length)) {
    if (block * kBlockBytes >= inode->stored_end) {
      inode->cache.fill(block, Bytes());
      continue;
    }
    const std::uint64_t losses = inode->cache.losses();
    const FileRun run{block, 1};
    const Result<Parts> parts = co_await reader_.read(inode, run, StripeLock::kFree, deadline);
    if (!parts.has_value()) co_return fail(parts.error());
    if (inode->serial != serial) co_return fail(Code::kLeaseExpired);
    // Written and evicted in between: what was read may be older. The caller asks again.
    if (inode->cache.losses() != losses) continue;
    inode->cache.fill(block, parts->front().span());
  }
  co_return Status();
}

Task<Status> Mount::fsync(InodeId id) {
  ++fsyncs_;
  const InodePtr inode = leases_.find(id);
  if (inode == nullptr) co_return Status();
  const Deadline deadline = write_deadline();
  Result<Usage> usage = co_await leases_.join(inode, deadline);
  if (!usage.has_value()) co_return fail(std::move(usage).error());
  const Status flushed = co_await writeback_.flush(inode);
  Status committed;
  if (flushed.has_value()) {
    const Deadline until = std::min(deadline, leases_.lease_deadline());
    committed = co_await writeback_.commit(inode, until);
  }
  const Status earlier = take_error(*inode);
  if (!earlier.has_value()) co_return earlier;
  if (!flushed.has_value()) co_return flushed;
  co_return committed;
}

Task<Status> Mount::flush(InodeId id) {
  const InodePtr inode = leases_.find(id);
  if (inode == nullptr) co_return Status();
  writeback_.start(inode);
  co_return take_error(*inode);
}

}  // namespace cairn::client
