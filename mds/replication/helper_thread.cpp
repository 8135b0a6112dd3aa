#include "mds/replication/helper_thread.h"

namespace cairn::mds::replication {

HelperThread::HelperThread(runtime::Runtime& runtime) : runtime_(runtime) {
  thread_ = std::thread([this] { run_thread(); });
}

HelperThread::~HelperThread() {
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void HelperThread::submit(Job job) {
  {
    const std::lock_guard guard(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void HelperThread::run_thread() {
  for (;;) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
  }
}

}  // namespace cairn::mds::replication
