// What a member sends to and takes from another one beside consensus messages: chosen slots,
// snapshots; and the digests of its tables.
#include <algorithm>

#include "mds/replication/group.h"
#include "mds/replication/peer_codec.h"
#include "mds/replication/snapshot_puller.h"

namespace cairn::mds::replication {

namespace {
constexpr std::size_t kLearnSlots = 4096;
constexpr ByteCount kLearnBytes = 2_MiB;
// Messages of one catch-up before the follower has to ask again: bounds what one Fetch can cost.
constexpr unsigned kLearnMessages = 4;
constexpr std::size_t kDigestsKept = 16;
constexpr Duration kPullPause = 500ms;
constexpr Duration kTablesPoll = 20ms;
}  // namespace

Task<void> Group::send_chosen(Group* self, paxos::SendChosen what, Slot last) {
  Slot from = what.from;
  for (unsigned i = 0; i < kLearnMessages && !self->stopping_ && !self->failed_; ++i) {
    if (from > last) break;
    const std::size_t slots = std::min<std::uint64_t>(kLearnSlots, last - from + 1);
    Result<std::vector<Entry>> entries = co_await self->store_.read(from, slots, kLearnBytes);
    if (!entries.has_value() && entries.error().code() == Code::kNotFound) {
      paxos::SnapshotNeeded needed{.applied = self->applied_slot()};
      self->send({{.to = what.to, .message = needed}});
      self->owner_.on_resync(what.to);
      break;
    }
    if (!entries.has_value()) {
      self->log_.error("cannot read slot {} for MDS#{}: {}", from.raw(), what.to.raw(),
                       entries.error().to_string());
      break;
    }
    paxos::Learn learn{.first = from, .values = {}, .chosen = self->chosen()};
    for (Entry& entry : *entries) learn.values.push_back(std::move(entry.value));
    from = Slot(from.raw() + learn.values.size());
    self->send({{.to = what.to, .message = std::move(learn)}});
  }
  self->sending_to_.erase(what.to);
}

Task<void> Group::cut_log(Group* self, Slot through) {
  const Status cut = co_await self->store_.truncate_before(through.next());
  if (!cut.has_value()) self->fail_now(cut.error());
}

Task<void> Group::pull_snapshot(Group* self, NodeId from) {
  const Status pulled = co_await self->pull_and_install(from);
  if (!pulled.has_value() && !self->stopping_) {
    self->log_.warning("full resync from MDS#{}: {}; it goes on where it was", from.raw(),
                       pulled.error().to_string());
    co_await runtime::sleep_for(self->runtime_, kPullPause);
  }
  // The core asks again while it lacks slots.
  self->pulling_ = false;
}

Task<Status> Group::pull_and_install(NodeId from) {
  const std::optional<net::Address> address = address_of(from);
  if (!address.has_value()) co_return fail(Code::kNotFound, "its address is not known");
  log_.info("full resync from MDS#{} at {}", from.raw(), address->to_string());
  const std::unique_ptr<rpc::Caller> caller = make_caller_(*address);
  SnapshotPuller puller(runtime_, vault_, *caller,
                        {.cluster_id = options_.cluster_id,
                         .self = options_.self,
                         .bytes_per_s = options_.snapshot_bytes_per_s,
                         .stopping = &stopping_});
  const Result<Slot> pulled = co_await puller.pull();
  if (!pulled.has_value()) co_return fail(pulled.error());
  // A reign that ended a moment ago may still read the tables; one that has not noticed yet that it
  // ended, too.
  while (*pulled > applied_slot() && (leads() || owner_.uses_tables())) {
    if (stopping_ || failed_) co_return fail(Code::kCancelled, "stopping");
    co_await runtime::sleep_for(runtime_, kTablesPoll);
  }
  if (*pulled <= applied_slot()) co_return Status();  // the log was quicker
  Status installed = co_await install();
  co_return installed;
}

Task<Status> Group::install() {
  installing_ = true;
  co_await applier_.pause();
  const Status replaced = co_await vault_.install_incoming();
  const Status resumed = applier_.resume();
  Status cut;
  if (replaced.has_value() && resumed.has_value()) {
    // What the log has of slots that the snapshot covers need not be what was chosen.
    const Slot next = applied_slot().next();
    cut = co_await store_.truncate_before(next);
  }
  installing_ = false;
  if (!cut.has_value()) {
    fail_now(cut.error());
    co_return cut;
  }
  if (!resumed.has_value()) {
    fail_now(resumed.error());
    co_return resumed;
  }
  if (!replaced.has_value() && replaced.error().code() == Code::kDiskFailed) {
    fail_now(replaced.error());
    co_return replaced;
  }
  if (replaced.has_value()) {
    const Result<paxos::Membership> membership = applier_.membership();
    if (!membership.has_value()) {
      fail_now(membership.error());
      co_return fail(membership.error());
    }
    log_.info("full resync done: tables at slot {}", applied_slot().raw());
    core_->installed(applied_slot(), *membership, runtime_.now());
  }
  std::vector<paxos::Chosen> deferred = std::exchange(deferred_, {});
  std::erase_if(deferred, [this](const paxos::Chosen& c) { return c.slot <= applied_slot(); });
  if (!deferred.empty()) apply(std::move(deferred));
  pump();
  if (!failed_ && leads() && std::exchange(elected_late_, false)) owner_.on_elected();
  co_return replaced;
}

void Group::take_digest(std::uint64_t mark, Slot slot) {
  digests_[mark].slot = slot;
  while (digests_.size() > kDigestsKept) {
    digests_.erase(std::ranges::min_element(digests_, {},
                                            [](const auto& digest) { return digest.second.slot; }));
  }
  if (!stopping_) tasks_.spawn(compute_digest(this, mark));
}

Task<void> Group::compute_digest(Group* self, std::uint64_t mark) {
  // The view is taken before the first suspension: exactly the tables of the mark.
  const Result<std::uint32_t> value = co_await self->vault_.digest();
  const auto at = self->digests_.find(mark);
  if (at == self->digests_.end()) co_return;
  at->second.done = true;
  if (value.has_value()) {
    at->second.value = *value;
  } else {
    at->second.failure = value.error().to_string();
  }
}

}  // namespace cairn::mds::replication
