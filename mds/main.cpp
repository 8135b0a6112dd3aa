// cairn-mdsd: the metadata server of one repository. Reads its identity, builds the real runtime,
// wires the objects. gRPC on the address of mds.conf, client sessions on the port after it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "common/cluster/cluster_config.h"
#include "common/cluster/repository.h"
#include "common/daemon/daemon.h"
#include "common/kv/rocks_kv.h"
#include "common/net/tcp_network.h"
#include "common/rpc/grpc_server.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/completion.h"
#include "mds/master/master.h"
#include "mds/replication/file_log_store.h"
#include "mds/service/admin_service.h"
#include "mds/service/cluster_service.h"

namespace cairn::mds {
namespace {

struct Arguments {
  std::string repository;
  daemon::Options daemon;
};

// Flushes the tables on a thread of its own, so that the loop goes on serving.
class TableFlusher {
 public:
  TableFlusher(runtime::Runtime& runtime, kv::Kv& tables) : runtime_(runtime), tables_(tables) {
    thread_ = std::thread([this] { run(); });
  }
  ~TableFlusher() {
    {
      const std::lock_guard guard(mutex_);
      ending_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  // One at a time.
  static Task<Status> flush(TableFlusher* self) {
    runtime::Completion<Status> done(self->runtime_);
    {
      const std::lock_guard guard(self->mutex_);
      CHECK(!self->wanted_.has_value());
      self->wanted_ = done;
    }
    self->wake_.notify_one();
    Status status = co_await done.wait();
    co_return status;
  }

 private:
  void run() {
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return ending_ || wanted_.has_value(); });
      if (!wanted_.has_value()) return;
      runtime::Completion<Status> done = std::move(*wanted_);
      wanted_.reset();
      lock.unlock();
      done.set_from_any_thread(tables_.flush());
    }
  }

  runtime::Runtime& runtime_;
  kv::Kv& tables_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<runtime::Completion<Status>> wanted_;
  bool ending_ = false;
  std::thread thread_;
};

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? std::string(name) : std::string("unknown");
}

// The objects of one running MDS, in the order they depend on each other.
class Server {
 public:
  Server(runtime::AsioRuntime& runtime, observe::Log& log, daemon::Daemon& daemon,
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
    const std::filesystem::path root(repository_);
    TRY(tables_, kv::RocksKv::open(root / "db"));
    TRY(store_, replication::FileLogStore::open(runtime_, root / "log",
                                                replication::FileLogStore::Options()));
    if (store_->torn_bytes() != 0) {
      log_.info("cut {} bytes of a write that never finished from the log", store_->torn_bytes());
    }
    flusher_.emplace(runtime_, *tables_);
    master::Master::Options options;
    options.settings.mds_id = identity_.mds_id;
    options.settings.cluster = identity_.cluster;
    options.settings.cluster_id = identity_.cluster_id;
    options.settings.credentials = credentials_;
    options.tables.flush = [this] { return TableFlusher::flush(&*flusher_); };
    options.on_failure = [this](const Error& error) { fail_now(error); };
    master_.emplace(runtime_, network_, log_, *tables_, *store_, std::move(options));
    cluster_service_.emplace(*master_);
    admin_service_.emplace(*master_, service::Identity{.host = host_name(),
                                                       .address = identity_.address,
                                                       .repository = repository_,
                                                       .usage = service::process_usage});
    cluster_service_->add_to(dispatcher_);
    admin_service_->add_to(dispatcher_);
    return {};
  }

  static Task<Status> run(Server* self) {
    Status opened = self->master_->start();
    if (opened.has_value()) opened = co_await self->master_->ready();
    if (opened.has_value()) opened = self->open_doors();
    if (!opened.has_value()) {
      const Status stopped = co_await self->close();
      ignore(stopped, "the reason to end is what did not open");
      co_return opened;
    }
    self->log_.info("MDS {} of cluster {} serves at {}, clients at port {}",
                    self->identity_.mds_id.raw(), self->identity_.cluster,
                    self->identity_.address.to_string(), self->identity_.address.port + 1);
    self->daemon_.ready();
    const Status wanted = co_await self->stop_wanted_.wait();
    const Status stopped = co_await self->close();
    if (!wanted.has_value()) co_return wanted;
    self->log_.info("MDS {} ended", self->identity_.mds_id.raw());
    co_return stopped;
  }

  void request_stop() { stop_wanted_.set(Status()); }

 private:
  // A log or table that failed cannot be trusted: end at once, the next start replays what is
  // durable.
  void fail_now(const Error& error) {
    log_.error("the log or the tables failed, ending: {}", error.to_string());
    stop_wanted_.set(fail(error));
  }

  Status open_doors() {
    grpc_.emplace(runtime_, log_, dispatcher_, credentials_);
    TRY(const net::Address bound, grpc_->start(identity_.address));
    log_.debug("gRPC at {}", bound.to_string());
    TRY(sessions_, network_.listen(cluster::session_address(identity_.address),
                                   [this](std::unique_ptr<net::Stream> stream) {
                                     master_->accept(std::move(stream));
                                   }));
    return {};
  }

  Task<Status> close() {
    if (sessions_ != nullptr) sessions_->close();
    if (grpc_.has_value()) {
      const Deadline deadline = runtime_.after(2s);
      co_await grpc_->stop(deadline);
    }
    Status stopped = co_await master_->stop();
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
  std::unique_ptr<kv::RocksKv> tables_;
  std::unique_ptr<replication::FileLogStore> store_;
  std::optional<TableFlusher> flusher_;
  std::optional<master::Master> master_;
  std::optional<service::ClusterService> cluster_service_;
  std::optional<service::AdminService> admin_service_;
  rpc::Dispatcher dispatcher_;
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
  Server server(runtime, daemon->log(), *daemon, arguments.repository);
  const Status opened = server.open();
  if (!opened.has_value()) {
    daemon->log().error("cannot start: {}", opened.error().to_string());
    std::fprintf(stderr, "cairn-mdsd: %s\n", opened.error().to_string().c_str());
    return 1;
  }
  return daemon->run(runtime, Server::run(&server), [&server] { server.request_stop(); });
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
