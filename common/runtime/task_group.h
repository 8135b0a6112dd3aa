// TaskGroup: structured spawn. Starts tasks from ordinary code and joins them; nothing is detached.
//
// Owns:     the frames of the tasks it runs.
// Requires: the owner co_awaits join() before it dies (the destructor checks that nothing runs).
//           A spawned task starts at once, inside spawn(), up to its first suspension.
#pragma once

#include <coroutine>
#include <cstddef>
#include <vector>

#include "common/runtime/runtime.h"
#include "common/runtime/task.h"

namespace cairn::runtime {

class TaskGroup {
 public:
  explicit TaskGroup(Runtime& runtime) : runtime_(runtime) {}
  ~TaskGroup() { CHECK_EQ(running_, std::size_t{0}); }
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  void spawn(Task<void> task) {
    ++running_;
    run(*this, std::move(task));
  }
  std::size_t running() const { return running_; }

  // Resumes when nothing runs. Several may join.
  auto join() {
    struct Awaiter {
      TaskGroup& group;
      bool await_ready() const noexcept { return group.running_ == 0; }
      void await_suspend(std::coroutine_handle<> waiter) { group.joiners_.push_back(waiter); }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this};
  }

 private:
  // A frame that frees itself at its end: the one place where a coroutine has no awaiter.
  struct Root {
    struct promise_type {
      Root get_return_object() { return {}; }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() {}
      [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
    };
  };
  static Root run(TaskGroup& group, Task<void> task) {
    {
      Task<void> owned = std::move(task);
      co_await owned;
    }
    group.finished();
  }
  void finished() {
    if (--running_ != 0) return;
    std::vector<std::coroutine_handle<>> joiners;
    joiners.swap(joiners_);
    for (const std::coroutine_handle<> waiter : joiners) {
      runtime_.post([waiter] { waiter.resume(); });
    }
  }

  Runtime& runtime_;
  std::size_t running_ = 0;
  std::vector<std::coroutine_handle<>> joiners_;
};

}  // namespace cairn::runtime
