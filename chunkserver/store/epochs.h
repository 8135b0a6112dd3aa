// Epochs: tells when everybody who was inside at some moment has left. Pure. O(1) per visitor.
#pragma once

#include <cstdint>
#include <deque>

#include "common/base/check.h"

namespace cairn::chunkserver::store {

class Epochs {
 public:
  using Ticket = std::uint64_t;

  Ticket begin() {
    ++inside_.back();
    return first_ + inside_.size() - 1;
  }
  void end(Ticket ticket) {
    CHECK_GE(ticket, first_);
    std::size_t& count = inside_[ticket - first_];
    CHECK_GT(count, std::size_t{0});
    --count;
    while (inside_.size() > 1 && inside_.front() == 0) drop_first();
  }
  // Names this moment: whoever begins later does not count.
  Ticket mark() {
    const Ticket now = first_ + inside_.size() - 1;
    inside_.push_back(0);
    if (inside_.front() == 0) drop_first();
    return now;
  }
  bool left_since(Ticket mark) const { return first_ > mark; }
  bool empty() const { return inside_.size() == 1 && inside_.front() == 0; }

 private:
  void drop_first() {
    inside_.pop_front();
    ++first_;
  }

  Ticket first_ = 1;                      // epoch of inside_.front()
  std::deque<std::size_t> inside_ = {0};  // by epoch of the begin; the last one is the present
};

}  // namespace cairn::chunkserver::store
