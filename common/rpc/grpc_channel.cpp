#include "common/rpc/grpc_channel.h"

#include <grpcpp/create_channel.h>

#include <string>

#include "common/rpc/status_code.h"

namespace cairn::rpc {
namespace {

// gRPC 1.51 tears its shared callback queue down with the last channel that used it, and its own
// threads may still be inside ("ref_counted.h: assertion failed: prior > 0"; seen in one of a
// hundred
// short-lived tools). So the first channel of a process is kept, on purpose, until the process
// ends.
void keep_first(const std::shared_ptr<grpc::Channel>& channel) {
  static const auto* const kept = new std::shared_ptr<grpc::Channel>(channel);
  static_cast<void>(kept);
}

}  // namespace

std::shared_ptr<grpc::Channel> make_channel(const net::Address& address,
                                            const ChannelOptions& options) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
  args.SetMaxSendMessageSize(static_cast<int>(options.message_bytes_max));
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A failover takes 3 s in all: find a peer that came back, and leave one that is gone, soon. The
  // minimum is also what one attempt to connect may take.
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, options.ask_after_ms);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options.give_up_after_ms);
  // Else gRPC asks twice and then waits for data, for ever.
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  const bool v6 = address.host.find(':') != std::string::npos;
  std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(
      (v6 ? "ipv6:" : "ipv4:") + address.to_string(), grpc::InsecureChannelCredentials(), args);
  keep_first(channel);
  return channel;
}

Error to_error(const grpc::Status& status, const grpc::ClientContext& context) {
  const auto& trailer = context.GetServerTrailingMetadata();
  const auto it = trailer.find(kCodeKey);
  const std::string code =
      it == trailer.end() ? std::string() : std::string(it->second.data(), it->second.size());
  return from_grpc_status(status.error_code(), status.error_message(), code);
}

}  // namespace cairn::rpc
