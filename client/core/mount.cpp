#include "client/core/mount.h"

#include <algorithm>
#include <utility>

namespace cairn::client {

namespace {
constexpr Duration kTick = 200ms;
}

std::unique_ptr<FileSystem> FileSystem::make(runtime::Runtime& runtime, net::Network& network,
                                             observe::Log& log, Options options) {
  return std::make_unique<Mount>(runtime, network, log, std::move(options));
}

Mount::Mount(runtime::Runtime& runtime, net::Network& network, observe::Log& log, Options options)
    : runtime_(runtime),
      log_(log),
      options_(std::move(options)),
      pool_(options_.cache_bytes),
      session_(runtime, network, log, options_, *this),
      links_(runtime, network, options_.credentials),
      leases_(runtime, log, session_, options_, pool_),
      map_(runtime, session_,
           [this](InodePtr inode) {
             Error error(Code::kLeaseExpired, "the file got another layout under the lease");
             leases_.abandon(std::move(inode), std::move(error));
           }),
      reader_(runtime, links_, map_),
      writer_(runtime, log, session_, options_, links_, map_, reader_),
      writeback_(runtime, session_, options_, leases_, writer_, pool_),
      tasks_(runtime),
      wake_(runtime) {
  leases_.on_flush([this](InodePtr inode) { return flush_for_recall(std::move(inode)); });
}

Mount::~Mount() = default;

void Mount::on_invalidate(Invalidate invalidate) { leases_.on_invalidate(std::move(invalidate)); }

Task<Status> Mount::start() {
  const Deadline deadline = runtime_.after(options_.operation_timeout);
  const Status started = co_await session_.start(deadline);
  if (started.has_value()) tasks_.spawn(ticker());
  co_return started;
}

Task<void> Mount::ticker() {
  while (!stopping_) {
    const Deadline next = runtime_.after(kTick);
    while (!stopping_ && runtime_.now() < next) co_await wake_.wait_until(next);
    if (stopping_) co_return;
    const bool valid = session_.valid();
    if (leases_valid_ && !valid) leases_.drop_all_pages();
    leases_valid_ = valid;
    leases_.tick();
    writeback_.tick();
  }
}

Task<void> Mount::release_leases(Deadline deadline) {
  last_flush_ = co_await leases_.release_all(deadline);
  leases_released_ = true;
  wake_.notify_all();
}

Task<Status> Mount::stop(Deadline deadline) {
  stopping_ = true;
  wake_.notify_all();
  tasks_.spawn(release_leases(deadline));
  while (!leases_released_ && runtime_.now() < deadline) co_await wake_.wait_until(deadline);
  const bool clean = leases_released_;
  const Deadline bye = std::max(deadline, runtime_.after(100ms));
  // What a converter did not write is of a shadow, which goes with the session.
  const bool nothing_lost = clean && last_flush_.has_value();
  co_await session_.stop(nothing_lost || options_.converter != 0, bye);
  co_await links_.stop();
  writer_.interrupt();
  co_await writeback_.stop();
  co_await writer_.stop();
  co_await reader_.stop();
  co_await leases_.stop();
  co_await tasks_.join();
  if (!clean) co_return fail(Code::kTimeout, "delayed data was not written before the deadline");
  co_return last_flush_;
}

void Mount::on_recall(pb::RecallLease recall) { leases_.recall(std::move(recall)); }
void Mount::on_hold(pb::HoldChunk hold) {
  const InodePtr inode = leases_.find(InodeId::from_raw(hold.inode()));
  if (inode != nullptr) writer_.hold(inode, hold);
}
pb::Reclaim Mount::held() const { return leases_.held(); }
void Mount::on_session_gone() { leases_.session_gone(); }

pb::KeepAlive Mount::statistics() const {
  pb::KeepAlive now;
  now.set_bytes_read(bytes_read_);
  now.set_bytes_written(writer_.bytes_written());
  now.set_reads(reads_);
  now.set_writes(writes_);
  now.set_fsyncs(fsyncs_);
  now.set_waiting_writes(writer_.waiting());
  return now;
}

Task<Status> Mount::flush_for_recall(InodePtr inode) {
  const Status flushed = co_await writeback_.flush(inode);
  writer_.settle(inode, Duration(0));
  co_return flushed;
}

Task<Result<pb::ClientReply>> Mount::ask(pb::ClientRequest request) {
  const Deadline deadline = leases_.lease_deadline();
  Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  co_return reply;
}

pb::Attributes Mount::overlaid(pb::Attributes attributes) const {
  const InodePtr inode = leases_.find(InodeId::from_raw(attributes.inode()));
  if (inode != nullptr) inode->overlay(attributes);
  return attributes;
}

Task<Result<pb::Attributes>> Mount::ask_attributes(pb::ClientRequest request, InodeId id) {
  const Deadline deadline = leases_.lease_deadline();
  const InodePtr inode = leases_.find(id);
  for (;;) {
    const std::uint64_t releases = inode == nullptr ? 0 : inode->releases;
    const Result<pb::ClientReply> reply = co_await session_.call(request, deadline);
    if (!reply.has_value()) co_return fail(reply.error());
    if (inode == nullptr || inode->releases == releases) co_return overlaid(reply->attributes());
  }
}

Task<Result<pb::Attributes>> Mount::get_attributes(InodeId inode) {
  pb::ClientRequest request;
  request.mutable_get_attr()->set_inode(inode.raw());
  Result<pb::Attributes> attributes = co_await ask_attributes(std::move(request), inode);
  co_return attributes;
}

Task<Result<pb::Attributes>> Mount::lookup(InodeId parent, std::string name) {
  pb::ClientRequest request;
  request.mutable_lookup()->set_parent(parent.raw());
  request.mutable_lookup()->set_name(std::move(name));
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  const InodeId found = InodeId::from_raw(reply->attributes().inode());
  const InodePtr inode = leases_.find(found);
  // Not ours, or ours now: its answer does. Given back lately: the answer may be older than that.
  if (inode == nullptr || inode->releases == 0 || inode->mode == pb::LEASE_EXCLUSIVE) {
    co_return overlaid(reply->attributes());
  }
  Result<pb::Attributes> newest = co_await get_attributes(found);
  co_return newest;
}

Task<Result<pb::Attributes>> Mount::set_attributes(InodeId id, pb::SetAttr change) {
  if (options_.read_only) co_return fail(Code::kReadOnly);
  change.set_inode(id.raw());
  const InodePtr inode = leases_.get(id);
  if (change.has_size()) {
    Result<pb::Attributes> sized = co_await set_size(inode, std::move(change), Resize::kExactly);
    co_return sized;
  }
  const Deadline deadline = leases_.lease_deadline();
  Result<Usage> usage = co_await leases_.join(inode, deadline);
  if (!usage.has_value()) co_return fail(std::move(usage).error());
  // Times set on purpose must not be undone by older ones that are still on the way.
  if (change.has_mtime_ns() || change.has_atime_ns()) {
    const Status committed = co_await writeback_.commit(inode, deadline);
    if (!committed.has_value()) co_return fail(committed.error());
  }
  pb::ClientRequest request;
  *request.mutable_set_attr() = std::move(change);
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  if (inode->mode == pb::LEASE_EXCLUSIVE && !inode->attributes_dirty) {
    inode->attributes.set_mtime_ns(reply->attributes().mtime_ns());
    inode->attributes.set_atime_ns(reply->attributes().atime_ns());
  }
  co_return overlaid(reply->attributes());
}

Task<Result<pb::Attributes>> Mount::make_node(pb::MakeNode request, bool open) {
  if (options_.read_only) co_return fail(Code::kReadOnly);
  const bool file = open && request.type() == pb::TYPE_REGULAR;
  request.set_exclusive_lease(file);
  request.set_pin(file ? 1 : 0);
  pb::ClientRequest envelope;
  *envelope.mutable_make_node() = std::move(request);
  const Result<pb::ClientReply> reply = co_await ask(std::move(envelope));
  if (!reply.has_value()) co_return fail(reply.error());
  const pb::MakeNodeReply& made = reply->make_node();
  if (file) {
    const InodePtr inode = leases_.get(InodeId::from_raw(made.attributes().inode()));
    leases_.install_created(inode, made, session_.generation());
    ++inode->writers;
  }
  co_return made.attributes();
}

Task<Result<pb::Attributes>> Mount::link(InodeId inode, InodeId parent, std::string name) {
  if (options_.read_only) co_return fail(Code::kReadOnly);
  pb::ClientRequest request;
  request.mutable_link()->set_inode(inode.raw());
  request.mutable_link()->set_new_parent(parent.raw());
  request.mutable_link()->set_new_name(std::move(name));
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  co_return overlaid(reply->attributes());
}

Task<Status> Mount::unlink(InodeId parent, std::string name, bool directory) {
  if (options_.read_only) co_return fail(Code::kReadOnly);
  pb::ClientRequest request;
  request.mutable_unlink()->set_parent(parent.raw());
  request.mutable_unlink()->set_name(std::move(name));
  request.mutable_unlink()->set_directory(directory);
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  co_return Status();
}

Task<Status> Mount::rename(pb::Rename change) {
  if (options_.read_only) co_return fail(Code::kReadOnly);
  pb::ClientRequest request;
  *request.mutable_rename() = std::move(change);
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  co_return Status();
}

Task<Result<std::string>> Mount::read_link(InodeId inode) {
  pb::ClientRequest request;
  request.mutable_read_link()->set_inode(inode.raw());
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  co_return reply->read_link().target();
}

Task<Result<pb::ReadDirReply>> Mount::read_dir(pb::ReadDir page) {
  pb::ClientRequest request;
  *request.mutable_read_dir() = std::move(page);
  Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(std::move(reply).error());
  pb::ReadDirReply got = std::move(*reply->mutable_read_dir());
  for (pb::ReadDirReply::Entry& entry : *got.mutable_entries()) {
    if (!entry.has_attributes()) continue;
    const InodePtr inode = leases_.find(InodeId::from_raw(entry.inode()));
    if (inode != nullptr) inode->overlay(*entry.mutable_attributes());
  }
  co_return got;
}

Task<Status> Mount::set_xattr(pb::SetXattr change) {
  if (options_.read_only) co_return fail(Code::kReadOnly);
  pb::ClientRequest request;
  *request.mutable_set_xattr() = std::move(change);
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  co_return Status();
}

Task<Result<std::string>> Mount::get_xattr(InodeId inode, std::string name) {
  pb::ClientRequest request;
  request.mutable_get_xattr()->set_inode(inode.raw());
  request.mutable_get_xattr()->set_name(std::move(name));
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  co_return reply->get_xattr().value();
}

Task<Result<std::vector<std::string>>> Mount::list_xattr(InodeId inode) {
  pb::ClientRequest request;
  request.mutable_list_xattr()->set_inode(inode.raw());
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  std::vector<std::string> names(reply->list_xattr().names().begin(),
                                 reply->list_xattr().names().end());
  co_return names;
}

Task<Status> Mount::remove_xattr(InodeId inode, std::string name) {
  if (options_.read_only) co_return fail(Code::kReadOnly);
  pb::ClientRequest request;
  request.mutable_remove_xattr()->set_inode(inode.raw());
  request.mutable_remove_xattr()->set_name(std::move(name));
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  co_return Status();
}

Task<Result<pb::StatFsReply>> Mount::stat_fs() {
  pb::ClientRequest request;
  request.mutable_stat_fs();
  const Result<pb::ClientReply> reply = co_await ask(std::move(request));
  if (!reply.has_value()) co_return fail(reply.error());
  co_return reply->stat_fs();
}

}  // namespace cairn::client
