#include "chunkserver/io/offload.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "common/base/check.h"
#include "common/runtime/completion.h"

namespace cairn::chunkserver::io {

struct Offload::Queue {
  struct Waiting {
    Job job;
    runtime::Completion<Status> done;
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Waiting> jobs;
  bool stop = false;
  std::vector<std::thread> threads;

  void work() {
    for (;;) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [this] { return stop || !jobs.empty(); });
      if (jobs.empty()) return;
      Waiting next = std::move(jobs.front());
      jobs.pop_front();
      lock.unlock();
      Status status = next.job();
      next.done.set_from_any_thread(std::move(status));
    }
  }
};

Offload::Offload(runtime::Runtime& runtime, unsigned threads)
    : runtime_(runtime), queue_(std::make_unique<Queue>()) {
  CHECK_GT(threads, 0U);
  for (unsigned i = 0; i < threads; ++i) {
    queue_->threads.emplace_back([queue = queue_.get()] { queue->work(); });
  }
}

Offload::~Offload() {
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->stop = true;
  }
  queue_->changed.notify_all();
  for (std::thread& thread : queue_->threads) thread.join();
}

Task<Status> Offload::run(Job job) {
  runtime::Completion<Status> done(runtime_);
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->jobs.push_back({std::move(job), done});
  }
  queue_->changed.notify_one();
  co_return co_await done.wait();
}

}  // namespace cairn::chunkserver::io
