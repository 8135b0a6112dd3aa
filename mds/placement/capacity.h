// How much can still be written. Pure.
#pragma once

#include <vector>

#include "mds/placement/planner.h"

namespace cairn::mds::placement {

struct Shape {
  unsigned data = 1;
  unsigned pieces = 1;  // data and parity
  unsigned min = 1;     // fewer failure domains than this take nothing
  Domain domain = Domain::kHost;
};

// Bytes of file data that find a place when every stripe has its pieces in as many different
// failure domains as it should, or in all there are when these are fewer; `room` says what a CS
// gives. Exact for pieces much smaller than a CS, which is what chunks are.
struct Room {
  NodeId cs;
  HostId host;
  ByteCount bytes = 0;
};
ByteCount allocatable_bytes(const std::vector<Room>& rooms, const Shape& shape);

}  // namespace cairn::mds::placement
