#include "client/core/retry.h"

#include <algorithm>

namespace cairn::client {

Duration Backoff::next(std::uint64_t random) {
  const std::int64_t half = current_.count() / 2;
  const std::int64_t jitter =
      half == 0 ? 0 : static_cast<std::int64_t>(random % static_cast<std::uint64_t>(half));
  const Duration delay(current_.count() - half + jitter);
  current_ = std::min(most_, current_ * 2);
  return delay;
}

Verdict judge(const Error& error) {
  switch (error.code()) {
    case Code::kSessionGone:
      return Verdict::kSessionGone;
    case Code::kNotMaster:
    case Code::kProtocol:  // a channel that does not know the session, or garbled bytes
      return Verdict::kReconnect;
    // Of the MDS, not of the request: it is ending, or its log or tables failed, and another one
    // may do better. Cancelled: its reign ended under the request.
    case Code::kCancelled:
    case Code::kDiskFailed:
    case Code::kCorrupt:
      return Verdict::kAgain;
    // Waits for space are the writer's business, not the session's.
    case Code::kNoSpace:
    case Code::kBelowMinimum:
    case Code::kTooFewPieces:
      return Verdict::kFinal;
    default:
      break;
  }
  switch (error.retry_class()) {
    case RetryClass::kSame:
    case RetryClass::kUnknownOutcome:
      return Verdict::kAgain;
    case RetryClass::kNever:
    case RetryClass::kElsewhere:
    case RetryClass::kRefresh:
      return Verdict::kFinal;
  }
  return Verdict::kFinal;
}

bool proves_master(Code code) {
  switch (code) {
    case Code::kNotFound:
    case Code::kExists:
    case Code::kNotDirectory:
    case Code::kIsDirectory:
    case Code::kNotEmpty:
    case Code::kNameTooLong:
    case Code::kNotPermitted:
    case Code::kAccessDenied:
    case Code::kNoAttribute:
    case Code::kTooManyLinks:
    case Code::kFileTooBig:
    case Code::kRangeTooSmall:
    case Code::kStaleHandle:
    case Code::kInvalidName:
    case Code::kTooBig:
    case Code::kStaleEpoch:
    case Code::kStaleVersion:
    case Code::kNoSpace:
    case Code::kBelowMinimum:
    case Code::kTooFewPieces:
      return true;
    default:
      return false;
  }
}

}  // namespace cairn::client
