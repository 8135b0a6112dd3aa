// Control-plane calls: a method name, a protobuf request, a protobuf reply. gRPC carries them
// between processes (grpc_server, grpc_client); in the simulator a direct caller does. Handlers are
// coroutines that never see gRPC.
//
// Method names are full gRPC paths, "/cairn.pb.Admin/Stat", so that any gRPC client can call them
// with the .proto files.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/runtime/task.h"

namespace cairn::rpc {

using Handler = std::function<Task<Result<std::string>>(std::string request)>;

// The methods one server offers. Filled before serving, constant afterwards.
class Dispatcher {
 public:
  void add(std::string method, Handler handler);
  // Typed: decodes Request, encodes Reply; bad bytes are kProtocol.
  template <class Request, class Reply>
  void add(std::string method, std::function<Task<Result<Reply>>(Request)> handler);
  // nullptr when there is no such method.
  const Handler* find(std::string_view method) const;

 private:
  std::map<std::string, Handler, std::less<>> handlers_;
};

// One peer that answers calls.
// Errors:   kTimeout, kUnavailable, kNotAuthenticated, or the handler's.
class Caller {
 public:
  virtual ~Caller() = default;
  virtual Task<Result<std::string>> call(std::string method, std::string request,
                                         Deadline deadline) = 0;
};

template <class Reply, class Request>
Task<Result<Reply>> call(Caller& caller, std::string method, Request request, Deadline deadline) {
  std::string bytes = request.SerializeAsString();
  Result<std::string> answer = co_await caller.call(std::move(method), std::move(bytes), deadline);
  if (!answer.has_value()) co_return fail(std::move(answer).error());
  Reply reply;
  if (!reply.ParseFromString(*answer)) co_return fail(Code::kProtocol, "undecodable reply");
  co_return reply;
}

namespace detail {
template <class Request, class Reply>
Task<Result<std::string>> typed(const std::function<Task<Result<Reply>>(Request)>* handler,
                                std::string bytes) {
  Request request;
  if (!request.ParseFromString(bytes)) co_return fail(Code::kProtocol, "undecodable request");
  Result<Reply> reply = co_await (*handler)(std::move(request));
  if (!reply.has_value()) co_return fail(std::move(reply).error());
  co_return reply->SerializeAsString();
}
}  // namespace detail

template <class Request, class Reply>
void Dispatcher::add(std::string method, std::function<Task<Result<Reply>>(Request)> handler) {
  // Shared, so that the pointer given to the coroutine stays valid while the dispatcher lives.
  auto shared = std::make_shared<std::function<Task<Result<Reply>>(Request)>>(std::move(handler));
  add(std::move(method), Handler([shared](std::string bytes) {
        return detail::typed<Request, Reply>(shared.get(), std::move(bytes));
      }));
}

}  // namespace cairn::rpc
