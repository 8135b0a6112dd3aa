#include "tests/sim/sim_rpc.h"

#include "common/runtime/completion.h"

namespace cairn::sim {

namespace {

constexpr Duration kTravel = 100us;
using Answer = runtime::Completion<Result<std::string>>;

// Runs on the door's runtime; the answer is set on the caller's.
Task<void> serve(const rpc::Handler* handler, std::string request, Answer answer,
                 SimRuntime* caller) {
  Result<std::string> reply = co_await (*handler)(std::move(request));
  auto shared = std::make_shared<Result<std::string>>(std::move(reply));
  caller->schedule(caller->now() + kTravel,
                   [answer, shared]() mutable { answer.set(std::move(*shared)); });
}

}  // namespace

class SimCaller final : public rpc::Caller {
 public:
  SimCaller(SimControlPlane& plane, SimRuntime& from, std::string door)
      : plane_(plane), from_(from), door_(std::move(door)) {}

  Task<Result<std::string>> call(std::string method, std::string request,
                                 Deadline deadline) override {
    const auto it = plane_.doors_.find(door_);
    if (it == plane_.doors_.end()) co_return fail(Code::kUnavailable, "no door " + door_);
    const SimControlPlane::Door door = it->second;
    const rpc::Handler* handler = door.dispatcher->find(method);
    if (handler == nullptr) co_return fail(Code::kUnsupported, method);
    Answer answer(from_);
    SimRuntime* from = &from_;
    door.runtime->schedule(door.runtime->now() + kTravel,
                           [door, handler, bytes = std::move(request), answer, from]() mutable {
                             door.tasks->spawn(serve(handler, std::move(bytes), answer, from));
                           });
    std::optional<Result<std::string>> reply = co_await answer.wait_until(deadline);
    if (!reply.has_value()) co_return fail(Code::kTimeout, "no answer to " + method);
    co_return std::move(*reply);
  }

 private:
  SimControlPlane& plane_;
  SimRuntime& from_;
  std::string door_;
};

std::unique_ptr<rpc::Caller> SimControlPlane::caller(SimRuntime& from, std::string door_name) {
  return std::make_unique<SimCaller>(*this, from, std::move(door_name));
}

}  // namespace cairn::sim
