// Programs that are short enough to be ended at each of their writes and flushes: small and large
// writes, deltas and their folds, punches, removals, resolutions, checkpoints, and the ring on its
// way.
#pragma once

#include <string_view>
#include <vector>

#include "chunkserver/testing/sim_step.h"

namespace cairn::chunkserver::testing {

std::size_t short_programs();
std::string_view short_program_name(std::size_t program);
std::vector<StepPlan> short_program(std::size_t program);

}  // namespace cairn::chunkserver::testing
