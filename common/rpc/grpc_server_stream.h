// One stream of messages at the server (stream.h), and the table of those that are open. Part of
// GrpcServer.
//
// Owns:     the receiver, and what was read and not yet given to it.
// Promises: messages reach the receiver in order; what was read before the end still does, unless
//           this side ended the stream. The receiver dies on the loop, never inside message().
// Limits:   kStreamAheadBytesMax and one message are read ahead of the receiver. kStreamsMax
//           streams with the key, kStrangersMax that are about to be refused.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/support/byte_buffer.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/rpc/stream.h"
#include "common/rpc/stream_batch.h"
#include "common/runtime/runtime.h"

namespace cairn::rpc {

inline constexpr ByteCount kStreamAheadBytesMax = 8_MiB;
inline constexpr std::size_t kStreamsMax = 128;
inline constexpr std::size_t kStrangersMax = 16;

class ServerStream;

// The streams gRPC and we have not both finished. Any thread.
class StreamTable {
 public:
  // False when there are too many of its kind, or closed.
  bool add(const std::shared_ptr<ServerStream>& stream, bool has_key);
  void remove(ServerStream* stream);
  void close(bool closed);
  std::vector<std::shared_ptr<ServerStream>> all();

 private:
  struct Entry {
    std::shared_ptr<ServerStream> stream;
    bool has_key = false;
  };
  std::mutex mutex_;
  std::map<ServerStream*, Entry> streams_;
  bool closed_ = false;
};

class ServerStream final : public grpc::ServerGenericBidiReactor,
                           public std::enable_shared_from_this<ServerStream> {
 public:
  ServerStream(runtime::Runtime& runtime, std::shared_ptr<StreamTable> table,
               grpc::GenericCallbackServerContext* context);

  // The loop. Tells the opener, and begins to read.
  void accept(std::unique_ptr<StreamReceiver> receiver);
  // The first reason is what the opener is told. Any thread.
  void finish(const Error& error);

  const std::string& method() const { return method_; }
  const std::string& peer() const { return peer_; }

 private:
  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void end(const Error* error);
  void post_drain();
  void drain();
  bool refused();
  void read_on();

  runtime::Runtime& runtime_;
  const std::shared_ptr<StreamTable> table_;
  grpc::GenericCallbackServerContext* const context_;
  const std::string method_;
  const std::string peer_;
  std::unique_ptr<StreamReceiver> receiver_;  // the loop's
  grpc::ByteBuffer buffer_;                   // of the read under way

  std::mutex mutex_;  // guards what follows
  BatchReader reader_;
  std::vector<std::string> inbox_;
  ByteCount inbox_bytes_ = 0;
  bool reading_ = false;
  bool drain_posted_ = false;
  bool finished_ = false;  // Finish() was called: no operation may be started any more
  bool refused_ = false;   // by this side: nothing is delivered any more
};

}  // namespace cairn::rpc
