// The judgement of the quick check, as a pure function of what was measured.
#pragma once

#include <vector>

#include "admin/hwflush/medium.h"
#include "admin/hwflush/quick_check.h"
#include "common/base/time.h"

namespace cairn::admin {

struct FlushSamples {
  std::vector<Duration> latencies;  // of one write and its flush, one after another; not empty
  Duration elapsed = {};            // of all together
};

FlushVerdict judge_flushes(const Medium& medium, FlushSamples samples);

}  // namespace cairn::admin
