#include "mds/replication/slot_index.h"

#include <algorithm>

namespace cairn::mds::replication {

namespace {
bool is_before(const Location& location, Slot slot) { return location.slot < slot; }
}  // namespace

void SlotIndex::put(const Location& location) {
  if (slots_.empty() || slots_.back().slot < location.slot) {
    slots_.push_back(location);
    return;
  }
  const auto at = std::lower_bound(slots_.begin(), slots_.end(), location.slot, is_before);
  if (at->slot != location.slot) {
    slots_.insert(at, location);
  } else if (!at->learned || location.learned) {
    *at = location;
  }
}

std::deque<Location>::const_iterator SlotIndex::find(Slot slot) const {
  const auto at = std::lower_bound(slots_.begin(), slots_.end(), slot, is_before);
  return at != slots_.end() && at->slot == slot ? at : slots_.end();
}

bool SlotIndex::learned(Slot slot) const {
  const auto at = find(slot);
  return at != slots_.end() && at->learned;
}

std::vector<Location> SlotIndex::run(Slot from, std::size_t slots_max, ByteCount bytes_max) const {
  std::vector<Location> found;
  ByteCount bytes = 0;
  Slot expected = from;
  for (auto at = find(from); at != slots_.end() && at->slot == expected; ++at) {
    bytes += at->bytes;
    if (!found.empty() && (found.size() >= slots_max || bytes > bytes_max)) break;
    found.push_back(*at);
    expected = expected.next();
  }
  return found;
}

std::vector<Location> SlotIndex::after(Slot slot) const {
  const auto at = std::lower_bound(slots_.begin(), slots_.end(), slot.next(), is_before);
  return {at, slots_.end()};
}

void SlotIndex::drop_before(Slot slot) {
  slots_.erase(slots_.begin(), std::lower_bound(slots_.begin(), slots_.end(), slot, is_before));
}

}  // namespace cairn::mds::replication
