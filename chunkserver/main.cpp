// cairn-csd: the chunk server daemon of one repository.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "chunkserver/chunk_server.h"
#include "chunkserver/io/offload.h"
#include "chunkserver/io/open_device.h"
#include "common/cluster/cluster_config.h"
#include "common/cluster/durable_file.h"
#include "common/daemon/daemon.h"
#include "common/erasure/codec.h"
#include "common/kv/rocks_kv.h"
#include "common/net/tcp_network.h"
#include "common/rpc/grpc_client.h"
#include "common/rpc/multi_caller.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/completion.h"

namespace cairn::chunkserver {
namespace {

// What an MDS that is silent may cost before the next one is asked.
constexpr Duration kMdsAttempt = 800ms;

struct Arguments {
  std::string repository;
  std::string log;
  bool background = false;
  bool verbose = false;
};

// Exists once the store was made. From then on a missing data file or index is a lost disk, never a
// new,
// empty store: an empty one under the old id would answer zeros for what it lost.
std::string made_marker(const std::string& repository) { return repository + "/initialized"; }

// Started, ready, until asked to stop.
Task<Status> serve(ChunkServer* server, daemon::Daemon* daemon, std::string directory,
                   runtime::Completion<bool> stop) {
  Status started = co_await server->start();
  if (!started.has_value()) {
    const Status stopped = co_await server->stop();
    ignore(stopped, "the start failed first");
    co_return started;
  }
  const std::string marker = made_marker(directory);
  Status kept = ::access(marker.c_str(), F_OK) == 0
                    ? Status()
                    : cairn::cluster::write_file_durably(marker, "1\n", 0600);
  if (!kept.has_value()) {
    const Status stopped = co_await server->stop();
    ignore(stopped, "the start failed first");
    co_return kept;
  }
  daemon->log().info("chunk server ready: {} at {}, engine {}", directory,
                     server->address().to_string(), server->engine());
  daemon->ready();
  const bool asked = co_await stop.wait();
  static_cast<void>(asked);
  daemon->log().info("stopping");
  Status stopped = co_await server->stop();
  if (stopped.has_value()) daemon->log().info("stopped");
  co_return stopped;
}

Status check_store_is_there(const Arguments& arguments) {
  for (const char* part : {"/data", "/index"}) {
    const std::string path = arguments.repository + part;
    if (::access(path.c_str(), F_OK) == 0) continue;
    return fail(
        Code::kCorrupt,
        path +
            " is gone, but this repository held pieces. Nothing was changed. Mount its disk if "
            "that is missing; else make a new chunk server (cairn make-cs): the others hold the "
            "data");
  }
  return {};
}

// Everything between the identity file and the first request.
Result<int> run(const Arguments& arguments, daemon::Daemon& daemon) {
  TRY(const cairn::cluster::CsRepository repository,
      cairn::cluster::CsRepository::load(arguments.repository));
  TRY_VOID(daemon::lock_repository(arguments.repository));
  const cairn::cluster::ClusterConfig config("", repository.cluster);
  TRY(const net::Credentials credentials, config.credentials());
  TRY(const std::vector<net::Address> mds_addresses, config.mds_addresses());

  runtime::AsioRuntime runtime;
  const bool made = ::access(made_marker(arguments.repository).c_str(), F_OK) == 0;
  if (made) {
    TRY_VOID(check_store_is_there(arguments));
  }
  const io::DeviceOptions device_options{.create = !made, .allow_uring = true};
  TRY(std::unique_ptr<io::BlockDevice> device,
      io::open_device(runtime, arguments.repository + "/data", device_options));
  TRY(const std::unique_ptr<kv::RocksKv> index, kv::RocksKv::open(arguments.repository + "/index"));
  io::Offload offload(runtime, 1);
  net::TcpNetwork network(runtime);
  rpc::MultiCaller mds(runtime, mds_addresses,
                       [&runtime, &credentials](const net::Address& address) {
                         return std::make_unique<rpc::GrpcCaller>(runtime, address, credentials);
                       },
                       {.resend = rpc::Resend::kIdempotent, .attempt = kMdsAttempt});

  ChunkServerOptions options;
  options.repository = repository;
  options.credentials = credentials;
  options.version = CAIRN_VERSION;
  options.on_mds_members = [&mds](const std::vector<std::string>& members) { mds.learn(members); };
  options.store.offload = [&offload](std::move_only_function<Status()> job) {
    return offload.run(std::move(job));
  };
  ChunkServer server(runtime, network, mds, std::move(device), *index, daemon.log(),
                     std::move(options));
  runtime::Completion<bool> stop(runtime);
  return daemon.run(runtime, serve(&server, &daemon, arguments.repository, stop),
                    [stop]() mutable { stop.set(true); });
}

int start(const Arguments& arguments) {
  const Status codec = erasure::self_test();
  if (!codec.has_value()) {
    std::fprintf(stderr, "cairn-csd: the erasure code fails its self-test on this CPU: %s\n",
                 codec.error().to_string().c_str());
    return 1;
  }
  daemon::Options options;
  options.background = arguments.background;
  options.log_file = arguments.log;
  if (arguments.background && arguments.log.empty()) {
    options.log_file = arguments.repository + "/logs/log";
  }
  options.verbose = arguments.verbose;
  options.name = "csd";
  Result<daemon::Daemon> daemon = daemon::Daemon::start(options);
  if (!daemon.has_value()) {
    std::fprintf(stderr, "cairn-csd: %s\n", daemon.error().to_string().c_str());
    return 1;
  }
  const Result<int> code = run(arguments, *daemon);
  if (code.has_value()) return *code;
  daemon->failed(code.error());
  return 1;
}

}  // namespace
}  // namespace cairn::chunkserver

int main(int argc, char** argv) {
  cairn::chunkserver::Arguments arguments;
  CLI::App app("Cairn chunk server");
  app.set_version_flag("--version", CAIRN_VERSION);
  app.add_option("-r", arguments.repository, "directory of the repository")->required();
  app.add_flag("-D", arguments.background, "run in the background");
  app.add_option("-l", arguments.log, "log file, or \"journald\"");
  app.add_flag("-v", arguments.verbose, "log more");
  CLI11_PARSE(app, argc, argv);
  return cairn::chunkserver::start(arguments);
}
