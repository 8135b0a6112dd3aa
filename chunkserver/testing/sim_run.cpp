#include "chunkserver/testing/sim_run.h"

#include <algorithm>

#include "chunkserver/testing/sim_writers.h"
#include "chunkserver/testing/store_sim.h"

namespace cairn::chunkserver::testing {
namespace {

class RandomRun {
 public:
  RandomRun(const SimPlan& plan, SimSettings settings, SimStats* stats)
      : settings_(settings),
        stats_(*stats),
        prng_(plan.seed * 0x9e3779b97f4a7c15ULL + 5),
        writers_(plan.seed + 99, settings.deltas),
        sim_(std::move(settings), stats, plan.verbose) {}

  void run(std::uint64_t steps) {
    sim_.open();
    for (std::uint64_t i = 0; i < steps && !sim_.failed(); ++i) {
      sim_.step(draw_step());
      if (prng_.chance(settings_.wound_per_mille)) sim_.wound_data();
      if (prng_.chance(settings_.deep_per_mille)) sim_.check_deeply();
      if (prng_.chance(settings_.restart_per_mille)) sim_.restart();
    }
    sim_.check_deeply();
    if (settings_.tight) sim_.check_fill();
    sim_.finish();
    stats_.operations += sim_.operations();
  }
  const StoreSim& sim() const { return sim_; }

 private:
  StepPlan draw_step() {
    StepPlan plan;
    writers_.answered(sim_.done());
    std::map<PieceId, std::size_t> used;
    const std::uint64_t calls = prng_.between(1, settings_.calls_max);
    const bool spread = prng_.chance(500);
    for (std::uint64_t i = 0; i < calls; ++i) {
      const PieceId piece = piece_id(1 + prng_.below(settings_.pieces));
      if (++used[piece] > kCallsOfAPiece) continue;
      const Duration delay = spread ? draw_delay() : Duration{};
      ModelCall call = writers_.draw_read();
      if (prng_.chance(750)) call = writers_.draw(piece, sim_.model(piece));
      if (is_ambiguous(plan, piece, call)) continue;
      plan.calls.push_back({piece, std::move(call), delay});
    }
    if (prng_.chance(settings_.side_per_mille)) plan.sides.push_back(draw_side());
    if (prng_.chance(settings_.switch_per_mille)) plan.sides.push_back(draw_switch());
    draw_disaster(&plan);
    return plan;
  }

  // What no model could tell from outside, because a newer op may hide it, nobody does: a resolve
  // beside what settles ops of older epochs, or, when the power may end, ops of two epochs beside
  // each other (was the older one there in time to be settled?).
  bool is_ambiguous(const StepPlan& plan, PieceId piece, const ModelCall& call) const {
    const bool resolves = std::holds_alternative<ModelResolve>(call);
    const std::optional<std::uint64_t> epoch = settling_epoch(call);
    const bool may_die = settings_.power_per_mille != 0 || settings_.fault_per_mille != 0;
    return std::ranges::any_of(plan.calls, [&](const PlannedCall& other) {
      if (other.piece != piece) return false;
      const std::optional<std::uint64_t> others = settling_epoch(other.call);
      if (resolves) return others.has_value();
      if (!epoch.has_value()) return false;
      if (std::holds_alternative<ModelResolve>(other.call)) return true;
      return may_die && others.has_value() && *others != *epoch;
    });
  }
  static std::optional<std::uint64_t> settling_epoch(const ModelCall& call) {
    if (const auto* prepare = std::get_if<ModelPrepare>(&call)) return prepare->op.first;
    if (const auto* settle = std::get_if<ModelSettle>(&call)) return settle->epoch;
    return std::nullopt;
  }

  Duration draw_delay() {
    constexpr std::array<Duration, 5> kDelays = {0ms, 1ms, 7ms, 60ms, 1s};
    return kDelays[prng_.below(kDelays.size())];
  }

  SideAction draw_side() {
    constexpr std::array kKinds = {SideAction::Kind::kCheckpoint, SideAction::Kind::kCheckpoint,
                                   SideAction::Kind::kCommit, SideAction::Kind::kScrub,
                                   SideAction::Kind::kHeal};
    return {kKinds[prng_.below(kKinds.size())], {}, draw_delay()};
  }

  SideAction draw_switch() {
    constexpr std::array<std::uint64_t, 5> kBlocks = {32, 48, 64, 128, 300};
    constexpr std::array<const char*, 4> kDirectories = {"", "", "/ssd1", "/ssd2"};
    store::RingPlan ring{kDirectories[prng_.below(kDirectories.size())],
                         kBlocks[prng_.below(kBlocks.size())] * kBlockBytes, prng_.chance(800)};
    return {SideAction::Kind::kSwitch, std::move(ring), draw_delay()};
  }

  void draw_disaster(StepPlan* plan) {
    Disaster& disaster = plan->disaster;
    disaster.seed = prng_.next();
    if (prng_.chance(settings_.power_per_mille)) {
      constexpr std::array kFates = {Fate::kBySeed, Fate::kBySeed, Fate::kAllKept, Fate::kAllLost};
      disaster.kind = Disaster::Kind::kPower;
      disaster.at = prng_.between(1, plan->sides.empty() ? 8 : 40);
      disaster.fate =
          prng_.chance(settings_.kill_share) ? Fate::kKilled : kFates[prng_.below(kFates.size())];
    } else if (prng_.chance(settings_.fault_per_mille)) {
      constexpr std::array kKinds = {Disaster::Kind::kFailWrites, Disaster::Kind::kFailFlush,
                                     Disaster::Kind::kFailIndex, Disaster::Kind::kStall};
      disaster.kind = kKinds[prng_.below(kKinds.size())];
      disaster.at_ring = prng_.chance(500);
      disaster.delay = draw_delay();
    }
  }

  static constexpr std::size_t kCallsOfAPiece = 6;
  SimSettings settings_;
  SimStats& stats_;
  Prng prng_;
  SimWriters writers_;
  StoreSim sim_;
};

}  // namespace

SimOutcome run_seed(const SimPlan& plan) {
  SimOutcome outcome;
  outcome.stats.seeds = 1;
  SimSettings settings = draw_settings(plan.seed);
  sabotage(&settings, plan.sabotage);
  RandomRun run(plan, std::move(settings), &outcome.stats);
  run.run(plan.steps);
  outcome.failure = run.sim().failure();
  outcome.trace_hash = run.sim().trace_hash();
  return outcome;
}

}  // namespace cairn::chunkserver::testing
