// TokenBucket: a rate in bytes a second with a small burst, on a clock that the caller brings.
#pragma once

#include <algorithm>

#include "common/base/time.h"
#include "common/base/units.h"

namespace cairn::mds::replication {

class TokenBucket {
 public:
  // 0: no limit.
  explicit TokenBucket(ByteCount bytes_per_s) : bytes_per_s_(bytes_per_s) {}

  // When `bytes` may go; they are counted at once. What was not used counts up to kBurst.
  Instant take(ByteCount bytes, Instant now) {
    if (bytes_per_s_ == 0) return now;
    const Instant at = std::max(next_, now - kBurst);
    const double seconds = static_cast<double>(bytes) / static_cast<double>(bytes_per_s_);
    next_ = at + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
    return std::max(at, now);
  }
  // How long the next one would wait.
  Duration backlog(Instant now) const { return std::max<Duration>(next_ - now, Duration(0)); }

 private:
  static constexpr Duration kBurst = 50ms;
  ByteCount bytes_per_s_;
  Instant next_ = Instant::from_nanos(INT64_MIN / 2);
};

}  // namespace cairn::mds::replication
