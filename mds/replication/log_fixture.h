// What the tests of the log share: records from a seed, their text, a runtime whose post() may come
// from a thread.
#pragma once

#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/prng.h"
#include "mds/paxos/types.h"
#include "mds/replication/file_log_store.h"
#include "mds/testing/virtual_runtime.h"

namespace cairn::mds::replication::testing {

using Records = std::vector<paxos::Record>;

inline paxos::Blob blob(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}
inline paxos::Value command(std::string text) {
  return {.kind = paxos::ValueKind::kCommand, .bytes = blob(std::move(text))};
}
inline paxos::Ballot ballot(std::uint64_t round, std::uint32_t node = 1) {
  return {.round = round, .node = NodeId::from_raw(node)};
}
inline paxos::Record promise(std::uint64_t round, std::uint32_t node = 1) {
  return paxos::PromiseRecord{ballot(round, node)};
}
inline paxos::Record accept(std::uint64_t round, std::uint64_t slot, std::string text) {
  return paxos::AcceptRecord{
      .ballot = ballot(round), .slot = Slot(slot), .value = command(std::move(text))};
}
inline paxos::Record learn(std::uint64_t slot, std::string text) {
  return paxos::LearnRecord{.slot = Slot(slot), .value = command(std::move(text))};
}
inline paxos::Record chosen(std::uint64_t slot) { return paxos::ChosenRecord{Slot(slot)}; }
inline paxos::Record recovery(bool active, std::uint64_t until) {
  return paxos::RecoveryRecord{.active = active, .until = Slot(until)};
}

struct Describe {
  static std::string of(const paxos::Ballot& b) {
    return fmt::format("{}.{}", b.round, b.node.raw());
  }
  static std::string of(const paxos::Value& v) {
    return fmt::format("{}'{}'", static_cast<int>(v.kind), *v.bytes);
  }
  std::string operator()(const paxos::PromiseRecord& r) const { return "promise " + of(r.ballot); }
  std::string operator()(const paxos::AcceptRecord& r) const {
    return fmt::format("accept {} {} {}", of(r.ballot), r.slot.raw(), of(r.value));
  }
  std::string operator()(const paxos::LearnRecord& r) const {
    return fmt::format("learn {} {}", r.slot.raw(), of(r.value));
  }
  std::string operator()(const paxos::ChosenRecord& r) const {
    return fmt::format("chosen {}", r.slot.raw());
  }
  std::string operator()(const paxos::RecoveryRecord& r) const {
    return fmt::format("recovery {} {}", r.active, r.until.raw());
  }
};
inline std::string describe(const paxos::Record& record) { return std::visit(Describe(), record); }
inline std::string describe(const LogState& s) {
  return fmt::format("promised {} chosen {} recovering {} until {} empty {}",
                     Describe::of(s.promised), s.chosen.raw(), s.recovering, s.recover_until.raw(),
                     s.empty);
}
inline std::string describe(const Result<std::vector<paxos::Accepted>>& all) {
  if (!all.has_value()) return all.error().to_string();
  std::string text;
  for (const paxos::Accepted& a : *all) {
    text += fmt::format("{}@{}={} ", a.slot.raw(), Describe::of(a.ballot), Describe::of(a.value));
  }
  return text;
}
inline std::string describe(const Result<std::vector<Entry>>& all) {
  if (!all.has_value()) return all.error().to_string();
  std::string text;
  for (const Entry& e : *all) text += fmt::format("{}={} ", e.slot.raw(), Describe::of(e.value));
  return text;
}

// Any record; slots in 1..slots.
inline paxos::Record random_record(Prng& prng, std::uint64_t slots) {
  const std::uint64_t slot = prng.between(1, slots);
  std::string text(prng.below(120), static_cast<char>('a' + prng.below(26)));
  switch (prng.below(8)) {
    case 0:
      return promise(prng.between(1, 9), static_cast<std::uint32_t>(prng.between(1, 5)));
    case 1:
      return chosen(slot);
    case 2:
      return recovery(prng.chance(500), prng.below(slots));
    case 3:
      return learn(slot, text);
    case 4:
      return paxos::AcceptRecord{.ballot = ballot(prng.between(1, 9)),
                                 .slot = Slot(slot),
                                 .value = {.kind = paxos::ValueKind::kNoop, .bytes = blob("")}};
    default:
      return accept(prng.between(1, 9), slot, text);
  }
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "cairn-log-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A loop on the real thread: answers of a store's threads arrive as posts.
class ThreadedRuntime final : public runtime::Runtime {
 public:
  Instant now() const override { return Instant(); }
  WallTime wall_now() const override { return WallTime(); }
  std::uint64_t random() override { return 4; }
  void post(runtime::Callback callback) override {
    const std::lock_guard guard(mutex_);
    ready_.push_back(std::move(callback));
    wake_.notify_one();
  }
  runtime::TimerId schedule(Instant, runtime::Callback) override { return 0; }
  void cancel(runtime::TimerId) override {}

  void step() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return !ready_.empty(); });
    runtime::Callback callback = std::move(ready_.front());
    ready_.pop_front();
    lock.unlock();
    callback();
  }
  template <class T>
  T run(Task<T> task) {
    runtime::TaskGroup group(*this);
    mds::testing::Outcome<T> outcome(group, std::move(task));
    while (!outcome.done()) step();
    return std::move(outcome.value());
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<runtime::Callback> ready_;
};

}  // namespace cairn::mds::replication::testing
