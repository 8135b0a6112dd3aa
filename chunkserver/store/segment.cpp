#include "chunkserver/store/segment.h"

#include <algorithm>

#include "common/base/check.h"

namespace cairn::chunkserver::store {

void Segment::widen(std::size_t index) {
  if (slots_.empty()) {
    first_ = static_cast<std::uint16_t>(index);
    slots_.resize(1);
  } else if (index < first_) {
    slots_.insert(slots_.begin(), first_ - index, Slot());
    first_ = static_cast<std::uint16_t>(index);
  } else if (index >= end_index()) {
    // Grows by doubling, but never beyond what the segment may hold.
    const std::size_t wanted = index - first_ + 1;
    if (wanted > slots_.capacity()) {
      const std::size_t most = kSegmentBlocks - first_;
      slots_.reserve(std::min(most, std::max(wanted, 2 * slots_.capacity())));
    }
    slots_.resize(wanted);
  }
}

void Segment::set(std::size_t index, BlockPlace place) {
  CHECK_LT(index, std::size_t{kSegmentBlocks});
  const bool inside = index >= first_ && index < end_index();
  if (!inside) {
    if (place.disk == 0) return;
    widen(index);
  }
  Slot& slot = slots_[index - first_];
  if (slot.disk_low != 0 || slot.disk_high != 0) --stored_;
  if (place.disk == 0) {
    slot = Slot();
    if (stored_ == 0) slots_ = std::vector<Slot>();
    return;
  }
  ++stored_;
  slot = {static_cast<std::uint32_t>(place.disk), static_cast<std::uint32_t>(place.disk >> 32),
          place.crc};
}

bool operator==(const Segment& a, const Segment& b) {
  if (a.stored_ != b.stored_) return false;
  for (std::size_t i = a.begin_index(); i < a.end_index(); ++i) {
    if (a.get(i) != b.get(i)) return false;
  }
  return true;
}

bool UsedRegion::mark(std::uint64_t first, std::uint64_t count, bool used) {
  CHECK_LE(first + count, kRegionBlocks);
  for (std::uint64_t at = first; at < first + count;) {
    const std::uint64_t begin = at % 64;
    const std::uint64_t length = std::min(64 - begin, first + count - at);
    const std::uint64_t ones = length == 64 ? UINT64_MAX : (std::uint64_t{1} << length) - 1;
    const std::uint64_t mask = ones << begin;
    std::uint64_t& word = bits[at / 64];
    if ((word & mask) != (used ? 0 : mask)) return false;
    word ^= mask;
    at += length;
  }
  return true;
}

bool UsedRegion::empty() const {
  return std::all_of(bits.begin(), bits.end(), [](std::uint64_t word) { return word == 0; });
}

}  // namespace cairn::chunkserver::store
