// RunReport: what one simulated run tells. Names of workloads: see main.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/time.h"
#include "tests/sim/coverage_data.h"

namespace cairn::sim {

// How often the rare things happened: a simulation that does not reach them proves nothing.
struct Coverage {
  std::uint64_t faults = 0;
  std::uint64_t wipes = 0;         // an MDS lost its drive
  std::uint64_t resyncs = 0;       // an MDS installed a snapshot
  std::uint64_t replacements = 0;  // an MDS was taken out, another one added
  std::uint64_t masters = 0;       // another MDS served than before
  std::uint64_t client_kills = 0;
  DataCoverage data;

  void add(const Coverage& other) {
    faults += other.faults;
    wipes += other.wipes;
    resyncs += other.resyncs;
    replacements += other.replacements;
    masters += other.masters;
    client_kills += other.client_kills;
    data.add(other.data);
  }
};

struct RunReport {
  bool ok = false;
  std::string failure;  // what a checker saw
  std::uint64_t events = 0;
  std::uint64_t trace_hash = 0;
  std::uint64_t operations = 0;
  Duration longest{0};  // of one operation
  Coverage coverage;
};

// What a run breaks on purpose, to see that the checkers notice.
enum class PlantedBug : std::uint8_t {
  kNone,
  kLyingLog,           // the drives of the MDS logs answer before the write is durable
  kSkipFence,          // chunk servers take what is of old versions and epochs
  kResolveByMajority,  // a recovery asks how many pieces have an op
  kDecideEarly,        // a writer does not wait for the last piece
  kFoldTwice,          // a delta is applied twice
  kSkipRegions,        // a writer decides before the missing pieces' regions are noted
  kForgetRegions,      // a recovery does not note what undecided ops touched
  kBlindRepair,        // a repair does not copy what its piece had undecided
  kHoldAtOnce,         // a writer closes a chunk while ops are under way
  kStaleStamps,        // a converter does not copy again what was changed meanwhile
};

}  // namespace cairn::sim
