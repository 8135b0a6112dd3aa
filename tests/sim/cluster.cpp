#include "tests/sim/cluster.h"

#include <cstdlib>

#include "chunkserver/chunk_server.h"
#include "mds/master/master.h"
#include "mds/service/admin_service.h"
#include "mds/service/cluster_service.h"

namespace cairn::sim {

namespace {

constexpr const char* kCluster = "sim";
constexpr const char* kMdsHost = "mds";
const ClusterId kClusterId = ClusterId::from_raw(77);

net::Credentials credentials() { return {.cluster = kCluster, .key = "k"}; }
net::Address session_door() { return {.host = "10.0.0.1", .port = 2511}; }

// Prints to stderr with CAIRN_SIM_LOG=1: the first thing one wants of a failing seed.
class SimLog final : public observe::Log {
 public:
  SimLog(SimWorld& world) : world_(world), on_(std::getenv("CAIRN_SIM_LOG") != nullptr) {}
  void write(observe::Severity, const std::string& line) override {
    if (on_)
      std::fprintf(stderr, "%.6f %s\n", static_cast<double>(world_.now().nanos()) / 1e9,
                   line.c_str());
  }
  bool enabled(observe::Severity) const override { return on_; }

 private:
  SimWorld& world_;
  bool on_;
};

}  // namespace

struct SimCluster::MdsLife {
  MdsLife(SimWorld& world, SimFabric& fabric, observe::Log& log, kv::MemKv& tables,
          mds::replication::LogStore& store, mds::master::Master::Options options, SimRuntime& rt)
      : runtime(rt),
        network(fabric, rt, kMdsHost),
        tasks(rt),
        master(rt, network, log, tables, store, std::move(options)),
        cluster(master),
        admin(master,
              {.host = kMdsHost, .address = {"10.0.0.1", 2510}, .repository = "/sim", .usage = [] {
                 return mds::service::ProcessUsage();
               }}) {
    (void)world;
    cluster.add_to(dispatcher);
    admin.add_to(dispatcher);
  }
  SimRuntime& runtime;
  SimNetwork network;
  runtime::TaskGroup tasks;
  rpc::Dispatcher dispatcher;
  mds::master::Master master;
  mds::service::ClusterService cluster;
  mds::service::AdminService admin;
  std::unique_ptr<net::Listener> listener;
};

struct SimCluster::CsLife {
  CsLife(SimFabric& fabric, SimRuntime& rt, std::string host)
      : runtime(rt), network(fabric, rt, std::move(host)), tasks(rt) {}
  SimRuntime& runtime;
  SimNetwork network;
  runtime::TaskGroup tasks;
  std::unique_ptr<rpc::Caller> mds;
  std::unique_ptr<chunkserver::ChunkServer> server;
  bool serving = false;
};

// What survives the process: the drive, the checkpointed index, the identity.
struct SimCluster::CsNode {
  explicit CsNode(unsigned i, ByteCount disk_bytes)
      : host("cs" + std::to_string(i)),
        address{.host = "10.0.1." + std::to_string(i + 1), .port = 2600},
        disk(chunkserver::io::SimDiskOptions{.size_limit = disk_bytes,
                                             .read_latency = 80us,
                                             .write_latency = 60us,
                                             .flush_latency = 120us}) {}
  std::string host;
  net::Address address;
  std::uint32_t id = 0;
  chunkserver::io::SimDisk disk;
  kv::MemKv index;
  std::shared_ptr<CsLife> life;
};

struct SimCluster::ClientLife {
  ClientLife(SimFabric& fabric, SimRuntime& rt, std::string host)
      : runtime(rt), network(fabric, rt, std::move(host)), tasks(rt) {}
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

template <class Stoppable>
Task<void> stop_status(Stoppable* object) {
  Status status = co_await object->stop();
  CHECK(status.has_value());
}

void start_master(mds::master::Master* master) {
  const Status status = master->start();
  if (!status.has_value()) {
    std::fprintf(stderr, "the MDS cannot start: %s\n", status.error().to_string().c_str());
    std::abort();
  }
}

std::string client_host(unsigned index) { return "client" + std::to_string(index); }

}  // namespace

SimCluster::SimCluster(SimWorld& world, Options options)
    : world_(world),
      options_(options),
      fabric_(world),
      admin_runtime_(world.make_runtime()),
      log_(std::make_unique<SimLog>(world)),
      store_(admin_runtime_, 80us) {
  for (unsigned i = 0; i < options_.chunk_servers; ++i) {
    chunk_servers_.push_back(std::make_unique<CsNode>(i, options_.disk_bytes));
  }
}

SimCluster::~SimCluster() = default;

void SimCluster::start_mds() {
  CHECK(mds_ == nullptr);
  SimRuntime& runtime = world_.make_runtime();
  store_.attach(runtime);
  mds::master::Master::Options options;
  options.settings.cluster = kCluster;
  options.settings.cluster_id = kClusterId;
  options.settings.credentials = credentials();
  options.settings.lease = options_.lease;
  mds_ = std::make_shared<MdsLife>(world_, fabric_, *log_, tables_, store_, std::move(options),
                                   runtime);
  start_master(&mds_->master);
  mds::master::Master* master = &mds_->master;
  auto listener = mds_->network.listen(
      session_door(),
      [master](std::unique_ptr<net::Stream> stream) { master->accept(std::move(stream)); });
  CHECK(listener.has_value());
  mds_->listener = std::move(*listener);
  control_.open("mds", {&runtime, &mds_->dispatcher, &mds_->tasks});
}

void SimCluster::kill_mds() {
  CHECK(mds_ != nullptr);
  control_.close("mds");
  mds_->runtime.kill();
  fabric_.host_died(kMdsHost);
  store_.crash();
  tables_.crash();
  SimWorld::bury(std::exchange(mds_, nullptr));
}

void SimCluster::start_cs(unsigned index) {
  CsNode& node = *chunk_servers_[index];
  CHECK(node.life == nullptr);
  SimRuntime& runtime = world_.make_runtime();
  auto life = std::make_shared<CsLife>(fabric_, runtime, node.host);
  node.life = life;
  life->mds = control_.caller(runtime, "mds");
  chunkserver::ChunkServerOptions options;
  options.repository.cluster = kCluster;
  options.repository.cluster_id = kClusterId;
  options.repository.cs_id = NodeId::from_raw(node.id);
  options.repository.repo_uuid = 1000 + node.id;
  options.repository.host_id = HostId::from_raw(node.id);
  options.repository.host = node.host;
  options.repository.address = node.address;
  options.credentials = credentials();
  options.version = "sim";
  options.store.journal_bytes = 1_MiB;
  options.store.grow_bytes = 16_MiB;
  life->server = std::make_unique<chunkserver::ChunkServer>(runtime, life->network, *life->mds,
                                                            node.disk.attach(runtime), node.index,
                                                            *log_, std::move(options));
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

client::FileSystem& SimCluster::start_client(unsigned index) {
  if (clients_.size() <= index) clients_.resize(index + 1);
  CHECK(clients_[index] == nullptr);
  SimRuntime& runtime = world_.make_runtime();
  auto life = std::make_shared<ClientLife>(fabric_, runtime, client_host(index));
  client::Options options;
  options.masters = {session_door()};
  options.credentials = credentials();
  options.host_id = HostId::from_raw(900 + index);
  options.host = client_host(index);
  options.process = "process " + std::to_string(world_.prng().next());
  // Outages come one after another here: an operation may need several tries.
  options.operation_timeout = 200s;
  options.cache_bytes = 32_MiB;
  options.dirty_bytes_per_file = 8_MiB;
  // One mount per simulated host: whatever else the master knows of this host is dead.
  options.process_alive = [](const std::string&) { return false; };
  life->file_system = client::FileSystem::make(runtime, life->network, *log_, std::move(options));
  clients_[index] = life;
  return *life->file_system;
}

void SimCluster::kill_client(unsigned index) {
  CHECK(clients_[index] != nullptr);
  clients_[index]->runtime.kill();
  fabric_.host_died(client_host(index));
  SimWorld::bury(std::exchange(clients_[index], nullptr));
}

client::FileSystem* SimCluster::client(unsigned index) {
  if (index >= clients_.size() || clients_[index] == nullptr) return nullptr;
  return clients_[index]->file_system.get();
}

SimRuntime& SimCluster::client_runtime(unsigned index) { return clients_[index]->runtime; }

bool SimCluster::run(unsigned client_index, Task<void> task, Duration limit) {
  // On the heap: a task that never ends keeps it, as its node's graveyard keeps the task.
  auto done = std::make_shared<bool>(false);
  SimWorld::bury(done);
  clients_[client_index]->tasks.spawn(mark_done(std::move(task), done.get()));
  return world_.run_until([&] { return *done; }, limit);
}

template <class Request, class Reply>
Result<Reply> SimCluster::ask_mds(const std::string& method, Request request) {
  std::unique_ptr<rpc::Caller> caller = control_.caller(admin_runtime_, "mds");
  std::optional<Result<Reply>> answer;
  struct Asker {
    static Task<void> run(rpc::Caller* to, std::string name, Request what, Deadline deadline,
                          std::optional<Result<Reply>>* into) {
      Result<Reply> reply =
          co_await rpc::call<Reply, Request>(*to, std::move(name), std::move(what), deadline);
      into->emplace(std::move(reply));
    }
  };
  runtime::TaskGroup group(admin_runtime_);
  group.spawn(
      Asker::run(caller.get(), method, std::move(request), admin_runtime_.after(10s), &answer));
  world_.run_until([&] { return group.running() == 0; }, 20s);
  CHECK(answer.has_value());
  return std::move(*answer);
}

bool SimCluster::add_chunk_servers() {
  for (unsigned i = 0; i < options_.chunk_servers; ++i) {
    pb::AddCsRequest request;
    request.set_cluster(kCluster);
    request.set_repo_uuid(1000 + kFirstCsId.raw() + i);
    request.set_host_id(kFirstCsId.raw() + i);
    request.set_host(chunk_servers_[i]->host);
    const Result<pb::AddCsReply> reply =
        ask_mds<pb::AddCsRequest, pb::AddCsReply>("/cairn.pb.Admin/AddCs", request);
    if (!reply.has_value()) return false;
    chunk_servers_[i]->id = reply->cs_id();
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

bool SimCluster::set_root_policy() {
  pb::SetPolicyRequest request;
  request.mutable_target()->set_path("/");
  pb::Encoding* encoding = request.mutable_policy()->mutable_encoding();
  encoding->set_data(options_.data);
  encoding->set_parity(options_.parity);
  encoding->set_min(options_.min);
  return ask_mds<pb::SetPolicyRequest, pb::SetPolicyReply>("/cairn.pb.Admin/SetPolicy", request)
      .has_value();
}

bool SimCluster::bring_up() {
  start_mds();
  world_.run_for(100ms);
  return add_chunk_servers() && set_root_policy();
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
  if (mds_ != nullptr) {
    control_.close("mds");
    mds_->listener->close();
    group.spawn(stop_status(&mds_->master));
  }
  CHECK(world_.run_until([&] { return group.running() == 0; }, 120s));
  world_.run_for(1s);
}

}  // namespace cairn::sim
