// Schedule: virtual time. Actions run one after another, at their times; those of one time in the
// order they were planned. Nothing else moves the clock.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/time.h"

namespace cairn::paxos_sim {

class Schedule {
 public:
  using Action = std::function<void()>;

  // True time since the world began. Nodes see their own clocks only (DriftClock).
  Duration now() const { return now_; }
  std::uint64_t events() const { return events_; }

  void after(Duration delay, Action action) {
    CHECK_GE(delay.count(), 0);
    heap_.push_back(Entry{now_ + delay, ++sequence_, std::move(action)});
    std::push_heap(heap_.begin(), heap_.end(), Later());
  }
  // False: nothing is planned.
  bool run_next() {
    if (heap_.empty()) return false;
    std::pop_heap(heap_.begin(), heap_.end(), Later());
    Entry entry = std::move(heap_.back());
    heap_.pop_back();
    now_ = entry.at;
    ++events_;
    entry.action();
    return true;
  }

 private:
  struct Entry {
    Duration at;
    std::uint64_t sequence;
    Action action;
  };
  struct Later {
    bool operator()(const Entry& a, const Entry& b) const {
      return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
    }
  };

  Duration now_{0};
  std::uint64_t sequence_ = 0;
  std::uint64_t events_ = 0;
  std::vector<Entry> heap_;
};

}  // namespace cairn::paxos_sim
