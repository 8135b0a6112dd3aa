// Applying what was chosen, notices, snapshots.
#include <algorithm>
#include <utility>

#include "tests/paxos/describe.h"
#include "tests/paxos/member.h"

namespace cairn::paxos_sim {

// ---- in the order of the effects ----

void Member::queue_chosen(std::vector<paxos::Chosen> chosen) {
  for (paxos::Chosen& entry : chosen) {
    if (entry.slot != emitted_.next()) {
      world_.oracle.violation(fmt::format("member {} gives out slot {} after {}", id_.raw(),
                                          entry.slot.raw(), emitted_.raw()));
    }
    emitted_ = entry.slot;
    ToApply item;
    if (entry.token != 0) {
      const auto at = proposals_.find(entry.token);
      if (at == proposals_.end() || at->second.hash != hash_of(entry.value)) {
        world_.oracle.violation(
            fmt::format("member {} answers token {} wrongly or twice", id_.raw(), entry.token));
        return;
      }
      item.request = at->second.request;
      proposals_.erase(at);
    }
    if (world_.trace.verbose()) {
      world_.say("{}    chosen {} {}", name(), entry.slot.raw(), describe(entry.value));
    }
    item.chosen = std::move(entry);
    to_apply_.push_back(std::move(item));
  }
}

void Member::queue_notice(const paxos::Notice& notice) {
  if (const auto* now_leads = std::get_if<paxos::Elected>(&notice)) {
    elected(now_leads->ballot);
  } else if (const auto* gone = std::get_if<paxos::Deposed>(&notice)) {
    deposed(gone->ballot);
    return;
  } else if (const auto* lacks = std::get_if<paxos::NeedSnapshot>(&notice)) {
    pull_snapshot(lacks->from);
    return;
  }
  to_apply_.push_back(ToApply{.chosen = {}, .request = {}, .notice = notice});
}

void Member::elected(paxos::Ballot ballot) {
  world_.say("{} is elected at {}", name(), to_string(ballot));
  ++world_.stats.elections;
  if (led_.valid()) world_.oracle.violation(fmt::format("member {} elected twice", id_.raw()));
  led_ = ballot;
  world_.oracle.elected(id_, ballot, core_->chosen());
}

void Member::deposed(paxos::Ballot ballot) {
  world_.say("{} is deposed at {}", name(), to_string(ballot));
  ++world_.stats.depositions;
  if (led_ != ballot) {
    world_.oracle.violation(
        fmt::format("member {} deposed at {}, it did not lead", id_.raw(), to_string(ballot)));
  }
  led_ = {};
  // What waits for its turn in the queue of this reign is chosen and will be answered.
  if (world_.settings.plan.driver_fault != DriverFault::kServeAcrossReigns) serving_ = {};
  proposals_.clear();
  for (const Reading& reading : std::exchange(confirming_, {})) {
    ++world_.stats.reads_refused;
    answer(reading.request, ReplyStatus::kNotMaster, 0);
  }
}

// ---- applying ----

void Member::apply_soon() {
  if (world_.apply_lag == Duration(0)) {
    apply_some(to_apply_.size());
    return;
  }
  if (applying_ || to_apply_.empty()) return;
  applying_ = true;
  post(draw(world_.prng, 0us, world_.apply_lag), [this] {
    applying_ = false;
    const std::uint64_t life = life_;
    apply_some(world_.prng.between(1, 4));
    if (life == life_) apply_soon();
  });
}

void Member::apply_some(std::size_t count) {
  for (; count > 0 && !to_apply_.empty(); --count) {
    ToApply item = std::move(to_apply_.front());
    to_apply_.pop_front();
    if (!apply_one(std::move(item))) return;
  }
}

bool Member::apply_one(ToApply item) {
  if (item.notice.has_value()) {
    look_at(*item.notice);
    return true;
  }
  if (burn()) return false;
  const Slot slot = item.chosen->slot;
  const Tables::Outcome outcome = tables_.apply(slot, item.chosen->value);
  world_.note(0xa991, mix(id_.raw(), tables_.digest()));
  world_.oracle.applied(id_, slot, tables_.digest());
  if (!outcome.is_command) return true;
  if (outcome.executed) {
    world_.oracle.executed(id_, {outcome.command.session, outcome.command.seq}, slot,
                           outcome.result);
  } else {
    ++world_.stats.duplicates_filtered;
  }
  const Tables::SessionRow* row = tables_.session(outcome.command.session);
  // An older request than the newest of its session: nobody waits for it any more.
  if (!item.request.has_value() || row->seq != outcome.command.seq) return true;
  if (burn()) return false;
  answer(*item.request, ReplyStatus::kOk, outcome.result);
  return true;
}

void Member::look_at(const paxos::Notice& notice) {
  if (const auto* now_leads = std::get_if<paxos::Elected>(&notice)) {
    if (led_ == now_leads->ballot) serving_ = led_;
  } else if (const auto* changed = std::get_if<paxos::MembershipChanged>(&notice)) {
    if (!(changed->membership == tables_.membership()) &&
        changed->membership.version >= tables_.membership().version) {
      world_.oracle.violation(
          fmt::format("member {} tells of a membership that it did not apply", id_.raw()));
    }
    stop_if_removed(changed->membership);
  }
}

void Member::stop_if_removed(const paxos::Membership& membership) {
  // Ids from next_id on were never members: this one may still be on its way to its own addition.
  if (paxos::find_member(membership, id_) != nullptr || id_.raw() >= membership.next_id) return;
  post(draw(world_.prng, 0us, world_.settings.timing.hold), [this] { retire(); });
}

// ---- snapshots ----

void Member::pull_snapshot(NodeId from) {
  if (pulling_) return;
  pulling_ = true;
  const Duration hold = world_.settings.timing.hold;
  const Duration ask =
      world_.healed ? Duration(100us) : draw(world_.prng, 50us, per_mille(hold, 100));
  const Duration transfer = world_.healed ? Duration(1ms) : draw(world_.prng, 100us, 2 * hold);
  post(ask, [this, from, transfer] {
    Member* source = world_.member(from);
    if (source == nullptr || !source->running() || source->paused() ||
        !world_.can_talk(id_, from)) {
      // The core asks again while it lacks slots.
      pulling_ = false;
      return;
    }
    auto copy = std::make_shared<const Tables>(source->tables_);
    post(transfer, [this, copy] {
      pulling_ = false;
      install(*copy);
    });
  });
}

void Member::install(const Tables& snapshot) {
  if (snapshot.applied() <= core_->chosen()) return;  // the log was quicker
  if (burn()) return;
  world_.say("{} installs a snapshot up to slot {}", name(), snapshot.applied().raw());
  ++world_.stats.snapshots;
  tables_ = snapshot;
  tables_.came_as_snapshot();
  durable_tables_ = tables_;
  if (world_.settings.plan.driver_fault != DriverFault::kReadBeneathSnapshot) {
    log_.truncate_through(tables_.applied());
  } else {
    tables_.trust_log_below();
    durable_tables_.trust_log_below();
  }
  std::erase_if(to_apply_, [](const ToApply& item) { return item.chosen.has_value(); });
  emitted_ = tables_.applied();
  world_.oracle.applied(id_, tables_.applied(), tables_.digest());
  if (burn()) return;
  step([this](paxos::Replica& core) {
    core.installed(tables_.applied(), tables_.membership(), local_now());
  });
  if (running()) stop_if_removed(tables_.membership());
}

}  // namespace cairn::paxos_sim
