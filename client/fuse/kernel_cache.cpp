#include "client/fuse/kernel_cache.h"

#include <cerrno>
#include <cstring>

#include "client/fuse/fuse_api.h"
#include "client/fuse/process.h"

namespace cairn::client::fuse {

KernelCache::~KernelCache() { CHECK(threads_.empty()); }

void KernelCache::start(fuse_session* session) {
  session_ = session;
  for (int i = 0; i < kThreads; ++i) {
    threads_.emplace_back([this] {
      block_signals_of_this_thread();
      run();
    });
  }
}

void KernelCache::filled(InodeId inode) {
  if (all_) return;
  filled_.insert(inode);
  if (filled_.size() <= kFilledMax) return;
  all_ = true;
  filled_.clear();
}

// Forgets the inode first: what fills pages while the kernel drops them counts again.
Task<void> KernelCache::invalidate(InodeId inode) {
  if (!all_ && filled_.erase(inode) == 0) co_return;
  co_await invalidate_range(inode, 0, 0);
}

Task<void> KernelCache::invalidate_range(InodeId inode, std::int64_t offset, std::int64_t length) {
  runtime::Completion<bool> done(runtime_);
  {
    const std::lock_guard lock(mutex_);
    if (session_ == nullptr || stopping_) co_return;
    queue_.push_back({inode, offset, length, done});
  }
  changed_.notify_one();
  co_await done.wait();
}

void KernelCache::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Order order = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    notify(order);
    order.done.set_from_any_thread(true);
    lock.lock();
  }
}

void KernelCache::notify(const Order& order) {
  const int error =
      fuse_lowlevel_notify_inval_inode(session_, order.inode.raw(), order.offset, order.length);
  // ENOENT: the kernel does not know the inode. ENODEV, ENOTCONN: unmounted. Nothing is cached
  // then.
  if (error == 0 || error == -ENOENT || error == -ENODEV || error == -ENOTCONN) return;
  log_.error("cannot drop the kernel's pages of inode {}: {}", order.inode.raw(),
             std::strerror(-error));
}

void KernelCache::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace cairn::client::fuse
