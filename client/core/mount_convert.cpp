// Mount: what converters of files need (conversion_port.h).
#include <algorithm>
#include <utility>

#include "client/core/mount.h"

namespace cairn::client {

namespace {
constexpr Duration kSwapTimeout = 10s;  // others wait for the lease meanwhile
}

std::uint64_t Mount::session_generation() const { return session_.generation(); }

Task<Result<pb::NextConversionReply>> Mount::next_conversion(pb::NextConversion tell) {
  pb::ClientRequest request;
  *request.mutable_next_conversion() = std::move(tell);
  Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(std::move(reply).error());
  co_return std::move(*reply->mutable_next_conversion());
}

Task<Result<InodeId>> Mount::make_shadow(InodeId source) {
  pb::ClientRequest request;
  request.mutable_make_shadow()->set_inode(source.raw());
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  const pb::MakeNodeReply& made = reply->make_node();
  const InodeId id = InodeId::from_raw(made.attributes().inode());
  if (id.raw() == 0 || id == source) co_return fail(Code::kProtocol, "the MDS made no shadow");
  const InodePtr inode = leases_.get(id);
  leases_.install_created(inode, made, session_.generation());
  ++inode->writers;
  co_return id;
}

void Mount::drop_shadow(InodeId shadow) {
  const InodePtr inode = leases_.find(shadow);
  CHECK(inode != nullptr);
  leases_.surrender(inode);
  inode->error.reset();
  leases_.release(inode, OpenMode::kWrite);
}

Task<Status> Mount::settle_shadow(InodeId shadow) {
  const InodePtr inode = leases_.find(shadow);
  CHECK(inode != nullptr);
  const Status synced = co_await fsync(shadow);
  if (!synced.has_value()) co_return synced;
  const Status given_back = co_await leases_.give_back_clean(inode);
  if (!given_back.has_value()) co_return given_back;
  co_return take_error(*inode);
}

Task<Result<pb::GetChunksReply>> Mount::chunks_of(InodeId file, std::uint64_t first,
                                                  std::uint32_t count) {
  pb::ClientRequest request;
  request.mutable_get_chunks()->set_inode(file.raw());
  request.mutable_get_chunks()->set_first(first);
  request.mutable_get_chunks()->set_count(count);
  Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(std::move(reply).error());
  co_return std::move(*reply->mutable_get_chunks());
}

// The lease under which `inode` is looked at: that of the hold, or a shared one until it ends.
Task<Result<Usage>> Mount::enter_source(InodePtr inode, const FileHold* hold, Deadline deadline) {
  if (hold == nullptr) {
    Result<Usage> usage = co_await leases_.enter(inode, inode->wanted(), deadline);
    co_return usage;
  }
  CHECK(!hold->held() || hold->inode() == inode);
  if (!hold->held() || !leases_.holds(*inode, hold->serial())) {
    co_return fail(Code::kLeaseExpired, "the file is held still no longer");
  }
  // Also while a recall waits at the gate: it waits for the hold.
  co_return Usage(inode);
}

namespace {
// Planted by tests: all chunks look as if nobody had ever changed them.
void blur(pb::GetChunksReply* map) {
  for (pb::Chunk& chunk : *map->mutable_chunks()) {
    chunk.clear_opened();
    chunk.clear_writer_epoch();
  }
}
}  // namespace

Task<Result<ConversionPort::Look>> Mount::look(InodeId source, std::uint64_t first,
                                               std::uint32_t count, const FileHold* hold) {
  const InodePtr inode = leases_.get(source);
  const Deadline deadline = leases_.lease_deadline();
  for (;;) {
    Result<Usage> usage = co_await enter_source(inode, hold, deadline);
    if (!usage.has_value()) co_return fail(std::move(usage).error());
    const std::uint64_t serial = inode->serial;
    Look look;
    look.size = inode->size;
    Result<pb::GetChunksReply> map = co_await chunks_of(source, first, count);
    if (!map.has_value()) co_return fail(std::move(map).error());
    if (leases_.holds(*inode, serial)) {
      look.map = std::move(*map);
      if (options_.sabotage.stale_stamps) blur(&look.map);
      co_return look;
    }
    if (runtime_.now() >= deadline) co_return fail(Code::kLeaseExpired, "no lease to look under");
  }
}

Task<Result<std::vector<Buffer>>> Mount::read_source(InodeId source, FileOffset offset,
                                                     ByteCount length, const FileHold* hold) {
  if (hold == nullptr) {
    Result<Parts> parts = co_await read(source, offset, length);
    co_return parts;
  }
  const InodePtr inode = leases_.get(source);
  const Deadline deadline = runtime_.after(options_.operation_timeout);
  Result<Usage> usage = co_await enter_source(inode, hold, deadline);
  if (!usage.has_value()) co_return fail(std::move(usage).error());
  ++reads_;
  const std::uint64_t serial = hold->serial();
  Result<Parts> parts = co_await read_held(inode, offset, length, deadline);
  if (!leases_.holds(*inode, serial)) {
    co_return fail(Code::kLeaseExpired, "the file is held still no longer");
  }
  co_return parts;
}

Task<Result<FileHold>> Mount::hold_still(InodeId source) {
  const InodePtr inode = leases_.get(source);
  const Deadline deadline = leases_.lease_deadline();
  Result<Usage> usage = co_await leases_.enter(inode, pb::LEASE_EXCLUSIVE, deadline);
  if (!usage.has_value()) co_return fail(std::move(usage).error());
  co_return FileHold(inode, std::move(*usage));
}

void Mount::let_go(InodeId source, FileHold* hold) {
  const InodePtr inode = leases_.find(source);
  if (inode != nullptr) leases_.surrender(inode);
  if (hold != nullptr) hold->end();
}

Task<Status> Mount::swap(FileHold* hold, InodeId shadow) {
  if (!hold->held()) co_return fail(Code::kLeaseExpired, "the file is held still no longer");
  const InodePtr inode = hold->inode();
  const std::uint64_t serial = hold->serial();
  pb::ClientRequest request;
  pb::SwapData& swap = *request.mutable_swap_data();
  swap.set_inode(inode->id.raw());
  swap.set_epoch(inode->epoch.raw());
  swap.set_shadow(shadow.raw());
  Status swapped = fail(Code::kLeaseExpired, "the file is held still no longer");
  if (leases_.holds(*inode, serial)) {
    const Deadline deadline = runtime_.after(kSwapTimeout);
    const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
    swapped = reply.has_value() ? Status() : fail(reply.error());
  }
  // Another layout from now on, or perhaps: nothing that is known here may be used again.
  if (inode->serial == serial) leases_.surrender(inode);
  hold->end();
  co_return swapped;
}

}  // namespace cairn::client
