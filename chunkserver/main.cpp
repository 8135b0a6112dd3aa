// cairn-csd: the chunk server daemon of one repository.
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "chunkserver/convert/client_converter.h"
#include "chunkserver/cs_daemon.h"
#include "chunkserver/offline.h"
#include "common/base/fault_point.h"
#include "common/cluster/cluster_config.h"
#include "common/daemon/daemon.h"
#include "common/erasure/codec.h"
#include "common/net/tcp_network.h"
#include "common/rpc/grpc_client.h"
#include "common/rpc/multi_caller.h"

namespace cairn::chunkserver {
namespace {

// What an MDS that is silent may cost before the next one is asked.
constexpr Duration kMdsAttempt = 800ms;

struct Arguments {
  std::string repository;
  std::string log;
  bool background = false;
  bool verbose = false;
  bool allow_faults = false;
  bool offline = false;
  unsigned hang_limit_s = 30;
};

Result<int> run(const Arguments& arguments, const Whereabouts& place, daemon::Daemon& daemon) {
  const cairn::cluster::ClusterConfig config("", place.cluster);
  TRY(const net::Credentials credentials, config.credentials());
  TRY(const std::vector<net::Address> mds_addresses, config.mds_addresses());

  runtime::AsioRuntime runtime;
  net::TcpNetwork network(runtime);
  rpc::MultiCaller mds(runtime, mds_addresses,
                       [&runtime, &credentials](const net::Address& address) {
                         return std::make_unique<rpc::GrpcCaller>(runtime, address, credentials);
                       },
                       {.resend = rpc::Resend::kIdempotent, .attempt = kMdsAttempt});
  CsDaemonOptions options;
  options.credentials = credentials;
  options.version = CAIRN_VERSION;
  options.allow_faults = arguments.allow_faults;
  options.hang_limit = std::chrono::seconds(arguments.hang_limit_s);
  options.on_mds_members = [&mds](const std::vector<std::string>& members) { mds.learn(members); };
  options.converters = [&](const Whereabouts& at) {
    convert::ClientConverterOptions session;
    session.mds = [&mds] { return mds.addresses(); };
    session.credentials = credentials;
    session.host_id = [&config] { return config.host_id(); };
    session.host = at.repository->host;
    session.cs_id = at.repository->cs_id;
    return convert::client_converters(runtime, network, daemon.log(), std::move(session));
  };
  options.on_ready = [&daemon](const std::string& remark) { daemon.ready(remark); };
  options.leave_now = [] { ::_exit(1); };
  CsDaemon csd(runtime, network, mds, daemon.log(), place, std::move(options));
  const int code = daemon.run(runtime, csd.run(), [&csd] { csd.request_stop(); });
  // Closing an index on a drive that is broken could take for ever; it has nothing to save.
  if (csd.troubled()) ::_exit(code);
  return code;
}

// The client's end of the socket hears what a terminal would.
void tell_client(const Error& error) {
  const std::string line = cairn::cluster::control::failure_line(error);
  const ssize_t sent = ::send(STDIN_FILENO, line.data(), line.size(), MSG_NOSIGNAL);
  static_cast<void>(sent);  // a client that left needs no answer
}

int run_offline(const Whereabouts& place, daemon::Daemon& daemon) {
  runtime::AsioRuntime runtime;
  struct Body {
    static Task<Status> run(runtime::AsioRuntime* runtime, daemon::Daemon* daemon,
                            const Whereabouts* place) {
      const Status served = co_await serve_offline(runtime, &daemon->log(), place, CAIRN_VERSION);
      if (!served.has_value()) tell_client(served.error());
      co_return served;
    }
  };
  // A signal does not interrupt a move of the journal: the client asked for it.
  return daemon.run(runtime, Body::run(&runtime, &daemon, &place), [] {});
}

std::string log_of(const Arguments& arguments, const Whereabouts& place) {
  const bool below = place.failure.has_value() && arguments.log != "journald" &&
                     is_below(arguments.log, arguments.repository);
  if (!arguments.log.empty() && !below) return arguments.log;
  return arguments.background || arguments.offline ? default_log(place) : std::string();
}

int start(const Arguments& arguments) {
  const Status armed = arm_fault_points();
  if (!armed.has_value()) {
    std::fprintf(stderr, "cairn-csd: %s\n", armed.error().to_string().c_str());
    return 1;
  }
  const Status codec = erasure::self_test();
  if (!codec.has_value()) {
    std::fprintf(stderr, "cairn-csd: the erasure code fails its self-test on this CPU: %s\n",
                 codec.error().to_string().c_str());
    return 1;
  }
  const Result<Whereabouts> place = look_around(arguments.repository, CAIRN_VERSION);
  if (!place.has_value()) {
    std::fprintf(stderr, "cairn-csd: %s\n", place.error().message().c_str());
    if (arguments.offline) tell_client(place.error());
    return 1;
  }
  daemon::Options options;
  options.background = arguments.background && !arguments.offline;
  options.log_file = log_of(arguments, *place);
  options.verbose = arguments.verbose;
  options.name = "csd";
  Result<daemon::Daemon> daemon = daemon::Daemon::start(options);
  if (!daemon.has_value()) {
    std::fprintf(stderr, "cairn-csd: %s\n", daemon.error().to_string().c_str());
    return 1;
  }
  if (arguments.offline) return run_offline(*place, *daemon);
  if (arguments.allow_faults) {
    daemon->log().warning("faults may be injected through the control door (--allow-faults)");
  }
  const Result<int> code = run(arguments, *place, *daemon);
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
  app.add_option("--hang-limit", arguments.hang_limit_s,
                 "seconds a request may stay in a drive before that counts as hung")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_flag("--allow-faults", arguments.allow_faults,
               "for tests: faults of the drives can be injected through the control door");
  app.add_flag("--offline", arguments.offline,
               "for cairn configure-cs: take requests from standard input, a socket");
  CLI11_PARSE(app, argc, argv);
  return cairn::chunkserver::start(arguments);
}
