// WireTap: counts what goes over the simulated wires, by looking into the frames. So it needs no
// help from those who send them.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/buffer.h"
#include "tests/sim/coverage_data.h"
#include "tests/sim/sim_runtime.h"

namespace cairn::sim {

struct Traffic {
  std::uint64_t prepares = 0;
  std::uint64_t delta_prepares = 0;  // that carry deltas
  std::uint64_t zeroing_prepares = 0;
  std::uint64_t reads = 0;
  std::uint64_t seals = 0;
  std::uint64_t resolves = 0;
  std::uint64_t forwards = 0;  // ops that a Resolve rolled forward
  std::uint64_t holds = 0;
  std::uint64_t repairs = 0;
  std::uint64_t whole_repairs = 0;
  std::uint64_t checks = 0;
  std::uint64_t pings = 0;
  std::uint64_t drops = 0;         // DropPieces with pieces
  std::uint64_t region_drops = 0;  // without: only regions
  std::uint64_t closes = 0;
  std::uint64_t shadows = 0;
  std::uint64_t swaps = 0;
  std::uint64_t abandoned = 0;  // conversions that ended without one, and why was told
  std::uint64_t waits = 0;      // KeepAlives that tell of writes that wait

  void tell(DataCoverage& coverage) const;
};

class WireTap {
 public:
  // Prints the requests of the data plane to stderr with CAIRN_SIM_WIRE=1.
  explicit WireTap(const SimWorld& world);
  // The parts of one write to a stream: headers, metas, bodies.
  void see(const std::vector<Bytes>& parts);
  const Traffic& traffic() const { return traffic_; }

 private:
  void count(std::uint16_t op, Bytes meta);
  void print(std::uint16_t op, Bytes meta) const;
  const SimWorld& world_;
  const bool prints_;
  Traffic traffic_;
};

}  // namespace cairn::sim
