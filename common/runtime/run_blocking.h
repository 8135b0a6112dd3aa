// run_blocking: runs a loop until one task has ended; for tools that do one thing after the other.
//
// Requires: nobody else runs the loop. A task that never ends never returns.
#pragma once

#include <boost/asio/io_context.hpp>
#include <optional>

#include "common/base/check.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/task.h"
#include "common/runtime/task_group.h"

namespace cairn::runtime {

namespace detail {

template <class T>
Task<void> keep_answer(AsioRuntime* runtime, Task<T> task, std::optional<T>* answer,
                       const bool* running) {
  T value = co_await task;
  answer->emplace(std::move(value));
  if (*running) runtime->stop();
}

}  // namespace detail

template <class T>
T run_blocking(AsioRuntime& runtime, Task<T> task) {
  std::optional<T> answer;
  TaskGroup group(runtime);
  bool running = false;
  group.spawn(detail::keep_answer(&runtime, std::move(task), &answer, &running));
  running = true;
  if (!answer.has_value()) {
    runtime.run();
    runtime.context().restart();  // for the next one
  }
  CHECK(answer.has_value());
  return std::move(*answer);
}

}  // namespace cairn::runtime
