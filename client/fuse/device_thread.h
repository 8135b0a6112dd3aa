// DeviceThread: reads the kernel's requests and has libfuse decode them, which calls the
// operations.
//
// One thread: requests begin in the order of the kernel's queue, and its work (one copy out of the
// kernel) is a small part of what the loop does for each.
// Requires: SIGUSR2 is free for it (wakes the thread from a read).
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "client/fuse/request_memory.h"
#include "common/observe/log.h"

struct fuse_session;  // libfuse

namespace cairn::client::fuse {

class DeviceThread {
 public:
  // `on_gone` runs on the thread when the kernel has no more requests: unmounted or aborted.
  DeviceThread(fuse_session* session, RequestMemoryPool& pool, observe::Log& log,
               std::function<void()> on_gone);
  ~DeviceThread();

  // Asks the thread to end, and wakes it. Repeat until ended(): a wake-up just before the read is
  // lost.
  void stop();
  bool ended() const { return ended_; }
  void join();

  // For the operations: the bytes (a part of the request being decoded) without a copy if they are
  // many.
  static WriteBytes take_current(Bytes bytes);

 private:
  void run();

  fuse_session* session_;
  RequestMemoryPool& pool_;
  observe::Log& log_;
  std::function<void()> on_gone_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

}  // namespace cairn::client::fuse
