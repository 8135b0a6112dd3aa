#include "tests/sim/sim_mds.h"

#include <cstdlib>

namespace cairn::sim {

struct SimMds::Life {
  Life(const Surroundings& around, SimRuntime& rt, const std::string& host, NodeId id)
      : runtime(rt),
        network(around.fabric, rt, host),
        tasks(rt),
        peers(around.peers, rt, host, id) {}
  SimRuntime& runtime;
  SimNetwork network;
  runtime::TaskGroup tasks;
  SimPeers peers;
  std::unique_ptr<mds::server::MdsServer> server;
  std::unique_ptr<net::Listener> listener;
};

SimMds::SimMds(Surroundings surroundings, Identity identity, Tuning tuning, OnEnd on_end)
    : surroundings_(surroundings),
      identity_(std::move(identity)),
      tuning_(tuning),
      on_end_(std::move(on_end)),
      vault_(surroundings.world.make_runtime(), 200us),
      store_(surroundings.world.make_runtime(), kSimLogLatency) {
  if (tuning_.lying_log) store_.lie_from_now();
}

SimMds::~SimMds() = default;

mds::server::MdsServer::Options SimMds::options() {
  const net::Address address = address_of(identity_.index);
  mds::server::MdsServer::Options options;
  options.settings.mds_id = identity_.id;
  options.settings.address = address.to_string();
  options.settings.cluster = kSimCluster;
  options.settings.cluster_id = kSimClusterId;
  options.settings.credentials = sim_credentials();
  options.settings.lease = tuning_.lease;
  options.settings.cell_bytes = tuning_.cell_bytes;
  options.settings.piece_bytes = tuning_.piece_bytes;
  options.settings.sabotage = tuning_.sabotage;
  options.identity = {.mds_id = identity_.id,
                      .host = host(),
                      .address = address,
                      .repo_uuid = repo_uuid_of(identity_.index),
                      .repository = "/sim/" + host(),
                      .usage = [] { return mds::service::ProcessUsage(); }};
  options.group.self = identity_.id;
  options.group.cluster_id = kSimClusterId;
  options.group.tables = tuning_.tables;
  options.group.seeds = identity_.peers;
  options.group.log_lost = store_.state().empty && !identity_.founder;
  if (identity_.founder) {
    options.group.bootstrap = {.version = 0,
                               .members = {{.id = identity_.id,
                                            .role = mds::paxos::Role::kVoter,
                                            .address = address.to_string(),
                                            .repo_uuid = options.identity.repo_uuid}},
                               .next_id = identity_.id.raw() + 1};
  }
  options.on_membership = [this](const mds::paxos::Membership& members) { keep_peers(members); };
  return options;
}

// As cairn-mdsd keeps its repository's list.
void SimMds::keep_peers(const mds::paxos::Membership& members) {
  identity_.founder = false;
  identity_.peers.clear();
  for (const mds::paxos::Member& member : members.members) {
    const Result<net::Address> address = net::Address::parse(member.address);
    CHECK(address.has_value());
    if (member.id != identity_.id) identity_.peers.emplace(member.id, *address);
  }
}

void SimMds::start() {
  CHECK(life_ == nullptr);
  CHECK(!removed_);
  SimRuntime& runtime = surroundings_.world.make_runtime(tuning_.drift_ppm);
  vault_.attach(runtime);
  store_.attach(runtime);
  life_ = std::make_shared<Life>(surroundings_, runtime, host(), identity_.id);
  Life* life = life_.get();
  mds::server::MdsServer::Options server_options = options();
  server_options.on_end = [this, life](const Error& error) {
    // Not inside the object that says it.
    life->runtime.post([this, life, error] {
      if (life_.get() == life) on_end_(error);
    });
  };
  life->server = std::make_unique<mds::server::MdsServer>(
      mds::server::MdsServer::Parts{.runtime = runtime,
                                    .network = life->network,
                                    .log = surroundings_.log,
                                    .vault = vault_,
                                    .store = store_,
                                    .peers = life->peers,
                                    .make_caller =
                                        [this, life](const net::Address& address) {
                                          return surroundings_.control.caller(life->runtime, host(),
                                                                              address.to_string());
                                        }},
      std::move(server_options));
  life->peers.on_meet([life](NodeId peer) {
    // Ids are given in the order of the indices, see SimCluster.
    const unsigned index = peer.raw() - kFirstMdsId.raw();
    life->server->met(peer, address_of(index), repo_uuid_of(index));
  });
  const Status status = life->server->start();
  if (!status.has_value()) {
    std::fprintf(stderr, "an MDS cannot start: %s\n", status.error().to_string().c_str());
    std::abort();
  }
  auto listener = life->network.listen(
      session_door_of(identity_.index),
      [life](std::unique_ptr<net::Stream> stream) { life->server->accept(std::move(stream)); });
  CHECK(listener.has_value());
  life->listener = std::move(*listener);
  surroundings_.control.open(address_of(identity_.index).to_string(),
                             {&runtime, &life->server->dispatcher(), &life->tasks, host()});
}

void SimMds::kill() {
  CHECK(life_ != nullptr);
  surroundings_.control.close(address_of(identity_.index).to_string());
  life_->peers.leave();
  life_->runtime.kill();
  surroundings_.fabric.host_died(host());
  store_.crash();
  vault_.crash();
  SimWorld::bury(std::exchange(life_, nullptr));
}

void SimMds::wipe() {
  if (runs()) kill();
  store_.wipe();
  vault_.wipe();
  drive_failed_ = false;
  lost_ = true;
}

void SimMds::fail_drive() {
  drive_failed_ = true;
  store_.fail_from_now();
}

void SimMds::pause() { life_->runtime.pause(); }
void SimMds::resume() { life_->runtime.resume(); }
bool SimMds::paused() const { return life_ != nullptr && life_->runtime.paused(); }

Task<void> SimMds::stop() {
  Life* life = life_.get();
  const Deadline handed_over = life->runtime.after(1s);
  const Status stopped = co_await life->server->stop(handed_over);
  CHECK(stopped.has_value());
  surroundings_.control.close(address_of(identity_.index).to_string());
  life->listener->close();
  co_await life->tasks.join();
  co_await vault_.stop();
}

void SimMds::end() {
  life_->runtime.kill();
  life_.reset();
}

bool SimMds::lost() {
  if (lost_ && runs() && !store_.state().empty && !store_.state().recovering &&
      !life_->server->group().recovering()) {
    lost_ = false;
  }
  return lost_ || drive_failed_;
}

mds::server::MdsServer& SimMds::server() { return *life_->server; }

bool SimMds::is_master() const { return runs() && life_->server->is_master(); }

bool SimMds::may_serve() const { return is_master() && life_->server->group().may_serve(); }

}  // namespace cairn::sim
