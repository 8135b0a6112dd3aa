#include "tests/sim/workload_names.h"

#include <algorithm>

#include "tests/sim/names_player.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/planted_bugs.h"

namespace cairn::sim {

namespace {

constexpr unsigned kClients = 2;
constexpr unsigned kPlayersPerClient = 2;
constexpr Duration kLimit = 300s;

struct Steps {
  static Task<void> mount(client::FileSystem* fs, Status* result) {
    *result = co_await fs->start();
  }
  // Finds the directory, or makes it.
  static Task<void> directory(client::FileSystem* fs, std::string name, Result<InodeId>* result) {
    std::string copy = name;
    Result<pb::Attributes> found = co_await fs->lookup(kRootInode, std::move(copy));
    if (!found.has_value() && found.error().code() == Code::kNotFound) {
      pb::MakeNode request;
      request.set_parent(kRootInode.raw());
      request.set_name(name);
      request.set_type(pb::TYPE_DIRECTORY);
      request.set_mode(0755);
      found = co_await fs->make_node(std::move(request), false);
    }
    if (found.has_value()) {
      *result = InodeId::from_raw(found->inode());
    } else {
      *result = fail(found.error());
    }
  }
};

class Workload {
 public:
  Workload(std::uint64_t seed, PlantedBug bug)
      : world_(seed),
        cluster_(world_, draw_options(world_.prng(), bug)),
        nemesis_(world_, cluster_, {.clients = kClients}) {
    for (unsigned i = 0; i < kClients * kPlayersPerClient; ++i) {
      players_.push_back(std::make_unique<NamesPlayer>(i, world_.prng().next(), common_));
    }
  }

  RunReport run() {
    if (!cluster_.bring_up()) return finish("the cluster did not come up");
    for (unsigned client = 0; client < kClients && failure_.empty(); ++client) mount(client);
    nemesis_.start();
    const std::uint64_t steps = world_.prng().between(10, 40);
    for (std::uint64_t i = 0; i < steps && failure_.empty(); ++i) step();
    nemesis_.stop();
    ending_ = true;
    if (failure_.empty() && !world_.run_until([this] { return !playing(); }, kLimit)) {
      fail_run("an operation hung");
    }
    look();
    if (failure_.empty()) failure_ = nemesis_.settle();
    // Each directory by both mounts.
    for (unsigned client = 0; client < kClients; ++client) {
      for (unsigned i = 0; i < players_.size(); ++i) verify(client, i);
    }
    if (failure_.empty()) cluster_.take_down();
    return finish(failure_);
  }

 private:
  static SimCluster::Options draw_options(Prng& prng, PlantedBug bug) {
    constexpr unsigned kGroups[] = {1, 3, 3, 3, 5};
    SimCluster::Options options;
    options.mds = kGroups[prng.below(std::size(kGroups))];
    options.mds_tables.keep_slots = prng.between(20, 500);
    options.mds_tables.flush_every_bytes = prng.between(4_KiB, 64_KiB);
    plant(bug, options);
    return options;
  }

  RunReport finish(const std::string& failure) {
    Coverage coverage = nemesis_.coverage();
    coverage.client_kills = client_kills_;
    RunReport report{.ok = failure.empty(),
                     .failure = failure,
                     .events = world_.events_run(),
                     .trace_hash = world_.trace_hash(),
                     .operations = 0,
                     .longest = Duration(0),
                     .coverage = coverage};
    for (const std::unique_ptr<NamesPlayer>& player : players_) {
      report.operations += player->operations();
      report.longest = std::max(report.longest, player->longest());
    }
    return report;
  }
  void fail_run(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }
  void look() {
    if (!nemesis_.failure().empty()) fail_run(nemesis_.failure());
    for (const std::unique_ptr<NamesPlayer>& player : players_) {
      if (!player->failure().empty()) fail_run(player->failure());
    }
  }
  bool playing() const {
    return std::ranges::any_of(players_, [](const auto& player) { return player->playing(); });
  }

  // Results outlive a task that never ends.
  template <class T>
  static std::shared_ptr<T> kept(T value) {
    auto result = std::make_shared<T>(std::move(value));
    SimWorld::bury(result);
    return result;
  }

  bool find_directory(unsigned client, const std::string& name, InodeId* inode) {
    const auto found = kept<Result<InodeId>>(fail(Code::kInternal, "not finished"));
    client::FileSystem* fs = cluster_.client(client);
    if (!cluster_.run(client, Steps::directory(fs, name, found.get()), kLimit)) {
      fail_run("directory " + name + " hung");
    } else if (!found->has_value()) {
      fail_run("directory " + name + ": " + found->error().to_string());
    } else {
      *inode = **found;
    }
    return failure_.empty();
  }

  void mount(unsigned client) {
    client::FileSystem& fs = cluster_.start_client(client);
    const auto started = kept<Status>(fail(Code::kInternal, "not finished"));
    if (!cluster_.run(client, Steps::mount(&fs, started.get()), kLimit)) {
      return fail_run("mount hung");
    }
    if (!started->has_value()) return fail_run("mount: " + started->error().to_string());
    if (!find_directory(client, "common", &common_.inode)) return;
    for (unsigned i = client * kPlayersPerClient; i < (client + 1) * kPlayersPerClient; ++i) {
      NamesPlayer* player = players_[i].get();
      InodeId inode;
      if (!find_directory(client, player->directory_name(), &inode)) return;
      player->set_directory(inode);
      verify(client, i);
      if (!failure_.empty()) return;
      cluster_.spawn(client,
                     NamesPlayer::play(player, &cluster_.client_runtime(client), &fs, &ending_));
    }
  }

  void verify(unsigned client, unsigned index) {
    if (!failure_.empty()) return;
    const auto done = kept<bool>(false);
    NamesPlayer* player = players_[index].get();
    client::FileSystem* fs = cluster_.client(client);
    if (!cluster_.run(client, NamesPlayer::verify(player, fs, done.get()), kLimit)) {
      return fail_run("read_dir hung");
    }
    if (!player->failure().empty()) fail_run(player->failure());
  }

  void step() {
    world_.run_for(std::chrono::milliseconds(static_cast<std::int64_t>(world_.prng().below(2000))));
    look();
    if (failure_.empty() && world_.prng().chance(60)) remount_after_kill();
  }

  void remount_after_kill() {
    const auto client = static_cast<unsigned>(world_.prng().below(kClients));
    ++client_kills_;
    cluster_.kill_client(client);
    for (unsigned i = client * kPlayersPerClient; i < (client + 1) * kPlayersPerClient; ++i) {
      players_[i]->killed();
    }
    world_.run_for(std::chrono::milliseconds(static_cast<std::int64_t>(world_.prng().below(3000))));
    look();
    if (failure_.empty()) mount(client);
  }

  SimWorld world_;
  SimCluster cluster_;
  Nemesis nemesis_;
  CommonDirectory common_;
  std::vector<std::unique_ptr<NamesPlayer>> players_;
  bool ending_ = false;
  std::string failure_;
  std::uint64_t client_kills_ = 0;
};

}  // namespace

RunReport run_names(std::uint64_t seed, PlantedBug bug) {
  // Killed mounts leave tasks in the middle that refer to it: nothing of it is unwound.
  auto workload = std::make_shared<Workload>(seed, bug);
  RunReport report = workload->run();
  if (!report.ok) SimWorld::bury(workload);
  return report;
}

}  // namespace cairn::sim
