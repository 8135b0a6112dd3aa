// GrpcCaller: a Caller over one gRPC channel. Connects by itself, and again when the peer comes
// back.
//
// Promises: many calls at once; a call that was surely not sent ends with kUnavailable, one that
//           lost its connection with kConnectionLost. An address that answers nothing is
//           kUnavailable after 1 s; a server that hangs with a call under way is given up after
//           2.5 s at most (kConnectionLost).
// Requires: the loop of `runtime`, which outlives the caller. The destructor cancels what is under
//           way and waits for gRPC to let go of it (at once); tasks of calls may outlive the
//           caller.
// Errors:   kTimeout, kUnavailable, kConnectionLost, kUnsupported (no such method), kOverloaded,
//           the handler's own.
#pragma once

#include <memory>
#include <vector>

#include "common/net/channel.h"
#include "common/rpc/rpc.h"
#include "common/runtime/runtime.h"

namespace cairn::rpc {

class GrpcCaller final : public Caller {
 public:
  GrpcCaller(runtime::Runtime& runtime, const net::Address& address, net::Credentials credentials);
  ~GrpcCaller() override;

  Task<Result<std::string>> call(std::string method, std::string request,
                                 Deadline deadline) override;

 private:
  struct Pending;
  class Calls;
  std::shared_ptr<Pending> prepare(const std::string& method, const std::string& request,
                                   Deadline deadline);

  runtime::Runtime& runtime_;
  net::Credentials credentials_;
  std::string peer_;
  std::shared_ptr<Calls> calls_;
};

// One GrpcCaller per address, for MultiCaller.
std::vector<std::unique_ptr<Caller>> make_grpc_callers(runtime::Runtime& runtime,
                                                       const std::vector<net::Address>& addresses,
                                                       const net::Credentials& credentials);

}  // namespace cairn::rpc
