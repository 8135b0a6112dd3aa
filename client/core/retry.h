// Retry: how long to wait before the next attempt, and what an error of the master asks the session
// to do. Pure.
#pragma once

#include <cstdint>

#include "common/base/error.h"
#include "common/base/time.h"

namespace cairn::client {

// Doubles from `first` to `most`; each delay is between half and all of that, so that clients who
// failed together do not come back together.
class Backoff {
 public:
  Backoff(Duration first, Duration most) : first_(first), most_(most), current_(first) {}
  Duration next(std::uint64_t random);
  void reset() { current_ = first_; }

 private:
  Duration first_;
  Duration most_;
  Duration current_;
};

enum class Verdict {
  kFinal,        // tell the caller
  kAgain,        // back off, same channel (or the next one, when it broke)
  kReconnect,    // this peer is not the master (any more)
  kSessionGone,  // the session ended: leases are void
};
// For an answer of the master to a request that may be repeated (reads; mutations with their seq).
Verdict judge(const Error& error);

}  // namespace cairn::client
