#include "tests/paxos/nemesis.h"

#include <array>

#include "tests/paxos/client.h"
#include "tests/paxos/member.h"

namespace cairn::paxos_sim {

void Nemesis::start() { plan(); }

void Nemesis::plan() {
  const Duration pause = draw(world_.prng, 1ms, 2 * world_.settings.fault_every);
  world_.schedule.after(pause, [this] {
    if (stopped_) return;
    strike();
    plan();
  });
}

void Nemesis::stop() {
  stopped_ = true;
  world_.healed = true;
  world_.network.heal(world_.settings.healed);
  world_.disk = world_.settings.healed_disk;
  for (const NodeId id : world_.ids()) {
    Member* member = world_.member(id);
    member->crash_never();
    if (member->running()) {
      member->resume();
    } else {
      member->start();
    }
  }
}

void Nemesis::strike() {
  const FaultWeights& w = world_.settings.weights;
  const std::array<std::pair<std::uint64_t, std::function<void()>>, 10> choices = {{
      {w.crash, [this] { crash_one(false); }},
      {w.crash_at_effect, [this] { crash_one(true); }},
      {w.power_failure, [this] { power_failure(); }},
      {w.lose_log, [this] { lose_log(); }},
      {w.pause, [this] { pause_one(); }},
      {w.partition, [this] { partition(); }},
      {w.one_way, [this] { cut_one_way(); }},
      {w.clog, [this] { clog(); }},
      {w.yield, [this] { yield(); }},
      {w.members, [this] { change_members(); }},
  }};
  std::uint64_t sum = 0;
  for (const auto& [weight, strike] : choices) sum += weight;
  if (sum == 0) return;
  std::uint64_t chosen = world_.prng.below(sum);
  for (const auto& [weight, strike] : choices) {
    if (chosen < weight) {
      strike();
      return;
    }
    chosen -= weight;
  }
}

Member* Nemesis::pick_running() {
  // The master is the most interesting victim.
  if (Member* master = world_.master(); master != nullptr && world_.prng.chance(400)) return master;
  std::vector<Member*> running;
  for (const auto& [id, member] : world_.members) {
    if (member->running()) running.push_back(member.get());
  }
  return running.empty() ? nullptr : running[world_.prng.below(running.size())];
}

Duration Nemesis::some_time() {
  const Duration hold = world_.settings.timing.hold;
  return world_.prng.chance(500) ? draw(world_.prng, 1ms, hold) : draw(world_.prng, 1ms, 4 * hold);
}

void Nemesis::crash_one(bool at_effect) {
  Member* victim = pick_running();
  if (victim == nullptr) return;
  if (at_effect) {
    victim->crash_after(static_cast<unsigned>(world_.prng.below(12)));
  } else if (world_.prng.chance(500)) {
    victim->crash_in_write();
  } else {
    victim->crash();
  }
}

void Nemesis::power_failure() {
  ++world_.stats.power_failures;
  for (const auto& [id, member] : world_.members) {
    if (member->running()) member->crash();
  }
}

void Nemesis::lose_log() {
  Member* victim = pick_running();
  if (victim == nullptr || victim->lost() || !survivable(victim->id())) return;
  victim->crash();
  const bool tables_too = world_.prng.chance(400);
  ++world_.stats.logs_lost;
  if (tables_too) ++world_.stats.tables_lost;
  victim->lose_log(tables_too);
}

void Nemesis::pause_one() {
  Member* victim = pick_running();
  if (victim == nullptr || victim->paused()) return;
  ++world_.stats.pauses;
  victim->pause(some_time());
}

void Nemesis::partition() {
  ++world_.stats.partitions;
  const Duration until = world_.schedule.now() + some_time();
  const Member* master = world_.master();
  const bool isolate_master = master != nullptr && world_.prng.chance(400);
  std::vector<NodeId> left;
  std::vector<NodeId> right;
  for (const NodeId id : world_.ids()) {
    const bool is_left = isolate_master ? id == master->id() : world_.prng.chance(500);
    (is_left ? left : right).push_back(id);
  }
  for (const NodeId a : left) {
    for (const NodeId b : right) {
      world_.network.cut_link(end_of(a), end_of(b), until);
      world_.network.cut_link(end_of(b), end_of(a), until);
    }
  }
  world_.say("partition: {} on the left, {} on the right{}", left.size(), right.size(),
             isolate_master ? ", the master alone" : "");
}

void Nemesis::cut_one_way() {
  ++world_.stats.one_way_cuts;
  const Duration until = world_.schedule.now() + some_time();
  const std::vector<NodeId> ids = world_.ids();
  const Member* master = world_.master();
  const NodeId victim = master != nullptr && world_.prng.chance(500)
                            ? master->id()
                            : ids[world_.prng.below(ids.size())];
  const bool deaf = world_.prng.chance(500);
  const bool from_all = world_.prng.chance(500);
  for (const NodeId other : ids) {
    if (other == victim || (!from_all && world_.prng.chance(500))) continue;
    if (deaf) {
      world_.network.cut_link(end_of(other), end_of(victim), until);
    } else {
      world_.network.cut_link(end_of(victim), end_of(other), until);
    }
  }
  world_.say("one-way cut: mds{} {}", victim.raw(), deaf ? "hears nothing" : "is not heard");
}

void Nemesis::clog() {
  ++world_.stats.clogs;
  const Duration until = world_.schedule.now() + some_time();
  const std::vector<NodeId> ids = world_.ids();
  const NodeId victim = ids[world_.prng.below(ids.size())];
  for (const NodeId other : ids) {
    if (other == victim) continue;
    if (world_.prng.chance(600)) world_.network.clog_link(end_of(victim), end_of(other), until);
    if (world_.prng.chance(300)) world_.network.clog_link(end_of(other), end_of(victim), until);
  }
}

void Nemesis::yield() {
  Member* master = world_.master();
  if (master == nullptr) return;
  const paxos::Membership& now = world_.oracle.newest();
  const NodeId to =
      world_.prng.chance(400) ? NodeId() : now.members[world_.prng.below(now.members.size())].id;
  if (to == master->id()) return;
  const NodeId from = master->id();
  if (!master->yield(to)) return;
  world_.say("mds{} yields to {}", from.raw(), to.raw());
  ++world_.stats.yields;
  if (world_.settings.weights.members != 0 && world_.prng.chance(300)) remove_next_ = from;
}

}  // namespace cairn::paxos_sim
