// ReuseGate: keeps freed blocks apart until nobody who may still look at them, or write them, is
// under way. Pure.
//
// Promises: blocks held at some moment are given out when every read (and every homing step: it
//           takes a ticket like a read) that began before has ended.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "chunkserver/store/types.h"
#include "common/base/check.h"

namespace cairn::chunkserver::store {

class ReuseGate {
 public:
  using Ticket = std::uint64_t;

  Ticket begin_read() {
    ++reads_[generation_];
    return generation_;
  }
  void end_read(Ticket ticket) {
    const auto it = reads_.find(ticket);
    CHECK(it != reads_.end());
    if (--it->second == 0) reads_.erase(it);
  }
  // These blocks were just freed.
  void hold(std::vector<Extent> extents) {
    if (extents.empty()) return;
    held_blocks_ += total_blocks(extents);
    held_.push_back({generation_++, std::move(extents)});
  }
  std::vector<Extent> take_reusable() {
    std::vector<Extent> free;
    while (!held_.empty() && (reads_.empty() || held_.front().generation < reads_.begin()->first)) {
      const std::vector<Extent>& extents = held_.front().extents;
      free.insert(free.end(), extents.begin(), extents.end());
      held_blocks_ -= total_blocks(extents);
      held_.pop_front();
    }
    return free;
  }
  bool holds() const { return !held_.empty(); }
  bool reading() const { return !reads_.empty(); }
  std::uint64_t held_blocks() const { return held_blocks_; }

 private:
  struct Held {
    std::uint64_t generation;
    std::vector<Extent> extents;
  };
  std::uint64_t generation_ = 1;
  std::uint64_t held_blocks_ = 0;
  std::map<std::uint64_t, std::size_t> reads_;  // generation at the start -> reads under way
  std::deque<Held> held_;
};

}  // namespace cairn::chunkserver::store
