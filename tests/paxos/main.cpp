// The consensus simulator: cairn-paxos-sim [--seed N] [--count N] [--minutes M]
// [--check-determinism] [--planted-bug NAME] [--black-box] [--seeds FILE] [--require-coverage]
// [--keep-going] [--verbose] Runs seeds one after another and stops at the first failure, naming
// the seed that repeats it. docs/testing.md.
#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>

#include <unistd.h>

#include "tests/paxos/planted_bugs.h"
#include "tests/paxos/run.h"

namespace {

using cairn::paxos_sim::Outcome;
using cairn::paxos_sim::Plan;
using cairn::paxos_sim::Stats;
using Clock = std::chrono::steady_clock;
using Number = unsigned long long;

// For the handler of signals: a failed CHECK must name its seed too.
char abort_text[64];

void on_abort(int number) {
  // Nothing can be done about a failing write here.
  [[maybe_unused]] const ssize_t written = ::write(2, abort_text, std::strlen(abort_text));
  ::signal(number, SIG_DFL);
}

bool run_one(const Plan& plan, bool check_determinism, Stats* sum) {
  std::snprintf(abort_text, sizeof(abort_text), "seed %llu: the process died\n", Number{plan.seed});
  const Outcome outcome = cairn::paxos_sim::run_seed(plan);
  sum->add(outcome.stats);
  if (outcome.stats.histories_given_up != 0) {
    std::printf("seed %llu: a history was too hard to judge\n", Number{plan.seed});
  }
  if (!outcome.failure.empty()) {
    std::printf("seed %llu failed: %s\n  again: cairn-paxos-sim --seed %llu --count 1 --verbose\n",
                Number{plan.seed}, outcome.failure.c_str(), Number{plan.seed});
    return false;
  }
  if (!check_determinism) return true;
  const Outcome again = cairn::paxos_sim::run_seed(plan);
  if (again.trace_hash == outcome.trace_hash && again.stats.events == outcome.stats.events) {
    return true;
  }
  std::printf("seed %llu is not deterministic\n", Number{plan.seed});
  return false;
}

void print(const Stats& sum, double seconds) {
  std::printf("passed in %.1f s (%.0f seeds/s):", seconds,
              static_cast<double>(sum.seeds) / seconds);
  for (const Stats::Field& field : Stats::fields()) {
    std::printf(" %s %llu,", std::string(field.name).c_str(), Number{sum.*field.value});
  }
  std::printf(" longest way to agreement %llu ms, %llu times hold\n", Number{sum.converge_ms},
              Number{sum.converge_holds});
}

bool covers(const Stats& sum) {
  bool all = true;
  for (const Stats::Field& field : Stats::fields()) {
    if (!field.must_happen || sum.*field.value != 0) continue;
    std::printf("never happened: %s\n", std::string(field.name).c_str());
    all = false;
  }
  return all;
}

int hunt(const Plan& plan, std::string_view name, std::uint64_t count) {
  const auto caught = cairn::paxos_sim::hunt(plan, count);
  if (!caught.has_value()) {
    std::printf("%s: not noticed in %llu seeds\n", std::string(name).c_str(), Number{count});
    return 1;
  }
  std::printf("%s: noticed at seed %llu, after %llu: %s\n", std::string(name).c_str(),
              Number{caught->seed}, Number{caught->seed - plan.seed + 1}, caught->by.c_str());
  return 0;
}

// One seed a line; what follows it is the reason why it is kept.
std::vector<std::uint64_t> read_seeds(const std::string& path) {
  std::vector<std::uint64_t> seeds;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') seeds.push_back(std::stoull(line));
  }
  return seeds;
}

}  // namespace

int main(int argc, char** argv) {
  Plan plan;
  std::uint64_t count = 100;
  double minutes = 0;
  bool check_determinism = false;
  bool black_box = false;
  bool require_coverage = false;
  bool keep_going = false;
  std::string planted;
  std::string seeds_file;
  CLI::App app("The simulator of Cairn's consensus core");
  app.add_option("--seed", plan.seed, "first seed");
  app.add_option("--count", count, "how many seeds");
  app.add_option("--minutes", minutes, "run for so long instead of --count");
  app.add_flag("--check-determinism", check_determinism,
               "run every seed twice, compare the events");
  app.add_option("--planted-bug,--sabotage", planted,
                 "break it on purpose; succeed when it is noticed");
  app.add_flag("--black-box", black_box, "look only at what members apply and clients hear");
  app.add_option("--seeds", seeds_file, "a file of seeds to be run first")
      ->check(CLI::ExistingFile);
  app.add_flag("--require-coverage", require_coverage, "fail when something rare never happened");
  app.add_flag("--keep-going", keep_going, "run the other seeds too when one failed");
  app.add_flag("--verbose", plan.verbose, "print every event");
  CLI11_PARSE(app, argc, argv);

  plan.white_box = !black_box;
  if (!planted.empty()) {
    const auto* bug = cairn::paxos_sim::find_planted_bug(planted);
    if (bug == nullptr) {
      for (const auto& known : cairn::paxos_sim::planted_bugs()) {
        std::printf("%s\n", std::string(known.name).c_str());
      }
      return 2;
    }
    plan.sabotage = bug->sabotage;
    plan.driver_fault = bug->driver_fault;
    return hunt(plan, planted, count);
  }
  ::signal(SIGABRT, on_abort);
  ::signal(SIGSEGV, on_abort);
  Stats sum;
  const auto begun = Clock::now();
  const auto seconds = [begun] {
    return std::chrono::duration<double>(Clock::now() - begun).count();
  };
  if (!seeds_file.empty()) {
    Plan kept = plan;
    for (const std::uint64_t seed : read_seeds(seeds_file)) {
      kept.seed = seed;
      if (!run_one(kept, check_determinism, &sum)) return 1;
    }
  }
  std::uint64_t failures = 0;
  for (std::uint64_t done = 0; minutes > 0 ? seconds() < minutes * 60 : done < count; ++done) {
    if (!run_one(plan, check_determinism, &sum) && (++failures == 1 && !keep_going)) return 1;
    ++plan.seed;
    if (done % 10'000 == 9'999) {
      std::fprintf(stderr, "%llu seeds, %.0f s\n", Number{done + 1}, seconds());
    }
  }
  if (failures != 0) {
    std::printf("%llu of %llu seeds failed\n", Number{failures}, Number{sum.seeds});
    return 1;
  }
  print(sum, seconds());
  return require_coverage && !covers(sum) ? 1 : 0;
}
