// The simulator: cairn-sim [--seed N] [--count N] [--minutes M] [--check-determinism]
// Runs seeds one after another and stops at the first failure, naming the seed that repeats it.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "tests/sim/workload_write_crash_read.h"

int main(int argc, char** argv) {
  std::uint64_t seed = 1;
  std::uint64_t count = 20;
  double minutes = 0;
  bool check_determinism = false;
  CLI::App app("Cairn's cluster simulator");
  app.add_option("--seed", seed, "first seed");
  app.add_option("--count", count, "how many seeds");
  app.add_option("--minutes", minutes, "run for so long instead of --count");
  app.add_flag("--check-determinism", check_determinism,
               "run every seed twice, compare the event traces");
  CLI11_PARSE(app, argc, argv);

  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(minutes * 60);
  std::uint64_t done = 0;
  std::uint64_t operations = 0;
  std::uint64_t faults = 0;
  for (;; ++seed, ++done) {
    if (minutes > 0 ? std::chrono::steady_clock::now() >= end : done >= count) break;
    const cairn::sim::RunReport report = cairn::sim::run_write_crash_read(seed);
    if (!report.ok) {
      std::printf(
          "seed %llu failed: %s\n  again: cairn-sim --seed %llu --count 1 (CAIRN_SIM_LOG=1 for its "
          "log)\n",
          static_cast<unsigned long long>(seed), report.failure.c_str(),
          static_cast<unsigned long long>(seed));
      return 1;
    }
    operations += report.operations;
    faults += report.faults;
    if (check_determinism) {
      const cairn::sim::RunReport again = cairn::sim::run_write_crash_read(seed);
      if (again.trace_hash != report.trace_hash || again.events != report.events) {
        std::printf("seed %llu is not deterministic\n", static_cast<unsigned long long>(seed));
        return 1;
      }
    }
  }
  std::printf("%llu seeds passed: %llu operations, %llu faults\n",
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(faults));
  return 0;
}
