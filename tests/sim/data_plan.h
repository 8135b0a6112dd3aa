// DataPlan: what one seed of the data-path workload makes of its cluster, its clients and files.
#pragma once

#include <vector>

#include "common/base/prng.h"
#include "proto/types.pb.h"
#include "tests/sim/cluster.h"
#include "tests/sim/data_player.h"
#include "tests/sim/run_report.h"

namespace cairn::sim {

struct DataPlan {
  SimCluster::Options cluster;
  unsigned clients = 2;
  unsigned files = 2;
  unsigned phases = 2;
  PlayShape shape;
  std::vector<pb::Encoding> codes;  // what files are converted to
  unsigned parity_least = 1;        // of all of them
};

DataPlan draw_data_plan(Prng& prng, PlantedBug bug);

}  // namespace cairn::sim
