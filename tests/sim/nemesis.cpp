#include "tests/sim/nemesis.h"

namespace cairn::sim {

namespace {
constexpr std::uint64_t kReplacementsMax = 2;
constexpr Duration kSettleLimit = 60s;
constexpr Duration kLook = 5ms;
constexpr std::uint64_t kLooksPerContents = 100;
}  // namespace

Nemesis::Nemesis(SimWorld& world, SimCluster& cluster, Options options)
    : world_(world),
      cluster_(cluster),
      options_(options),
      runtime_(world.make_runtime()),
      checker_(cluster),
      tasks_(cluster.admin_runtime()) {}

void Nemesis::start() {
  running_ = true;
  plan_next();
  look();
}

void Nemesis::stop() {
  running_ = false;
  cluster_.fabric().heal_all();
  cluster_.peer_net().set_weather({});
  for (std::size_t i = 0; i < cluster_.mds_count(); ++i) {
    SimMds& node = cluster_.mds(i);
    node.set_log_latency(kSimLogLatency);
    if (node.drive_failed() && !node.removed()) node.wipe();
    if (node.paused()) node.resume();
    if (!node.runs() && !node.removed()) node.start();
  }
  for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
    if (!cluster_.cs_runs(i)) cluster_.start_cs(i);
  }
  if (!world_.run_until([this] { return tasks_.running() == 0; }, 60s)) {
    failure_ = "a change of the MDS group hung";
  }
}

std::string Nemesis::settle() {
  if (!failure_.empty()) return failure_;
  if (!cluster_.converge(kSettleLimit)) return "the MDS do not come into step";
  std::string wrong = checker_.check_contents();
  if (wrong.empty()) wrong = cluster_.check_mds();
  return wrong;
}

Coverage Nemesis::coverage() const {
  Coverage coverage = coverage_;
  for (std::size_t i = 0; i < cluster_.mds_count(); ++i) {
    coverage.resyncs += cluster_.mds(i).vault().installs();
  }
  return coverage;
}

Duration Nemesis::draw(std::uint64_t low_ms, std::uint64_t high_ms) {
  return std::chrono::milliseconds(
      static_cast<std::int64_t>(world_.prng().between(low_ms, high_ms)));
}

void Nemesis::plan_next() {
  runtime_.schedule(runtime_.now() + draw(20, options_.pause_ms_max), [this] {
    if (!running_) return;
    strike();
    plan_next();
  });
}

void Nemesis::look() {
  runtime_.schedule(runtime_.now() + kLook, [this] {
    if (failure_.empty()) failure_ = checker_.check_masters();
    const SimMds* master = cluster_.master();
    if (master == nullptr) unserved_ = world_.now();
    if (master != nullptr && master_ != nullptr && master != master_) ++coverage_.masters;
    if (master != nullptr) master_ = master;
    if (failure_.empty() && ++looks_ % kLooksPerContents == 0) failure_ = checker_.check_contents();
    if (running_) look();
  });
}

void Nemesis::strike() {
  if (options_.mds_only) return strike_mds();
  const std::uint64_t kind = world_.prng().below(10);
  if (kind < 4) {
    strike_cs();
  } else if (kind < 9) {
    strike_mds();
  } else {
    strike_link();
  }
}

void Nemesis::strike_cs() {
  const auto index = static_cast<unsigned>(world_.prng().below(cluster_.options().chunk_servers));
  if (!cluster_.cs_runs(index)) return;
  ++coverage_.faults;
  cluster_.kill_cs(index, world_.prng().chance(500));
  runtime_.schedule(runtime_.now() + draw(1, 2500), [this, index] {
    if (running_ && !cluster_.cs_runs(index)) cluster_.start_cs(index);
  });
}

void Nemesis::strike_link() {
  const std::string cs =
      "cs" + std::to_string(world_.prng().below(cluster_.options().chunk_servers));
  const std::string mds = cluster_.mds(world_.prng().below(cluster_.mds_count())).host();
  const std::string client = "client" + std::to_string(world_.prng().below(options_.clients));
  switch (world_.prng().below(3)) {
    case 0:
      return cut_for(client, cs, true, draw(1, 2500));
    case 1:
      return cut_for(client, mds, world_.prng().chance(500), draw(1, 2500));
    default:
      return cut_for(cs, mds, true, draw(1, 2500));
  }
}

void Nemesis::cut_for(const std::string& a, const std::string& b, bool both, Duration outage) {
  ++coverage_.faults;
  if (both) {
    cluster_.fabric().cut(a, b);
  } else {
    cluster_.fabric().cut_one_way(a, b);
  }
  runtime_.schedule(runtime_.now() + outage, [this, a, b] { cluster_.fabric().heal(a, b); });
}

// ---- the group ----

void Nemesis::strike_mds() {
  SimMds* node = &cluster_.mds(world_.prng().below(cluster_.mds_count()));
  // The master is the one that matters.
  if (cluster_.master() != nullptr && world_.prng().chance(500)) node = cluster_.master();
  const std::uint64_t kind = world_.prng().below(100);
  if (kind >= 85 && kind < 93) return storm();
  if (!node->runs() || node->paused()) return;
  if (kind < 35) {
    kill_mds(*node);
  } else if (kind < 40) {
    slow_log(*node);
  } else if (kind < 55) {
    pause_mds(*node);
  } else if (kind < 78) {
    isolate(*node);
  } else if (kind < 85) {
    wipe_mds(*node);
  } else {
    replace_mds(*node);
  }
}

void Nemesis::start_later(std::size_t index, Duration pause) {
  runtime_.schedule(runtime_.now() + pause, [this, index] {
    SimMds& node = cluster_.mds(index);
    if (running_ && !node.runs() && !node.removed() && !node.drive_failed()) node.start();
  });
}

void Nemesis::kill_mds(SimMds& node) {
  ++coverage_.faults;
  node.kill();
  start_later(node.index(), draw(1, 2500));
}

void Nemesis::pause_mds(SimMds& node) {
  ++coverage_.faults;
  node.pause();
  runtime_.schedule(runtime_.now() + draw(1, 4000), [this, index = node.index()] {
    SimMds& paused = cluster_.mds(index);
    if (running_ && paused.paused()) paused.resume();
  });
}

// From the other MDS: clients and chunk servers may still reach it.
void Nemesis::isolate(SimMds& node) {
  const Duration outage = draw(1, 4000);
  const std::uint64_t kind = world_.prng().below(4);
  for (std::size_t i = 0; i < cluster_.mds_count(); ++i) {
    const std::string other = cluster_.mds(i).host();
    if (other == node.host()) continue;
    if (kind == 0 && world_.prng().chance(500)) continue;  // only from some
    if (kind == 1) {
      cut_for(node.host(), other, false, outage);
    } else if (kind == 2) {
      cut_for(other, node.host(), false, outage);
    } else {
      cut_for(node.host(), other, true, outage);
    }
  }
}

// One at a time may be without its promises, and only while the other voters are a majority: with
// more lost only a human could say what is true.
bool Nemesis::may_lose(const SimMds& node) {
  const mds::paxos::Membership members = cluster_.newest_members();
  std::size_t others = 0;
  for (std::size_t i = 0; i < cluster_.mds_count(); ++i) {
    SimMds& other = cluster_.mds(i);
    if (other.removed() || other.index() == node.index()) continue;
    if (other.lost() || other.store().state().empty) return false;
    if (other.store().state().recovering) return false;
    const mds::paxos::Member* member = mds::paxos::find_member(members, other.id());
    if (member != nullptr && member->role == mds::paxos::Role::kVoter) ++others;
  }
  return others >= 2 && others >= mds::paxos::majority(members);
}

void Nemesis::wipe_mds(SimMds& node) {
  if (replacing_ || owes_member_ || !may_lose(node) || node.lost()) return;
  ++coverage_.faults;
  ++coverage_.wipes;
  if (world_.prng().chance(700)) {
    node.wipe();
    return start_later(node.index(), draw(1, 2500));
  }
  // The drive fails first; then a new one comes.
  node.fail_drive();
  runtime_.schedule(runtime_.now() + draw(1, 4000), [this, index = node.index()] {
    SimMds& failed = cluster_.mds(index);
    if (!failed.drive_failed() || failed.removed()) return;
    failed.wipe();
    if (running_) failed.start();
  });
}

void Nemesis::slow_log(SimMds& node) {
  ++coverage_.faults;
  node.set_log_latency(draw(1, 150));
  runtime_.schedule(runtime_.now() + draw(1, 5000), [this, index = node.index()] {
    cluster_.mds(index).set_log_latency(kSimLogLatency);
  });
}

void Nemesis::storm() {
  ++coverage_.faults;
  cluster_.peer_net().set_weather({.low = 20us,
                                   .high = draw(1, 300),
                                   .lost_per_mille = world_.prng().below(300),
                                   .repeated_per_mille = world_.prng().below(300)});
  runtime_.schedule(runtime_.now() + draw(1, 5000),
                    [this] { cluster_.peer_net().set_weather({}); });
}

void Nemesis::replace_mds(SimMds& node) {
  if (replacing_ || coverage_.replacements >= kReplacementsMax || cluster_.options().mds < 3)
    return;
  if (!may_lose(node) || node.lost()) return;
  ++coverage_.faults;
  ++coverage_.replacements;
  replacing_ = true;
  tasks_.spawn(replace(node.index()));
}

Task<void> Nemesis::replace(std::size_t index) {
  const bool removed = co_await cluster_.remove_mds(index);
  owes_member_ = removed;
  while (owes_member_) {
    const bool added = co_await cluster_.add_mds();
    owes_member_ = !added;
  }
  replacing_ = false;
}

}  // namespace cairn::sim
