// gRPC channels and statuses as the callers of this folder need them.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>

#include "common/base/error.h"
#include "common/base/units.h"
#include "common/net/stream.h"

namespace cairn::rpc {

struct ChannelOptions {
  ByteCount message_bytes_max = 0;
  // While a call is under way and nothing comes, the peer is asked for a sign of life after
  // `ask_after`, and given up when there is none after `give_up_after` more: it hangs, or its host
  // is gone.
  int ask_after_ms = 0;
  int give_up_after_ms = 0;
};

// Connects when it is used. An address that answers nothing is given up after 1 s, and tried again
// after 100 ms to 1 s.
std::shared_ptr<grpc::Channel> make_channel(const net::Address& address,
                                            const ChannelOptions& options);

Error to_error(const grpc::Status& status, const grpc::ClientContext& context);

}  // namespace cairn::rpc
