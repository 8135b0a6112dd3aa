#include "tests/sim/workload_data_path.h"

#include <algorithm>

#include "tests/sim/chunk_checker.h"
#include "tests/sim/data_conversions.h"
#include "tests/sim/data_nemesis.h"
#include "tests/sim/data_plan.h"
#include "tests/sim/data_player.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/wire_tap.h"

namespace cairn::sim {

namespace {

constexpr Duration kOperationLimit = 400s;
// Conversions that failed are tried again after up to five minutes.
constexpr Duration kConvertLimit = 700s;
constexpr Duration kMendLimit = 300s;  // until nothing is unfinished in quiet times
constexpr unsigned kPlayersPerClient = 2;
constexpr Duration kCalmLease = 20s;  // a shorter one may end in any outage

class Workload final : private Mounts {
 public:
  Workload(std::uint64_t seed, PlantedBug bug)
      : world_(seed),
        plan_(draw_data_plan(world_.prng(), bug)),
        cluster_(world_, tuned(plan_.cluster)),
        tap_(world_),
        files_(world_, plan_.files),
        player_(world_, files_, plan_.shape),
        mds_nemesis_(world_, cluster_, {.clients = plan_.clients, .mds_only = true}),
        nemesis_(world_, cluster_, files_, *this),
        conversions_(world_, cluster_, files_, plan_.codes),
        checker_(world_, cluster_, files_),
        lives_(plan_.clients + 1) {
    cluster_.fabric().set_tap([this](const std::vector<Bytes>& parts) { tap_.see(parts); });
    nemesis_.set_may_damage([this](unsigned cs) {
      return checker_.spare_without(1U << cs) >= static_cast<int>(plan_.parity_least) - 1;
    });
  }

  RunReport run() {
    if (!cluster_.bring_up()) files_.fail_run("the cluster did not come up");
    for (unsigned i = 0; i < plan_.clients && well(); ++i) mount(i);
    for (unsigned i = 0; i < plan_.phases && well(); ++i) {
      disturb();
      calm_down();
      if (well()) look_at_everything();
      if (well() && world_.prng().chance(500)) take_away();
    }
    if (well()) end();
    if (!well()) files_.explain(autopsy());
    return report();
  }

 private:
  bool well() {
    if (!mds_nemesis_.failure().empty()) files_.fail_run(mds_nemesis_.failure());
    return files_.failure().empty();
  }
  unsigned observer() const { return plan_.clients; }

  SimCluster::Options tuned(SimCluster::Options options) {
    options.on_client_log = [this](unsigned client, const std::string& line) {
      hear(client, line);
    };
    return options;
  }

  // A client that lost delayed data says so in its log, and to the application later.
  void hear(unsigned client, const std::string& line) {
    unsigned long long inode = 0;
    if (line.find("delayed data are lost") == std::string::npos) return;
    if (std::sscanf(line.c_str(), "inode %llu:", &inode) != 1) return;
    const LifePtr life = lives_[client];
    // What is unlinked and closed needs nobody.
    const auto open = std::ranges::find_if(
        life->open, [&](const auto& one) { return one.second.inode.raw() == inode; });
    if (open == life->open.end()) return;
    if (open->second.generation != files_.slot(open->first).generation) return;
    ++losses_heard_;
    const bool excused = nemesis_.severe() || world_.now() <= life->excused_until ||
                         plan_.cluster.lease < kCalmLease ||
                         mds_nemesis_.unserved() + plan_.cluster.lease > world_.now();
    if (!excused) files_.fail_run("client " + std::to_string(client) + ": " + line);
    files_.declared_loss(life, InodeId::from_raw(inode));
  }

  // ---- Mounts ----

  unsigned clients() const override { return plan_.clients; }
  LifePtr life(unsigned client) override { return lives_[client]; }
  void mount(unsigned client) override {
    const auto life = std::make_shared<ClientLife>();
    life->id = ++life_ids_;
    life->index = client;
    life->fs = &cluster_.start_client(client);
    life->runtime = &cluster_.client_runtime(client);
    lives_[client] = life;
    cluster_.spawn(client, mount_and_play(this, life));
  }
  void kill(unsigned client, const SimFabric::Late& late) override {
    files_.killed(lives_[client]);
    cluster_.kill_client(client, late);
    lives_[client] = nullptr;
  }

  static Task<void> mount_and_play(Workload* self, LifePtr life) {
    ++life->running;
    co_await DataPlayer::mount(&self->player_, life);
    --life->running;
    if (life->index != self->observer()) self->play(life);
  }
  void play(const LifePtr& life) {
    if (!life->mounted) return;
    for (unsigned i = 0; i < kPlayersPerClient; ++i) {
      cluster_.spawn(life->index, play_one(&player_, life));
    }
  }
  static Task<void> play_one(DataPlayer* player, LifePtr life) {
    ++life->players;
    co_await DataPlayer::play(player, life);
    --life->players;
  }

  // ---- phases ----

  DataNemesis::Mood draw_mood() {
    Prng& prng = world_.prng();
    DataNemesis::Mood mood;
    mood.bad_max = plan_.parity_least;
    mood.spare = plan_.cluster.data + plan_.cluster.parity - plan_.cluster.min;
    if (prng.chance(150)) mood.bad_max = plan_.cluster.chunk_servers;
    mood.pause_ms_max = prng.chance(300) ? 300 : 3000;
    mood.outage_ms_max = prng.chance(250) ? 40'000 : 3'000;
    for (unsigned& weight : mood.weights) weight = static_cast<unsigned>(prng.below(6));
    mood.weights[4] = prng.chance(300) ? 1 : 0;
    ++mood.weights[0];
    ++mood.weights[6];
    return mood;
  }

  void disturb() {
    player_.go();
    for (const LifePtr& life : lives_) {
      if (life != nullptr && life->index != observer()) play(life);
    }
    if (world_.prng().chance(50)) {  // nothing fails: nothing may be late either
      conversions_.start(1000);
      world_.run_for(5s);
      return;
    }
    mds_nemesis_.set_pause(world_.prng().chance(300) ? 1500 : 8000);
    if (world_.prng().chance(700)) mds_nemesis_.start();
    nemesis_.start(draw_mood());
    conversions_.start(200U << world_.prng().below(6));
    const Instant end =
        world_.now() + std::chrono::seconds(static_cast<std::int64_t>(
                           world_.prng().chance(150) ? world_.prng().between(40, 120)
                                                     : world_.prng().between(2, 20)));
    world_.run_until([&] { return world_.now() >= end || nemesis_.over() || !well(); }, 1000s);
  }

  bool idle() {
    return std::ranges::all_of(lives_, [](const LifePtr& life) {
      return life == nullptr || (life->mounted && life->running == 0 && life->players == 0);
    });
  }
  void wait_idle(const char* what) {
    if (world_.run_until([&] { return idle() || !well(); }, kOperationLimit)) return;
    for (const LifePtr& life : lives_) {
      if (life == nullptr || (life->mounted && life->running == 0)) continue;
      files_.fail_run(std::string(what) + ": an operation of client " +
                      std::to_string(life->index) + " hangs");
    }
  }

  void calm_down() {
    player_.stop();
    nemesis_.stop();
    mds_nemesis_.stop();
    conversions_.stop();
    wait_idle("after the faults");
    if (!well()) return;
    const std::string unsettled = mds_nemesis_.settle();
    if (!unsettled.empty()) files_.fail_run(unsettled);
  }

  void perform(unsigned client, const char* what, Task<void> task) {
    if (!well()) return;
    if (cluster_.run(client, std::move(task), kOperationLimit)) return;
    files_.fail_run(std::string(what) + " hangs");
  }
  void verify_all(unsigned client, const char* when) {
    for (unsigned slot = 0; slot < files_.count(); ++slot) {
      perform(client, when, DataPlayer::verify(&player_, lives_[client], slot, when));
    }
  }

  void look_at_everything() {
    if (world_.prng().chance(300)) world_.run_for(2s);
    if (world_.prng().chance(300)) {
      const auto dying = static_cast<unsigned>(world_.prng().below(plan_.clients));
      kill(dying, nullptr);
      mount(dying);
      wait_idle("a mount");
    }
    mount(observer());
    wait_idle("a mount");
    verify_all(observer(), "at rest");
    for (unsigned client = 0; client < plan_.clients; ++client) verify_all(client, "at rest");
    if (well()) perform(0, "unlink", DataPlayer::clean(&player_, lives_[0]));
    if (well() && conversions_.on()) look_at_conversions();
    if (well()) check_stores(lives_[observer()]);
    if (well()) kill(observer(), nullptr);
  }

  // All are done at last, and nobody sees a difference.
  void look_at_conversions() {
    if (world_.prng().chance(500)) conversions_.ask_for_all();
    std::set<std::uint64_t> open;
    for (const LifePtr& life : lives_) {
      if (life == nullptr) continue;
      for (const auto& [slot, one] : life->open) open.insert(one.inode.raw());
    }
    const Instant end = world_.now() + kConvertLimit;
    std::string left = conversions_.unfinished(open);
    while (well() && !left.empty()) {
      if (world_.now() > end) files_.fail_run("at rest, for ever: " + left);
      world_.run_for(2s);
      left = conversions_.unfinished(open);
    }
    const std::string wrong = conversions_.wrong();
    if (!wrong.empty()) files_.fail_run(wrong);
    verify_all(observer(), "converted");
    const auto client = static_cast<unsigned>(world_.prng().below(plan_.clients));
    verify_all(client, "converted");
  }

  std::map<unsigned, InodeId> inodes_of(const LifePtr& life) {
    std::map<unsigned, InodeId> inodes;
    for (const auto& [slot, open] : life->open) {
      if (open.generation == files_.slot(slot).generation) inodes[slot] = open.inode;
    }
    return inodes;
  }
  void check_stores(const LifePtr& life) {
    const std::map<unsigned, InodeId> inodes = inodes_of(life);
    const Instant end = world_.now() + kMendLimit;
    for (;;) {
      const ChunkChecker::Verdict verdict = checker_.check(inodes, true);
      if (!verdict.wrong.empty()) return files_.fail_run("at rest: " + verdict.wrong);
      if (verdict.unfinished.empty()) return;
      if (world_.now() > end) return files_.fail_run("at rest, for ever: " + verdict.unfinished);
      world_.run_for(3s);
    }
  }

  // Every acknowledged byte is readable without any N chunk servers.
  void take_away() {
    std::vector<unsigned> servers(plan_.cluster.chunk_servers);
    for (unsigned i = 0; i < servers.size(); ++i) servers[i] = i;
    world_.prng().shuffle(std::span<unsigned>(servers));
    std::uint32_t mask = 0;
    std::vector<unsigned> taken;
    for (const unsigned cs : servers) {
      if (taken.size() == plan_.cluster.parity) break;
      if (checker_.spare_without(mask | 1U << cs) < 0) continue;
      mask |= 1U << cs;
      taken.push_back(cs);
      cluster_.kill_cs(cs, world_.prng().chance(500));
    }
    coverage_.count("check.servers_taken_away", taken.size());
    mount(observer());
    wait_idle("a mount without some chunk servers");
    verify_all(observer(), "without some chunk servers");
    if (!well()) return;
    kill(observer(), nullptr);
    for (const unsigned cs : taken) cluster_.start_cs(cs);
  }

  void end() {
    perform(0, "unlink", DataPlayer::unlink_all(&player_, lives_[0]));
    for (unsigned client = 0; client < plan_.clients && well(); ++client) {
      for (const auto& [slot, open] : lives_[client]->open) {
        lives_[client]->fs->release(
            open.inode, open.writes ? client::OpenMode::kWrite : client::OpenMode::kRead);
      }
      lives_[client]->open.clear();
    }
    const Instant limit = world_.now() + kMendLimit;
    std::string left = checker_.leftovers();
    while (well() && !left.empty()) {
      if (world_.now() > limit) files_.fail_run("everything was unlinked, but " + left);
      world_.run_for(3s);
      left = checker_.leftovers();
    }
    if (well()) cluster_.take_down();
  }

  // What the drives hold when something was seen: chunks whose rows contradict each other.
  std::string autopsy() {
    std::string found;
    for (const std::string& one : checker_.contradictions()) found += "\n    " + one;
    return found;
  }

  RunReport report() {
    RunReport report;
    report.failure = files_.failure();
    report.ok = report.failure.empty();
    report.events = world_.events_run();
    report.trace_hash = world_.trace_hash();
    report.operations = player_.counts().total();
    report.longest = player_.longest();
    report.coverage = mds_nemesis_.coverage();
    report.coverage.client_kills = nemesis_.faults().client_kills;
    report.coverage.faults += nemesis_.faults().total();
    coverage_.count("code." + std::to_string(plan_.cluster.data) + "+" +
                    std::to_string(plan_.cluster.parity));
    coverage_.count("client.losses_logged", losses_heard_);
    player_.counts().tell(coverage_);
    tap_.traffic().tell(coverage_);
    nemesis_.faults().tell(coverage_);
    conversions_.tell(coverage_);
    report.coverage.data = coverage_;
    return report;
  }

  SimWorld world_;
  const DataPlan plan_;
  SimCluster cluster_;
  WireTap tap_;
  DataFiles files_;
  DataPlayer player_;
  Nemesis mds_nemesis_;
  DataNemesis nemesis_;
  DataConversions conversions_;
  ChunkChecker checker_;
  std::vector<LifePtr> lives_;  // by client; the last: the observer
  LifeId life_ids_ = 0;
  std::uint64_t losses_heard_ = 0;
  DataCoverage coverage_;
};

}  // namespace

// What sixty seeds reach for sure: "ops.ghosts" and "ops.told" are too rare for that.
const char* const kDataPathMust[] = {"ops.writes",
                                     "ops.appends",
                                     "ops.truncates",
                                     "ops.fsyncs",
                                     "ops.reads",
                                     "ops.takeovers",
                                     "ops.unlinks",
                                     "ops.losses",
                                     "wire.prepares",
                                     "wire.zeroing_prepares",
                                     "wire.reads",
                                     "wire.seals",
                                     "wire.resolves",
                                     "wire.forwards",
                                     "wire.drops",
                                     "wire.delta_prepares",
                                     "wire.region_drops",
                                     "wire.holds",
                                     "wire.closes",
                                     "wire.repairs",
                                     "wire.whole_repairs",
                                     "wire.pings",
                                     "fault.cs_kills",
                                     "fault.power_cuts",
                                     "fault.cs_pauses",
                                     "fault.stalls",
                                     "fault.write_errors",
                                     "fault.rotten",
                                     "fault.bad_sectors",
                                     "fault.cuts",
                                     "fault.slow_hosts",
                                     "fault.client_kills",
                                     "fault.client_pauses",
                                     "fault.revocations",
                                     "fault.last_words",
                                     "fault.converter_strikes",
                                     "conversion.asked",
                                     "wire.shadows",
                                     "wire.swaps",
                                     "wire.conversions_abandoned",
                                     "fault.late_words",
                                     "fault.double_kills",
                                     "fault.below_minimum",
                                     "code.1+1",
                                     "code.1+2",
                                     "code.2+1",
                                     "code.3+2",
                                     "code.4+2",
                                     "check.servers_taken_away"};
const std::size_t kDataPathMustCount = std::size(kDataPathMust);

RunReport run_data_path(std::uint64_t seed, PlantedBug bug) {
  // A failed run leaves tasks in the middle: nothing of it is unwound.
  auto workload = std::make_shared<Workload>(seed, bug);
  RunReport report = workload->run();
  if (!report.ok) SimWorld::bury(workload);
  return report;
}

}  // namespace cairn::sim
