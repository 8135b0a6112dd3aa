// SlotIndex: where in the log files the record of each slot lies that counts: the newest accept, or
// the learn record. Pure.
//
// Owns:     24 bytes a slot.
// Promises: a learned slot stays as it is, whatever is put after it.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "common/base/ids.h"
#include "common/base/units.h"
#include "mds/replication/log_format.h"

namespace cairn::mds::replication {

struct Location {
  Slot slot;
  Lsn segment;
  std::uint32_t offset = 0;
  std::uint32_t bytes : 31 = 0;  // of the record with its header
  std::uint32_t learned : 1 = 0;
};
static_assert(sizeof(Location) == 24);

class SlotIndex {
 public:
  void put(const Location& location);
  bool learned(Slot slot) const;
  // Consecutive slots from `from` on: at most `slots_max`, and about `bytes_max` (at least one).
  // Empty: `from` is not here.
  std::vector<Location> run(Slot from, std::size_t slots_max, ByteCount bytes_max) const;
  // All slots > `slot`, ascending.
  std::vector<Location> after(Slot slot) const;
  // Forgets the slots < `slot`.
  void drop_before(Slot slot);

  bool empty() const { return slots_.empty(); }
  std::size_t size() const { return slots_.size(); }
  // 0 when empty.
  Slot first() const { return slots_.empty() ? Slot() : slots_.front().slot; }

 private:
  std::deque<Location>::const_iterator find(Slot slot) const;

  std::deque<Location> slots_;  // ascending
};

}  // namespace cairn::mds::replication
