// Workload data-path: several clients write, append, truncate, fsync, read and unlink a few files
// of small cells and pieces, so that a run touches many stripes and chunks, while chunk servers,
// drives, links, clients and MDS fail. After each of some phases everything is mended, and looked
// at: docs/testing.md, The data path.
#pragma once

#include "tests/sim/run_report.h"

namespace cairn::sim {

RunReport run_data_path(std::uint64_t seed, PlantedBug bug);

// Kinds that must have happened.
extern const char* const kDataPathMust[];
extern const std::size_t kDataPathMustCount;

}  // namespace cairn::sim
