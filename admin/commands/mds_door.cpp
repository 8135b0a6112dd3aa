#include "admin/commands/mds_door.h"

#include <chrono>
#include <utility>

#include "admin/view/suggest.h"
#include "common/rpc/grpc_client.h"
#include "common/rpc/multi_caller.h"
#include "common/rpc/rpc.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/task_group.h"

namespace cairn::admin {
namespace {

struct Call {
  runtime::AsioRuntime* runtime;
  rpc::Caller* caller;
  std::string method;
  std::string request;
  Deadline deadline;
  Result<std::string> answer = fail(Code::kCancelled);
};

Task<void> run_call(Call* call) {
  std::string method = call->method;
  std::string request = call->request;
  Result<std::string> answer =
      co_await call->caller->call(std::move(method), std::move(request), call->deadline);
  call->answer = std::move(answer);
  call->runtime->stop();
}

// gRPC's own words end with the system's reason: "...: Connection refused".
Error nobody_answers(const MdsDoor& door, const Error& error) {
  std::string places;
  for (const net::Address& address : door.addresses) {
    places += (places.empty() ? "" : ", ") + address.to_string();
  }
  const std::string& words = error.message();
  const std::size_t colon = words.rfind(": ");
  const std::string reason = colon == std::string::npos ? words : words.substr(colon + 2);
  return Error(Code::kUnavailable, "no MDS answers at " + places + " (" + reason + ")");
}

}  // namespace

Outcome<MdsDoor> open_door(const Globals& globals, const std::string& cluster,
                           const std::string& what) {
  const cluster::ClusterConfig config({}, cluster);
  Result<std::vector<net::Address>> addresses = config.mds_addresses();
  if (!addresses.has_value()) {
    const std::vector<std::string> known = cluster::ClusterConfig::known({});
    const std::vector<std::string> near = nearest(cluster, known, 1, false);
    const bool typo = !near.empty() && near.front() != cluster;
    std::string next =
        typo ? did_you_mean(near)
             : "Make it known here:  cairn -c " + cluster + " auth-node -b MDS_ADDRESS";
    return failure(what, addresses.error(), {}, std::move(next));
  }
  Result<net::Credentials> credentials = config.credentials();
  if (!credentials.has_value()) return failure(what, credentials.error());
  const auto timeout =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(globals.timeout_s));
  return MdsDoor{.addresses = std::move(*addresses),
                 .credentials = std::move(*credentials),
                 .timeout = timeout};
}

Result<std::string> ask_bytes(const MdsDoor& door, std::string method, std::string request) {
  runtime::AsioRuntime runtime;
  rpc::MultiCaller caller(runtime,
                          rpc::make_grpc_callers(runtime, door.addresses, door.credentials));
  Call call{.runtime = &runtime,
            .caller = &caller,
            .method = std::move(method),
            .request = std::move(request),
            .deadline = runtime.after(door.timeout)};
  runtime::TaskGroup group(runtime);
  runtime.post([&group, &call] { group.spawn(run_call(&call)); });
  runtime.run();
  if (call.answer.has_value() || call.answer.error().code() != Code::kUnavailable) {
    return std::move(call.answer);
  }
  return fail(nobody_answers(door, call.answer.error()));
}

}  // namespace cairn::admin
