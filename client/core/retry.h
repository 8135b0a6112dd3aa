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
  kAgain,        // back off, same channel (or the next one, when it broke); is it still the master?
  kReconnect,    // this peer is not the master (any more)
  kSessionGone,  // the session ended: leases are void
};
// For an answer to a request that may be repeated (reads; mutations with their seq). An MDS that
// starts, dies, stops or was deposed gives no final answer, whatever it says of itself.
Verdict judge(const Error& error);

// True for errors that only a serving master answers: leases may count from them. All others may
// come from an MDS that is the master no more, or from this side of the connection.
bool proves_master(Code code);

}  // namespace cairn::client
