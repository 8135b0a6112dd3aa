// Instants, wall time, durations and deadlines, all in nanoseconds. There is deliberately no now():
// the clock is a parameter (common/runtime/runtime.h), so that the simulator owns time.
#pragma once

#include <chrono>
#include <cstdint>

#include "common/base/strong.h"

namespace cairn {

using Duration = std::chrono::nanoseconds;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""us;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""min;

// Monotonic; meaningful only inside one process life.
class Instant {
 public:
  constexpr Instant() = default;
  static constexpr Instant from_nanos(std::int64_t nanos) { return Instant(nanos); }
  constexpr std::int64_t nanos() const { return nanos_; }
  friend constexpr auto operator<=>(Instant, Instant) = default;
  friend constexpr Instant operator+(Instant a, Duration d) {
    return Instant(a.nanos_ + d.count());
  }
  friend constexpr Instant operator-(Instant a, Duration d) {
    return Instant(a.nanos_ - d.count());
  }
  friend constexpr Duration operator-(Instant a, Instant b) {
    return Duration(a.nanos_ - b.nanos_);
  }
  static constexpr Instant infinite() { return Instant(INT64_MAX / 2); }

 private:
  explicit constexpr Instant(std::int64_t nanos) : nanos_(nanos) {}
  std::int64_t nanos_ = 0;
};

// A function that waits takes a Deadline, never a timeout.
using Deadline = Instant;

// Nanoseconds since the Unix epoch, UTC. For people and timestamps, never for ordering.
using WallTime = StrongNum<struct WallTimeTag, std::int64_t>;

}  // namespace cairn
