#include "tests/sim/data_nemesis.h"

#include <algorithm>
#include <numeric>

namespace cairn::sim {

namespace {
// What lies before is the superblock and the ring of the journal: without them nothing starts.
constexpr DiskOffset kHomes(4_MiB);
constexpr Duration kLately = 20s;
constexpr Duration kSevere = 4s;  // an outage that long may cost what was delayed
}  // namespace

void DataFaults::tell(DataCoverage& coverage) const {
  coverage.count("fault.cs_kills", cs_kills);
  coverage.count("fault.power_cuts", power_cuts);
  coverage.count("fault.cs_pauses", cs_pauses);
  coverage.count("fault.stalls", stalls);
  coverage.count("fault.write_errors", write_errors);
  coverage.count("fault.rotten", rotten);
  coverage.count("fault.bad_sectors", bad_sectors);
  coverage.count("fault.cuts", cuts);
  coverage.count("fault.slow_hosts", slow_hosts);
  coverage.count("fault.client_kills", client_kills);
  coverage.count("fault.client_pauses", client_pauses);
  coverage.count("fault.revocations", revocations);
  coverage.count("fault.last_words", last_words);
  coverage.count("fault.late_words", late_words);
  coverage.count("fault.converter_strikes", converter_strikes);
  coverage.count("fault.double_kills", double_kills);
  coverage.count("fault.below_minimum", below_minimum);
}

std::uint64_t DataFaults::total() const {
  return cs_kills + power_cuts + cs_pauses + stalls + write_errors + rotten + bad_sectors + cuts +
         slow_hosts + client_kills + client_pauses + revocations + last_words;
}

DataNemesis::DataNemesis(SimWorld& world, SimCluster& cluster, DataFiles& files, Mounts& mounts)
    : world_(world),
      cluster_(cluster),
      files_(files),
      mounts_(mounts),
      runtime_(world.make_runtime()) {}

void DataNemesis::start(const Mood& mood) {
  mood_ = mood;
  running_ = true;
  revoked_ = false;
  over_ = false;
  ++round_;
  trouble_.clear();
  damaged_.clear();
  suspects_.clear();
  if (mood_.bad_max >= cluster_.options().chunk_servers) ++faults_.below_minimum;
  plan_next();
}

void DataNemesis::stop() {
  running_ = false;
  ++round_;
  cluster_.fabric().heal_all();
  cluster_.fabric().slow_none();
  for (unsigned cs = 0; cs < cluster_.options().chunk_servers; ++cs) {
    cluster_.cs_disk(cs).stall(false);
    cluster_.cs_disk(cs).fail_writes(false);
    if (cluster_.cs_paused(cs)) cluster_.resume_cs(cs);
    // Fenced by its drive: the drive is well again.
    if (cluster_.cs_runs(cs) && cluster_.cs_store(cs) != nullptr &&
        cluster_.cs_store(cs)->failure().has_value()) {
      cluster_.kill_cs(cs, false);
    }
    if (!cluster_.cs_runs(cs)) cluster_.start_cs(cs);
  }
  for (unsigned client = 0; client < mounts_.clients(); ++client) {
    if (mounts_.life(client) == nullptr) {
      mounts_.mount(client);
    } else {
      cluster_.client_runtime(client).resume();
    }
  }
}

void DataNemesis::later(Duration delay, std::function<void()> action) {
  runtime_.schedule(runtime_.now() + delay, [this, round = round_, action = std::move(action)] {
    if (round == round_) action();
  });
}

Duration DataNemesis::draw(std::uint64_t low_ms, std::uint64_t high_ms) {
  return std::chrono::milliseconds(
      static_cast<std::int64_t>(world_.prng().between(low_ms, std::max(low_ms, high_ms))));
}

// Mostly short; some as long as the mood allows.
Duration DataNemesis::draw_outage() {
  switch (world_.prng().below(5)) {
    case 0:
    case 1:
      return draw(1, 300);
    case 2:
    case 3:
      return draw(300, std::min<std::uint64_t>(3000, mood_.outage_ms_max));
    default:
      return draw(1000, mood_.outage_ms_max);
  }
}

bool DataNemesis::severe() const {
  if (world_.now() < severe_until_) return true;
  // A piece that missed something may need a while, and others that have no trouble meanwhile.
  const auto lately = std::ranges::count_if(
      recent_, [this](const auto& one) { return one.second + kLately > world_.now(); });
  return static_cast<std::uint64_t>(lately) > mood_.spare;
}

void DataNemesis::plan_next() {
  later(draw(20, mood_.pause_ms_max), [this] {
    if (!running_) return;
    strike();
    plan_next();
  });
}

// Any; one that converts a file has a harder life.
unsigned DataNemesis::draw_cs() {
  const auto any = static_cast<unsigned>(world_.prng().below(cluster_.options().chunk_servers));
  if (world_.prng().chance(600)) return any;
  for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
    const unsigned cs = (any + i) % cluster_.options().chunk_servers;
    if (cluster_.cs_converts(cs)) return cs;
  }
  return any;
}

bool DataNemesis::begin_trouble(unsigned cs, Duration outage) {
  std::erase_if(trouble_, [&](const auto& one) { return one.second <= world_.now(); });
  if (trouble_.contains(cs) || trouble_.size() >= mood_.bad_max) return false;
  if (!cluster_.cs_runs(cs) || cluster_.cs_paused(cs)) return false;
  if (!damaged_.empty()) {
    std::set<unsigned> suspects = suspects_;
    suspects.insert(cs);
    if (suspects.size() > mood_.bad_max) return false;
    suspects_ = suspects;
  }
  if (cluster_.cs_converts(cs)) ++faults_.converter_strikes;
  trouble_[cs] = world_.now() + outage;
  recent_[cs] = world_.now() + outage;
  if (outage >= kSevere) {
    severe_until_ = std::max(severe_until_, world_.now() + outage + cluster_.options().lease * 2);
  }
  return true;
}

void DataNemesis::strike() {
  const unsigned total = std::accumulate(std::begin(mood_.weights), std::end(mood_.weights), 0U);
  std::uint64_t kind = world_.prng().below(total);
  std::size_t which = 0;
  while (kind >= mood_.weights[which]) kind -= mood_.weights[which++];
  const unsigned cs = draw_cs();
  switch (which) {
    case 0:
      return strike_process(cs);
    case 1:
      return strike_drive(cs);
    case 2:
      return strike_links(cs);
    case 3:
      return strike_client();
    case 4:
      return revoke_client();
    case 5:
      return damage(cs);
    default:
      return strike_last_words(cs);
  }
}

// ---- chunk servers ----

void DataNemesis::restart(unsigned cs) {
  if (!cluster_.cs_runs(cs)) cluster_.start_cs(cs);
}

void DataNemesis::strike_process(unsigned cs) {
  const Duration outage = draw_outage();
  if (!begin_trouble(cs, outage)) return;
  const std::uint64_t kind = world_.prng().below(3);
  if (kind == 2) {
    ++faults_.cs_pauses;
    cluster_.pause_cs(cs);
    return later(outage, [this, cs] {
      if (cluster_.cs_paused(cs)) cluster_.resume_cs(cs);
    });
  }
  ++(kind == 0 ? faults_.cs_kills : faults_.power_cuts);
  cluster_.kill_cs(cs, kind == 1);
  later(outage, [this, cs] { restart(cs); });
}

void DataNemesis::strike_drive(unsigned cs) {
  // A store whose drive fails while it starts does not start: nobody is there to start it again.
  if (cluster_.cs_store(cs) == nullptr) return;
  const Duration outage = draw_outage();
  if (!begin_trouble(cs, outage)) return;
  if (world_.prng().chance(600)) {
    ++faults_.stalls;
    cluster_.cs_disk(cs).stall(true);
    return later(outage, [this, cs] { cluster_.cs_disk(cs).stall(false); });
  }
  // Its store is fenced; somebody looks after the drive and starts it again.
  ++faults_.write_errors;
  cluster_.cs_disk(cs).fail_writes(true);
  later(outage, [this, cs] {
    cluster_.cs_disk(cs).fail_writes(false);
    if (!cluster_.cs_runs(cs)) return;
    cluster_.kill_cs(cs, world_.prng().chance(500));
    restart(cs);
  });
}

void DataNemesis::cut_for(const std::string& a, const std::string& b, Duration outage) {
  if (world_.prng().chance(750)) {
    cluster_.fabric().cut(a, b);
  } else {
    cluster_.fabric().cut_one_way(a, b);
  }
  later(outage, [this, a, b] { cluster_.fabric().heal(a, b); });
}

std::vector<std::string> DataNemesis::mds_hosts() {
  std::vector<std::string> hosts;
  for (std::size_t i = 0; i < cluster_.mds_count(); ++i) hosts.push_back(cluster_.mds(i).host());
  return hosts;
}

void DataNemesis::strike_links(unsigned cs) {
  const std::string host = SimCluster::cs_host(cs);
  const auto client = static_cast<unsigned>(world_.prng().below(mounts_.clients()));
  const std::uint64_t kind = world_.prng().below(6);
  if (kind == 5) {  // the client's own link to an MDS
    ++faults_.cuts;
    const std::vector<std::string> hosts = mds_hosts();
    return cut_for(SimCluster::client_host(client), hosts[world_.prng().below(hosts.size())],
                   draw(1, 2500));
  }
  const Duration outage = draw_outage();
  if (!begin_trouble(cs, outage)) return;
  if (kind == 4) {
    ++faults_.slow_hosts;
    cluster_.fabric().slow_down(host, draw(1, 120));
    return later(outage, [this, host] { cluster_.fabric().slow_down(host, Duration()); });
  }
  ++faults_.cuts;
  // From one client, from all, from the MDS, from everybody.
  for (unsigned i = 0; i < mounts_.clients(); ++i) {
    if (kind == 2 || (kind == 0 && i != client)) continue;
    cut_for(SimCluster::client_host(i), host, outage);
  }
  // Converters and repairs need the others.
  for (unsigned i = 0; kind >= 2 && i < cluster_.options().chunk_servers; ++i) {
    if (i != cs && (kind == 3 || world_.prng().chance(500))) {
      cut_for(SimCluster::cs_host(i), host, outage);
    }
  }
  if (kind < 2) return;
  for (const std::string& mds : mds_hosts()) cut_for(mds, host, outage);
}

// A stored block changes or cannot be read any more: only while everything else is well, and what
// comes afterwards is counted together with it.
void DataNemesis::damage(unsigned cs) {
  std::erase_if(trouble_, [&](const auto& one) { return one.second <= world_.now(); });
  if (!trouble_.empty() || !damaged_.empty() || !cluster_.cs_runs(cs)) return;
  if (mood_.bad_max >= cluster_.options().chunk_servers) return;
  if (!may_damage_ || !may_damage_(cs)) return;
  const auto block = cluster_.cs_disk(cs).rot_somewhere(world_.prng().next(), kHomes);
  if (!block.has_value()) return;
  damaged_.insert(cs);
  suspects_ = {cs};
  ++faults_.rotten;
  if (!world_.prng().chance(300)) return;
  ++faults_.bad_sectors;
  cluster_.cs_disk(cs).fail_block(*block);
}

// ---- clients ----

void DataNemesis::strike_client() {
  const auto client = static_cast<unsigned>(world_.prng().below(mounts_.clients()));
  const LifePtr life = mounts_.life(client);
  if (life == nullptr || cluster_.client_runtime(client).paused()) return;
  if (world_.prng().chance(600)) {
    ++faults_.client_kills;
    mounts_.kill(client, nullptr);
    const std::uint64_t longest = world_.prng().chance(200) ? 40'000 : 3000;
    return later(draw(1, longest), [this, client] {
      if (mounts_.life(client) == nullptr) mounts_.mount(client);
    });
  }
  ++faults_.client_pauses;
  cluster_.client_runtime(client).pause();
  later(draw(1, 4000), [this, client, life] {
    if (mounts_.life(client) == life) cluster_.client_runtime(client).resume();
  });
}

// For longer than a lease: the others go on without it, and what it sends afterwards must not
// count.
void DataNemesis::revoke_client() {
  const auto client = static_cast<unsigned>(world_.prng().below(mounts_.clients()));
  const LifePtr life = mounts_.life(client);
  if (life == nullptr || !life->mounted || cluster_.client_runtime(client).paused()) return;
  if (revoked_) return;
  revoked_ = true;
  ++faults_.revocations;
  const auto lease_ms = static_cast<std::uint64_t>(cluster_.options().lease.count() / 1'000'000);
  const Duration outage = draw(lease_ms / 2, lease_ms * 2);
  files_.struck(life, outage);
  severe_until_ = std::max(severe_until_, world_.now() + outage + cluster_.options().lease * 2);
  // Requests to some chunk servers stay on the wire, and arrive long after.
  for (std::uint64_t i = world_.prng().below(4); i > 0; --i) {
    const std::string cs = SimCluster::cs_host(
        static_cast<unsigned>(world_.prng().below(cluster_.options().chunk_servers)));
    cluster_.fabric().cut_one_way(SimCluster::client_host(client), cs);
    later(outage + draw(0, 500),
          [this, client, cs] { cluster_.fabric().heal(SimCluster::client_host(client), cs); });
  }
  if (world_.prng().chance(500)) {
    // Not at once: something shall be under way.
    later(draw(0, 1200), [this, client, life, outage] {
      if (mounts_.life(client) != life) return;
      files_.struck(life, outage);
      cluster_.client_runtime(client).pause();
    });
    later(outage + 1200ms, [this, client, life] {
      revoked_ = false;
      if (mounts_.life(client) == life) cluster_.client_runtime(client).resume();
    });
    return;
  }
  for (const std::string& mds : mds_hosts()) {
    cluster_.fabric().cut(SimCluster::client_host(client), mds);
    later(outage, [this, client, mds] {
      revoked_ = false;
      cluster_.fabric().heal(SimCluster::client_host(client), mds);
    });
  }
}

}  // namespace cairn::sim
