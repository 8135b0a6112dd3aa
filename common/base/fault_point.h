// FAULT_POINT("journal.before_flush"): a place where a test may end the process as a power cut
// would: kill -9, nothing flushed, no destructor. Costs one predictable branch unless armed.
//
// CAIRN_FAULT="name:count[,name:count]" kills when the point is passed for the count-th time (1:
// the first); "name:random:P" with chance P per mille at every passage, seeded from the pid. A name
// is made of a-z 0-9 _ and dots. A name that no code passes kills nothing.
//
// Requires: arm_fault_points() once, in main, before there are other threads.
// Errors:   kInvalidArgument: a malformed value. The daemon must not start: a test that believes it
//           injects faults would pass without them.
#pragma once

#include <atomic>
#include <string_view>

#include "common/base/result.h"

namespace cairn {

// From the environment variable CAIRN_FAULT; absent or empty arms nothing.
Status arm_fault_points();
// The same from a text.
Status arm_fault_points(std::string_view text);

namespace base {
inline constinit std::atomic<bool> fault_points_armed = false;
void pass_fault_point(std::string_view name);
}  // namespace base

}  // namespace cairn

#define FAULT_POINT(name)                                                               \
  do {                                                                                  \
    if (::cairn::base::fault_points_armed.load(std::memory_order_relaxed)) [[unlikely]] \
      ::cairn::base::pass_fault_point(name);                                            \
  } while (false)
