#include "tests/sim/sim_rpc.h"

#include "common/runtime/completion.h"

namespace cairn::sim {

namespace {

constexpr Duration kTravel = 100us;
using Answer = runtime::Completion<Result<std::string>>;

// Where a call comes from and goes to.
struct Way {
  SimFabric* fabric = nullptr;
  std::string from;
  std::string to;
  SimRuntime* caller = nullptr;
};

// Runs on the door's runtime; the answer is set on the caller's.
Task<void> serve(const rpc::Handler* handler, std::string request, Answer answer, Way way) {
  Result<std::string> reply = co_await (*handler)(std::move(request));
  if (!way.fabric->passes(way.to, way.from)) co_return;
  auto shared = std::make_shared<Result<std::string>>(std::move(reply));
  way.caller->schedule(way.caller->now() + kTravel,
                       [answer, shared]() mutable { answer.set(std::move(*shared)); });
}

}  // namespace

class SimCaller final : public rpc::Caller {
 public:
  SimCaller(SimControlPlane& plane, SimRuntime& from, std::string host, std::string door)
      : plane_(plane), from_(from), host_(std::move(host)), door_(std::move(door)) {}

  Task<Result<std::string>> call(std::string method, std::string request,
                                 Deadline deadline) override {
    const auto it = plane_.doors_.find(door_);
    if (it == plane_.doors_.end()) {
      co_await runtime::sleep_for(from_, kTravel);
      co_return fail(Code::kUnavailable, "no door " + door_);
    }
    const SimControlPlane::Door door = it->second;
    const rpc::Handler* handler = door.dispatcher->find(method);
    if (handler == nullptr) co_return fail(Code::kUnsupported, method);
    Answer answer(from_);
    if (plane_.fabric_.passes(host_, door.host)) {
      const Way way{.fabric = &plane_.fabric_, .from = host_, .to = door.host, .caller = &from_};
      const Instant arrival = door.runtime->now() + kTravel;
      door.runtime->schedule(arrival,
                             [door, handler, bytes = std::move(request), answer, way]() mutable {
                               door.tasks->spawn(serve(handler, std::move(bytes), answer, way));
                             });
    }
    std::optional<Result<std::string>> reply = co_await answer.wait_until(deadline);
    if (!reply.has_value()) co_return fail(Code::kTimeout, "no answer to " + method);
    co_return std::move(*reply);
  }

 private:
  SimControlPlane& plane_;
  SimRuntime& from_;
  const std::string host_;
  const std::string door_;
};

std::unique_ptr<rpc::Caller> SimControlPlane::caller(SimRuntime& from, std::string host,
                                                     std::string door_name) {
  return std::make_unique<SimCaller>(*this, from, std::move(host), std::move(door_name));
}

}  // namespace cairn::sim
