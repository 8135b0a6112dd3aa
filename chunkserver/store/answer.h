// Answer: how a record that was submitted to the journal ended; awaited by one coroutine, or by
// nobody. Like a Completion, but whoever sets it may resume the waiter on the spot.
//
// Owns:     shared state; copies refer to the same answer.
// Promises: set() resumes the waiter in a later turn, set_now() before it returns: for callers that
//           have settled everything of their own.
// Requires: the loop thread; one set(), one wait().
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <utility>

#include "common/base/check.h"
#include "common/base/result.h"
#include "common/runtime/runtime.h"

namespace cairn::chunkserver::store {

class Answer {
  struct State {
    std::optional<Status> value;
    std::coroutine_handle<> waiter;
  };

 public:
  Answer() : state_(std::make_shared<State>()) {}

  void set(runtime::Runtime& runtime, Status status) {
    give(std::move(status));
    if (state_->waiter) {
      runtime.post([state = state_] { std::exchange(state->waiter, nullptr).resume(); });
    }
  }
  void set_now(Status status) {
    give(std::move(status));
    const std::shared_ptr<State> keep = state_;
    if (keep->waiter) std::exchange(keep->waiter, nullptr).resume();
  }

  // const Status done = co_await answer.wait();
  auto wait() {
    struct Awaiter {
      std::shared_ptr<State> state;
      bool await_ready() const noexcept { return state->value.has_value(); }
      void await_suspend(std::coroutine_handle<> waiter) const {
        CHECK(!state->waiter);
        state->waiter = waiter;
      }
      Status await_resume() const { return std::move(*state->value); }
    };
    return Awaiter{state_};
  }

 private:
  void give(Status status) {
    CHECK(!state_->value.has_value());
    state_->value = std::move(status);
  }

  std::shared_ptr<State> state_;
};

}  // namespace cairn::chunkserver::store
