// ProcessUsage: CPU time and memory of this process, from /proc/self.
#pragma once

#include <cstdint>

namespace cairn::mds::service {

struct ProcessUsage {
  std::uint64_t cpu_ns = 0;        // user and system, all threads, since start
  std::uint64_t memory_bytes = 0;  // resident
};
// Zeros where /proc is not there.
ProcessUsage process_usage();

}  // namespace cairn::mds::service
