#include "chunkserver/testing/store_sim.h"

#include <fmt/format.h>

#include <cstdio>

#include "chunkserver/testing/store_calls.h"
#include "common/base/crc32c.h"

namespace cairn::chunkserver::testing {

struct StoreSim::Running {
  PieceId piece;
  Duration delay;
  TimedCall timed;
  std::string broken;
};

StoreSim::StoreSim(SimSettings settings, SimStats* stats, bool verbose)
    : settings_(std::move(settings)),
      stats_(*stats),
      verbose_(verbose),
      prng_(settings_.world.seed + 77),
      world_(with_log(settings_.world)) {
  world_.kv().set_self_flush_per_mille(settings_.self_flush_per_mille);
  for (std::uint64_t chunk = 1; chunk <= settings_.pieces; ++chunk) models_[piece_id(chunk)];
}

StoreWorld::Options StoreSim::with_log(StoreWorld::Options options) {
  if (verbose_) options.log = [this](const std::string& line) { log("  store: " + line); };
  return options;
}

void StoreSim::note(std::string_view text) {
  for (const char c : text) {
    trace_ = (trace_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  log(text);
}

void StoreSim::log(std::string_view text) {
  if (!verbose_) return;
  const double ms = static_cast<double>(world_.loop().now().nanos() - 1'000'000'000) / 1e6;
  std::printf("%10.1f ms op %llu %.*s\n", ms,
              static_cast<unsigned long long>(world_.power().operations()),
              static_cast<int>(text.size()), text.data());
}

void StoreSim::fail_with(std::string text) {
  if (failed()) return;
  failure_ = fmt::format("step {}: {}", steps_, text);
  note(failure_);
}

Task<void> StoreSim::run_call(StoreSim* sim, Running* running) {
  if (running->delay != Duration{}) co_await sleep_for(sim->world_.loop(), running->delay);
  running->timed.begun = ++sim->clock_;
  CallAnswer answer =
      co_await issue(&sim->world_.store(), running->piece, &running->timed.call, &running->broken);
  running->timed.answer = std::move(answer);
  running->timed.ended = ++sim->clock_;
}

Task<void> StoreSim::run(StepPlan* plan, std::vector<Running>* running) {
  runtime::TaskGroup group(world_.loop());
  for (Running& one : *running) group.spawn(run_call(this, &one));
  for (const SideAction& side : plan->sides) group.spawn(run_side(this, &side));
  group.spawn(run_disaster(this, &plan->disaster));
  co_await group.join();
  if (!dead()) co_await world_.store().quiesce();
}

void StoreSim::step(StepPlan plan) {
  if (!failed() && dead()) survive();
  if (failed()) return;
  ++steps_;
  ++stats_.steps;
  const Disaster& disaster = plan.disaster;
  if (disaster.kind == Disaster::Kind::kPower) {
    world_.power().end_at(disaster.at, disaster.fate, disaster.seed);
  }
  const bool fault =
      disaster.kind != Disaster::Kind::kNone && disaster.kind != Disaster::Kind::kPower;
  fault_ = fault;
  std::vector<Running> running;
  for (PlannedCall& call : plan.calls) {
    remember(call.call);
    running.push_back({call.piece, call.delay, {std::move(call.call), 0, 0, std::nullopt}, {}});
  }
  for (const Running& one : running) {
    log(fmt::format("  {} ...", describe(one.timed.call)));
  }
  log(fmt::format("  {} side actions, disaster {}", plan.sides.size(),
                  static_cast<int>(disaster.kind)));
  world_.loop().run(run(&plan, &running));
  History history;
  done_.clear();
  for (Running& one : running) {
    const auto* prepare = std::get_if<ModelPrepare>(&one.timed.call);
    const bool answered = one.timed.answer.has_value() && !one.timed.answer->code.has_value();
    if (prepare != nullptr && answered) done_.emplace_back(one.piece, prepare->op);
    note(fmt::format("piece {}: {}", one.piece.chunk.raw(), describe(one.timed)));
    if (!one.broken.empty()) fail_with(one.broken);
    history[one.piece].push_back(std::move(one.timed));
  }
  if (failed()) return;
  if (dead() || fault) {
    if (!dead()) {
      // It was not noticed yet: the machine is restarted all the same.
      world_.power().end_now(Fate::kBySeed, prng_.next());
    }
    drop_hurt_reads(&history);
    after_death(history, fault);
    return;
  }
  drop_hurt_reads(&history);
  if (!sort_out_answers(history)) return;
  judge(history, Ending::kAlive, false);
}

// Reads that failed for a wound say nothing.
void StoreSim::drop_hurt_reads(History* history) const {
  if (wounds_.empty()) return;
  for (auto& [piece, calls] : *history) {
    std::erase_if(calls, [](const TimedCall& call) {
      if (!std::holds_alternative<ModelRead>(call.call) || !call.answer.has_value()) return false;
      const std::optional<Code> code = call.answer->code;
      return code == Code::kChecksumMismatch || code == Code::kDiskFailed;
    });
  }
}

// Trouble that has no reason. False: failed.
bool StoreSim::sort_out_answers(const History& history) {
  for (const auto& [piece, calls] : history) {
    for (const TimedCall& call : calls) {
      const std::optional<Code> code = call.answer->code;
      if (code == Code::kNoSpace && settings_.tight) {
        ++stats_.no_space;
        continue;
      }
      if (code == Code::kChecksumMismatch || code == Code::kDiskFailed || code == Code::kNoSpace ||
          code == Code::kOverloaded || code == Code::kCorrupt) {
        fail_with("an answer without a reason: " + describe(call));
      }
    }
  }
  return !failed();
}

void StoreSim::judge(const History& history, Ending ending, bool all) {
  static const std::vector<TimedCall> kNothing;
  std::map<PieceId, PieceModel> after;
  for (const auto& [piece, model] : models_) {
    const auto found = history.find(piece);
    if (found == history.end() && !all) continue;
    const std::vector<TimedCall>& calls = found == history.end() ? kNothing : found->second;
    const std::optional<PieceSight> sight = see(piece);
    if (!sight.has_value()) {
      // It died while we looked: all of them are judged again.
      if (!failed()) after_death(history, false);
      return;
    }
    std::optional<PieceModel> now = explain(model, calls, sight, ending);
    if (!now.has_value()) {
      fail_with(unexplained(piece, calls, *sight, ending));
      return;
    }
    after.emplace(piece, std::move(*now));
  }
  for (auto& [piece, model] : after) models_[piece] = std::move(model);
  for (const auto& [piece, calls] : history) count(calls);
}

std::string StoreSim::unexplained(PieceId piece, const std::vector<TimedCall>& calls,
                                  const PieceSight& sight, Ending ending) {
  std::string text =
      fmt::format("piece {} is in no legal state{}\n  before: {}\n  seen:   {}", piece.chunk.raw(),
                  ending == Ending::kCrashed ? " after a crash" : "",
                  describe(models_[piece].sight()), describe(sight));
  for (const TimedCall& call : calls) text += "\n  " + describe(call);
  return text;
}

// For heals: what the CRC of a damaged block speaks of.
void StoreSim::remember(const ModelCall& call) {
  const auto* prepare = std::get_if<ModelPrepare>(&call);
  const bool wounds = settings_.wound_per_mille != 0 || settings_.ring_wound_per_mille != 0;
  if (prepare == nullptr || !wounds) return;
  for (const BlockValues* blocks : {&prepare->writes, &prepare->deltas}) {
    for (const auto& [block, value] : *blocks) contents_[crc32c(block_of(value).span())] = value;
  }
}

void StoreSim::count(const std::vector<TimedCall>& calls) {
  for (const TimedCall& call : calls) {
    if (!call.answer.has_value()) continue;
    if (call.answer->code.has_value()) {
      ++stats_.refused;
      continue;
    }
    if (const auto* prepare = std::get_if<ModelPrepare>(&call.call)) {
      ++stats_.prepares;
      if (!prepare->deltas.empty()) ++stats_.delta_prepares;
      if (prepare->writes.size() == kAreaBlocks) ++stats_.large_prepares;
    }
    if (std::holds_alternative<ModelRead>(call.call)) ++stats_.reads;
    if (std::holds_alternative<ModelSettle>(call.call)) ++stats_.settles;
    if (std::holds_alternative<ModelSeal>(call.call)) ++stats_.seals;
    if (std::holds_alternative<ModelResolve>(call.call)) ++stats_.resolves;
    if (std::holds_alternative<ModelRemove>(call.call)) ++stats_.removes;
  }
}

}  // namespace cairn::chunkserver::testing
