// cairn-mdsd: the metadata server of one repository. Reads its identity, builds the real runtime,
// wires the objects. gRPC on the address of mds.conf, client sessions on the port after it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "common/cluster/cluster_config.h"
#include "common/cluster/repository.h"
#include "common/daemon/daemon.h"
#include "common/net/tcp_network.h"
#include "common/rpc/grpc_client.h"
#include "common/rpc/grpc_server.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/completion.h"
#include "mds/replication/file_log_store.h"
#include "mds/replication/grpc_peers.h"
#include "mds/replication/rocks_vault.h"
#include "mds/server/mds_server.h"

namespace cairn::mds {
namespace {

struct Arguments {
  std::string repository;
  daemon::Options daemon;
};

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? std::string(name) : std::string("unknown");
}

// The objects of one running MDS, in the order they depend on each other.
class Process {
 public:
  Process(runtime::AsioRuntime& runtime, observe::Log& log, daemon::Daemon& daemon,
          std::string repository)
      : runtime_(runtime),
        log_(log),
        daemon_(daemon),
        repository_(std::move(repository)),
        network_(runtime),
        stop_wanted_(runtime) {}

  // Everything that can fail before the loop runs.
  Status open() {
    TRY(identity_, cluster::MdsRepository::load(repository_));
    TRY_VOID(daemon::lock_repository(repository_));
    const cluster::ClusterConfig config("", identity_.cluster);
    TRY(credentials_, config.credentials());
    if (credentials_.key.empty()) {
      log_.warning("cluster {} has no password here: whoever reaches {} is trusted",
                   identity_.cluster, identity_.address.to_string());
    }
    TRY_VOID(open_log());
    TRY_VOID(open_tables());
    peers_.emplace(runtime_, log_,
                   replication::GrpcPeers::Options{.self = identity_.mds_id,
                                                   .cluster_id = identity_.cluster_id,
                                                   .repo_uuid = identity_.repo_uuid,
                                                   .address = identity_.address.to_string(),
                                                   .credentials = credentials_});
    peers_->on_change([this](NodeId peer) { met(peer); });
    server_.emplace(parts(), options());
    return {};
  }

  static Task<Status> run(Process* self) {
    Status opened = self->server_->start();
    if (opened.has_value()) opened = self->open_doors();
    if (!opened.has_value()) {
      const Status stopped = co_await self->close();
      ignore(stopped, "the reason to end is what did not open");
      co_return opened;
    }
    self->log_.info("MDS#{} of cluster {} is up at {}, clients at port {}",
                    self->identity_.mds_id.raw(), self->identity_.cluster,
                    self->identity_.address.to_string(), self->identity_.address.port + 1);
    self->daemon_.ready();
    const Status wanted = co_await self->stop_wanted_.wait();
    const Status stopped = co_await self->close();
    if (!wanted.has_value()) co_return wanted;
    self->log_.info("MDS#{} ended", self->identity_.mds_id.raw());
    co_return stopped;
  }

  void request_stop() { stop_wanted_.set(Status()); }

 private:
  // What is damaged here the rest of the group has whole. The only MDS of a cluster keeps what it
  // has: nobody
  // can give it back, and a person may still save it.
  bool others_have_it(const Error& error) const {
    return error.code() == Code::kCorrupt && !identity_.bootstrap && !identity_.peers.empty();
  }
  Status put_aside(const char* what, const Error& error) {
    log_.error("{}", error.to_string());
    TRY(const std::filesystem::path aside,
        replication::set_aside(std::filesystem::path(repository_) / what));
    log_.error(
        "MDS#{} ({}) state is outdated and will do a full resync; what is damaged is kept "
        "as {}",
        identity_.mds_id.raw(), identity_.address.to_string(), aside.string());
    return {};
  }

  // A damaged log cannot vote: the group tells what it may have promised.
  Status open_log() {
    const std::filesystem::path directory = std::filesystem::path(repository_) / "log";
    auto opened =
        replication::FileLogStore::open(runtime_, directory, replication::FileLogStore::Options());
    if (!opened.has_value() && others_have_it(opened.error())) {
      TRY_VOID(put_aside("log", opened.error()));
      opened = replication::FileLogStore::open(runtime_, directory,
                                               replication::FileLogStore::Options());
    }
    if (!opened.has_value()) return fail(std::move(opened).error());
    store_ = std::move(*opened);
    if (store_->torn_bytes() != 0) {
      log_.info("cut {} bytes of a write that never finished from the log", store_->torn_bytes());
    }
    return {};
  }

  Status open_tables() {
    const auto open = [this] {
      return replication::RocksVault::open(runtime_, log_, repository_,
                                           {.cluster_id = identity_.cluster_id});
    };
    auto opened = open();
    if (!opened.has_value() && others_have_it(opened.error())) {
      TRY_VOID(put_aside("db", opened.error()));
      opened = open();
    }
    if (!opened.has_value()) return fail(std::move(opened).error());
    vault_ = std::move(*opened);
    return {};
  }

  server::MdsServer::Parts parts() {
    return {.runtime = runtime_,
            .network = network_,
            .log = log_,
            .vault = *vault_,
            .store = *store_,
            .peers = *peers_,
            .make_caller = [this](const net::Address& address) -> std::unique_ptr<rpc::Caller> {
              return std::make_unique<rpc::GrpcCaller>(runtime_, address, credentials_);
            }};
  }

  server::MdsServer::Options options() {
    server::MdsServer::Options options;
    options.settings.mds_id = identity_.mds_id;
    options.settings.address = identity_.address.to_string();
    options.settings.cluster = identity_.cluster;
    options.settings.cluster_id = identity_.cluster_id;
    options.settings.credentials = credentials_;
    options.identity = {.mds_id = identity_.mds_id,
                        .host = host_name(),
                        .address = identity_.address,
                        .repo_uuid = identity_.repo_uuid,
                        .repository = repository_,
                        .usage = service::process_usage};
    options.group.self = identity_.mds_id;
    options.group.cluster_id = identity_.cluster_id;
    if (identity_.bootstrap) {
      options.group.bootstrap = {.version = 0,
                                 .members = {{.id = identity_.mds_id,
                                              .role = paxos::Role::kVoter,
                                              .address = identity_.address.to_string(),
                                              .repo_uuid = identity_.repo_uuid}},
                                 .next_id = identity_.mds_id.raw() + 1};
    }
    options.group.log_lost = store_->state().empty && !identity_.bootstrap;
    options.group.seeds = identity_.peers;
    if (identity_.addresses_changed) {
      options.group.addresses = identity_.peers;
      options.group.addresses[identity_.mds_id] = identity_.address;
    }
    options.on_end = [this](const Error& error) { end(error); };
    options.on_membership = [this](const paxos::Membership& members) { keep_identity(members); };
    return options;
  }

  void met(NodeId peer) {
    const std::optional<pb::PeerHello> hello = peers_->hello_of(peer);
    if (!hello.has_value() || !peers_->connected(peer)) return;
    const Result<net::Address> address = net::Address::parse(hello->address());
    if (address.has_value()) server_->met(peer, *address, hello->repo_uuid());
  }

  // The repository's own list is for the time before the log is read; it follows the log.
  void keep_identity(const paxos::Membership& members) {
    cluster::MdsRepository next = identity_;
    next.bootstrap = false;
    bool agreed = true;
    std::map<NodeId, net::Address> peers;
    for (const paxos::Member& member : members.members) {
      const Result<net::Address> address = net::Address::parse(member.address);
      if (!address.has_value()) continue;
      const bool own = member.id == identity_.mds_id;
      const auto given = identity_.peers.find(member.id);
      const bool same = own ? *address == identity_.address
                            : given == identity_.peers.end() || given->second == *address;
      agreed = agreed && same;
      if (!own) peers.emplace(member.id, *address);
    }
    if (!identity_.addresses_changed || agreed) {
      next.addresses_changed = false;
      next.peers = std::move(peers);
    }
    if (next == identity_) return;
    const Status saved = next.save(repository_);
    if (!saved.has_value()) {
      log_.error("cannot keep the list of members: {}", saved.error().to_string());
      return;
    }
    identity_ = std::move(next);
  }

  // A log or table that failed cannot be trusted: end at once, the next start replays what is
  // durable.
  void end(const Error& error) {
    log_.error("ending: {}", error.to_string());
    stop_wanted_.set(fail(error));
  }

  Status open_doors() {
    grpc_.emplace(runtime_, log_, server_->dispatcher(), credentials_, &peers_->streams());
    TRY(const net::Address bound, grpc_->start(identity_.address));
    log_.debug("gRPC at {}", bound.to_string());
    TRY(sessions_, network_.listen(cluster::session_address(identity_.address),
                                   [this](std::unique_ptr<net::Stream> stream) {
                                     server_->accept(std::move(stream));
                                   }));
    return {};
  }

  Task<Status> close() {
    // Whoever takes over needs this member's answers.
    const Deadline handed_over = runtime_.after(1s);
    const Status stopped = co_await server_->stop(handed_over);
    if (sessions_ != nullptr) sessions_->close();
    if (grpc_.has_value()) {
      const Deadline deadline = runtime_.after(2s);
      co_await grpc_->stop(deadline);
    }
    co_await vault_->stop();
    co_return stopped;
  }

  runtime::AsioRuntime& runtime_;
  observe::Log& log_;
  daemon::Daemon& daemon_;
  const std::string repository_;
  cluster::MdsRepository identity_;
  net::Credentials credentials_;
  net::TcpNetwork network_;
  runtime::Completion<Status> stop_wanted_;
  std::unique_ptr<replication::FileLogStore> store_;
  std::unique_ptr<replication::RocksVault> vault_;
  std::optional<replication::GrpcPeers> peers_;
  std::optional<server::MdsServer> server_;
  std::optional<rpc::GrpcServer> grpc_;
  std::unique_ptr<net::Listener> sessions_;
};

int serve(const Arguments& arguments) {
  Result<daemon::Daemon> daemon = daemon::Daemon::start(arguments.daemon);
  if (!daemon.has_value()) {
    std::fprintf(stderr, "cairn-mdsd: %s\n", daemon.error().to_string().c_str());
    return 1;
  }
  runtime::AsioRuntime runtime;
  Process process(runtime, daemon->log(), *daemon, arguments.repository);
  const Status opened = process.open();
  if (!opened.has_value()) {
    daemon->log().error("cannot start: {}", opened.error().to_string());
    std::fprintf(stderr, "cairn-mdsd: %s\n", opened.error().to_string().c_str());
    return 1;
  }
  return daemon->run(runtime, Process::run(&process), [&process] { process.request_stop(); });
}

}  // namespace
}  // namespace cairn::mds

int main(int argc, char** argv) {
  cairn::mds::Arguments arguments;
  CLI::App app("Cairn metadata server");
  app.add_option("-r", arguments.repository, "repository made by cairn make-mds")->required();
  app.add_flag("-D", arguments.daemon.background, "go to the background when it serves");
  app.add_option("-l", arguments.daemon.log_file, "log file, or journald");
  app.add_flag("-v", arguments.daemon.verbose, "log more");
  CLI11_PARSE(app, argc, argv);
  arguments.daemon.name = "mdsd";
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(arguments.repository, error);
  if (!error) arguments.repository = absolute.string();
  if (arguments.daemon.background && arguments.daemon.log_file.empty()) {
    arguments.daemon.log_file = arguments.repository + "/logs/log";
    // Only inside a repository: a wrong -r must not leave directories behind.
    if (std::filesystem::exists(arguments.repository + "/mds.conf", error)) {
      std::filesystem::create_directories(arguments.repository + "/logs", error);
    }
  }
  return cairn::mds::serve(arguments);
}
