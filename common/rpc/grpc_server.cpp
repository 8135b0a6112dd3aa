#include "common/rpc/grpc_server.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <mutex>
#include <thread>

#include "common/net/port_probe.h"
#include "common/rpc/auth.h"
#include "common/rpc/grpc_call.h"
#include "common/rpc/grpc_server_stream.h"
#include "common/rpc/status_code.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn::rpc {
namespace {

constexpr Duration kRefusalSpacing = 50ms;
constexpr Duration kRefusalDelayMax = 5s;
constexpr Duration kRefusalLogSpacing = 10s;
constexpr std::chrono::seconds kShutdownGrace{1};
// A caller whose host is gone leaves calls and streams behind; they end after this.
constexpr int kAskAfterMs = 10'000;
constexpr int kGiveUpAfterMs = 5'000;

}  // namespace

class GrpcServer::Core final : public grpc::CallbackGenericService,
                               public std::enable_shared_from_this<Core> {
 public:
  Core(runtime::Runtime& runtime, observe::Log& log, const Dispatcher& dispatcher,
       net::Credentials credentials, const StreamDispatcher* streams)
      : runtime_(runtime),
        log_(log),
        dispatcher_(dispatcher),
        stream_methods_(streams),
        auth_(std::move(credentials)),
        tasks_(runtime) {}
  ~Core() override { CHECK(server_ == nullptr); }

  Result<net::Address> start(const net::Address& address);
  Task<void> stop(Deadline deadline);

 private:
  // gRPC threads.
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;
  void arrived(const std::shared_ptr<Call>& call);
  grpc::ServerGenericBidiReactor* open_stream(const StreamDispatcher::Open* open,
                                              grpc::GenericCallbackServerContext* context);
  Status check(const std::string& auth, const std::string& method, const std::string& request);

  // The loop.
  void serve(const std::shared_ptr<Call>& call);
  void serve_stream(const StreamDispatcher::Open* open, const std::shared_ptr<ServerStream>& stream,
                    std::string hello);
  static Task<void> run(const rpc::Handler* handler, std::shared_ptr<Call> call);
  // Answers with `finish`, sooner or later.
  void refuse_slowly(const std::string& method, const std::string& peer, const Error& error,
                     std::function<void(const Error&)> finish);
  void finish_all(const Error& error);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  const Dispatcher& dispatcher_;
  const StreamDispatcher* const stream_methods_;
  std::shared_ptr<CallTable> table_ = std::make_shared<CallTable>();
  std::shared_ptr<StreamTable> streams_ = std::make_shared<StreamTable>();
  std::unique_ptr<grpc::Server> server_;
  bool stopping_ = false;
  std::mutex auth_mutex_;
  AuthChecker auth_;
  std::uint64_t refusals_ = 0;
  Instant next_refusal_;
  Instant next_refusal_log_;
  runtime::TaskGroup tasks_;
};

Result<net::Address> GrpcServer::Core::start(const net::Address& address) {
  CHECK(server_ == nullptr);
  // gRPC only says that it failed; ask the kernel for the reason first.
  TRY_VOID(net::probe_listen(address));
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kAskAfterMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kGiveUpAfterMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetMaxSendMessageSize(kMessageBytesMax);
  int port = 0;
  builder.AddListeningPort(address.to_string(), grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(this);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    if (server_ != nullptr) server_->Shutdown();
    server_.reset();
    return fail(Code::kBusy, "cannot listen on " + address.to_string() + ": port " +
                                 std::to_string(address.port) + " is in use");
  }
  return net::Address{address.host, static_cast<std::uint16_t>(port)};
}

grpc::ServerGenericBidiReactor* GrpcServer::Core::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  if (stream_methods_ != nullptr) {
    const StreamDispatcher::Open* const open = stream_methods_->find(context->method());
    if (open != nullptr) return open_stream(open, context);
  }
  auto call = std::make_shared<Call>(
      table_, context, [self = weak_from_this()](const std::shared_ptr<Call>& arrived_call) {
        if (const std::shared_ptr<Core> core = self.lock()) core->arrived(arrived_call);
      });
  if (!table_->add(call)) return new RefusedCall(context);
  call->start(call);
  return call.get();
}

Status GrpcServer::Core::check(const std::string& auth, const std::string& method,
                               const std::string& request) {
  const std::int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                                  std::chrono::system_clock::now().time_since_epoch())
                                  .count();
  const std::lock_guard lock(auth_mutex_);
  return auth_.check(auth, method, request, now_ms);
}

void GrpcServer::Core::arrived(const std::shared_ptr<Call>& call) {
  Status known = check(call->auth, call->method, call->request);
  runtime_.post([self = shared_from_this(), call, known = std::move(known)] {
    if (known.has_value()) {
      self->serve(call);
    } else {
      self->refuse_slowly(call->method, call->peer, known.error(),
                          [call](const Error& error) { call->finish(fail(error)); });
    }
  });
}

grpc::ServerGenericBidiReactor* GrpcServer::Core::open_stream(
    const StreamDispatcher::Open* open, grpc::GenericCallbackServerContext* context) {
  std::string hello = metadata_of(*context, kHelloKey);
  Status known = check(metadata_of(*context, kAuthKey), context->method(), hello);
  auto stream = std::make_shared<ServerStream>(runtime_, streams_, context);
  if (!streams_->add(stream, known.has_value())) return new RefusedCall(context);
  runtime_.post([self = shared_from_this(), open, stream, hello = std::move(hello),
                 known = std::move(known)]() mutable {
    if (known.has_value()) {
      self->serve_stream(open, stream, std::move(hello));
    } else {
      self->refuse_slowly(stream->method(), stream->peer(), known.error(),
                          [stream](const Error& error) { stream->finish(error); });
    }
  });
  return stream.get();
}

void GrpcServer::Core::serve_stream(const StreamDispatcher::Open* open,
                                    const std::shared_ptr<ServerStream>& stream,
                                    std::string hello) {
  if (stopping_) {
    stream->finish(Error(Code::kUnavailable, "the server stops"));
    return;
  }
  StreamOpening opening{std::move(hello), stream->peer(),
                        [weak = std::weak_ptr(stream)](const Error& error) {
                          if (const auto alive = weak.lock()) alive->finish(error);
                        }};
  Result<std::unique_ptr<StreamReceiver>> receiver = (*open)(std::move(opening));
  if (receiver.has_value()) {
    stream->accept(std::move(*receiver));
  } else {
    stream->finish(receiver.error());
  }
}

void GrpcServer::Core::serve(const std::shared_ptr<Call>& call) {
  if (stopping_) {
    call->finish(fail(Code::kUnavailable, "the server stops"));
    return;
  }
  const rpc::Handler* const handler = dispatcher_.find(call->method);
  if (handler == nullptr) {
    call->finish(fail(Code::kUnsupported, "no method " + call->method));
    return;
  }
  tasks_.spawn(run(handler, call));
}

Task<void> GrpcServer::Core::run(const rpc::Handler* handler, std::shared_ptr<Call> call) {
  Task<Result<std::string>> work = (*handler)(std::move(call->request));
  Result<std::string> outcome = co_await work;
  call->finish(std::move(outcome));
}

void GrpcServer::Core::refuse_slowly(const std::string& method, const std::string& peer,
                                     const Error& error, std::function<void(const Error&)> finish) {
  const Instant now = runtime_.now();
  ++refusals_;
  if (now >= next_refusal_log_) {
    next_refusal_log_ = now + kRefusalLogSpacing;
    log_.warning("refused {} from {}: {} ({} refusals so far)", method, peer, error.message(),
                 refusals_);
  }
  if (stopping_ || next_refusal_ > now + kRefusalDelayMax) {
    finish(Error(Code::kOverloaded, "too many calls without the key of this cluster"));
    return;
  }
  // The first of a quiet time is answered at once.
  const Instant at = std::max(next_refusal_, now);
  next_refusal_ = at + kRefusalSpacing;
  if (at == now) {
    finish(error);
    return;
  }
  runtime_.schedule(at, [finish = std::move(finish), error] { finish(error); });
}

void GrpcServer::Core::finish_all(const Error& error) {
  for (const std::shared_ptr<Call>& call : table_->all()) call->finish(fail(error));
}

Task<void> GrpcServer::Core::stop(Deadline deadline) {
  if (server_ == nullptr) co_return;
  CHECK(!stopping_);
  stopping_ = true;
  streams_->close(true);
  for (const std::shared_ptr<ServerStream>& stream : streams_->all()) {
    stream->finish(Error(Code::kUnavailable, "the server stops"));
  }
  const Error lost(Code::kConnectionLost, "the server stopped before the call ended");
  const runtime::TimerId timer = runtime_.schedule(deadline, [this, &lost] { finish_all(lost); });
  co_await tasks_.join();
  runtime_.cancel(timer);
  table_->close(true);
  finish_all(lost);

  // Shutdown() blocks until gRPC has let go of every call, so it has a thread of its own.
  runtime::Completion<bool> down(runtime_);
  const auto latest = std::chrono::system_clock::now() + kShutdownGrace;
  grpc::Server* const server = server_.get();
  std::thread thread([server, latest, down]() mutable {
    server->Shutdown(latest);
    down.set_from_any_thread(true);
  });
  co_await down.wait();
  thread.join();
  server_.reset();
  stopping_ = false;
  table_->close(false);
  streams_->close(false);
}

GrpcServer::GrpcServer(runtime::Runtime& runtime, observe::Log& log, const Dispatcher& dispatcher,
                       net::Credentials credentials, const StreamDispatcher* streams)
    : core_(std::make_shared<Core>(runtime, log, dispatcher, std::move(credentials), streams)) {}

GrpcServer::~GrpcServer() = default;

Result<net::Address> GrpcServer::start(const net::Address& address) {
  return core_->start(address);
}

Task<void> GrpcServer::stop(Deadline deadline) { return core_->stop(deadline); }

}  // namespace cairn::rpc
