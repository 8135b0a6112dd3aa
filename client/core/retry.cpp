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
      return Verdict::kReconnect;
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

}  // namespace cairn::client
