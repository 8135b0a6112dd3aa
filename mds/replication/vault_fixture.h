// For tests of table vaults: a runtime whose time stands still unless told, and whose loop takes
// posts of other threads; a directory; rows.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "common/base/prng.h"
#include "mds/replication/rocks_vault.h"
#include "mds/state/keys.h"
#include "mds/state/machine.h"
#include "mds/testing/virtual_runtime.h"

namespace cairn::mds::replication {

class ThreadedRuntime final : public runtime::Runtime {
 public:
  Instant now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(now_.nanos()); }
  std::uint64_t random() override { return prng_.next(); }
  void post(runtime::Callback callback) override {
    const std::lock_guard guard(mutex_);
    ready_.push_back(std::move(callback));
    wake_.notify_one();
  }
  runtime::TimerId schedule(Instant at, runtime::Callback callback) override {
    timers_.emplace(std::pair(at, ++last_timer_), std::move(callback));
    return last_timer_;
  }
  void cancel(runtime::TimerId timer) override {
    std::erase_if(timers_, [timer](const auto& entry) { return entry.first.second == timer; });
  }
  std::size_t timers() const { return timers_.size(); }

  template <class T>
  T run(Task<T> task) {
    runtime::TaskGroup group(*this);
    testing::Outcome<T> outcome(group, std::move(task));
    run_until([&] { return outcome.done() && group.running() == 0; });
    return std::move(outcome.value());
  }
  void run(Task<void> task) {
    runtime::TaskGroup group(*this);
    group.spawn(std::move(task));
    run_until([&] { return group.running() == 0; });
  }
  template <class Condition>
  void run_until(Condition done) {
    while (!done()) turn();
  }
  // Timers that are due by then fire; what they start goes on in the next run().
  void advance(Duration by) {
    now_ = now_ + by;
    while (!timers_.empty() && timers_.begin()->first.first <= now_) {
      auto next = timers_.extract(timers_.begin());
      next.mapped()();
    }
  }

 private:
  void turn() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return !ready_.empty(); });
    runtime::Callback callback = std::move(ready_.front());
    ready_.pop_front();
    lock.unlock();
    callback();
  }

  Prng prng_{4};
  Instant now_ = Instant::from_nanos(1'000'000'000);
  std::map<std::pair<Instant, runtime::TimerId>, runtime::Callback> timers_;
  runtime::TimerId last_timer_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<runtime::Callback> ready_;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "cairn-vault-XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const disk::Path& path() const { return path_; }

 private:
  disk::Path path_;
};

// Rows as apply would write them up to `slot`: that many random ones, the slot, the group.
inline void fill_tables(kv::Kv& tables, std::uint64_t slot, std::uint64_t seed = 1) {
  Prng prng(seed);
  kv::Batch batch;
  for (std::uint64_t i = 0; i < slot; ++i) {
    batch.put("x" + std::to_string(prng.below(100'000)),
              std::string(prng.between(1, 300), static_cast<char>('a' + i % 26)));
  }
  batch.put(state::keys::applied(),
            state::keys::encode_number(slot) + state::keys::encode_number(77));
  batch.put(state::keys::group(), "members");
  CHECK(tables.write(batch).has_value());
}

inline std::uint32_t digest_now(const kv::Reader& tables) {
  const Result<std::uint32_t> digest = state::Machine::digest(tables);
  CHECK(digest.has_value());
  return *digest;
}

}  // namespace cairn::mds::replication
