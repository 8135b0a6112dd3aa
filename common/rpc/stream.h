// Long-lived streams of messages beside the unary calls: one side opens (GrpcStream), the other
// listens (StreamDispatcher, StreamReceiver; GrpcServer serves them). Messages flow from opener to
// listener only.
//
// On the wire a stream is a gRPC call of the method. The opener says who it is in a hello, which
// stands in metadata (kHelloKey) and is covered by cairn-auth (auth.h) like the request of a unary
// call. The listener answers with initial metadata (kStreamKey) when it takes the stream. How
// messages stand in those of gRPC: stream_batch.h.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::rpc {

inline constexpr const char* kHelloKey = "cairn-peer-bin";
inline constexpr const char* kStreamKey = "cairn-stream";
inline constexpr std::size_t kHelloBytesMax = 4096;  // gRPC limits all metadata of a call to 8 KiB
// One message. Larger than a unary one: a promise of Paxos carries all that was accepted and is not
// known as chosen.
inline constexpr ByteCount kStreamMessageBytesMax = 256_MiB;

// One open stream at the listener. Destroyed when the stream is over, on the loop, never inside
// message().
class StreamReceiver {
 public:
  virtual ~StreamReceiver() = default;
  // On the loop, in the order they were sent. An error ends the stream; the opener is told.
  virtual Status message(std::string bytes) = 0;
};

struct StreamOpening {
  std::string hello;
  std::string peer;  // "ipv4:10.0.0.1:40000"
  // Ends the stream; on the loop, at any time, also when it is over.
  std::function<void(const Error&)> close;
};

// The stream methods one server offers. Filled before serving, constant afterwards.
class StreamDispatcher {
 public:
  // Runs on the loop after the key check. An error refuses the stream; the opener is told.
  using Open = std::function<Result<std::unique_ptr<StreamReceiver>>(StreamOpening)>;

  void add(std::string method, Open open) {
    CHECK(method.starts_with('/'));
    CHECK(open != nullptr);
    const bool added = methods_.emplace(std::move(method), std::move(open)).second;
    CHECK(added);
  }
  // nullptr when there is no such method.
  const Open* find(std::string_view method) const {
    const auto it = methods_.find(method);
    return it == methods_.end() ? nullptr : &it->second;
  }

 private:
  std::map<std::string, Open, std::less<>> methods_;
};

}  // namespace cairn::rpc
