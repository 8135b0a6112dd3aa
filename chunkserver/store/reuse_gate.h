// ReuseGate: keeps freed blocks apart until nobody who may still look at them, or write them, is
// under way. Pure.
//
// Promises: blocks held at some moment are given out when every read (and every homing step: it
//           takes a ticket like a read) that began before has ended.
#pragma once

#include <deque>
#include <vector>

#include "chunkserver/store/epochs.h"
#include "chunkserver/store/types.h"

namespace cairn::chunkserver::store {

class ReuseGate {
 public:
  using Ticket = Epochs::Ticket;

  Ticket begin_read() { return reads_.begin(); }
  void end_read(Ticket ticket) { reads_.end(ticket); }
  // These blocks were just freed.
  void hold(std::vector<Extent> extents) {
    if (extents.empty()) return;
    held_.push_back({reads_.mark(), std::move(extents)});
  }
  std::vector<Extent> take_reusable() {
    std::vector<Extent> free;
    while (!held_.empty() && reads_.left_since(held_.front().since)) {
      const std::vector<Extent>& extents = held_.front().extents;
      free.insert(free.end(), extents.begin(), extents.end());
      held_.pop_front();
    }
    return free;
  }
  bool holds() const { return !held_.empty(); }
  bool reading() const { return !reads_.empty(); }

 private:
  struct Held {
    Ticket since;
    std::vector<Extent> extents;
  };
  Epochs reads_;
  std::deque<Held> held_;
};

}  // namespace cairn::chunkserver::store
