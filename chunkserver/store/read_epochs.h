// ReadEpochs: tells when every reader that was there at some moment has left. Pure.
#pragma once

#include <cstdint>
#include <map>

#include "common/base/check.h"

namespace cairn::chunkserver::store {

class ReadEpochs {
 public:
  using Ticket = std::uint64_t;

  Ticket begin() {
    ++readers_[epoch_];
    return epoch_;
  }
  void end(Ticket ticket) {
    const auto it = readers_.find(ticket);
    CHECK(it != readers_.end());
    if (--it->second == 0) readers_.erase(it);
  }
  // Names this moment: whoever begins later is not waited for.
  Ticket mark() { return epoch_++; }
  bool left_since(Ticket mark) const { return readers_.empty() || readers_.begin()->first > mark; }

 private:
  Ticket epoch_ = 1;
  std::map<Ticket, std::size_t> readers_;  // epoch of the begin -> readers
};

}  // namespace cairn::chunkserver::store
