// Event: wakes everyone who waits for "something changed", or lets them go on at their deadline.
// Check your condition in a loop. (runtime::Signal with a deadline.)
//
// Requires: the loop thread; nobody waits when it dies.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>

#include "common/runtime/completion.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"

namespace cairn::client {

class Event {
 public:
  explicit Event(runtime::Runtime& runtime) : runtime_(runtime) {}
  ~Event() { CHECK(waiters_.empty()); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void notify_all() {
    std::map<std::uint64_t, runtime::Completion<bool>> waiters;
    waiters.swap(waiters_);
    for (auto& [id, waiter] : waiters) waiter.set(true);
  }
  // False when the deadline came first.
  Task<bool> wait_until(Deadline deadline) { return wait(this, deadline); }

 private:
  static Task<bool> wait(Event* self, Deadline deadline) {
    // Timers far away are the caller's way to say "for ever"; he looks again after an hour.
    const Deadline bounded = std::min(deadline, self->runtime_.after(std::chrono::hours(1)));
    const std::uint64_t id = self->next_++;
    runtime::Completion<bool> completion(self->runtime_);
    self->waiters_.emplace(id, completion);
    const std::optional<bool> woken = co_await completion.wait_until(bounded);
    if (woken.has_value()) co_return true;
    self->waiters_.erase(id);
    co_return false;
  }

  runtime::Runtime& runtime_;
  std::uint64_t next_ = 0;
  std::map<std::uint64_t, runtime::Completion<bool>> waiters_;
};

}  // namespace cairn::client
