#include "mds/placement/capacity.h"

#include <algorithm>
#include <map>

namespace cairn::mds::placement {

namespace {

// A domain holds at most one piece of a stripe, so `each` bytes of every piece use at most `each`
// of it.
bool fits(const std::vector<ByteCount>& domains, ByteCount each, unsigned pieces) {
  ByteCount sum = 0;
  for (const ByteCount bytes : domains) sum += std::min(bytes, each);
  return sum / pieces >= each;
}

}  // namespace

ByteCount allocatable_bytes(const std::vector<Room>& rooms, const Shape& shape) {
  std::map<std::uint64_t, ByteCount> by_domain;
  for (const Room& room : rooms) {
    if (room.bytes == 0) continue;
    by_domain[shape.domain == Domain::kDisk ? room.cs.raw() : room.host.raw()] += room.bytes;
  }
  std::vector<ByteCount> domains;
  ByteCount total = 0;
  for (const auto& [id, bytes] : by_domain) {
    domains.push_back(bytes);
    total += bytes;
  }
  const auto there = static_cast<unsigned>(std::min<std::size_t>(domains.size(), shape.pieces));
  if (there == 0 || there < shape.min) return 0;
  // The most that every one of `there` pieces can have. It fits the smaller, the better.
  ByteCount low = 0;
  ByteCount high = total / there + 1;
  while (high - low > 1) {
    const ByteCount middle = low + (high - low) / 2;
    (fits(domains, middle, there) ? low : high) = middle;
  }
  return low * shape.data;
}

}  // namespace cairn::mds::placement
