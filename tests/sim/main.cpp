// The simulator: cairn-sim [--workload data|names|data-path] [--seed N] [--count N] [--minutes M]
// [--keep-going] [--check-determinism] [--require-coverage] [--planted-bug NAME]
// Runs seeds one after another and stops at the first failure, naming the seed that repeats it.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "tests/sim/planted_bugs.h"
#include "tests/sim/workload_data_path.h"
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
  bool keep_going = false;
  std::string planted_bug;
};

struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t operations = 0;
  Duration longest{0};
  Coverage coverage;
};

unsigned long long shown(std::uint64_t number) { return number; }

// For the handler of signals: a failed CHECK must name its seed too.
char abort_text[160];

void on_abort(int number) {
  // Nothing can be done about a failing write here.
  [[maybe_unused]] const ssize_t written = ::write(2, abort_text, std::strlen(abort_text));
  ::signal(number, SIG_DFL);
  ::raise(number);
}

RunReport run(const Arguments& arguments, std::uint64_t seed) {
  const PlantedBug bug = find_planted_bug(arguments.planted_bug);
  std::snprintf(abort_text, sizeof(abort_text), "seed %llu: the process died\n", shown(seed));
  if (arguments.workload == "names") return run_names(seed, bug);
  if (arguments.workload == "data-path") return run_data_path(seed, bug);
  return run_write_crash_read(seed, bug);
}

void print_failure(const Arguments& arguments, std::uint64_t seed, const std::string& failure) {
  std::printf(
      "seed %llu failed: %s\n  again: cairn-sim --workload %s --seed %llu --count 1 "
      "(CAIRN_SIM_LOG=1 for its log)\n",
      shown(seed), failure.c_str(), arguments.workload.c_str(), shown(seed));
  std::fflush(stdout);
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
  for (const auto& [name, times] : seen.data.counts()) {
    std::printf("  %s %llu\n", name.c_str(), shown(times));
  }
}

bool covers_all(const Arguments& arguments, const Coverage& seen) {
  if (arguments.workload == "data-path") {
    bool all = seen.masters > 0;
    for (std::size_t i = 0; i < kDataPathMustCount; ++i) {
      if (seen.data.of(kDataPathMust[i]) != 0) continue;
      std::printf("never happened: %s\n", kDataPathMust[i]);
      all = false;
    }
    return all;
  }
  return seen.masters > 0 && seen.wipes > 0 && seen.resyncs > 0 && seen.replacements > 0 &&
         seen.client_kills > 0;
}

// For the command line: "" or what is wrong.
std::string check_bug_name(const std::string& name) {
  if (find_planted_bug(name) != PlantedBug::kNone) return {};
  std::string known = "one of";
  for (const PlantedBugName& one : planted_bugs()) known += " " + std::string(one.name);
  return known;
}

// In processes of their own: what is broken may well end them.
int hunt(const Arguments& arguments) {
  constexpr std::uint64_t kSeedsOfAProcess = 10;
  const std::uint64_t end = arguments.seed + arguments.count;
  for (std::uint64_t first = arguments.seed; first < end; first += kSeedsOfAProcess) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
      for (std::uint64_t seed = first; seed < std::min(end, first + kSeedsOfAProcess); ++seed) {
        const RunReport report = run(arguments, seed);
        if (report.ok) continue;
        std::printf("seed %llu noticed the planted bug: %s\n", shown(seed), report.failure.c_str());
        std::fflush(stdout);
        ::_exit(1);
      }
      ::_exit(0);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return 2;
    if (WIFSIGNALED(status)) {
      const int signal = WTERMSIG(status);
      std::printf("a process with seeds from %llu on was ended by signal %d\n", shown(first),
                  signal);
      return signal == SIGABRT || signal == SIGSEGV ? 0 : 2;
    }
    if (WEXITSTATUS(status) != 0) return 0;
  }
  std::printf("the planted bug was not noticed\n");
  return 1;
}

int run_all(const Arguments& arguments) {
  if (!arguments.planted_bug.empty()) return hunt(arguments);
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(arguments.minutes * 60);
  Totals totals;
  std::uint64_t failures = 0;
  for (std::uint64_t seed = arguments.seed;; ++seed, ++totals.seeds) {
    const bool over = arguments.minutes > 0 ? std::chrono::steady_clock::now() >= end
                                            : totals.seeds >= arguments.count;
    if (over) break;
    const RunReport report = run(arguments, seed);
    if (!report.ok) {
      print_failure(arguments, seed, report.failure);
      if (!arguments.keep_going) return 1;
      ++failures;
      continue;
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
  if (failures != 0) {
    std::printf("%llu of %llu seeds failed\n", shown(failures), shown(totals.seeds));
    return 1;
  }
  if (arguments.require_coverage && !covers_all(arguments, totals.coverage)) {
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
  app.add_option("--workload", arguments.workload,
                 "data: files; names: directories; data-path: pieces, everything fails")
      ->check(CLI::IsMember({"data", "names", "data-path"}));
  app.add_option("--seed", arguments.seed, "first seed");
  app.add_option("--count", arguments.count, "how many seeds");
  app.add_option("--minutes", arguments.minutes, "run for so long instead of --count");
  app.add_flag("--keep-going", arguments.keep_going, "run the other seeds too when one failed");
  app.add_flag("--check-determinism", arguments.check_determinism,
               "run every seed twice, compare the event traces");
  app.add_flag("--require-coverage", arguments.require_coverage,
               "fail when something rare never happened");
  app.add_option("--planted-bug", arguments.planted_bug,
                 "break something; succeeds when a checker notices")
      ->check(CLI::Validator(cairn::sim::check_bug_name, "NAME"));
  CLI11_PARSE(app, argc, argv);
  for (const int number : {SIGABRT, SIGSEGV}) ::signal(number, cairn::sim::on_abort);
  return cairn::sim::run_all(arguments);
}
