// The disk of a member: its log, what it tells others from it, its flushes. And what must be on
// disk before a message leaves.
#include <utility>

#include "tests/paxos/command.h"
#include "tests/paxos/describe.h"
#include "tests/paxos/member.h"

namespace cairn::paxos_sim {

namespace {
constexpr unsigned kLearnMessages = 4;
}

// ---- writing ----

void Member::start_write() {
  log_.start_write();
  const DiskSettings& disk = world_.disk;
  Duration length = draw(world_.prng, disk.write_min, disk.write_max);
  if (world_.prng.chance(disk.stall_per_mille)) {
    length = draw(world_.prng, disk.write_max, disk.stall_max);
  }
  if (std::exchange(crash_in_write_, false)) {
    world_.schedule.after(draw(world_.prng, 0us, length), [this, life = life_] {
      if (life == life_) crash();
    });
  }
  // The disk works on when the process is stopped.
  world_.schedule.after(length, [this, life = life_] {
    if (life == life_) write_done();
  });
}

void Member::write_done() {
  watch(log_.finish_write());
  world_.note(0xd15c, mix(id_.raw(), log_.durable_record()));
  post(draw(world_.prng, 0us, 50us), [this, record = log_.durable_record()] { reported(record); });
}

void Member::reported(std::uint64_t record) {
  log_busy_ = false;
  if (world_.trace.verbose()) world_.say("{}    durable up to record {}", name(), record);
  if (log_.waiting()) {
    log_busy_ = true;
    start_write();
  }
  step([this, record](paxos::Replica& core) { core.persisted(record, local_now()); });
}

// ---- what is on disk is told to the oracle ----

void Member::watch(const std::vector<paxos::Record>& durable) {
  const bool white_box = world_.settings.plan.white_box;
  Slot chosen;
  for (const paxos::Record& record : durable) {
    if (const auto* promise = std::get_if<paxos::PromiseRecord>(&record)) {
      logged_ = std::max(logged_, promise->ballot);
    } else if (const auto* accept = std::get_if<paxos::AcceptRecord>(&record)) {
      if (white_box && accept->ballot < logged_) {
        world_.oracle.violation(fmt::format("member {} accepted {} in slot {} after promising {}",
                                            id_.raw(), to_string(accept->ballot),
                                            accept->slot.raw(), to_string(logged_)));
      }
      logged_ = std::max(logged_, accept->ballot);
      world_.oracle.accept_durable(id_, *accept);
    } else if (const auto* learn = std::get_if<paxos::LearnRecord>(&record)) {
      world_.oracle.learn_durable(id_, *learn);
    } else if (const auto* known = std::get_if<paxos::ChosenRecord>(&record)) {
      chosen = std::max(chosen, known->slot);
    } else if (!std::get<paxos::RecoveryRecord>(record).active) {
      ++world_.stats.recoveries;
      world_.say("{} has recovered", name());
    }
  }
  if (white_box) watch_log(chosen);
}

// What the log calls chosen is, and all of it is there.
void Member::watch_log(Slot chosen) {
  const LogImage& image = log_.image();
  for (auto at = image.slots.begin(); at != image.slots.end() && at->first <= chosen; ++at) {
    if (!world_.oracle.is_chosen(at->first, hash_of(at->second.value))) {
      world_.oracle.violation(fmt::format("the log of member {} has slot {} as chosen, wrongly",
                                          id_.raw(), at->first.raw()));
      return;
    }
  }
  if (chosen > image.floor && !image.slots.empty() &&
      (image.slots.begin()->first != image.floor.next() || image.slots.rbegin()->first < chosen ||
       std::distance(image.slots.begin(), image.slots.upper_bound(chosen)) !=
           static_cast<std::ptrdiff_t>(chosen - image.floor))) {
    world_.oracle.violation(
        fmt::format("the log of member {} has a gap below slot {}", id_.raw(), chosen.raw()));
  }
}

void Member::watch_message(const paxos::Outgoing& out) {
  const auto wrong = [this](const char* what, paxos::Ballot ballot) {
    world_.oracle.violation(fmt::format("member {} sent {} of {} before it was durable", id_.raw(),
                                        what, to_string(ballot)));
  };
  const paxos::Ballot durable = log_.image().promised;
  if (const auto* promise = std::get_if<paxos::Promise>(&out.message)) {
    if (durable < promise->ballot) wrong("Promise", promise->ballot);
  } else if (const auto* prepare = std::get_if<paxos::Prepare>(&out.message)) {
    if (durable < prepare->ballot) wrong("Prepare", prepare->ballot);
    if (prepare->ballot <= prepared_before_) {
      world_.oracle.violation(fmt::format("member {} uses ballot {} for the second time", id_.raw(),
                                          to_string(prepare->ballot)));
    }
    prepared_ = std::max(prepared_, prepare->ballot);
  } else if (const auto* accept = std::get_if<paxos::Accept>(&out.message)) {
    if (durable < accept->ballot) wrong("Accept", accept->ballot);
  } else if (const auto* reply = std::get_if<paxos::AcceptedReply>(&out.message)) {
    watch_accepted(reply->ballot, reply->first, reply->last);
  } else if (const auto* beat = std::get_if<paxos::HeartbeatReply>(&out.message)) {
    watch_accepted(beat->ballot, beat->chosen.next(), beat->accepted);
  }
}

// It says that it has these slots on disk at this ballot.
void Member::watch_accepted(paxos::Ballot ballot, Slot first, Slot last) {
  for (Slot slot = first; slot <= last; slot = slot.next()) {
    // A chosen value that is on disk may be confirmed at any ballot.
    if (slot <= core_->chosen() || world_.oracle.accepted(id_, slot, ballot)) continue;
    const auto at = log_.image().slots.find(slot);
    if (at != log_.image().slots.end() &&
        world_.oracle.is_chosen(slot, hash_of(at->second.value))) {
      continue;
    }
    world_.oracle.violation(fmt::format("member {} says that slot {} is durable at {}, it is not",
                                        id_.raw(), slot.raw(), to_string(ballot)));
    return;
  }
}

// Whatever the tables will have, the log has.
void Member::watch_chosen(Slot slot) {
  const LogImage& image = log_.image();
  const auto at = image.slots.find(slot);
  if (at != image.slots.end() && hash_of(at->second.value) == world_.oracle.log_hash(slot)) return;
  world_.oracle.violation(
      fmt::format("member {} gives out slot {}, which is not in its log", id_.raw(), slot.raw()));
}

// ---- reading: for members that lack slots ----

void Member::send_from_log(const paxos::SendChosen& job) {
  Slot from = job.from;
  // What is chosen here is in the log, with its chosen value.
  const Slot last = core_->chosen();
  for (unsigned i = 0; i < kLearnMessages && from <= last; ++i) {
    std::vector<paxos::Value> values = log_.read(from, last, world_.prng.between(1, 40));
    if (values.empty()) break;
    const Slot first = from;
    for (const paxos::Value& value : values) {
      const bool white_box = world_.settings.plan.white_box;
      if (white_box && hash_of(value) != world_.oracle.log_hash(from)) {
        world_.oracle.violation(fmt::format("member {} sends slot {} as chosen, with another value",
                                            id_.raw(), from.raw()));
      }
      from = from.next();
    }
    ++world_.stats.learns;
    if (burn()) return;
    world_.send(
        id_, job.to,
        paxos::Learn{.first = first, .values = std::move(values), .chosen = core_->chosen()});
  }
  const LogImage& image = log_.image();
  const bool truncated = from <= image.floor;
  if (from == job.from && truncated && from <= tables_.applied()) {
    world_.send(id_, job.to, paxos::SnapshotNeeded{.applied = tables_.applied()});
  }
}

// ---- tables on disk ----

void Member::plan_flush() {
  post(draw(world_.prng, 1ms, world_.settings.flush_every), [this] { start_flush(); });
}

void Member::start_flush() {
  auto copy = std::make_shared<const Tables>(tables_);
  if (copy->digest() != copy->recomputed()) {
    world_.oracle.violation(fmt::format("the digest of member {} is not kept up", id_.raw()));
  }
  post(draw(world_.prng, world_.disk.write_min, 4 * world_.disk.write_max),
       [this, copy] { flushed(copy); });
  plan_flush();
}

void Member::flushed(std::shared_ptr<const Tables> copy) {
  if (copy->applied() <= durable_tables_.applied()) return;
  durable_tables_ = *copy;
  if (burn()) return;
  const std::uint64_t kept = world_.settings.log_kept;
  if (copy->applied().raw() <= kept) return;
  ++world_.stats.truncations;
  log_.truncate_through(Slot(copy->applied().raw() - kept));
}

}  // namespace cairn::paxos_sim
