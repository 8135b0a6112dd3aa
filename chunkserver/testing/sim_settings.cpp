#include "chunkserver/testing/sim_settings.h"

namespace cairn::chunkserver::testing {
namespace {

template <class T, std::size_t N>
T pick(Prng* prng, const T (&of)[N]) {
  return of[prng->below(N)];
}

// Options may come before or after the store knows how to be sabotaged.
template <class Options>
void plant(Options* options, const store::Sabotage& sabotage) {
  if constexpr (requires { options->sabotage = sabotage; }) options->sabotage = sabotage;
}

struct StoreTuning {
  ByteCount journal_write_max;
  ByteCount keep_bytes;
  ByteCount cache_bytes;
  ByteCount dirty_bytes_max;
  ByteCount write_budget;
  Duration home_delay;
  Duration fold_delay;
  std::string directory;
  bool journal;

  void operator()(store::StoreOptions* options) const {
    options->journal_write_max = journal_write_max;
    options->keep_bytes = keep_bytes;
    options->cache_bytes = cache_bytes;
    options->dirty_bytes_max = dirty_bytes_max;
    options->write_budget = write_budget;
    options->home_delay = home_delay;
    options->fold_delay = fold_delay;
    options->journal_directory = directory;
    options->journal = journal;
  }
};

void draw_world(Prng* prng, SimSettings* settings) {
  StoreWorld::Options& world = settings->world;
  constexpr Duration kLatencies[] = {0ms, 0ms, 1ms, 5ms, 50ms};
  world.read_latency = pick(prng, kLatencies);
  world.write_latency = pick(prng, kLatencies);
  world.flush_latency = pick(prng, kLatencies);
  world.discard_latency = pick(prng, kLatencies);
  world.index_latency = pick(prng, kLatencies);
  world.tear_sectors = prng->chance(300);
  constexpr std::uint64_t kRingBlocks[] = {32, 40, 64, 64, 128, 256, 1024};
  world.journal_bytes = pick(prng, kRingBlocks) * kBlockBytes;
  constexpr ByteCount kGrow[] = {64_KiB, 1_MiB, 4_MiB};
  world.grow_bytes = pick(prng, kGrow);
  constexpr ByteCount kWriteMax[] = {0, 1 * kBlockBytes, 4 * kBlockBytes, 4 * kBlockBytes, 64_KiB};
  constexpr ByteCount kKeep[] = {0, 4 * kBlockBytes, 1_MiB};
  constexpr ByteCount kCache[] = {1, 16_KiB, 1_MiB};
  constexpr ByteCount kDirty[] = {1, 64_KiB, 1_MiB};
  constexpr ByteCount kBudget[] = {4 * kBlockBytes, 64 * kBlockBytes, 4_MiB};
  constexpr Duration kDelays[] = {0ms, 10ms, 200ms, 3s};
  const StoreTuning tuning{.journal_write_max = pick(prng, kWriteMax),
                           .keep_bytes = pick(prng, kKeep),
                           .cache_bytes = pick(prng, kCache),
                           .dirty_bytes_max = pick(prng, kDirty),
                           .write_budget = pick(prng, kBudget),
                           .home_delay = pick(prng, kDelays),
                           .fold_delay = pick(prng, kDelays),
                           .directory = prng->chance(400) ? "/ssd1" : "",
                           .journal = prng->chance(850)};
  world.tune = tuning;
  // Four of the largest journaled bodies have room in a ring.
  settings->ring_bytes_min = 4 * tuning.journal_write_max;
}

}  // namespace

SimSettings draw_settings(std::uint64_t seed) {
  Prng prng(seed ^ 0x5e771265);
  SimSettings settings;
  settings.world.seed = seed;
  draw_world(&prng, &settings);
  constexpr std::uint64_t kSelfFlush[] = {0, 10, 100, 300};
  settings.self_flush_per_mille = pick(&prng, kSelfFlush);
  settings.pieces = prng.between(1, 5);
  settings.calls_max = prng.between(1, 12);
  settings.deltas = prng.chance(700);
  settings.tight = prng.chance(200) && settings.world.journal_bytes <= 256 * kBlockBytes;
  // Room for two rings and some blocks beside what upkeep keeps for itself.
  constexpr std::uint64_t kTightBlocks = store::kReservedBlocks + 400;
  settings.world.disk_bytes = settings.tight ? kTightBlocks * kBlockBytes : 24_MiB;
  constexpr std::uint64_t kPower[] = {0, 30, 150, 300};
  settings.power_per_mille = pick(&prng, kPower);
  settings.crash_in_start = prng.chance(500) ? 250 : 0;
  if (prng.chance(300)) settings.fault_per_mille = prng.between(10, 100);
  if (prng.chance(300) && !settings.tight) settings.wound_per_mille = prng.between(20, 200);
  if (prng.chance(200)) settings.ring_wound_per_mille = prng.between(100, 500);
  if (prng.chance(500)) settings.switch_per_mille = prng.between(20, 200);
  settings.side_per_mille = prng.between(0, 200);
  return settings;
}

SimSettings plain_settings(std::uint64_t seed) {
  SimSettings settings;
  settings.world.seed = seed;
  settings.world.disk_bytes = 16_MiB;
  settings.world.grow_bytes = 4_MiB;
  settings.self_flush_per_mille = seed % 3 * 50;
  settings.world.tune = [](store::StoreOptions* options) {
    options->journal_write_max = 4 * kBlockBytes;
    options->home_delay = 50ms;
    options->fold_delay = 20ms;
  };
  return settings;
}

void sabotage(SimSettings* settings, const store::Sabotage& sabotage) {
  settings->world.tune = [before = settings->world.tune, sabotage](store::StoreOptions* options) {
    if (before) before(options);
    plant(options, sabotage);
  };
}

}  // namespace cairn::chunkserver::testing
