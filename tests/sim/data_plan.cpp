#include "tests/sim/data_plan.h"

#include <algorithm>

#include "tests/sim/planted_bugs.h"

namespace cairn::sim {

namespace {

struct Code {
  std::uint32_t data, parity, min;
};
constexpr Code kCodes[] = {{1, 1, 1}, {1, 2, 2}, {2, 1, 2}, {3, 2, 4}, {4, 2, 5}};

// Some runs convert files, to what the cluster's servers are enough for.
void draw_codes(Prng& prng, const Code& own, DataPlan* plan) {
  plan->parity_least = own.parity;
  if (!prng.chance(550)) return;
  for (const Code& code : kCodes) {
    if (code.data + code.parity + 1 > plan->cluster.chunk_servers) continue;
    const bool same = code.data == own.data && code.parity == own.parity;
    if (!same && !prng.chance(500)) continue;
    pb::Encoding& encoding = plan->codes.emplace_back();
    encoding.set_data(code.data);
    encoding.set_parity(code.parity);
    encoding.set_min(code.min);
    plan->parity_least = std::min(plan->parity_least, code.parity);
  }
}

}  // namespace

DataPlan draw_data_plan(Prng& prng, PlantedBug bug) {
  constexpr unsigned kGroups[] = {1, 3, 3};
  DataPlan plan;
  const Code code = kCodes[prng.below(std::size(kCodes))];
  plan.cluster.data = code.data;
  plan.cluster.parity = code.parity;
  plan.cluster.min = code.min;
  plan.cluster.mds = kGroups[prng.below(std::size(kGroups))];
  plan.cluster.chunk_servers =
      static_cast<unsigned>(prng.between(std::max(6U, code.data + code.parity + 1), 12));
  plan.cluster.disk_bytes = 256_MiB;
  plan.cluster.cell_bytes = static_cast<std::uint32_t>(prng.between(1, 4) * kBlockBytes);
  const std::uint64_t cells = 4U << prng.below(4);
  plan.cluster.piece_bytes = plan.cluster.cell_bytes * cells;
  plan.cluster.mds_tables.keep_slots = prng.between(20, 400);
  plan.cluster.mds_tables.flush_every_bytes = prng.between(4_KiB, 64_KiB);
  plant(bug, plan.cluster);
  // A short lease ends often, and with it what a client delayed.
  if (prng.chance(350)) plan.cluster.lease = 8s;
  plan.clients = static_cast<unsigned>(prng.between(2, 4));
  plan.files = static_cast<unsigned>(prng.between(1, 4));
  plan.phases = static_cast<unsigned>(prng.between(1, 3));
  const std::uint64_t chunk = plan.cluster.piece_bytes * code.data;
  plan.shape.cell_bytes = plan.cluster.cell_bytes;
  plan.shape.stripe_bytes = plan.shape.cell_bytes * code.data;
  plan.shape.file_bytes_max = std::min<std::uint64_t>(chunk * 5 / 2, 1_MiB) / kSector * kSector;
  plan.shape.think_ms_max = 1U << prng.between(1, 9);
  plan.shape.loyal_per_mille = prng.below(1000);
  draw_codes(prng, code, &plan);
  return plan;
}

}  // namespace cairn::sim
