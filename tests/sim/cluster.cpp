#include "tests/sim/cluster.h"

#include <cstdlib>

#include "tests/sim/sim_converter.h"

namespace cairn::sim {

namespace {

// What an MDS that is silent may cost a chunk server before the next one is asked.
constexpr Duration kMdsAttempt = 800ms;

// Prints to stderr with CAIRN_SIM_LOG=1: the first thing one wants of a failing seed.
class SimLog final : public observe::Log {
 public:
  using Listener = std::function<void(const std::string& line)>;
  SimLog(SimWorld& world, std::string who, Listener listener)
      : world_(world),
        who_(std::move(who)),
        listener_(std::move(listener)),
        on_(std::getenv("CAIRN_SIM_LOG") != nullptr) {}
  void write(observe::Severity, const std::string& line) override {
    if (listener_) listener_(line);
    if (!on_) return;
    std::fprintf(stderr, "%.6f %s%s\n", static_cast<double>(world_.now().nanos()) / 1e9,
                 who_.c_str(), line.c_str());
  }
  bool enabled(observe::Severity) const override { return on_; }

 private:
  SimWorld& world_;
  const std::string who_;
  const Listener listener_;
  const bool on_;
};

}  // namespace

struct SimCluster::CsLife {
  CsLife(SimFabric& fabric, SimRuntime& rt, std::string host)
      : runtime(rt), network(fabric, rt, std::move(host)), tasks(rt) {}
  SimRuntime& runtime;
  SimNetwork network;
  runtime::TaskGroup tasks;
  std::unique_ptr<rpc::MultiCaller> mds;
  SimConverter* converter = nullptr;  // the server's, while it has one
  std::unique_ptr<chunkserver::ChunkServer> server;
  bool serving = false;
};

// What survives the process: the drive, the checkpointed index, the identity.
struct SimCluster::CsNode {
  CsNode(SimWorld& world, unsigned i, ByteCount disk_bytes)
      : host(cs_host(i)),
        log(std::make_unique<SimLog>(world, host + ": ", nullptr)),
        address{.host = "10.0.1." + std::to_string(i + 1), .port = 2600},
        disk(chunkserver::io::SimDiskOptions{.size_limit = disk_bytes,
                                             .read_latency = 80us,
                                             .write_latency = 60us,
                                             .flush_latency = 120us}) {}
  std::string host;
  std::unique_ptr<observe::Log> log;
  net::Address address;
  std::uint32_t id = 0;
  chunkserver::io::SimDisk disk;
  kv::MemKv index;
  std::shared_ptr<CsLife> life;
};

struct SimCluster::ClientLife {
  ClientLife(SimFabric& fabric, SimRuntime& rt, std::string host)
      : runtime(rt), network(fabric, rt, std::move(host)), tasks(rt) {}
  std::unique_ptr<observe::Log> log;
  SimRuntime& runtime;
  SimNetwork network;
  runtime::TaskGroup tasks;
  std::unique_ptr<client::FileSystem> file_system;
};

namespace {

Task<void> mark_done(Task<void> task, bool* done) {
  co_await task;
  *done = true;
}

}  // namespace

SimCluster::SimCluster(SimWorld& world, Options options)
    : world_(world),
      options_(options),
      fabric_(world),
      control_(fabric_),
      peer_net_(world, fabric_),
      admin_runtime_(world.make_runtime()),
      log_(std::make_unique<SimLog>(world, "", nullptr)) {
  for (unsigned i = 0; i < options_.chunk_servers; ++i) {
    chunk_servers_.push_back(std::make_unique<CsNode>(world_, i, options_.disk_bytes));
  }
}

SimCluster::~SimCluster() = default;

void SimCluster::start_cs(unsigned index) {
  CsNode& node = *chunk_servers_[index];
  CHECK(node.life == nullptr);
  SimRuntime& runtime = world_.make_runtime();
  auto life = std::make_shared<CsLife>(fabric_, runtime, node.host);
  node.life = life;
  life->mds =
      mds_caller(runtime, node.host, {.resend = rpc::Resend::kIdempotent, .attempt = kMdsAttempt});
  chunkserver::ChunkServerOptions options;
  options.repository.cluster = kSimCluster;
  options.repository.cluster_id = kSimClusterId;
  options.repository.cs_id = NodeId::from_raw(node.id);
  options.repository.repo_uuid = 1000 + node.id;
  options.repository.host_id = HostId::from_raw(node.id);
  options.repository.host = node.host;
  options.repository.address = node.address;
  options.credentials = sim_credentials();
  options.version = "sim";
  options.on_mds_members = [mds = life->mds.get()](const std::vector<std::string>& members) {
    mds->learn(members);
  };
  options.store.journal_bytes = 1_MiB;
  options.store.grow_bytes = 16_MiB;
  options.store.sabotage = options_.store_sabotage;
  options.make_converter = make_converter(node, *life);
  life->server = std::make_unique<chunkserver::ChunkServer>(runtime, life->network, *life->mds,
                                                            node.disk.attach(runtime), node.index,
                                                            *node.log, std::move(options));
  struct Starter {
    static Task<void> run(std::shared_ptr<CsLife> mine) {
      const Status started = co_await mine->server->start();
      if (!started.has_value()) {
        std::fprintf(stderr, "a chunk server cannot start: %s\n",
                     started.error().to_string().c_str());
        std::abort();
      }
      mine->serving = true;
    }
  };
  life->tasks.spawn(Starter::run(life));
}

chunkserver::convert::MakeConverter SimCluster::make_converter(CsNode& node, CsLife& life) {
  return [this, host = node.host, id = node.id, log = node.log.get(),
          mine = &life]() -> Result<std::unique_ptr<chunkserver::convert::Converter>> {
    client::Options options;
    for (const std::unique_ptr<SimMds>& mds : mds_) {
      if (!mds->removed()) options.masters.push_back(SimMds::session_door_of(mds->index()));
    }
    options.credentials = sim_credentials();
    options.host_id = HostId::from_raw(id);
    options.host = host;
    options.process = "converter " + std::to_string(world_.prng().next());
    options.converter = id;
    options.cache_bytes = 8_MiB;
    options.fail_on_nospace = true;
    options.hard = false;
    options.process_alive = [](const std::string&) { return false; };
    options.sabotage = options_.client_sabotage;
    return std::make_unique<SimConverter>(mine->runtime, mine->network, *log, std::move(options),
                                          &mine->converter);
  };
}

bool SimCluster::cs_converts(unsigned index) const {
  const CsNode& node = *chunk_servers_[index];
  return node.life != nullptr && node.life->converter != nullptr &&
         node.life->converter->has_file();
}

void SimCluster::kill_cs(unsigned index, bool power) {
  CsNode& node = *chunk_servers_[index];
  CHECK(node.life != nullptr);
  node.life->runtime.kill();
  fabric_.host_died(node.host);
  if (power) {
    node.disk.crash(world_.prng().next());
  } else {
    node.disk.kill();
  }
  node.index.crash();
  SimWorld::bury(std::exchange(node.life, nullptr));
}

bool SimCluster::cs_runs(unsigned index) const { return chunk_servers_[index]->life != nullptr; }

void SimCluster::pause_cs(unsigned index) { chunk_servers_[index]->life->runtime.pause(); }
void SimCluster::resume_cs(unsigned index) { chunk_servers_[index]->life->runtime.resume(); }
bool SimCluster::cs_paused(unsigned index) const {
  return cs_runs(index) && chunk_servers_[index]->life->runtime.paused();
}

std::uint32_t SimCluster::cs_id(unsigned index) const { return chunk_servers_[index]->id; }
chunkserver::io::SimDisk& SimCluster::cs_disk(unsigned index) {
  return chunk_servers_[index]->disk;
}
chunkserver::store::PieceStore* SimCluster::cs_store(unsigned index) {
  const CsNode& node = *chunk_servers_[index];
  return node.life == nullptr ? nullptr : node.life->server->open_store();
}

client::FileSystem& SimCluster::start_client(unsigned index) {
  if (clients_.size() <= index) clients_.resize(index + 1);
  CHECK(clients_[index] == nullptr);
  SimRuntime& runtime = world_.make_runtime();
  auto life = std::make_shared<ClientLife>(fabric_, runtime, client_host(index));
  client::Options options;
  for (const std::unique_ptr<SimMds>& node : mds_) {
    if (!node->removed()) options.masters.push_back(SimMds::session_door_of(node->index()));
  }
  options.credentials = sim_credentials();
  options.host_id = HostId::from_raw(900 + index);
  options.host = client_host(index);
  options.process = "process " + std::to_string(world_.prng().next());
  // Outages come one after another here: an operation may need several tries.
  options.operation_timeout = 200s;
  options.cache_bytes = 32_MiB;
  options.dirty_bytes_per_file = 8_MiB;
  // One mount per simulated host: whatever else the master knows of this host is dead.
  options.process_alive = [](const std::string&) { return false; };
  options.sabotage = options_.client_sabotage;
  SimLog::Listener listener;
  if (options_.on_client_log) {
    listener = [this, index](const std::string& line) { options_.on_client_log(index, line); };
  }
  life->log = std::make_unique<SimLog>(world_, client_host(index) + ": ", std::move(listener));
  life->file_system =
      client::FileSystem::make(runtime, life->network, *life->log, std::move(options));
  clients_[index] = life;
  return *life->file_system;
}

void SimCluster::kill_client(unsigned index, const SimFabric::Late& late) {
  CHECK(clients_[index] != nullptr);
  clients_[index]->runtime.kill();
  fabric_.host_died(client_host(index), late);
  SimWorld::bury(std::exchange(clients_[index], nullptr));
}

client::FileSystem* SimCluster::client(unsigned index) {
  if (index >= clients_.size() || clients_[index] == nullptr) return nullptr;
  return clients_[index]->file_system.get();
}

SimRuntime& SimCluster::client_runtime(unsigned index) { return clients_[index]->runtime; }

void SimCluster::spawn(unsigned client_index, Task<void> task) {
  clients_[client_index]->tasks.spawn(std::move(task));
}

bool SimCluster::run(unsigned client_index, Task<void> task, Duration limit) {
  // On the heap: a task that never ends keeps it, as its node's graveyard keeps the task.
  auto done = std::make_shared<bool>(false);
  SimWorld::bury(done);
  clients_[client_index]->tasks.spawn(mark_done(std::move(task), done.get()));
  return world_.run_until([&] { return *done; }, limit);
}

bool SimCluster::add_chunk_servers() {
  for (unsigned i = 0; i < options_.chunk_servers; ++i) {
    const Result<std::uint32_t> id = register_cs(i, chunk_servers_[i]->host);
    if (!id.has_value()) return false;
    chunk_servers_[i]->id = *id;
    start_cs(i);
  }
  return world_.run_until(
      [this] {
        return std::ranges::all_of(chunk_servers_, [](const std::unique_ptr<CsNode>& node) {
          return node->life->serving && node->life->server->registered();
        });
      },
      30s);
}

void SimCluster::take_down() {
  struct Ender {
    static Task<void> client(ClientLife* life, Deadline deadline) {
      const Status stopped = co_await life->file_system->stop(deadline);
      ignore(stopped, "the cluster may be unable to take what is left; checkers looked before");
    }
    static Task<void> cs(CsLife* life) {
      const Status closed = co_await life->server->stop();
      CHECK(closed.has_value());
    }
  };
  runtime::TaskGroup group(admin_runtime_);
  for (const auto& life : clients_) {
    if (life != nullptr) group.spawn(Ender::client(life.get(), admin_runtime_.after(60s)));
  }
  CHECK(world_.run_until([&] { return group.running() == 0; }, 120s));
  for (const auto& node : chunk_servers_) {
    if (node->life != nullptr && node->life->serving) group.spawn(Ender::cs(node->life.get()));
  }
  CHECK(world_.run_until([&] { return group.running() == 0; }, 120s));
  // One after the other: each hands over to the next.
  for (const std::unique_ptr<SimMds>& node : mds_) {
    if (!node->runs()) continue;
    group.spawn(node->stop());
    CHECK(world_.run_until([&] { return group.running() == 0; }, 120s));
    node->end();
  }
  world_.run_for(1s);
}

}  // namespace cairn::sim
