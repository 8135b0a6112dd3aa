// KernelCache: knows which inodes the kernel may hold pages of, and drops them before a lease is
// given back.
//
// Owns:     kThreads notifier threads. A notification may wait for requests in flight (it locks the
//           pages they fill), so it never runs on the loop or on a thread that reads requests.
// Promises: invalidate() ends when no page of the inode from before is left, dirty mapped pages
//           were written through requests of this mount, and its attributes will be asked for
//           again.
// Requires: invalidate() on the loop. stop(): every request is answered (refuse + answer_all), so
//           that no notification waits.
// Limits:   as many queued as client/core gives leases back at a time; each holds its inode once.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "common/base/ids.h"
#include "common/observe/log.h"
#include "common/runtime/completion.h"
#include "common/runtime/runtime.h"
#include "common/runtime/task.h"

struct fuse_session;  // libfuse

namespace cairn::client::fuse {

class KernelCache {
 public:
  KernelCache(runtime::Runtime& runtime, observe::Log& log) : runtime_(runtime), log_(log) {}
  ~KernelCache();

  void start(fuse_session* session);
  // A request that is answered now makes the kernel keep pages of the inode.
  void filled(InodeId inode);
  bool may_hold(InodeId inode) const { return all_ || filled_.contains(inode); }
  // All pages. Nothing happens before start(), after stop(), and when the kernel has none.
  Task<void> invalidate(InodeId inode);
  // Pages of [offset, offset + length); length 0: to the end.
  Task<void> invalidate_range(InodeId inode, std::int64_t offset, std::int64_t length);
  // Joins the threads. Blocks until notifications under way end.
  void stop();

 private:
  static constexpr int kThreads = 4;
  static constexpr std::size_t kFilledMax = 65'536;
  struct Order {
    InodeId inode;
    std::int64_t offset;
    std::int64_t length;
    runtime::Completion<bool> done;
  };
  void run();
  void notify(const Order& order);

  runtime::Runtime& runtime_;
  observe::Log& log_;
  // Inodes with pages; `all_`: too many to remember, any may have some.
  std::unordered_set<InodeId, StrongHash> filled_;
  bool all_ = false;
  fuse_session* session_ = nullptr;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Order> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace cairn::client::fuse
