#include "client/core/lease_keeper.h"

#include <algorithm>
#include <utility>

namespace cairn::client {

Usage::Usage(InodePtr inode) : inode_(std::move(inode)) {
  ++inode_->active;
  ++inode_->served;
}

Usage& Usage::operator=(Usage&& other) noexcept {
  end();
  inode_ = std::move(other.inode_);
  return *this;
}

void Usage::end() {
  if (inode_ == nullptr) return;
  const InodePtr inode = std::move(inode_);
  inode_ = nullptr;
  CHECK_GT(inode->active, 0U);
  if (--inode->active == 0) inode->changed.notify_all();
}

Alone::Alone(InodePtr inode, runtime::Semaphore::Permit barrier)
    : inode_(std::move(inode)), barrier_(std::move(barrier)) {
  CHECK(inode_->gate_closed);
  CHECK_EQ(inode_->active, 0U);
  ++inode_->served;
}

Alone& Alone::operator=(Alone&& other) noexcept {
  end();
  inode_ = std::move(other.inode_);
  barrier_ = std::move(other.barrier_);
  return *this;
}

void Alone::end() {
  if (inode_ == nullptr) return;
  const InodePtr inode = std::move(inode_);
  inode_ = nullptr;
  inode->gate_closed = false;
  barrier_.release();
  inode->changed.notify_all();
}

LeaseKeeper::LeaseKeeper(runtime::Runtime& runtime, observe::Log& log, Session& session,
                         const Options& options, CachePool& pool)
    : runtime_(runtime),
      log_(log),
      session_(session),
      options_(options),
      pool_(pool),
      tasks_(runtime) {}

InodePtr LeaseKeeper::get(InodeId id) {
  const auto found = inodes_.find(id);
  if (found != inodes_.end()) {
    touch(id);
    return found->second.inode;
  }
  const InodePtr inode = std::make_shared<Inode>(runtime_, pool_, id);
  const auto place = order_.insert(order_.end(), id);
  inodes_.emplace(id, Entry{inode, place});
  return inode;
}

InodePtr LeaseKeeper::find(InodeId id) const {
  const auto found = inodes_.find(id);
  return found == inodes_.end() ? nullptr : found->second.inode;
}

void LeaseKeeper::touch(InodeId id) {
  Entry& entry = inodes_.at(id);
  order_.splice(order_.end(), order_, entry.place);
}

Deadline LeaseKeeper::lease_deadline() const {
  return runtime_.after(std::max(options_.operation_timeout, session_.lease() * 3 / 2));
}

bool LeaseKeeper::granted(const Inode& inode, pb::LeaseMode mode) const {
  return inode.mode >= mode && inode.mode != pb::LEASE_NONE &&
         inode.generation == session_.generation();
}

bool LeaseKeeper::holds(const Inode& inode, std::uint64_t serial) const {
  return inode.serial == serial && granted(inode, pb::LEASE_SHARED) && session_.valid();
}

Task<Result<Usage>> LeaseKeeper::enter(InodePtr inode, pb::LeaseMode mode, Deadline deadline) {
  Result<Usage> usage = co_await enter_pinned(std::move(inode), mode, false, deadline);
  co_return usage;
}

Task<Result<Usage>> LeaseKeeper::enter_pinned(InodePtr inode, pb::LeaseMode mode, bool pin,
                                              Deadline deadline) {
  for (;;) {
    if (session_.stopping()) co_return fail(Code::kCancelled, "the mount is being stopped");
    if (runtime_.now() >= deadline) co_return fail(Code::kTimeout, "waiting for the lease");
    if (inode->gate_closed) {
      co_await inode->changed.wait_until(deadline);
      continue;
    }
    // Open handles need a pin under every session: the end of the last one took it.
    pin = pin || inode->handles() != 0;
    if (granted(*inode, mode) && (!pin || inode->pinned)) {
      if (session_.valid()) co_return Usage(inode);
      co_await session_.wait_change(deadline);
      continue;
    }
    if (inode->acquiring || inode->giving_up != 0) {
      co_await inode->changed.wait_until(deadline);
      continue;
    }
    const Status acquired = co_await acquire(inode, mode, pin, deadline);
    if (!acquired.has_value()) co_return fail(acquired.error());
  }
}

Task<Result<Usage>> LeaseKeeper::join(InodePtr inode, Deadline deadline) {
  while (inode->gate_closed) {
    if (runtime_.now() >= deadline) co_return fail(Code::kTimeout, "waiting for a recall");
    co_await inode->changed.wait_until(deadline);
  }
  co_return Usage(inode);
}

Task<Result<Alone>> LeaseKeeper::enter_alone(InodePtr inode, pb::LeaseMode mode,
                                             Deadline deadline) {
  for (;;) {
    Result<Usage> usage = co_await enter(inode, mode, deadline);
    if (!usage.has_value()) co_return fail(std::move(usage).error());
    usage->end();
    runtime::Semaphore::Permit barrier = co_await inode->barrier.lock_until(deadline);
    if (!barrier.held()) co_return fail(Code::kTimeout, "waiting to be alone with the inode");
    inode->gate_closed = true;
    // An fsync that waits for the cluster may stay for ever.
    while (inode->active != 0 && runtime_.now() < deadline) {
      co_await inode->changed.wait_until(deadline);
    }
    const bool alone = inode->active == 0;
    if (alone && granted(*inode, mode) && session_.valid()) {
      co_return Alone(inode, std::move(barrier));
    }
    inode->gate_closed = false;
    inode->changed.notify_all();
  }
}

Task<Status> LeaseKeeper::acquire(InodePtr inode, pb::LeaseMode mode, bool pin, Deadline deadline) {
  inode->acquiring = true;
  pb::ClientRequest request;
  pb::AcquireLease& ask = *request.mutable_acquire_lease();
  ask.set_inode(inode->id.raw());
  // Asking for less than what is held would be a step back.
  const bool held = granted(*inode, pb::LEASE_SHARED);
  ask.set_mode(held ? std::max(mode, inode->mode) : mode);
  ask.set_pin(pin && !inode->pinned ? 1 : 0);
  const bool pinning = ask.pin() != 0;
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  Status result;
  if (!reply.has_value()) {
    // One that stood in line pinned at first; what does not exist was not pinned.
    if (pinning && reply.error().code() != Code::kNotFound) inode->pin_doubt = true;
    result = fail(reply.error());
  } else if (reply->acquire_lease().mode() < mode) {
    inode->pin_doubt = inode->pin_doubt || pinning;
    result = fail(Code::kProtocol, "the MDS granted less than was asked");
  } else {
    result = install(inode, reply->acquire_lease(), pin);
  }
  inode->acquiring = false;
  // Its handles may have been closed meanwhile; open() takes it out again.
  queue_unpin(*inode);
  if (result.has_value() && inode->mode == pb::LEASE_NONE) {
    // The same epoch that was given up: its op numbers are used. Release it and ask again.
    ++inode->giving_up;
    co_await give_up(inode, inode->burnt, Ops::kUnsettled);
  }
  inode->changed.notify_all();
  co_return result;
}

Status LeaseKeeper::install(const InodePtr& inode, const pb::AcquireLeaseReply& reply, bool pin) {
  if (pin) set_pinned(*inode);
  const LeaseEpoch epoch(reply.epoch());
  const bool exclusive = reply.mode() == pb::LEASE_EXCLUSIVE;
  if (exclusive && epoch <= inode->burnt) return Status();
  std::optional<layout::FileLayout> layout;
  if (reply.layout().cell_bytes() != 0) {
    TRY(layout, layout_from(reply.layout()));
  }
  const bool converted =
      layout.has_value() && inode->layout.has_value() && !same_layout(*layout, *inode->layout);
  const bool same = granted(*inode, reply.mode()) && inode->mode == reply.mode() &&
                    (!exclusive || inode->epoch == epoch);
  if (converted && granted(*inode, pb::LEASE_SHARED)) {
    // Not the lease that we take it for. With mode NONE an exclusive one goes back and is asked for
    // anew: its op numbers were used on other chunks.
    lose(inode, Error(Code::kLeaseExpired, "the file got another layout under the lease"));
    if (same && exclusive) return Status();
  } else if (same) {
    if (!exclusive) inode->attributes = reply.attributes();
    return Status();
  }
  if (granted(*inode, pb::LEASE_EXCLUSIVE) && inode->has_delayed()) {
    inode->error = Error(Code::kLeaseExpired, "the lease was replaced before the data was written");
    inode->forget();
  }
  const bool anew = !granted(*inode, pb::LEASE_SHARED) || converted;
  if (anew) inode->forget();
  if (anew || layout.has_value()) inode->layout = layout;
  inode->mode = reply.mode();
  inode->epoch = epoch;
  inode->generation = session_.generation();
  inode->attributes = reply.attributes();
  inode->size = reply.attributes().size();
  inode->attributes_dirty = false;
  inode->trim_pending = reply.trim_pending();
  inode->trimmed = false;
  inode->untold_bytes = 0;
  inode->stored_end = align_up(inode->size, kBlockBytes);
  return Status();
}

void LeaseKeeper::install_created(InodePtr inode, const pb::MakeNodeReply& reply,
                                  std::uint64_t generation) {
  set_pinned(*inode);
  const LeaseEpoch epoch(reply.epoch());
  if (epoch.raw() == 0 || epoch <= inode->burnt) return;  // recalled before we knew of it
  inode->forget();
  inode->mode = pb::LEASE_EXCLUSIVE;
  inode->epoch = epoch;
  inode->generation = generation;
  inode->attributes = reply.attributes();
  inode->layout.reset();
  inode->changed.notify_all();
}

Task<Status> LeaseKeeper::open(InodePtr inode, OpenMode mode, Deadline deadline) {
  const pb::LeaseMode wanted = mode == OpenMode::kWrite ? pb::LEASE_EXCLUSIVE : inode->wanted();
  Result<Usage> usage = co_await enter_pinned(inode, wanted, true, deadline);
  if (!usage.has_value()) co_return fail(std::move(usage).error());
  unpins_.erase(inode->id);
  (mode == OpenMode::kWrite ? inode->writers : inode->readers) += 1;
  co_return Status();
}

void LeaseKeeper::release(InodePtr inode, OpenMode mode) {
  unsigned& count = mode == OpenMode::kWrite ? inode->writers : inode->readers;
  CHECK_GT(count, 0U);
  --count;
  queue_unpin(*inode);
}

void LeaseKeeper::set_pinned(Inode& inode) {
  inode.pinned = true;
  inode.pin_doubt = false;
}

void LeaseKeeper::queue_unpin(const Inode& inode) {
  if (inode.handles() == 0 && (inode.pinned || inode.pin_doubt)) unpins_.insert(inode.id);
}

}  // namespace cairn::client
