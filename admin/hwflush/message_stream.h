// Messages of hwflush-check over a byte stream.
//
// Requires: one read and one write at a time; outlives them.
// Errors:   kConnectionLost (also when the other side ended), kProtocol.
#pragma once

#include <memory>

#include "admin/hwflush/protocol.h"
#include "common/net/stream.h"

namespace cairn::admin::hwflush {

class MessageStream {
 public:
  explicit MessageStream(std::unique_ptr<net::Stream> stream);

  Task<Result<Message>> read();
  Task<Status> write(Message message);
  void close() { stream_->close(); }
  std::string peer() const { return stream_->peer(); }

 private:
  std::unique_ptr<net::Stream> stream_;
  MessageDecoder decoder_;
  std::vector<std::byte> chunk_;
};

}  // namespace cairn::admin::hwflush
