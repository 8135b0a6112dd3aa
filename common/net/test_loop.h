// For tests: runs one coroutine on a fresh AsioRuntime until it ends.
#pragma once

#include <utility>

#include "common/runtime/asio_runtime.h"
#include "common/runtime/task_group.h"

namespace cairn::net {

namespace detail {
inline Task<void> run_then_stop(Task<void> body, runtime::AsioRuntime* loop) {
  co_await body;
  loop->stop();
}
}  // namespace detail

// `make(loop)` returns the Task<void> to run.
template <class Make>
void run_on_loop(Make make) {
  runtime::AsioRuntime loop;
  runtime::TaskGroup group(loop);
  group.spawn(detail::run_then_stop(make(loop), &loop));
  loop.run();
}

}  // namespace cairn::net
