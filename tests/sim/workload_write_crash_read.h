// Workload: one client writes, truncates and fsyncs files at random while a nemesis kills, pauses,
// cuts off, wipes and replaces MDS (1, 3 or 5 of them), kills and restarts chunk servers (with and
// without a power cut) and the client, and cuts links. Then everything comes back and every file is
// read.
//
// Checks (design P1, P5, P6, P7): every block of a file that was fsynced and not written since has
// exactly the fsynced bytes; a block written since has the fsynced or a later written value, never
// a mixture; a client that was not killed reads exactly what it wrote, and no operation of it
// fails. Of the MDS: see group_checker.h. Liveness: after the faults stop everything ends, and all
// MDS are in step, within a bound of virtual time.
#pragma once

#include "tests/sim/run_report.h"

namespace cairn::sim {

RunReport run_write_crash_read(std::uint64_t seed, PlantedBug bug);

}  // namespace cairn::sim
