// Semaphore: an async budget in bytes or operations, first come first served. Mutex: a budget of
//            one.
//
// Promises: waiters are granted in order; a large request is not overtaken by small ones.
// Requires: the loop thread; the object outlives its permits and its waiters.
//           A request larger than the whole budget is granted alone, when everything is back.
#pragma once

#include <algorithm>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <list>
#include <utility>

#include "common/base/check.h"
#include "common/runtime/runtime.h"

namespace cairn::runtime {

class Semaphore {
 public:
  Semaphore(Runtime& runtime, std::uint64_t budget)
      : runtime_(runtime), budget_(budget), free_(budget) {}
  ~Semaphore() { CHECK(waiters_.empty()); }
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  // Gives its share back when it dies.
  class Permit {
   public:
    Permit() = default;
    Permit(Semaphore* owner, std::uint64_t count) : owner_(owner), count_(count) {}
    Permit(Permit&& o) noexcept : owner_(std::exchange(o.owner_, nullptr)), count_(o.count_) {}
    Permit& operator=(Permit&& o) noexcept {
      if (this != &o) {
        release();
        owner_ = std::exchange(o.owner_, nullptr);
        count_ = o.count_;
      }
      return *this;
    }
    ~Permit() { release(); }
    void release() {
      if (owner_ != nullptr) std::exchange(owner_, nullptr)->give_back(count_);
    }
    // False when acquire_until() gave up.
    bool held() const { return owner_ != nullptr; }

   private:
    Semaphore* owner_ = nullptr;
    std::uint64_t count_ = 0;
  };

  struct Awaiter {
    Semaphore& semaphore;
    std::uint64_t count;
    bool await_ready() {
      if (!semaphore.waiters_.empty() || semaphore.free_ < count) return false;
      semaphore.free_ -= count;
      return true;
    }
    void await_suspend(std::coroutine_handle<> waiter) {
      semaphore.waiters_.push_back({waiter, count});
    }
    Permit await_resume() { return Permit(&semaphore, count); }
  };
  // const Semaphore::Permit permit = co_await budget.acquire(bytes);
  Awaiter acquire(std::uint64_t count) { return {*this, std::min(count, budget_)}; }

  struct TimedAwaiter {
    Semaphore& semaphore;
    std::uint64_t count;
    Deadline deadline;
    bool late = false;
    bool await_ready() { return Awaiter{semaphore, count}.await_ready(); }
    void await_suspend(std::coroutine_handle<> waiter) {
      const auto at = semaphore.waiters_.insert(semaphore.waiters_.end(), Waiter{waiter, count});
      at->timer = semaphore.runtime_.schedule(deadline, [this, at, waiter] {
        late = true;
        Semaphore& owner = semaphore;
        owner.waiters_.erase(at);
        owner.grant();  // it may have stood before smaller ones
        waiter.resume();
      });
    }
    Permit await_resume() { return late ? Permit() : Permit(&semaphore, count); }
  };
  // The same until `deadline`: check held().
  TimedAwaiter acquire_until(std::uint64_t count, Deadline deadline) {
    return {*this, std::min(count, budget_), deadline};
  }

  std::uint64_t available() const { return free_; }
  std::size_t waiting() const { return waiters_.size(); }

 private:
  struct Waiter {
    std::coroutine_handle<> handle;
    std::uint64_t count = 0;
    TimerId timer = 0;
  };
  void give_back(std::uint64_t count) {
    free_ += count;
    CHECK_LE(free_, budget_);
    grant();
  }
  void grant() {
    while (!waiters_.empty() && waiters_.front().count <= free_) {
      const Waiter next = waiters_.front();
      waiters_.pop_front();
      free_ -= next.count;
      if (next.timer != 0) runtime_.cancel(next.timer);
      runtime_.post([handle = next.handle] { handle.resume(); });
    }
  }

  Runtime& runtime_;
  std::uint64_t budget_;
  std::uint64_t free_;
  std::list<Waiter> waiters_;  // not a deque: an empty one holds 600 bytes, and mutexes are many
};

class Mutex {
 public:
  explicit Mutex(Runtime& runtime) : semaphore_(runtime, 1) {}
  // const Semaphore::Permit guard = co_await mutex.lock();
  Semaphore::Awaiter lock() { return semaphore_.acquire(1); }
  Semaphore::TimedAwaiter lock_until(Deadline deadline) {
    return semaphore_.acquire_until(1, deadline);
  }
  bool contended() const { return semaphore_.waiting() != 0; }

 private:
  Semaphore semaphore_;
};

// Signal: wakes everyone who waits for "something changed". Check your condition in a loop.
class Signal {
 public:
  explicit Signal(Runtime& runtime) : runtime_(runtime) {}
  ~Signal() { CHECK(waiters_.empty()); }
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  void notify_all() {
    std::deque<std::coroutine_handle<>> waiters;
    waiters.swap(waiters_);
    for (const std::coroutine_handle<> waiter : waiters) {
      runtime_.post([waiter] { waiter.resume(); });
    }
  }
  auto wait() {
    struct Awaiter {
      Signal& signal;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> waiter) { signal.waiters_.push_back(waiter); }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this};
  }

 private:
  Runtime& runtime_;
  std::deque<std::coroutine_handle<>> waiters_;
};

}  // namespace cairn::runtime
