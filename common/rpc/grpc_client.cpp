#include "common/rpc/grpc_client.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <condition_variable>
#include <map>
#include <mutex>

#include "common/rpc/auth.h"
#include "common/rpc/grpc_channel.h"
#include "common/rpc/status_code.h"
#include "common/runtime/completion.h"

namespace cairn::rpc {
namespace {

grpc::ByteBuffer to_byte_buffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// A call that waits for a master that hangs ends in time for another one to be asked: a failover
//                                                                                     takes
// 3 s in all.
constexpr int kAskAfterMs = 1'000;
constexpr int kGiveUpAfterMs = 1'500;

Result<std::string> to_bytes(grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (!buffer.DumpToSingleSlice(&slice).ok()) return fail(Code::kProtocol, "unreadable reply");
  return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
}

}  // namespace

// One call; lives until both its task and gRPC are done with it.
struct GrpcCaller::Pending {
  explicit Pending(runtime::Runtime& runtime) : done(runtime) {}
  grpc::ClientContext context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer reply;
  runtime::Completion<Result<std::string>> done;
};

// The calls gRPC still holds. Any thread.
class GrpcCaller::Calls {
 public:
  explicit Calls(std::shared_ptr<grpc::Channel> channel) : stub_(std::move(channel)) {}

  void start(const std::string& method, const std::shared_ptr<Pending>& call,
             const std::shared_ptr<Calls>& self) {
    {
      const std::lock_guard lock(mutex_);
      running_.emplace(call.get(), call);
    }
    stub_.UnaryCall(&call->context, method, {}, &call->request, &call->reply,
                    [self, call](const grpc::Status& status) { self->ended(call, status); });
  }

  void cancel_and_wait() {
    std::unique_lock lock(mutex_);
    const std::map<Pending*, std::shared_ptr<Pending>> calls = running_;
    lock.unlock();  // a cancelled call may end inside TryCancel
    for (const auto& [key, call] : calls) call->context.TryCancel();
    lock.lock();
    none_.wait(lock, [this] { return running_.empty(); });
  }

 private:
  void ended(const std::shared_ptr<Pending>& call, const grpc::Status& status) {
    Result<std::string> outcome =
        status.ok() ? to_bytes(call->reply) : fail(to_error(status, call->context));
    // Under the lock: after cancel_and_wait() nobody touches the runtime any more.
    const std::lock_guard lock(mutex_);
    call->done.set_from_any_thread(std::move(outcome));
    running_.erase(call.get());
    if (running_.empty()) none_.notify_all();
  }

  grpc::GenericStub stub_;
  std::mutex mutex_;
  std::condition_variable none_;
  std::map<Pending*, std::shared_ptr<Pending>> running_;
};

GrpcCaller::GrpcCaller(runtime::Runtime& runtime, const net::Address& address,
                       net::Credentials credentials)
    : runtime_(runtime),
      credentials_(std::move(credentials)),
      peer_(address.to_string()),
      calls_(std::make_shared<Calls>(
          make_channel(address, {.message_bytes_max = ByteCount{kMessageBytesMax},
                                 .ask_after_ms = kAskAfterMs,
                                 .give_up_after_ms = kGiveUpAfterMs}))) {}

GrpcCaller::~GrpcCaller() { calls_->cancel_and_wait(); }

std::shared_ptr<GrpcCaller::Pending> GrpcCaller::prepare(const std::string& method,
                                                         const std::string& request,
                                                         Deadline deadline) {
  auto call = std::make_shared<Pending>(runtime_);
  const std::array<std::uint64_t, 2> nonce{runtime_.random(), runtime_.random()};
  const std::int64_t unix_ms = runtime_.wall_now().raw() / 1'000'000;
  call->context.AddMetadata(kAuthKey, make_auth(credentials_, method, request, unix_ms, nonce));
  const Duration left = std::min<Duration>(deadline - runtime_.now(), std::chrono::hours(24));
  call->context.set_deadline(std::chrono::system_clock::now() + left);
  call->request = to_byte_buffer(request);
  return call;
}

Task<Result<std::string>> GrpcCaller::call(std::string method, std::string request,
                                           Deadline deadline) {
  if (request.size() > std::size_t{kMessageBytesMax}) {
    co_return fail(Code::kInvalidArgument, "request too large for " + method);
  }
  if (deadline <= runtime_.now()) co_return fail(Code::kTimeout, "the deadline has passed");
  const std::shared_ptr<Pending> pending = prepare(method, request, deadline);
  const std::string peer = peer_;
  calls_->start(method, pending, calls_);
  // From here on `this` may be gone.
  std::optional<Result<std::string>> outcome = co_await pending->done.wait_until(deadline);
  if (outcome.has_value()) co_return std::move(*outcome);
  pending->context.TryCancel();
  co_return fail(Code::kTimeout, "no answer from " + peer + " to " + method + " in time");
}

std::vector<std::unique_ptr<Caller>> make_grpc_callers(runtime::Runtime& runtime,
                                                       const std::vector<net::Address>& addresses,
                                                       const net::Credentials& credentials) {
  std::vector<std::unique_ptr<Caller>> callers;
  for (const net::Address& address : addresses) {
    callers.push_back(std::make_unique<GrpcCaller>(runtime, address, credentials));
  }
  return callers;
}

}  // namespace cairn::rpc
