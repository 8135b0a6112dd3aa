// VirtualLoop: a Runtime on virtual time in one thread, for tests. Runs tasks to their end in no
// time.
#pragma once

#include <deque>
#include <map>

#include "common/base/prng.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::testing {

class VirtualLoop final : public runtime::Runtime {
 public:
  explicit VirtualLoop(std::uint64_t seed) : prng_(seed) {}

  Instant now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(now_.nanos()); }
  std::uint64_t random() override { return prng_.next(); }
  void post(runtime::Callback callback) override { ready_.push_back({0, std::move(callback)}); }
  runtime::TimerId schedule(Instant at, runtime::Callback callback) override {
    const runtime::TimerId id = next_++;
    timers_.emplace(std::pair(at, id), std::move(callback));
    due_.emplace(id, at);
    return id;
  }
  void cancel(runtime::TimerId timer) override {
    const auto it = due_.find(timer);
    if (it == due_.end()) {
      std::erase_if(ready_,
                    [timer](const Ready& ready) { return timer != 0 && ready.timer == timer; });
      return;
    }
    timers_.erase({it->second, timer});
    due_.erase(it);
  }

  // False when there is nothing left to do.
  bool step() {
    // What is due now takes its turn among the rest.
    while (!timers_.empty() && timers_.begin()->first.first <= now_) take_timer();
    if (ready_.empty() && !timers_.empty()) take_timer();
    if (!ready_.empty()) {
      runtime::Callback callback = std::move(ready_.front().callback);
      ready_.pop_front();
      callback();
      return true;
    }
    return false;
  }

  template <class T>
  T run(Task<T> task) {
    std::optional<T> result;
    runtime::TaskGroup group(*this);
    group.spawn(keep(std::move(task), &result));
    Patience patience(now_);
    while (!result.has_value()) patience.check(step(), now_);
    return std::move(*result);
  }
  void run(Task<void> task) {
    bool done = false;
    runtime::TaskGroup group(*this);
    group.spawn(note(std::move(task), &done));
    Patience patience(now_);
    while (!done) patience.check(step(), now_);
  }
  // The process is stopped for so long: time passes and nothing runs.
  void skip(Duration duration) { now_ = now_ + duration; }
  void run_for(Duration duration) {
    const Instant end = now_ + duration;
    while (!ready_.empty() || (!timers_.empty() && timers_.begin()->first.first <= end)) step();
    now_ = end;
  }

 private:
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>* result) {
    T value = co_await task;
    result->emplace(std::move(value));
  }
  static Task<void> note(Task<void> task, bool* done) {
    co_await task;
    *done = true;
  }

  // What hangs, and what spins, ends the test.
  struct Patience {
    explicit Patience(Instant now) : end(now + 60min) {}
    void check(bool stepped, Instant now) {
      CHECK(stepped);  // nothing is left to do, and somebody still waits
      CHECK(now <= end);
      CHECK_LT(++steps, std::uint64_t{3'000'000});
    }
    Instant end;
    std::uint64_t steps = 0;
  };

  struct Ready {
    runtime::TimerId timer;  // 0: none
    runtime::Callback callback;
  };

  void take_timer() {
    auto node = timers_.extract(timers_.begin());
    now_ = std::max(now_, node.key().first);
    due_.erase(node.key().second);
    ready_.push_back({node.key().second, std::move(node.mapped())});
  }

  Prng prng_;
  Instant now_ = Instant::from_nanos(1'000'000'000);
  std::deque<Ready> ready_;
  std::map<std::pair<Instant, runtime::TimerId>, runtime::Callback> timers_;
  std::map<runtime::TimerId, Instant> due_;
  runtime::TimerId next_ = 1;
};

}  // namespace cairn::chunkserver::testing
