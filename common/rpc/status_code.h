// How our errors look on gRPC, for clients that do not know "cairn-code", and back. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace cairn::rpc {

// Trailing metadata with the decimal number of our Code: the exact error for our own clients.
inline constexpr const char* kCodeKey = "cairn-code";
// One unary message: what a request or a reply may weigh. A decoder refuses more.
inline constexpr int kMessageBytesMax = 32 * 1024 * 1024;

// Numbers of grpc::StatusCode, so that gRPC headers stay in two files.
int to_grpc_status(Code code);
// `cairn_code` empty: from the status alone. UNAVAILABLE is kUnavailable when the call surely was
// not sent, else kConnectionLost: it may have happened.
Error from_grpc_status(int status, const std::string& message, std::string_view cairn_code);

}  // namespace cairn::rpc
