// The chunk store's simulator: cairn-store-sim [--seed N] [--count N] [--minutes M] [--steps N]
// [--check-determinism] [--planted-bug NAME] [--exhaustive] [--pairs] [--program TEXT]
// [--require-coverage] [--keep-going] [--verbose]
// Runs seeds one after another and stops at the first failure, naming the seed that repeats it.
// docs/testing.md, The chunk store.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "chunkserver/testing/planted_bugs.h"
#include "chunkserver/testing/short_programs.h"
#include "chunkserver/testing/sim_run.h"

namespace {

using cairn::chunkserver::testing::ExhaustPlan;
using cairn::chunkserver::testing::SimOutcome;
using cairn::chunkserver::testing::SimPlan;
using cairn::chunkserver::testing::SimStats;
using Clock = std::chrono::steady_clock;
using Number = unsigned long long;

struct Wishes {
  std::uint64_t count = 100;
  double minutes = 0;
  bool check_determinism = false;
  bool require_coverage = false;
  bool keep_going = false;
  bool exhaustive = false;
  bool pairs = false;
  std::string program;  // of the short ones: those whose name contains it
};

// For the handler of signals: a failed CHECK must name its seed too.
char abort_text[160];

void on_abort(int number) {
  // Nothing can be done about a failing write here.
  [[maybe_unused]] const ssize_t written = ::write(2, abort_text, std::strlen(abort_text));
  ::signal(number, SIG_DFL);
  ::raise(number);
}

bool run_one(const SimPlan& plan, bool check_determinism, SimStats* sum) {
  std::snprintf(abort_text, sizeof(abort_text), "seed %llu: the process died\n", Number{plan.seed});
  const SimOutcome outcome = cairn::chunkserver::testing::run_seed(plan);
  sum->add(outcome.stats);
  if (!outcome.failure.empty()) {
    std::printf(
        "seed %llu failed: %s\n  again: cairn-store-sim --seed %llu --count 1 --steps %llu "
        "--verbose\n",
        Number{plan.seed}, outcome.failure.c_str(), Number{plan.seed}, Number{plan.steps});
    std::fflush(stdout);
    return false;
  }
  if (!check_determinism) return true;
  const SimOutcome again = cairn::chunkserver::testing::run_seed(plan);
  if (again.trace_hash == outcome.trace_hash) return true;
  std::printf("seed %llu is not deterministic\n", Number{plan.seed});
  return false;
}

void print(const SimStats& sum, double seconds) {
  std::printf("passed in %.1f s:", seconds);
  for (const SimStats::Field& field : SimStats::fields()) {
    std::printf(" %s %llu,", std::string(field.name).c_str(), Number{sum.*field.value});
  }
  std::printf(" %.0f steps/s\n", static_cast<double>(sum.steps) / seconds);
}

bool covers(const SimStats& sum) {
  bool all = true;
  for (const SimStats::Field& field : SimStats::fields()) {
    if (!field.must_happen || sum.*field.value != 0) continue;
    std::printf("never happened: %s\n", std::string(field.name).c_str());
    all = false;
  }
  return all;
}

// Crash points of the short programs, with the ring in the data file and on a disk of its own.
bool exhaust(const SimPlan& plan, const Wishes& wishes, SimStats* sum) {
  for (std::size_t program = 0; program < cairn::chunkserver::testing::short_programs();
       ++program) {
    const std::string name(cairn::chunkserver::testing::short_program_name(program));
    if (name.find(wishes.program) == std::string::npos) continue;
    for (const bool outside : {false, true}) {
      ExhaustPlan one{program, outside, wishes.pairs, plan.seed, plan.sabotage, plan.verbose};
      std::snprintf(abort_text, sizeof(abort_text), "%s, ring %s: the process died\n", name.c_str(),
                    outside ? "outside" : "inside");
      const SimOutcome outcome = cairn::chunkserver::testing::run_exhaustively(one);
      sum->add(outcome.stats);
      if (outcome.failure.empty()) continue;
      std::printf("ring %s: %s\n", outside ? "outside" : "inside", outcome.failure.c_str());
      return false;
    }
  }
  return true;
}

// In processes of their own: a sabotaged store may well end them.
int hunt(SimPlan plan, std::string_view name, std::uint64_t count) {
  constexpr std::uint64_t kSeedsOfAProcess = 50;
  for (std::uint64_t done = 0; done < count; done += kSeedsOfAProcess) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
      std::snprintf(abort_text, sizeof(abort_text), "%s: noticed by a CHECK, seed %llu or later\n",
                    std::string(name).c_str(), Number{plan.seed});
      const auto caught = cairn::chunkserver::testing::hunt(plan, kSeedsOfAProcess);
      if (caught.has_value()) {
        std::printf("%s: noticed at seed %llu: %s\n", std::string(name).c_str(),
                    Number{caught->seed}, caught->by.c_str());
        std::fflush(stdout);
      }
      ::_exit(caught.has_value() ? 1 : 0);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return 2;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return 0;
    plan.seed += kSeedsOfAProcess;
  }
  std::printf("%s: not noticed in %llu seeds\n", std::string(name).c_str(), Number{count});
  return 1;
}

bool run_seeds(SimPlan plan, const Wishes& wishes, SimStats* sum) {
  const auto begun = Clock::now();
  const auto seconds = [begun] {
    return std::chrono::duration<double>(Clock::now() - begun).count();
  };
  std::uint64_t failures = 0;
  std::uint64_t done = 0;
  for (; wishes.minutes > 0 ? seconds() < wishes.minutes * 60 : done < wishes.count; ++done) {
    if (!run_one(plan, wishes.check_determinism, sum) && (++failures == 1 && !wishes.keep_going)) {
      return false;
    }
    ++plan.seed;
    if (done % 1'000 == 999) {
      std::fprintf(stderr, "%llu seeds, %llu steps, %.0f s\n", Number{done + 1}, Number{sum->steps},
                   seconds());
    }
  }
  if (failures != 0) std::printf("%llu of %llu seeds failed\n", Number{failures}, Number{done});
  return failures == 0;
}

}  // namespace

int main(int argc, char** argv) {
  SimPlan plan;
  Wishes wishes;
  std::string planted;
  CLI::App app("The simulator of Cairn's chunk store");
  app.add_option("--seed", plan.seed, "first seed");
  app.add_option("--count", wishes.count, "how many seeds");
  app.add_option("--steps", plan.steps, "steps of a seed");
  app.add_option("--minutes", wishes.minutes, "run for so long instead of --count");
  app.add_flag("--check-determinism", wishes.check_determinism,
               "run every seed twice, compare what happened");
  app.add_option("--planted-bug,--sabotage", planted,
                 "break it on purpose; succeed when it is noticed");
  app.add_flag("--exhaustive", wishes.exhaustive, "short programs, ended at every write and flush");
  app.add_flag("--pairs", wishes.pairs, "the same, and again at every one of the start after it");
  app.add_option("--program", wishes.program, "only the short programs with this in their name");
  app.add_flag("--require-coverage", wishes.require_coverage,
               "fail when something rare never happened");
  app.add_flag("--keep-going", wishes.keep_going, "run the other seeds too when one failed");
  app.add_flag("--verbose", plan.verbose, "print every event");
  CLI11_PARSE(app, argc, argv);

  // What led to a failed CHECK is worth seeing.
  if (plan.verbose) std::setvbuf(stdout, nullptr, _IOLBF, 0);
  for (const int number : {SIGABRT, SIGSEGV}) ::signal(number, on_abort);
  if (!planted.empty()) {
    const auto* bug = cairn::chunkserver::testing::find_planted_bug(planted);
    if (bug == nullptr) {
      for (const auto& known : cairn::chunkserver::testing::planted_bugs()) {
        std::printf("%s\n", std::string(known.name).c_str());
      }
      return 2;
    }
    plan.sabotage.*bug->flag = true;
    return hunt(plan, planted, wishes.count);
  }
  SimStats sum;
  const auto begun = Clock::now();
  const bool passed = wishes.exhaustive || wishes.pairs ? exhaust(plan, wishes, &sum)
                                                        : run_seeds(plan, wishes, &sum);
  if (!passed) return 1;
  print(sum, std::chrono::duration<double>(Clock::now() - begun).count());
  return wishes.require_coverage && !covers(sum) ? 1 : 0;
}
