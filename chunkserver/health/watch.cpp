#include "chunkserver/health/watch.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::chunkserver::health {
namespace {

constexpr int kLate = 3;  // periods between two looks

std::int64_t seconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::seconds>(duration).count();
}

}  // namespace

Watch::Watch(runtime::Runtime& runtime, std::vector<Probe> probes, Hooks hooks, Options options)
    : runtime_(runtime),
      probes_(std::move(probes)),
      hooks_(std::move(hooks)),
      options_(options),
      group_(runtime) {}

void Watch::start() {
  looked_at_ = runtime_.now();
  group_.spawn(run());
}

Task<void> Watch::stop() {
  stopping_ = true;
  if (sleeper_.has_value()) sleeper_->set(true);
  co_await group_.join();
}

Duration Watch::oldest() const {
  Duration oldest = {};
  for (const Probe& probe : probes_) oldest = std::max(oldest, probe.age());
  return oldest;
}

Task<void> Watch::run() {
  while (!stopping_) {
    sleeper_.emplace(runtime_);
    runtime::Completion<bool> sleeper = *sleeper_;
    const std::optional<bool> woken = co_await sleeper.wait_until(runtime_.after(options_.period));
    static_cast<void>(woken);
    sleeper_.reset();
    if (!stopping_) look();
  }
}

// Then ages say nothing: answers may wait that were not taken yet.
bool Watch::was_away() {
  const Duration since = runtime_.now() - std::exchange(looked_at_, runtime_.now());
  return since > options_.period * kLate;
}

void Watch::look() {
  if (was_away()) return;
  for (const Probe& probe : probes_) {
    const Duration age = probe.age();
    const Duration limit = options_.limit * probe.patience;
    if (age <= limit) continue;
    if (std::exchange(hanging_, true)) return;
    hooks_.on_hang(Error(Code::kTimeout, fmt::format("{} has not answered for {} s (limit {} s)",
                                                     probe.name, seconds(age), seconds(limit))));
    return;
  }
  if (std::exchange(hanging_, false) && hooks_.on_relief) hooks_.on_relief();
}

}  // namespace cairn::chunkserver::health
