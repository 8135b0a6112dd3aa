// Workload: several tasks on two mounts create, link, rename and unlink names at the same time,
// each in a directory of its own and all in a common one, while the nemesis does what it does.
//
// Checks: no operation fails, none is executed twice or not at all: every answer, and every
// directory in the end, is what a model says. Of a mount that was killed only the operation under
// way may or may not have happened. In the common directory every name is created by exactly one.
// Of the MDS: see group_checker.h. Liveness: as workload_write_crash_read.h.
#pragma once

#include "tests/sim/run_report.h"

namespace cairn::sim {

RunReport run_names(std::uint64_t seed, PlantedBug bug);

}  // namespace cairn::sim
