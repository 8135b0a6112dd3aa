// DriftClock: the monotonic clock of one process life: its own zero, its own speed. Counts the time
// in which the process was stopped.
#pragma once

#include "common/base/time.h"

namespace cairn::paxos_sim {

class DriftClock {
 public:
  static constexpr std::int64_t kTrueRate = 1'000'000;

  DriftClock() = default;
  // `rate`: local microseconds in a true second. `zero`: what it shows at the beginning of the
  // world.
  DriftClock(Duration zero, std::int64_t rate) : zero_(zero), rate_(rate) {}

  Instant local(Duration at) const {
    return Instant::from_nanos(zero_.count()) + scale(at.count(), rate_, kTrueRate);
  }
  // The first true time at which local() is not before `when`.
  Duration reaches(Instant when) const {
    Duration at = scale(when.nanos() - zero_.count(), kTrueRate, rate_);
    while (local(at) < when) at += Duration(1);
    return at;
  }

 private:
  // Without overflow for hours of nanoseconds.
  static Duration scale(std::int64_t nanos, std::int64_t times, std::int64_t over) {
    return Duration(nanos / over * times + nanos % over * times / over);
  }

  Duration zero_{0};
  std::int64_t rate_ = kTrueRate;
};

}  // namespace cairn::paxos_sim
