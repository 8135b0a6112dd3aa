// VirtualRuntime: a Runtime on virtual time for unit tests: callbacks run in order, time jumps to
// the next timer when nothing else is ready. Deterministic for a seed.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <utility>

#include "common/base/prng.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task_group.h"

namespace cairn::mds::testing {

class VirtualRuntime final : public runtime::Runtime {
 public:
  explicit VirtualRuntime(std::uint64_t seed = 1) : prng_(seed) {}

  Instant now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(1'700'000'000'000'000'000 + now_.nanos()); }
  std::uint64_t random() override { return prng_.next(); }
  void post(runtime::Callback callback) override { ready_.push_back(std::move(callback)); }
  runtime::TimerId schedule(Instant at, runtime::Callback callback) override {
    const runtime::TimerId id = ++last_timer_;
    timers_.emplace(std::pair(at, id), std::move(callback));
    when_.emplace(id, at);
    return id;
  }
  void cancel(runtime::TimerId timer) override {
    const auto at = when_.find(timer);
    if (at == when_.end()) return;
    timers_.erase(std::pair(at->second, timer));
    when_.erase(at);
  }

  // One callback; false when nothing is left before `until`.
  bool step(Instant until) {
    if (!ready_.empty()) {
      runtime::Callback callback = std::move(ready_.front());
      ready_.pop_front();
      callback();
      return true;
    }
    if (timers_.empty() || timers_.begin()->first.first > until) return false;
    auto next = timers_.extract(timers_.begin());
    when_.erase(next.key().second);
    now_ = std::max(now_, next.key().first);
    next.mapped()();
    return true;
  }
  // Everything that happens within `duration`; time then stands at its end.
  void run_for(Duration duration) {
    const Instant until = now_ + duration;
    while (step(until)) {
    }
    now_ = until;
  }
  // Runs until `done` holds; false when it did not within `limit`.
  template <class Condition>
  bool run_until(Condition done, Duration limit) {
    const Instant until = now_ + limit;
    while (!done()) {
      if (!step(until)) return done();
    }
    return true;
  }

 private:
  Prng prng_;
  Instant now_ = Instant::from_nanos(1'000'000'000);
  std::deque<runtime::Callback> ready_;
  std::map<std::pair<Instant, runtime::TimerId>, runtime::Callback> timers_;
  std::map<runtime::TimerId, Instant> when_;
  runtime::TimerId last_timer_ = 0;
};

// A task's result, once it has one. The task starts at once.
template <class T>
class Outcome {
 public:
  Outcome(runtime::TaskGroup& group, Task<T> task) : state_(std::make_shared<State>()) {
    group.spawn(run(state_, std::move(task)));
  }
  bool done() const { return state_->value.has_value(); }
  T& value() { return *state_->value; }

 private:
  struct State {
    std::optional<T> value;
  };
  static Task<void> run(std::shared_ptr<State> state, Task<T> task) {
    T value = co_await task;
    state->value.emplace(std::move(value));
  }
  std::shared_ptr<State> state_;
};

}  // namespace cairn::mds::testing
