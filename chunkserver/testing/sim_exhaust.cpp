// Short programs, ended at every write and flush of every disk and the index.
#include <fmt/format.h>

#include "chunkserver/testing/short_programs.h"
#include "chunkserver/testing/sim_run.h"
#include "chunkserver/testing/sim_writers.h"
#include "chunkserver/testing/store_sim.h"

namespace cairn::chunkserver::testing {
namespace {

class Exhaust {
 public:
  Exhaust(const ExhaustPlan& plan, SimStats* stats) : plan_(plan), stats_(*stats) {}

  std::string run() {
    const std::uint64_t whole = operations_of_whole();
    for (std::uint64_t at = 1; at <= whole && failure_.empty(); ++at) {
      for (const Fate fate : {Fate::kAllKept, Fate::kAllLost, Fate::kBySeed, Fate::kKilled}) {
        const std::uint64_t start = run_to(at, fate, 0);
        if (!plan_.pairs) continue;
        for (std::uint64_t second = 1; second <= start && failure_.empty(); ++second) {
          run_to(at, fate, second);
        }
      }
    }
    return failure_;
  }

 private:
  SimSettings settings() const {
    SimSettings settings = plain_settings(plan_.seed);
    if (plan_.outside) {
      settings.world.tune = [before = settings.world.tune](store::StoreOptions* options) {
        before(options);
        options->journal_directory = "/ssd1";
      };
    }
    sabotage(&settings, plan_.sabotage);
    return settings;
  }

  std::uint64_t operations_of_whole() {
    StoreSim sim(settings(), &stats_, plan_.verbose);
    sim.open();
    for (StepPlan& step : short_program(plan_.program)) sim.step(std::move(step));
    const std::uint64_t operations = sim.operations();
    sim.check_deeply();
    sim.finish();
    if (sim.failed()) failure_ = "without a crash: " + sim.failure();
    return operations;
  }

  // The power ends at operation `at`, and, if `second` is not 0, at that one of the start that
  // follows. Returns the operations of that start.
  std::uint64_t run_to(std::uint64_t at, Fate fate, std::uint64_t second) {
    if (!failure_.empty()) return 0;
    ++stats_.seeds;
    StoreSim sim(settings(), &stats_, plan_.verbose);
    sim.world().power().end_at_next_life(at, fate, plan_.seed + at);
    if (second != 0) sim.crash_second_start(second, Fate::kBySeed, plan_.seed + second);
    sim.open();
    std::uint64_t start = sim.start_operations();
    for (StepPlan& step : short_program(plan_.program)) {
      if (sim.deaths() != 0 || sim.failed()) break;
      sim.step(std::move(step));
      start = sim.start_operations();
    }
    // Life goes on.
    SimWriters writers(plan_.seed, true);
    for (int i = 0; i < 2; ++i) {
      writers.answered(sim.done());
      StepPlan more;
      more.calls.push_back({piece_id(1), writers.draw(piece_id(1), sim.model(piece_id(1))), {}});
      sim.step(std::move(more));
    }
    sim.check_deeply();
    sim.finish();
    if (sim.failed()) {
      failure_ =
          fmt::format("{}, end at operation {} ({}), then {}: {}",
                      short_program_name(plan_.program), at, name_of(fate), second, sim.failure());
    }
    return start;
  }

  static std::string_view name_of(Fate fate) {
    switch (fate) {
      case Fate::kAllKept:
        return "all kept";
      case Fate::kAllLost:
        return "all lost";
      case Fate::kKilled:
        return "killed";
      case Fate::kBySeed:
        break;
    }
    return "by seed";
  }

  const ExhaustPlan& plan_;
  SimStats& stats_;
  std::string failure_;
};

}  // namespace

SimOutcome run_exhaustively(const ExhaustPlan& plan) {
  SimOutcome outcome;
  Exhaust exhaust(plan, &outcome.stats);
  outcome.failure = exhaust.run();
  return outcome;
}

}  // namespace cairn::chunkserver::testing
