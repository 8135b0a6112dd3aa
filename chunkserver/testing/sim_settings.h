// What a seed decides about a run of the store's simulator: sizes (small, so that everything fills
// and wraps), delays, and which trouble comes how often.
#pragma once

#include "chunkserver/store/sabotage.h"
#include "chunkserver/testing/store_world.h"

namespace cairn::chunkserver::testing {

struct SimSettings {
  StoreWorld::Options world;
  std::uint64_t self_flush_per_mille = 100;
  std::uint64_t pieces = 4;
  std::uint64_t calls_max = 8;
  bool deltas = true;
  ByteCount ring_bytes_min = 0;  // smaller rings may be refused
  bool tight = false;            // the disk may be full
  // Chances of a step, per mille.
  std::uint64_t power_per_mille = 0;
  std::uint64_t kill_share = 300;  // of those: the process only
  std::uint64_t crash_in_start = 0;
  std::uint64_t fault_per_mille = 0;  // failing disks, stalls
  std::uint64_t wound_per_mille = 0;
  std::uint64_t ring_wound_per_mille = 0;  // of a start after a crash
  std::uint64_t switch_per_mille = 0;
  std::uint64_t side_per_mille = 100;
  std::uint64_t restart_per_mille = 20;
  std::uint64_t deep_per_mille = 40;
};

SimSettings draw_settings(std::uint64_t seed);
// A calm and small world for programs whose crash points are counted.
SimSettings plain_settings(std::uint64_t seed);
// Tells the store to break its promises.
void sabotage(SimSettings* settings, const store::Sabotage& sabotage);

}  // namespace cairn::chunkserver::testing
