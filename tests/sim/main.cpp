// The simulator: cairn-sim [--workload data|names] [--seed N] [--count N] [--minutes M]
// [--check-determinism] [--require-coverage] [--planted-bug NAME]
// Runs seeds one after another and stops at the first failure, naming the seed that repeats it.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "tests/sim/workload_names.h"
#include "tests/sim/workload_write_crash_read.h"

namespace cairn::sim {
namespace {

struct Arguments {
  std::string workload = "data";
  std::uint64_t seed = 1;
  std::uint64_t count = 20;
  double minutes = 0;
  bool check_determinism = false;
  bool require_coverage = false;
  std::string planted_bug;
};

struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t operations = 0;
  Duration longest{0};
  Coverage coverage;
};

unsigned long long shown(std::uint64_t number) { return number; }

RunReport run(const Arguments& arguments, std::uint64_t seed) {
  const PlantedBug bug = arguments.planted_bug.empty() ? PlantedBug::kNone : PlantedBug::kLyingLog;
  return arguments.workload == "names" ? run_names(seed, bug) : run_write_crash_read(seed, bug);
}

void print_failure(const Arguments& arguments, std::uint64_t seed, const std::string& failure) {
  std::printf(
      "seed %llu failed: %s\n  again: cairn-sim --workload %s --seed %llu --count 1 "
      "(CAIRN_SIM_LOG=1 for its log)\n",
      shown(seed), failure.c_str(), arguments.workload.c_str(), shown(seed));
}

void print_totals(const Totals& totals) {
  const Coverage& seen = totals.coverage;
  std::printf("%llu seeds passed: %llu operations, the longest %.1f s, %llu faults\n",
              shown(totals.seeds), shown(totals.operations),
              static_cast<double>(totals.longest.count()) / 1e9, shown(seen.faults));
  std::printf(
      "  %llu times another master, %llu MDS wiped, %llu full resyncs, %llu MDS replaced, "
      "%llu mounts killed\n",
      shown(seen.masters), shown(seen.wipes), shown(seen.resyncs), shown(seen.replacements),
      shown(seen.client_kills));
}

bool covers_all(const Coverage& seen) {
  return seen.masters > 0 && seen.wipes > 0 && seen.resyncs > 0 && seen.replacements > 0 &&
         seen.client_kills > 0;
}

int run_all(const Arguments& arguments) {
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(arguments.minutes * 60);
  Totals totals;
  for (std::uint64_t seed = arguments.seed;; ++seed, ++totals.seeds) {
    const bool over = arguments.minutes > 0 ? std::chrono::steady_clock::now() >= end
                                            : totals.seeds >= arguments.count;
    if (over) break;
    const RunReport report = run(arguments, seed);
    if (!report.ok && !arguments.planted_bug.empty()) {
      std::printf("seed %llu noticed the planted bug: %s\n", shown(seed), report.failure.c_str());
      return 0;
    }
    if (!report.ok) {
      print_failure(arguments, seed, report.failure);
      return 1;
    }
    totals.operations += report.operations;
    totals.longest = std::max(totals.longest, report.longest);
    totals.coverage.add(report.coverage);
    if (!arguments.check_determinism) continue;
    const RunReport again = run(arguments, seed);
    if (again.trace_hash != report.trace_hash || again.events != report.events) {
      std::printf("seed %llu is not deterministic\n", shown(seed));
      return 1;
    }
  }
  print_totals(totals);
  if (!arguments.planted_bug.empty()) {
    std::printf("the planted bug was not noticed\n");
    return 1;
  }
  if (arguments.require_coverage && !covers_all(totals.coverage)) {
    std::printf("these seeds did not reach everything that can happen\n");
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace cairn::sim

int main(int argc, char** argv) {
  cairn::sim::Arguments arguments;
  CLI::App app("Cairn's cluster simulator");
  app.add_option("--workload", arguments.workload, "data: files; names: directories")
      ->check(CLI::IsMember({"data", "names"}));
  app.add_option("--seed", arguments.seed, "first seed");
  app.add_option("--count", arguments.count, "how many seeds");
  app.add_option("--minutes", arguments.minutes, "run for so long instead of --count");
  app.add_flag("--check-determinism", arguments.check_determinism,
               "run every seed twice, compare the event traces");
  app.add_flag("--require-coverage", arguments.require_coverage,
               "fail when something rare never happened");
  app.add_option("--planted-bug", arguments.planted_bug,
                 "break something; succeeds when a checker notices")
      ->check(CLI::IsMember({"lying-log"}));
  CLI11_PARSE(app, argc, argv);
  return cairn::sim::run_all(arguments);
}
