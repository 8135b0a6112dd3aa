#include "admin/hwflush/run_server.h"

#include <mutex>
#include <optional>
#include <thread>

#include "admin/hwflush/server.h"
#include "admin/hwflush/stop_signals.h"
#include "common/net/tcp_network.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/task_group.h"

namespace cairn::admin::hwflush {
namespace {

struct Failure {
  std::mutex mutex;
  std::optional<Error> error;
};

Task<void> stop_and_end(Server* server, runtime::AsioRuntime* runtime) {
  co_await server->stop();
  runtime->stop();
}

}  // namespace

Status run_server(const ServerOptions& options,
                  const std::function<void(const std::string&)>& say) {
  TRY(StopSignals signals, StopSignals::make());
  runtime::AsioRuntime runtime;
  net::TcpNetwork network(runtime);
  Failure failure;
  Server server(&runtime, &network,
                {.at = options.at,
                 .state_file = options.state_file,
                 .say = [&say](const std::string& line) { say(line + "\n"); },
                 .on_failure =
                     [&failure, &signals](const Error& error) {
                       const std::lock_guard lock(failure.mutex);
                       failure.error = error;
                       signals.wake();
                     }});
  TRY_VOID(server.start());
  say("waiting for clients at " + server.address().to_string() + "\n");
  runtime::TaskGroup ending(runtime);
  {
    const std::jthread loop([&runtime] { runtime.run(); });
    signals.wait(std::nullopt);
    runtime.post([&] { ending.spawn(stop_and_end(&server, &runtime)); });
  }
  const std::lock_guard lock(failure.mutex);
  if (failure.error.has_value()) return fail(*failure.error);
  return {};
}

}  // namespace cairn::admin::hwflush
