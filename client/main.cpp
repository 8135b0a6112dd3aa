// cairn-mount, also as mount.fuse.cairn: mounts a cluster and serves it until it is unmounted.
//
// Exit codes: 0 mounted (background: the mount answers), 1 failed, 2 wrong usage, 3 no such cluster
// or mount point, 5 cluster not reachable, 6 not authenticated.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "client/core/file_system.h"
#include "client/fuse/fuse_session.h"
#include "client/fuse/mount_options.h"
#include "client/fuse/mount_point.h"
#include "common/cluster/cluster_config.h"
#include "common/daemon/daemon.h"
#include "common/daemon/process_identity.h"
#include "common/erasure/codec.h"
#include "common/net/tcp_network.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::client {
namespace {

using fuse::FuseSession;
using fuse::MountRequest;

enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2, kMissing = 3, kUnreachable = 5, kRefused = 6 };

constexpr Duration kStopAfterSignal = 4s;  // of the 5 s a daemon has after SIGTERM
constexpr Duration kUnmountAfterSignal = 2s;
constexpr Duration kStopAfterUnmount = 5min;  // the cluster may be away: dirty data waits for it

int exit_code_of(const Error& error) {
  switch (error.code()) {
    case Code::kInvalidArgument:
      return kUsage;
    case Code::kNotFound:
      return kMissing;
    case Code::kUnavailable:
    case Code::kTimeout:
    case Code::kNoMajority:
    case Code::kNotMaster:
    case Code::kConnectionLost:
    case Code::kOverloaded:
    case Code::kWrongCluster:
      return kUnreachable;
    case Code::kNotAuthenticated:
      return kRefused;
    default:
      return kFailed;
  }
}

// What failed, why, the state now, the next step.
std::string explain(const MountRequest& request, const std::string& why, const std::string& next) {
  std::string text = fmt::format("cairn-mount: cannot mount cluster {} at {}.\n  {}\n",
                                 request.cluster, request.mount_point, why);
  text += "  Nothing was mounted.\n";
  if (!next.empty()) text += fmt::format("  {}\n", next);
  return text;
}

std::string next_step(const MountRequest& request, int exit_code) {
  switch (exit_code) {
    case kUnreachable:
      return fmt::format("Look at the cluster:  cairn -c {} stat", request.cluster);
    case kRefused:
      return fmt::format("Give this host the cluster's password:  cairn -c {} auth-node",
                         request.cluster);
    default:
      return {};
  }
}

struct Refusal {
  int exit_code;
  std::string message;
};

// What can be known before anything is started.
struct Plan {
  MountRequest request;
  Options options;
};

Result<Plan> refuse(Refusal* refusal, int exit_code, std::string message) {
  *refusal = {exit_code, std::move(message)};
  return fail(Code::kInvalidArgument);
}

Result<Plan> refuse_cluster(Refusal* refusal, const MountRequest& request, const Error& error) {
  const std::vector<std::string> known = cluster::ClusterConfig::known("");
  const std::string next =
      known.empty()
          ? fmt::format("Make it known to this host:  cairn -c {} auth-node", request.cluster)
          : fmt::format("Known here: {}.", fmt::join(known, ", "));
  return refuse(refusal, exit_code_of(error), explain(request, error.message(), next));
}

Result<Plan> make_plan(MountRequest request, Refusal* refusal) {
  const Status named = cluster::check_cluster_name(request.cluster);
  if (!named.has_value()) {
    return refuse(refusal, kUsage, "cairn-mount: " + named.error().message() + "\n");
  }
  const cluster::ClusterConfig config("", request.cluster);
  Result<std::vector<net::Address>> addresses = config.mds_addresses();
  if (!addresses.has_value()) return refuse_cluster(refusal, request, addresses.error());
  Result<net::Credentials> credentials = config.credentials();
  if (!credentials.has_value()) return refuse_cluster(refusal, request, credentials.error());
  const Result<HostId> host_id = config.host_id();
  if (!host_id.has_value()) return refuse_cluster(refusal, request, host_id.error());

  Result<std::string> path = fuse::prepare_mount_point(request.mount_point, request.source());
  if (!path.has_value()) {
    return refuse(refusal, exit_code_of(path.error()),
                  explain(request, path.error().message(), {}));
  }

  Options options;
  for (const net::Address& address : *addresses) {
    options.masters.push_back(cluster::session_address(address));
  }
  options.credentials = std::move(*credentials);
  options.host_id = *host_id;
  std::array<char, HOST_NAME_MAX + 1> host{};
  if (::gethostname(host.data(), host.size() - 1) == 0) options.host = host.data();
  options.mount_point = std::move(*path);
  options.read_only = request.read_only;
  options.fail_on_nospace = request.fail_on_nospace;
  options.cache_bytes = request.cache_bytes;
  options.operation_timeout = request.timeout;
  options.hard = !request.soft;
  options.process_alive = [](const std::string& process) { return daemon::process_alive(process); };
  return Plan{std::move(request), std::move(options)};
}

// One mount from start() to stop().
class Mount {
 public:
  Mount(runtime::AsioRuntime& runtime, net::Network& network, daemon::Daemon& daemon, Plan plan)
      : runtime_(runtime),
        daemon_(daemon),
        plan_(std::move(plan)),
        fs_(FileSystem::make(runtime, network, daemon.log(), plan_.options)) {}

  Task<Status> serve();
  void request_stop();
  int exit_code() const { return exit_code_; }

 private:
  Task<Status> start();
  Task<void> stop();
  void failed(const Error& error);

  runtime::AsioRuntime& runtime_;
  daemon::Daemon& daemon_;
  Plan plan_;
  std::unique_ptr<FileSystem> fs_;
  std::unique_ptr<FuseSession> session_;
  bool signalled_ = false;
  int exit_code_ = kDone;
};

void Mount::failed(const Error& error) {
  exit_code_ = exit_code_of(error);
  if (exit_code_ == kUsage) exit_code_ = kFailed;  // the command line was right
  daemon_.failed(exit_code_, explain(plan_.request,
                                     error.message().empty() ? error.to_string() : error.message(),
                                     next_step(plan_.request, exit_code_)));
}

Task<Status> Mount::start() {
  const Status started = co_await fs_->start();
  if (!started.has_value()) co_return started;
  FuseSession::Options options{.mount_point = plan_.options.mount_point,
                               .source = plan_.request.source(),
                               .kernel_options = plan_.request.kernel_options,
                               .keep_cache = true,
                               .debug = plan_.request.debug};
  Result<std::unique_ptr<FuseSession>> session =
      FuseSession::mount(runtime_, *fs_, daemon_.log(), std::move(options));
  if (!session.has_value()) co_return fail(session.error());
  session_ = std::move(*session);
  const Status serving = co_await session_->serving();
  co_return serving;
}

Task<Status> Mount::serve() {
  const Status started = co_await start();
  if (!started.has_value()) {
    failed(started.error());
  } else {
    daemon_.log().info("{} is mounted at {}", plan_.request.source(), plan_.options.mount_point);
    daemon_.ready();
    co_await session_->ended();
  }
  co_await stop();
  co_return Status();  // exit_code() tells the rest
}

Task<void> Mount::stop() {
  if (session_ != nullptr) {
    const Deadline unmount_by = runtime_.after(kUnmountAfterSignal);
    co_await session_->unmount(unmount_by);
  }
  const bool hurry = signalled_ || exit_code_ != kDone;
  const Deadline stop_by =
      runtime_.after(hurry ? kStopAfterSignal - kUnmountAfterSignal : kStopAfterUnmount);
  const Status stopped = co_await fs_->stop(stop_by);
  if (!stopped.has_value() && exit_code_ == kDone) {
    daemon_.log().error("the mount at {} ended, but not everything was written: {}",
                        plan_.options.mount_point, stopped.error().to_string());
    exit_code_ = kFailed;
  }
  if (session_ == nullptr) co_return;
  co_await session_->close();
  daemon_.log().info("the mount at {} ended", plan_.options.mount_point);
}

// Before the mount is there nothing can be lost; the master notices the end of the process.
void Mount::request_stop() {
  constexpr int kInterrupted = 130;
  signalled_ = true;
  if (session_ == nullptr) ::_exit(kInterrupted);
  session_->request_end();
}

std::string default_log_file(const MountRequest& request) {
  if (!request.log_file.empty() || request.foreground) return request.log_file;
  if (::geteuid() == 0) return fmt::format("/var/log/cairn-mount.{}.log", request.cluster);
  const char* const home = std::getenv("HOME");
  return home == nullptr ? "/dev/null"
                         : fmt::format("{}/.cairn-mount.{}.log", home, request.cluster);
}

int serve(Plan plan) {
  const daemon::Options options{.background = !plan.request.foreground,
                                .log_file = default_log_file(plan.request),
                                .verbose = plan.request.verbose,
                                .name = "mount " + plan.request.cluster};
  Result<daemon::Daemon> daemon = daemon::Daemon::start(options);
  if (!daemon.has_value()) {
    fmt::print(stderr, "{}", explain(plan.request, daemon.error().message(), {}));
    return kFailed;
  }
  // Of the process that stays: the identity has its pid.
  const Result<std::string> identity = daemon::process_identity();
  if (!identity.has_value()) {
    daemon->failed(kFailed, explain(plan.request, identity.error().message(), {}));
    return kFailed;
  }
  plan.options.process = *identity;

  runtime::AsioRuntime runtime;
  net::TcpNetwork network(runtime);
  Mount mount(runtime, network, *daemon, std::move(plan));
  const int code = daemon->run(runtime, mount.serve(), [&mount] { mount.request_stop(); });
  return mount.exit_code() != kDone ? mount.exit_code() : code;
}

int run(std::string_view program, const std::vector<std::string>& words) {
  Result<MountRequest> request = fuse::parse_mount_request(program, words, ::geteuid() == 0);
  if (!request.has_value()) {
    fmt::print(stderr, "cairn-mount: {}.\n", request.error().message());
    return kUsage;
  }
  if (request->help) {
    fmt::print("{}", fuse::mount_usage());
    return kDone;
  }
  if (request->version) {
    fmt::print("cairn-mount {}\n", CAIRN_VERSION);
    return kDone;
  }
  const Status tested = erasure::self_test();
  if (!tested.has_value()) {
    fmt::print(stderr, "{}", explain(*request, tested.error().message(), {}));
    return kFailed;
  }
  Refusal refusal{};
  Result<Plan> plan = make_plan(std::move(*request), &refusal);
  if (!plan.has_value()) {
    fmt::print(stderr, "{}", refusal.message);
    return refusal.exit_code;
  }
  if (plan->request.fake) return kDone;
  return serve(std::move(*plan));
}

}  // namespace
}  // namespace cairn::client

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return cairn::client::run(argv[0], words);
}
