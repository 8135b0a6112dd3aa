// Offload: a few threads for calls that block (file system calls, RocksDB flushes).
//
// Promises: jobs start in the order of run(); the waiter resumes on the loop.
// Requires: run() on the loop of the runtime; every task ended before the object dies.
// Limits:   `threads` jobs at a time; whoever calls run() bounds how many wait.
#pragma once

#include <functional>
#include <memory>

#include "common/base/result.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"

namespace cairn::chunkserver::io {

class Offload {
 public:
  using Job = std::move_only_function<Status()>;
  Offload(runtime::Runtime& runtime, unsigned threads);
  ~Offload();
  Offload(const Offload&) = delete;
  Offload& operator=(const Offload&) = delete;

  Task<Status> run(Job job);

 private:
  struct Queue;
  runtime::Runtime& runtime_;
  std::unique_ptr<Queue> queue_;
};

}  // namespace cairn::chunkserver::io
