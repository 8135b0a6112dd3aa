#include "common/rpc/grpc_server.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "common/net/port_probe.h"
#include "common/rpc/auth.h"
#include "common/rpc/status_code.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn::rpc {
namespace {

constexpr std::size_t kCallsMax = 1024;
constexpr std::size_t kMessageTextMax = 2048;  // gRPC carries it in a header
constexpr Duration kRefusalSpacing = 50ms;
constexpr Duration kRefusalDelayMax = 5s;
constexpr Duration kRefusalLogSpacing = 10s;
constexpr std::chrono::seconds kShutdownGrace{1};

class Call;

// The calls gRPC and we have not both finished. Any thread.
class CallTable {
 public:
  // False when the table is full or closed. A full table first drops the oldest call whose request
  // has not come: somebody who opens calls and says nothing does not lock the others out.
  bool add(const std::shared_ptr<Call>& call);
  void remove(Call* call);
  void close(bool closed);
  std::vector<std::shared_ptr<Call>> all();

 private:
  std::mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<Call>> calls_;  // by age
  bool closed_ = false;
  std::uint64_t next_number_ = 1;
};

// One call, from its first byte to OnDone. The table holds it; a handler's task may hold it longer.
class Call final : public grpc::ServerGenericBidiReactor {
 public:
  // `serve` gets the call, on a gRPC thread, when its request is complete.
  using Serve = std::function<void(std::shared_ptr<Call>)>;
  Call(std::shared_ptr<CallTable> table, grpc::GenericCallbackServerContext* context, Serve serve)
      : table_(std::move(table)), context_(context), serve_(std::move(serve)) {
    method = context->method();
    peer = context->peer();
    const auto it = context->client_metadata().find(kAuthKey);
    if (it != context->client_metadata().end()) auth.assign(it->second.data(), it->second.size());
  }

  void start(std::weak_ptr<Call> self) {
    self_ = std::move(self);
    StartRead(&buffer_);
  }
  // The first outcome is the answer, later ones are dropped. Any thread.
  void finish(Result<std::string> outcome) {
    if (finished_.exchange(true)) return;
    if (outcome.has_value() && outcome->size() > std::size_t{kMessageBytesMax}) {
      outcome = fail(Code::kInternal, "the reply to " + method + " is too large");
    }
    if (outcome.has_value()) {
      const grpc::Slice slice(*outcome);
      buffer_ = grpc::ByteBuffer(&slice, 1);
      StartWriteAndFinish(&buffer_, grpc::WriteOptions(), grpc::Status::OK);
      return;
    }
    const Error& error = outcome.error();
    context_->AddTrailingMetadata(kCodeKey, std::to_string(static_cast<unsigned>(error.code())));
    Finish(grpc::Status(static_cast<grpc::StatusCode>(to_grpc_status(error.code())),
                        error.message().substr(0, kMessageTextMax)));
  }

  bool is_reading() const { return reading_ && !finished_; }

  std::string method;
  std::string peer;
  std::string auth;
  std::string request;
  std::uint64_t number = 0;  // set and used by the table

 private:
  void OnReadDone(bool ok) override {
    grpc::Slice slice;
    if (!ok || !buffer_.DumpToSingleSlice(&slice).ok()) {
      finish(fail(Code::kProtocol, "no request in the call"));
      return;
    }
    request.assign(reinterpret_cast<const char*>(slice.begin()), slice.size());
    buffer_.Clear();
    reading_ = false;
    serve_(self_.lock());
  }
  void OnDone() override { table_->remove(this); }

  std::shared_ptr<CallTable> table_;
  grpc::GenericCallbackServerContext* context_;
  Serve serve_;
  std::weak_ptr<Call> self_;
  grpc::ByteBuffer buffer_;
  std::atomic<bool> reading_ = true;
  std::atomic<bool> finished_ = false;
};

bool CallTable::add(const std::shared_ptr<Call>& call) {
  std::shared_ptr<Call> dropped;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    if (calls_.size() >= kCallsMax) {
      const auto it = std::ranges::find_if(
          calls_, [](const auto& entry) { return entry.second->is_reading(); });
      // It stays in the table until gRPC is done with it, beyond the limit for that moment.
      if (it == calls_.end() || calls_.size() >= 2 * kCallsMax) return false;
      dropped = it->second;
    }
    call->number = next_number_++;
    calls_.emplace(call->number, call);
  }
  // Outside the lock: the end of a call comes back into the table.
  if (dropped)
    dropped->finish(fail(Code::kOverloaded, "too many calls, and this one said nothing"));
  return true;
}
void CallTable::remove(Call* call) {
  std::shared_ptr<Call> last;  // dies outside the lock
  const std::lock_guard lock(mutex_);
  const auto it = calls_.find(call->number);
  if (it == calls_.end()) return;
  last = std::move(it->second);
  calls_.erase(it);
}
void CallTable::close(bool closed) {
  const std::lock_guard lock(mutex_);
  closed_ = closed;
}
std::vector<std::shared_ptr<Call>> CallTable::all() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Call>> calls;
  for (const auto& [key, call] : calls_) calls.push_back(call);
  return calls;
}

// Ends at once: the table is full or the server stops.
class RefusedCall final : public grpc::ServerGenericBidiReactor {
 public:
  explicit RefusedCall(grpc::GenericCallbackServerContext* context) {
    context->AddTrailingMetadata(kCodeKey,
                                 std::to_string(static_cast<unsigned>(Code::kOverloaded)));
    Finish(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls, or stopping"));
  }
  void OnDone() override { delete this; }
};

}  // namespace

class GrpcServer::Core final : public grpc::CallbackGenericService,
                               public std::enable_shared_from_this<Core> {
 public:
  Core(runtime::Runtime& runtime, observe::Log& log, const Dispatcher& dispatcher,
       net::Credentials credentials)
      : runtime_(runtime),
        log_(log),
        dispatcher_(dispatcher),
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

  // The loop.
  void serve(const std::shared_ptr<Call>& call);
  static Task<void> run(const rpc::Handler* handler, std::shared_ptr<Call> call);
  void refuse_slowly(const std::shared_ptr<Call>& call, const Error& error);
  void finish_all(const Error& error);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  const Dispatcher& dispatcher_;
  std::shared_ptr<CallTable> table_ = std::make_shared<CallTable>();
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
  auto call = std::make_shared<Call>(
      table_, context, [self = weak_from_this()](const std::shared_ptr<Call>& arrived_call) {
        if (const std::shared_ptr<Core> core = self.lock()) core->arrived(arrived_call);
      });
  if (!table_->add(call)) return new RefusedCall(context);
  call->start(call);
  return call.get();
}

void GrpcServer::Core::arrived(const std::shared_ptr<Call>& call) {
  const std::int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                                  std::chrono::system_clock::now().time_since_epoch())
                                  .count();
  Status known;
  {
    const std::lock_guard lock(auth_mutex_);
    known = auth_.check(call->auth, call->method, call->request, now_ms);
  }
  runtime_.post([self = shared_from_this(), call, known = std::move(known)] {
    if (known.has_value()) {
      self->serve(call);
    } else {
      self->refuse_slowly(call, known.error());
    }
  });
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

void GrpcServer::Core::refuse_slowly(const std::shared_ptr<Call>& call, const Error& error) {
  const Instant now = runtime_.now();
  ++refusals_;
  if (now >= next_refusal_log_) {
    next_refusal_log_ = now + kRefusalLogSpacing;
    log_.warning("refused {} from {}: {} ({} refusals so far)", call->method, call->peer,
                 error.message(), refusals_);
  }
  if (stopping_ || next_refusal_ > now + kRefusalDelayMax) {
    call->finish(fail(Code::kOverloaded, "too many calls without the key of this cluster"));
    return;
  }
  // The first of a quiet time is answered at once.
  const Instant at = std::max(next_refusal_, now);
  next_refusal_ = at + kRefusalSpacing;
  if (at == now) {
    call->finish(fail(error));
    return;
  }
  runtime_.schedule(at, [call, error] { call->finish(fail(error)); });
}

void GrpcServer::Core::finish_all(const Error& error) {
  for (const std::shared_ptr<Call>& call : table_->all()) call->finish(fail(error));
}

Task<void> GrpcServer::Core::stop(Deadline deadline) {
  if (server_ == nullptr) co_return;
  CHECK(!stopping_);
  stopping_ = true;
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
}

GrpcServer::GrpcServer(runtime::Runtime& runtime, observe::Log& log, const Dispatcher& dispatcher,
                       net::Credentials credentials)
    : core_(std::make_shared<Core>(runtime, log, dispatcher, std::move(credentials))) {}

GrpcServer::~GrpcServer() = default;

Result<net::Address> GrpcServer::start(const net::Address& address) {
  return core_->start(address);
}

Task<void> GrpcServer::stop(Deadline deadline) { return core_->stop(deadline); }

}  // namespace cairn::rpc
