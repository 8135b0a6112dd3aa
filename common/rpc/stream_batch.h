// Messages of a stream inside gRPC messages (batches): several small ones in one, a large one in
// parts, so that no gRPC message is large. In words of protobuf: `repeated bytes message = 1;
// repeated bytes part = 2;`, in the order of sending; a part is the beginning of the message that
// comes next. Pure, apart from gRPC's buffers.
//
// Promises: a reader gives back what was packed. pack_batch() copies no large message: the buffer
//           shares it.
// Limits:   kStreamMessageBytesMax a message.
// Errors:   BatchReader: kProtocol for bytes that are no batch; it is of no use afterwards.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/units.h"

namespace cairn::rpc {

struct BatchItem {
  std::shared_ptr<const std::string> message;
  std::size_t offset = 0;
  std::size_t size = 0;
  bool is_part() const { return offset + size < message->size(); }
};

grpc::ByteBuffer pack_batch(const std::vector<BatchItem>& items);

class BatchReader {
 public:
  // The messages that end in this batch.
  Result<std::vector<std::string>> read(const grpc::ByteBuffer& buffer);

 private:
  std::string begun_;  // parts of a message that has not ended
};

}  // namespace cairn::rpc
