// One unary call at the server, and the table of those under way. Part of GrpcServer.
//
// Thread rule: any thread.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/rpc/auth.h"
#include "common/rpc/status_code.h"

namespace cairn::rpc {

inline constexpr std::size_t kCallsMax = 1024;

// The metadata `key` of a call; empty when there is none.
std::string metadata_of(const grpc::GenericCallbackServerContext& context, const char* key);
// Our error as the end of a call: the status, and the code in the trailing metadata.
grpc::Status refuse_with(grpc::GenericCallbackServerContext& context, const Error& error);

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
    auth = metadata_of(*context, kAuthKey);
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
    Finish(refuse_with(*context_, outcome.error()));
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

// Ends at once: the table is full or the server stops.
class RefusedCall final : public grpc::ServerGenericBidiReactor {
 public:
  explicit RefusedCall(grpc::GenericCallbackServerContext* context) {
    Finish(refuse_with(*context, Error(Code::kOverloaded, "too many calls, or stopping")));
  }
  void OnDone() override { delete this; }
};

}  // namespace cairn::rpc
