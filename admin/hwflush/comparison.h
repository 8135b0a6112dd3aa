// What the device has against what the server was told: the verdict after a power cut. Pure.
#pragma once

#include <string>

#include "admin/hwflush/protocol.h"

namespace cairn::admin::hwflush {

struct Comparison {
  std::string lines;            // "id<N>:<counter_on_disk> -> <counter_on_server>\n" each
  std::size_t threads = 0;      // how many of them
  std::size_t lost = 0;         // of these, counters on disk that are lower
  std::uint64_t most_lost = 0;  // flushes of one thread
  bool good() const { return lost == 0; }
};

// Of all threads that either side knows.
Comparison compare_counters(const Counters& on_disk, const Counters& on_server);

// One sentence on what that means.
std::string verdict(const Comparison& comparison, KnownBy by);

}  // namespace cairn::admin::hwflush
