#include "tests/sim/sim_runtime.h"

#include "common/base/check.h"

namespace cairn::sim {

namespace {

// Reachable for ever, so that leak checkers know it is meant.
struct Graveyard {
  std::vector<runtime::Callback> callbacks;
  std::vector<std::shared_ptr<void>> remains;
  std::vector<std::unique_ptr<SimRuntime>> runtimes;
};
Graveyard& graveyard() {
  static Graveyard* const yard = new Graveyard;
  return *yard;
}

}  // namespace

namespace {
constexpr std::int64_t kMillion = 1'000'000;
// a * ppm / 1'000'000 without overflow.
constexpr std::int64_t scaled(std::int64_t a, std::int64_t ppm, std::int64_t unit) {
  return a / unit * ppm + a % unit * ppm / unit;
}
}  // namespace

Instant SimRuntime::now() const {
  const std::int64_t world = world_.now_.nanos();
  return Instant::from_nanos(world + scaled(world, drift_ppm_, kMillion));
}

Instant SimRuntime::world_time(Instant local) const {
  if (drift_ppm_ == 0) return local;
  const std::int64_t nanos = local.nanos();
  // Rounded up: a timer is never early.
  return Instant::from_nanos(nanos - scaled(nanos, drift_ppm_, kMillion + drift_ppm_) + 2);
}

void SimRuntime::kill() {
  alive_ = false;
  for (Parked& parked : parked_) graveyard().callbacks.push_back(std::move(parked.callback));
  parked_.clear();
}

void SimRuntime::resume() {
  paused_ = false;
  Instant at = world_.now_;
  for (Parked& parked : parked_) {
    world_.events_.emplace(SimWorld::Key(at, parked.timer),
                           SimWorld::Event{this, std::move(parked.callback)});
    world_.due_.emplace(parked.timer, at);
    at = at + Duration(1);  // in their order
  }
  parked_.clear();
}

WallTime SimRuntime::wall_now() const {
  constexpr std::int64_t kStart = 1'700'000'000'000'000'000;
  return WallTime(kStart + world_.now_.nanos());
}

std::uint64_t SimRuntime::random() { return world_.prng_.next(); }

void SimRuntime::post(runtime::Callback callback) {
  world_.add(this, world_.now_, std::move(callback));
}

runtime::TimerId SimRuntime::schedule(Instant at, runtime::Callback callback) {
  return world_.add(this, std::max(world_time(at), world_.now_), std::move(callback));
}

void SimRuntime::cancel(runtime::TimerId timer) {
  const auto it = world_.due_.find(timer);
  if (it == world_.due_.end()) {
    std::erase_if(parked_, [timer](const Parked& parked) { return parked.timer == timer; });
    return;
  }
  world_.events_.erase({it->second, timer});
  world_.due_.erase(it);
}

SimWorld::~SimWorld() {
  for (auto& [key, event] : events_) graveyard().callbacks.push_back(std::move(event.callback));
  for (std::unique_ptr<SimRuntime>& runtime : runtimes_) {
    if (!runtime->alive()) graveyard().runtimes.push_back(std::move(runtime));
  }
}

void SimWorld::bury(std::shared_ptr<void> remains) {
  graveyard().remains.push_back(std::move(remains));
}

SimRuntime& SimWorld::make_runtime(std::int64_t drift_ppm) {
  runtimes_.push_back(std::make_unique<SimRuntime>(*this, drift_ppm));
  return *runtimes_.back();
}

runtime::TimerId SimWorld::add(SimRuntime* owner, Instant at, runtime::Callback callback) {
  const std::uint64_t sequence = next_sequence_++;
  if (!owner->alive()) {
    graveyard().callbacks.push_back(std::move(callback));
    return sequence;
  }
  events_.emplace(Key(at, sequence), Event{owner, std::move(callback)});
  due_.emplace(sequence, at);
  return sequence;
}

bool SimWorld::step() {
  if (events_.empty()) return false;
  const auto first = events_.begin();
  const Key key = first->first;
  Event event = std::move(first->second);
  events_.erase(first);
  due_.erase(key.second);
  CHECK(key.first >= now_);
  now_ = key.first;
  if (!event.owner->alive()) {
    graveyard().callbacks.push_back(std::move(event.callback));
    return true;
  }
  if (event.owner->paused_) {
    event.owner->parked_.push_back({key.second, std::move(event.callback)});
    return true;
  }
  ++events_run_;
  const auto mix = [this](std::uint64_t word) {
    trace_hash_ = (trace_hash_ ^ word) * 0x100000001b3ULL;
  };
  mix(static_cast<std::uint64_t>(key.first.nanos()));
  mix(key.second);
  event.callback();
  return true;
}

void SimWorld::run_for(Duration duration) {
  const Instant end = now_ + duration;
  while (!events_.empty() && events_.begin()->first.first <= end) step();
  now_ = std::max(now_, end);
}

}  // namespace cairn::sim
