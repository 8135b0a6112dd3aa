#include <gtest/gtest.h>

#include "common/runtime/asio_runtime.h"
#include "common/runtime/completion.h"
#include "common/runtime/semaphore.h"
#include "common/runtime/task_group.h"

namespace cairn::runtime {
namespace {

// Runs `main` on a fresh loop until it ends.
template <class F>
void run_loop(F main) {
  AsioRuntime loop;
  TaskGroup group(loop);
  struct Stopper {
    static Task<void> run(Task<void> body, AsioRuntime* runtime) {
      co_await body;
      runtime->stop();
    }
  };
  group.spawn(Stopper::run(main(loop), &loop));
  loop.run();
}

Task<int> ready(int n) { co_return n; }

Task<void> sum_many(std::uint64_t* total) {
  for (int i = 0; i < 1'000'000; ++i) {
    const int n = co_await ready(1);
    *total += static_cast<std::uint64_t>(n);
  }
}

TEST(Task, LoopsOverReadyChildrenWithoutStack) {
  std::uint64_t total = 0;
  run_loop([&](AsioRuntime&) { return sum_many(&total); });
  EXPECT_EQ(total, 1'000'000U);
}

Task<void> sleeper(Runtime* runtime, Duration duration, std::vector<int>* order, int id) {
  co_await sleep_for(*runtime, duration);
  order->push_back(id);
}
Task<void> spawn_sleepers(Runtime* runtime, std::vector<int>* order) {
  TaskGroup group(*runtime);
  group.spawn(sleeper(runtime, 20ms, order, 2));
  group.spawn(sleeper(runtime, 1ms, order, 1));
  co_await group.join();
  order->push_back(3);
}

TEST(TaskGroup, JoinWaitsForAll) {
  std::vector<int> order;
  run_loop([&](AsioRuntime& loop) { return spawn_sleepers(&loop, &order); });
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

Task<void> await_both(Runtime* runtime, std::optional<int>* late, int* early) {
  Completion<int> never(*runtime);
  *late = co_await never.wait_until(runtime->now() + 1ms);
  EXPECT_FALSE(never.set(1));
  Completion<int> done(*runtime);
  done.set(7);
  *early = co_await done.wait();
}

TEST(Completion, TimesOutOrDelivers) {
  std::optional<int> late = 1;
  int early = 0;
  run_loop([&](AsioRuntime& loop) { return await_both(&loop, &late, &early); });
  EXPECT_FALSE(late.has_value());
  EXPECT_EQ(early, 7);
}

Task<void> take(Runtime* runtime, Semaphore* semaphore, std::uint64_t n,
                std::vector<std::uint64_t>* order) {
  const Semaphore::Permit permit = co_await semaphore->acquire(n);
  order->push_back(n);
  co_await sleep_for(*runtime, 1ms);
}
Task<void> contend(Runtime* runtime, std::vector<std::uint64_t>* order) {
  Semaphore semaphore(*runtime, 10);
  TaskGroup group(*runtime);
  for (const std::uint64_t n : {8U, 9U, 1U, 100U, 2U})
    group.spawn(take(runtime, &semaphore, n, order));
  co_await group.join();
  EXPECT_EQ(semaphore.available(), 10U);
}

TEST(Semaphore, GrantsInOrderAndClampsTheLargest) {
  std::vector<std::uint64_t> order;
  run_loop([&](AsioRuntime& loop) { return contend(&loop, &order); });
  EXPECT_EQ(order, (std::vector<std::uint64_t>{8, 9, 1, 100, 2}));
}

Task<void> take_until(Runtime* runtime, Semaphore* semaphore, std::uint64_t n, Duration patience,
                      std::vector<std::uint64_t>* order) {
  const Semaphore::Permit permit = co_await semaphore->acquire_until(n, runtime->after(patience));
  order->push_back(permit.held() ? n : 0);
  if (permit.held()) co_await sleep_for(*runtime, 50ms);
}
Task<void> lose_patience(Runtime* runtime, std::vector<std::uint64_t>* order) {
  Semaphore semaphore(*runtime, 10);
  TaskGroup group(*runtime);
  group.spawn(take_until(runtime, &semaphore, 8, 1s, order));
  group.spawn(take_until(runtime, &semaphore, 9, 5ms, order));
  group.spawn(take_until(runtime, &semaphore, 2, 1s, order));
  group.spawn(take_until(runtime, &semaphore, 10, 1s, order));
  co_await group.join();
  EXPECT_EQ(semaphore.available(), 10U);
}

TEST(Semaphore, WhoGivesUpWaitingLetsOthersPass) {
  std::vector<std::uint64_t> order;
  run_loop([&](AsioRuntime& loop) { return lose_patience(&loop, &order); });
  EXPECT_EQ(order, (std::vector<std::uint64_t>{8, 0, 2, 10}));
}

}  // namespace
}  // namespace cairn::runtime
