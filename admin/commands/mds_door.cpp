#include "admin/commands/mds_door.h"

#include <chrono>
#include <utility>

#include "admin/commands/master_search.h"
#include "admin/view/suggest.h"
#include "common/rpc/grpc_client.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/task_group.h"

namespace cairn::admin {
namespace {

// One conversation: a search on a loop of its own.
struct Talk {
  explicit Talk(const MdsDoor& door)
      : search(runtime, door.addresses,
               [this, &door](const net::Address& address) -> std::unique_ptr<rpc::Caller> {
                 return std::make_unique<rpc::GrpcCaller>(runtime, address, door.credentials);
               },
               {.cluster = door.credentials.cluster}) {}

  void run(Task<void> (*conversation)(Talk*)) {
    runtime::TaskGroup group(runtime);
    runtime.post([this, &group, conversation] { group.spawn(conversation(this)); });
    runtime.run();
  }

  runtime::AsioRuntime runtime;
  MasterSearch search;
  Deadline deadline;
  std::string method;
  std::string request;
  Result<std::string> answer = fail(Code::kCancelled);
  Result<pb::HelloReply> hello = fail(Code::kCancelled);
};

Task<void> end_talk(Talk* talk) {
  co_await talk->search.close();
  // In a later turn: the task that ends here must be gone when the loop is.
  talk->runtime.post([talk] { talk->runtime.stop(); });
}

Task<void> ask_master(Talk* talk) {
  std::string method = talk->method;
  std::string request = talk->request;
  Result<std::string> answer =
      co_await talk->search.ask(std::move(method), std::move(request), talk->deadline);
  talk->answer = std::move(answer);
  co_await end_talk(talk);
}

Task<void> greet_anyone(Talk* talk) {
  Result<pb::HelloReply> hello = co_await talk->search.greet(talk->deadline);
  talk->hello = std::move(hello);
  co_await end_talk(talk);
}

}  // namespace

Duration timeout_of(const Globals& globals) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(globals.timeout_s));
}

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
  return MdsDoor{.addresses = std::move(*addresses),
                 .credentials = std::move(*credentials),
                 .timeout = timeout_of(globals)};
}

Result<std::string> ask_bytes(const MdsDoor& door, std::string method, std::string request) {
  Talk talk(door);
  talk.method = std::move(method);
  talk.request = std::move(request);
  talk.deadline = talk.runtime.after(door.timeout);
  talk.run(&ask_master);
  return std::move(talk.answer);
}

void pause(Duration duration) {
  runtime::AsioRuntime runtime;
  runtime.schedule(runtime.now() + duration, [&runtime] { runtime.stop(); });
  runtime.run();
}

Result<pb::HelloReply> greet(const MdsDoor& door) {
  Talk talk(door);
  talk.deadline = talk.runtime.after(door.timeout);
  talk.run(&greet_anyone);
  return std::move(talk.hello);
}

}  // namespace cairn::admin
