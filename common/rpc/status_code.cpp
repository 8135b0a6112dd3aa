#include "common/rpc/status_code.h"

#include <charconv>

namespace cairn::rpc {
namespace {

enum GrpcStatus {  // grpc::StatusCode
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

}  // namespace

int to_grpc_status(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kInvalidName:
    case Code::kNameTooLong:
      return kInvalidArgument;
    case Code::kUnsupported:
      return kUnimplemented;
    case Code::kInternal:
    case Code::kProtocol:
      return kInternal;
    case Code::kNotFound:
      return kNotFound;
    case Code::kExists:
      return kAlreadyExists;
    case Code::kNotPermitted:
    case Code::kAccessDenied:
      return kPermissionDenied;
    case Code::kNotMaster:
    case Code::kNoMajority:
    case Code::kUnavailable:
      return kUnavailable;
    case Code::kStaleEpoch:
    case Code::kStaleVersion:
      return kAborted;
    case Code::kNotAuthenticated:
    case Code::kWrongCluster:
      return kUnauthenticated;
    case Code::kChecksumMismatch:
    case Code::kCorrupt:
      return kDataLoss;
    case Code::kTimeout:
      return kDeadlineExceeded;
    case Code::kNoSpace:
    case Code::kOverloaded:
      return kResourceExhausted;
    case Code::kCancelled:
      return kCancelled;
    default:
      return kFailedPrecondition;
  }
}

Error from_grpc_status(int status, const std::string& message, std::string_view cairn_code) {
  std::uint32_t number = 0;
  const char* const end = cairn_code.data() + cairn_code.size();
  const auto [stop, bad] = std::from_chars(cairn_code.data(), end, number);
  if (!cairn_code.empty() && bad == std::errc{} && stop == end) {
    if (is_known_code(number)) return Error(static_cast<Code>(number), message);
    return Error(Code::kInternal,
                 "error " + std::to_string(number) + " of a newer server: " + message);
  }
  switch (status) {
    case kCancelled:
      return Error(Code::kCancelled, message);
    case kInvalidArgument:
      return Error(Code::kInvalidArgument, message);
    case kDeadlineExceeded:
      return Error(Code::kTimeout, message);
    case kNotFound:
      return Error(Code::kNotFound, message);
    case kAlreadyExists:
      return Error(Code::kExists, message);
    case kPermissionDenied:
    case kUnauthenticated:
      return Error(Code::kNotAuthenticated, message);
    case kResourceExhausted:
      return Error(Code::kOverloaded, message);
    case kUnimplemented:
      return Error(Code::kUnsupported, message);
    case kUnavailable: {
      // gRPC's words for a connection that never came about.
      const bool unsent = message.find("failed to connect") != std::string::npos;
      return Error(unsent ? Code::kUnavailable : Code::kConnectionLost, message);
    }
    default:
      return Error(Code::kInternal, "gRPC status " + std::to_string(status) + ": " + message);
  }
}

}  // namespace cairn::rpc
