// Giving leases back: recalls, the bound on idle ones, lost sessions, the end of the mount.
#include <algorithm>
#include <utility>
#include <vector>

#include "client/core/lease_keeper.h"

namespace cairn::client {

namespace {
constexpr std::size_t kInodesMax = 16'384;  // idle inodes whose lease is kept
constexpr std::size_t kReleasesMax = 32;    // releases of idle inodes at a time
constexpr int kUnpinBatch = 256;
constexpr Duration kInvalidateGrace = 20ms;  // then requests that the kernel waits for are served
}  // namespace

void LeaseKeeper::recall(pb::RecallLease recall) { tasks_.spawn(serve_recall(std::move(recall))); }

Task<void> LeaseKeeper::serve_recall(pb::RecallLease recall) {
  const InodePtr inode = find(InodeId::from_raw(recall.inode()));
  const LeaseEpoch epoch(recall.epoch());
  if (inode == nullptr) {
    co_await answer_unheld(std::move(recall));
    co_return;
  }
  // A recall may overtake the grant that it means, inside this process.
  while (inode->giving_up != 0 ||
         (inode->acquiring && (inode->mode == pb::LEASE_NONE || epoch > inode->epoch))) {
    if (session_.stopping()) co_return;
    co_await inode->changed.wait_until(Instant::infinite());
  }
  const bool ahead = epoch > inode->epoch && epoch.raw() != 0;
  if (inode->mode == pb::LEASE_NONE || ahead) {
    co_await answer_unheld(std::move(recall));
    co_return;
  }
  // An old one: what it asked for has been given back since.
  if (epoch.raw() != 0 && epoch < inode->epoch) co_return;
  const Deadline patience = runtime_.after(session_.lease() / 2);
  co_await retreat(inode, recall.keep(), patience);
}

// The master believes that we hold what we gave up waiting for, or what is on its way back.
Task<void> LeaseKeeper::answer_unheld(pb::RecallLease recall) {
  // Its grant may still be on the way to us: it must not be used then.
  const InodePtr inode = get(InodeId::from_raw(recall.inode()));
  inode->burnt = std::max(inode->burnt, LeaseEpoch(recall.epoch()));
  pb::ClientRequest request;
  request.mutable_release_lease()->set_inode(recall.inode());
  request.mutable_release_lease()->set_epoch(recall.epoch());
  request.mutable_release_lease()->set_keep(pb::LEASE_NONE);
  const Deadline deadline = runtime_.after(session_.lease());
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  ignore(reply, "refused when it was given back already");
}

Task<void> LeaseKeeper::retreat(InodePtr inode, pb::LeaseMode keep, Deadline patience) {
  const runtime::Semaphore::Permit barrier = co_await inode->barrier.lock();
  if (inode->mode <= keep) co_return;
  const std::uint64_t serial = inode->serial;
  const auto finished = std::make_shared<bool>(false);
  tasks_.spawn(lose_patience(inode, serial, patience, finished));
  for (;;) {
    inode->gate_closed = true;
    while (inode->active != 0) co_await inode->changed.wait_until(Instant::infinite());
    if (inode->mode == pb::LEASE_EXCLUSIVE) {
      const Status flushed = co_await flush_(inode);
      if (!flushed.has_value()) {
        log_.warning("inode {}: flushing for a recall: {}", inode->id.raw(),
                     flushed.error().to_string());
      }
    }
    if (inode->serial != serial || inode->mode <= keep) break;
    if (inode->cache.dirty_bytes() != 0 || inode->cache.claimed_blocks() != 0) {
      abandon(inode, Error(Code::kLeaseExpired, "delayed data could not be written for a recall"));
      break;
    }
    const std::uint64_t served = inode->served;
    co_await invalidate_round(inode);
    if (inode->serial != serial) break;
    if (inode->active != 0 || inode->served != served) continue;
    // A CommitFile under way must not be overtaken.
    const runtime::Semaphore::Permit commit = co_await inode->commit.lock();
    // Never shared while the file is open for writing: a write of the kernel that waits for the
    // exclusive lease keeps a page locked, and dropping the pages for the next recall waits for
    // that page. Two such mounts would wait for each other until their sessions end.
    const pb::LeaseMode kept = inode->writers != 0 ? pb::LEASE_NONE : keep;
    if (inode->serial == serial) co_await give_back(inode, kept);
    break;
  }
  *finished = true;
  inode->gate_closed = false;
  inode->changed.notify_all();
}

Task<void> LeaseKeeper::lose_patience(InodePtr inode, std::uint64_t serial, Deadline patience,
                                      std::shared_ptr<bool> finished) {
  while (!*finished && inode->serial == serial && runtime_.now() < patience) {
    co_await inode->changed.wait_until(patience);
  }
  if (*finished || inode->serial != serial || !inode->has_delayed()) co_return;
  abandon(inode, Error(Code::kTimeout, "delayed data could not be written in time for a recall"));
}

Task<void> LeaseKeeper::drop_pages(InodePtr inode) {
  if (invalidate_) co_await invalidate_(inode->id);
}

Task<void> LeaseKeeper::invalidate(InodePtr inode) {
  co_await drop_pages(inode);
  inode->invalidating = false;
  inode->changed.notify_all();
}

// The gate is closed. An invalidation may wait for a page whose read waits at the gate: after a
// moment the gate opens until the invalidation is through; the caller then repeats the round.
Task<void> LeaseKeeper::invalidate_round(InodePtr inode) {
  if (!invalidate_) co_return;
  while (inode->invalidating) co_await inode->changed.wait_until(Instant::infinite());
  inode->invalidating = true;
  tasks_.spawn(invalidate(inode));
  const Deadline grace = runtime_.after(kInvalidateGrace);
  while (inode->invalidating && runtime_.now() < grace) co_await inode->changed.wait_until(grace);
  if (!inode->invalidating) co_return;
  inode->gate_closed = false;
  inode->changed.notify_all();
  while (inode->invalidating) co_await inode->changed.wait_until(Instant::infinite());
  inode->gate_closed = true;
  while (inode->active != 0) co_await inode->changed.wait_until(Instant::infinite());
}

Task<void> LeaseKeeper::give_back(InodePtr inode, pb::LeaseMode keep) {
  pb::ClientRequest request;
  pb::ReleaseLease& release = *request.mutable_release_lease();
  release.set_inode(inode->id.raw());
  release.set_keep(keep);
  release.set_epoch(inode->epoch.raw());
  const bool exclusive = inode->mode == pb::LEASE_EXCLUSIVE;
  if (exclusive && inode->has_untold()) {
    pb::FileUpdate& update = *release.mutable_update();
    update.set_size(inode->size);
    if (inode->attributes_dirty) update.set_mtime_ns(inode->attributes.mtime_ns());
    update.set_trimmed(inode->trimmed);
    update.set_written_bytes(inode->untold_bytes);
  }
  if (exclusive) inode->burnt = std::max(inode->burnt, inode->epoch);
  // What a shared lease goes on with.
  inode->overlay(inode->attributes);
  const bool tells_size = exclusive && inode->attributes_dirty;
  inode->attributes_dirty = false;
  inode->trimmed = false;
  inode->untold_bytes = 0;
  if (keep == pb::LEASE_NONE) {
    inode->forget();
  } else {
    inode->mode = keep;
    inode->epoch = LeaseEpoch();
  }
  ++inode->releases;
  ++inode->giving_up;
  const Deadline deadline = runtime_.after(session_.lease());
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  --inode->giving_up;
  inode->changed.notify_all();
  if (reply.has_value()) co_return;
  log_.warning("inode {}: giving the lease back: {}", inode->id.raw(), reply.error().to_string());
  // Nobody else has the size of what was written: an fsync must not call it safe.
  if (tells_size) {
    inode->error = Error(Code::kLeaseExpired, "the size could not be told when the lease ended");
  }
  if (inode->mode == pb::LEASE_SHARED && inode->generation == session_.generation())
    inode->forget();
}

void LeaseKeeper::lose(const InodePtr& inode, Error error) {
  if (inode->has_delayed()) {
    // All that a converter ever writes is a copy.
    if (options_.converter == 0) {
      log_.error("inode {}: {} bytes of delayed data are lost: {}", inode->id.raw(),
                 inode->cache.dirty_bytes() + inode->cache.claimed_blocks() * kBlockBytes,
                 error.to_string());
    }
    inode->error = std::move(error);
  }
  inode->burnt = std::max(inode->burnt, inode->epoch);
  inode->forget();
  ++inode->releases;
  tasks_.spawn(drop_pages(inode));
  inode->changed.notify_all();
}

void LeaseKeeper::abandon(InodePtr inode, Error error) {
  if (inode->mode == pb::LEASE_NONE) return;
  const LeaseEpoch epoch = inode->epoch;
  ++inode->giving_up;
  lose(inode, std::move(error));
  tasks_.spawn(give_up(inode, epoch, Ops::kUnsettled));
}

void LeaseKeeper::surrender(InodePtr inode) {
  if (inode->mode == pb::LEASE_NONE) return;
  const LeaseEpoch epoch = inode->epoch;
  const Ops ops = inode->has_delayed() ? Ops::kUnsettled : Ops::kSettled;
  ++inode->giving_up;
  inode->burnt = std::max(inode->burnt, epoch);
  inode->forget();
  ++inode->releases;
  tasks_.spawn(give_up(inode, epoch, ops));
  tasks_.spawn(drop_pages(inode));
  inode->changed.notify_all();
}

Task<Status> LeaseKeeper::give_back_clean(InodePtr inode) {
  const Deadline patience = runtime_.after(session_.lease() / 2);
  co_await retreat(inode, pb::LEASE_NONE, patience);
  if (inode->mode != pb::LEASE_NONE) co_return fail(Code::kBusy, "the lease is in use");
  co_return Status();
}

Task<void> LeaseKeeper::give_up(InodePtr inode, LeaseEpoch epoch, Ops ops) {
  pb::ClientRequest request;
  pb::ReleaseLease& release = *request.mutable_release_lease();
  release.set_inode(inode->id.raw());
  release.set_keep(pb::LEASE_NONE);
  release.set_epoch(epoch.raw());
  release.set_unsettled(epoch.raw() != 0 && ops == Ops::kUnsettled);
  const Deadline deadline = runtime_.after(session_.lease());
  const Result<pb::ClientReply> reply = co_await session_.call(std::move(request), deadline);
  ignore(reply, "an epoch that is over is refused, which is what we want");
  --inode->giving_up;
  inode->changed.notify_all();
}

pb::Reclaim LeaseKeeper::held() const {
  pb::Reclaim reclaim;
  for (const auto& [id, entry] : inodes_) {
    const Inode& inode = *entry.inode;
    const bool held = granted(inode, pb::LEASE_SHARED);
    if (!held && !inode.pinned) continue;
    pb::Reclaim::Held& one = *reclaim.add_held();
    one.set_inode(id.raw());
    one.set_mode(held ? inode.mode : pb::LEASE_NONE);
    one.set_epoch(held ? inode.epoch.raw() : 0);
    one.set_pins(inode.pinned ? 1 : 0);
  }
  return reclaim;
}

void LeaseKeeper::session_gone() {
  for (const auto& [id, entry] : inodes_) {
    const InodePtr& inode = entry.inode;
    inode->pinned = false;  // pinned again when it is used next
    inode->pin_doubt = false;
    if (inode->mode == pb::LEASE_NONE) continue;
    if (inode->has_delayed()) {
      inode->error = Error(Code::kLeaseExpired, "the session ended before the data was written");
    }
    inode->burnt = std::max(inode->burnt, inode->epoch);
    inode->forget();
    ++inode->releases;
    tasks_.spawn(drop_pages(inode));
    inode->changed.notify_all();
  }
}

void LeaseKeeper::drop_all_pages() {
  for (const auto& [id, entry] : inodes_) {
    if (entry.inode->mode != pb::LEASE_NONE) tasks_.spawn(drop_pages(entry.inode));
  }
}

void LeaseKeeper::tick() {
  trim_table();
  pb::ClientRequest request;
  // All of them: pinned inodes stay in the table, so a bound on their rate would let it grow.
  while (session_.connected() && !unpins_.empty()) {
    const InodePtr inode = find(*unpins_.begin());
    unpins_.erase(unpins_.begin());
    // While it is being pinned nobody knows; the end of that queues it again.
    if (inode == nullptr || inode->handles() != 0 || inode->acquiring) continue;
    if (!inode->pinned && !inode->pin_doubt) continue;
    inode->pinned = false;
    inode->pin_doubt = true;
    pb::Unpin::One& one = *request.mutable_unpin()->add_inodes();
    one.set_inode(inode->id.raw());
    one.set_pins(1);
    if (request.unpin().inodes_size() < kUnpinBatch) continue;
    tasks_.spawn(unpin(std::exchange(request, {})));
  }
  if (request.has_unpin()) tasks_.spawn(unpin(std::move(request)));
}

Task<void> LeaseKeeper::unpin(pb::ClientRequest request) {
  const Deadline deadline = runtime_.after(session_.lease());
  const pb::Unpin asked = request.unpin();
  // Not repeated as it is: a late one could take a pin that was set in between.
  const Status sent = co_await session_.call_once(std::move(request), deadline);
  for (const pb::Unpin::One& one : asked.inodes()) {
    const InodePtr inode = find(InodeId::from_raw(one.inode()));
    if (inode == nullptr || !inode->pin_doubt) continue;
    if (!sent.has_value()) {
      queue_unpin(*inode);
    } else if (!unpins_.contains(inode->id) && !inode->acquiring) {
      inode->pin_doubt = false;
    }
  }
}

bool LeaseKeeper::is_idle(const Entry& entry) const {
  const Inode& inode = *entry.inode;
  return entry.inode.use_count() == 1 && inode.handles() == 0 && !inode.pinned &&
         !inode.pin_doubt && inode.active == 0 && !inode.acquiring && inode.giving_up == 0 &&
         !inode.has_delayed();
}

void LeaseKeeper::trim_table() {
  std::size_t looked = 0;
  while (inodes_.size() > kInodesMax && looked++ < kInodesMax / 8 && releasing_ < kReleasesMax) {
    const InodeId id = order_.front();
    const auto found = inodes_.find(id);
    CHECK(found != inodes_.end());
    order_.splice(order_.end(), order_, order_.begin());
    if (!is_idle(found->second)) continue;
    if (found->second.inode->mode == pb::LEASE_NONE) {
      order_.erase(found->second.place);
      inodes_.erase(found);
    } else {
      ++releasing_;
      tasks_.spawn(release_idle(found->second.inode));
    }
  }
}

Task<void> LeaseKeeper::release_idle(InodePtr inode) {
  const Deadline patience = runtime_.after(session_.lease() / 2);
  co_await retreat(inode, pb::LEASE_NONE, patience);
  --releasing_;
  // Next in line to be forgotten.
  Entry& entry = inodes_.at(inode->id);
  order_.splice(order_.begin(), order_, entry.place);
  // The next one at once: files may come faster than ticks let go of them.
  if (!session_.stopping()) trim_table();
}

Task<Status> LeaseKeeper::release_all(Deadline deadline) {
  runtime::TaskGroup group(runtime_);
  std::vector<InodePtr> all;
  for (const auto& [id, entry] : inodes_) {
    if (entry.inode->mode != pb::LEASE_NONE) all.push_back(entry.inode);
  }
  std::ranges::sort(all, {}, [](const InodePtr& inode) { return inode->id; });
  for (std::size_t i = 0; i < all.size(); ++i) {
    // Shared leases end with the session.
    if (all[i]->mode == pb::LEASE_EXCLUSIVE) group.spawn(retreat(all[i], pb::LEASE_NONE, deadline));
    if (i % kReleasesMax == kReleasesMax - 1) co_await group.join();
  }
  co_await group.join();
  for (const InodePtr& inode : all) {
    if (inode->error.has_value()) co_return fail(*inode->error);
  }
  co_return Status();
}

Task<void> LeaseKeeper::stop() {
  for (const auto& [id, entry] : inodes_) entry.inode->changed.notify_all();
  co_await tasks_.join();
}

}  // namespace cairn::client
