// HelperThread: a thread that does slow work for the loop, one piece after the other.
//
// Promises: work is done in the order of the calls; run() ends on the loop.
// Requires: run() on the loop; the object outlives its tasks. Work that may take long looks at a
//           flag of its owner: nothing here interrupts it. Destroying it does what still waits
//           first.
// Limits:   none of its own: the owner bounds how many run() wait.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "common/runtime/completion.h"
#include "common/runtime/task.h"

namespace cairn::mds::replication {

class HelperThread {
 public:
  explicit HelperThread(runtime::Runtime& runtime);
  ~HelperThread();
  HelperThread(const HelperThread&) = delete;
  HelperThread& operator=(const HelperThread&) = delete;

  // What `work` returns. Everything that must die before the loop goes on dies inside `work`.
  template <class T>
  Task<T> run(std::move_only_function<T()> work) {
    runtime::Completion<T> done(runtime_);
    submit([done, job = std::move(work)]() mutable {
      T value = job();
      done.set_from_any_thread(std::move(value));
    });
    T value = co_await done.wait();
    co_return value;
  }

 private:
  using Job = std::move_only_function<void()>;
  void submit(Job job);
  void run_thread();

  runtime::Runtime& runtime_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace cairn::mds::replication
