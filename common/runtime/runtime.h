// Runtime: the seam between code that decides and the machine. One Runtime is one event loop; all
// Tasks of an object run on its loop. Passed through constructors, never global. AsioRuntime is the
// real one; SimRuntime (tests/sim) runs a whole cluster in one thread on virtual time.
//
// Thread rule: post() may be called from any thread; everything else only on the loop.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>

#include "common/base/time.h"

namespace cairn::runtime {

using Callback = std::move_only_function<void()>;
// 0 is never a timer.
using TimerId = std::uint64_t;

class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual Instant now() const = 0;
  virtual WallTime wall_now() const = 0;
  // Unpredictable in production, seeded in the simulator.
  virtual std::uint64_t random() = 0;
  // Runs `callback` on the loop, after the current turn.
  virtual void post(Callback callback) = 0;
  // Runs `callback` on the loop at `at` or soon after. cancel() of a fired timer is harmless.
  virtual TimerId schedule(Instant at, Callback callback) = 0;
  virtual void cancel(TimerId timer) = 0;

  Deadline after(Duration duration) const { return now() + duration; }
};

// co_await sleep_until(runtime, instant);
class SleepAwaiter {
 public:
  SleepAwaiter(Runtime& runtime, Instant until) : runtime_(runtime), until_(until) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    runtime_.schedule(until_, [waiter] { waiter.resume(); });
  }
  void await_resume() const noexcept {}

 private:
  Runtime& runtime_;
  Instant until_;
};

inline SleepAwaiter sleep_until(Runtime& runtime, Instant until) { return {runtime, until}; }
inline SleepAwaiter sleep_for(Runtime& runtime, Duration duration) {
  return {runtime, runtime.now() + duration};
}

// co_await yield_turn(runtime): lets everything else that is ready run first.
class YieldAwaiter {
 public:
  explicit YieldAwaiter(Runtime& runtime) : runtime_(runtime) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    runtime_.post([waiter] { waiter.resume(); });
  }
  void await_resume() const noexcept {}

 private:
  Runtime& runtime_;
};

inline YieldAwaiter yield_turn(Runtime& runtime) { return YieldAwaiter(runtime); }

}  // namespace cairn::runtime
