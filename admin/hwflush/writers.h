// Writers: the threads that write counters, flush them, and tell the server.
//
// Owns:     the threads; the destructor ends and joins them.
// Requires: directory and reporter outlive it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "admin/hwflush/counter_file.h"
#include "admin/hwflush/reporter.h"
#include "admin/hwflush/test_directory.h"

namespace cairn::admin::hwflush {

class Writers {
 public:
  struct Options {
    std::uint32_t threads = 0;
    ByteCount file_bytes = 0;
    WriteMode mode = WriteMode::kDirect;
  };
  // `on_failure` is called by the thread that failed first.
  Writers(const TestDirectory* directory, Reporter* reporter, Options options,
          std::function<void()> on_failure);
  ~Writers();
  Writers(const Writers&) = delete;
  Writers& operator=(const Writers&) = delete;

  // Returns when each thread has ended what it was at.
  void stop();
  // Counters that the server has.
  std::uint64_t told() const { return told_.load(); }
  // Of the thread that failed first.
  Status failure() const;

 private:
  void work(std::uint32_t thread);
  Status write_until_stopped(std::uint32_t thread);

  const TestDirectory& directory_;
  Reporter& reporter_;
  const Options options_;
  const std::function<void()> on_failure_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint64_t> told_ = 0;
  mutable std::mutex mutex_;  // of failure_
  std::optional<Error> failure_;
  std::vector<std::jthread> threads_;
};

}  // namespace cairn::admin::hwflush
