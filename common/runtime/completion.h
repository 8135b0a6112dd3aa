// Completion<T>: a one-shot result, set once by a callback (or another task) and awaited once by a
// coroutine. The only bridge from callbacks to coroutines.
//
// Owns:     shared state; copies refer to the same completion.
// Promises: the waiter resumes on the loop of `runtime`, in a later turn, never inside set().
// Requires: set() at most once, on the loop; from another thread use set_from_any_thread().
//           With wait_until(), a set() after the deadline is dropped.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>

#include "common/base/check.h"
#include "common/base/result.h"
#include "common/runtime/runtime.h"

namespace cairn::runtime {

template <class T>
class Completion {
  struct State {
    explicit State(Runtime& r) : runtime(r) {}
    Runtime& runtime;
    std::optional<T> value;
    std::coroutine_handle<> waiter;
    TimerId timer = 0;
    bool woken = false;
    bool timed_out = false;
  };

 public:
  explicit Completion(Runtime& runtime) : state_(std::make_shared<State>(runtime)) {}

  // False if the value came too late or twice (a timeout won): it is dropped.
  bool set(T value) {
    State& state = *state_;
    if (state.value.has_value() || state.timed_out) return false;
    state.value.emplace(std::move(value));
    wake(state_);
    return true;
  }
  void set_from_any_thread(T value) {
    state_->runtime.post(
        [copy = *this, v = std::move(value)]() mutable { copy.set(std::move(v)); });
  }
  bool is_set() const { return state_->value.has_value(); }

  // Awaits the value for ever: the setter guarantees to come.
  auto wait() { return Awaiter{state_}; }

  // Awaits the value until `deadline`; nullopt when it passed first.
  auto wait_until(Deadline deadline) { return TimedAwaiter{state_, deadline}; }

 private:
  static void wake(const std::shared_ptr<State>& state) {
    if (state->timer != 0) state->runtime.cancel(std::exchange(state->timer, 0));
    if (!state->waiter || state->woken) return;
    state->woken = true;
    state->runtime.post([state] { std::exchange(state->waiter, nullptr).resume(); });
  }

  struct Awaiter {
    std::shared_ptr<State> state;
    bool await_ready() const noexcept { return state->value.has_value(); }
    void await_suspend(std::coroutine_handle<> waiter) {
      CHECK(!state->waiter);
      state->waiter = waiter;
    }
    T await_resume() { return std::move(*state->value); }
  };

  struct TimedAwaiter {
    std::shared_ptr<State> state;
    Deadline deadline;
    bool await_ready() const noexcept { return state->value.has_value(); }
    void await_suspend(std::coroutine_handle<> waiter) {
      CHECK(!state->waiter);
      state->waiter = waiter;
      state->timer = state->runtime.schedule(deadline, [s = state] {
        s->timer = 0;
        if (s->value.has_value()) return;
        s->timed_out = true;
        wake(s);
      });
    }
    std::optional<T> await_resume() { return std::move(state->value); }
  };

  std::shared_ptr<State> state_;
};

}  // namespace cairn::runtime
