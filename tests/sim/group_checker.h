// GroupChecker: what must hold of the MDS of a cluster at every moment, whoever was killed, cut off
// or wiped.
//
// Checks: at most one MDS would answer reads from its tables; tables of equal slots are equal, over
//         all members and all their lives; what the logs say was chosen is the same everywhere.
#pragma once

#include <map>
#include <string>

#include "tests/sim/cluster.h"

namespace cairn::sim {

class GroupChecker {
 public:
  explicit GroupChecker(SimCluster& cluster) : cluster_(cluster) {}

  // "" or what is wrong now. Cheap.
  std::string check_masters();
  // Reads all tables and logs.
  std::string check_contents();

 private:
  std::string check_tables(SimMds& node);
  std::string check_log(SimMds& node);

  SimCluster& cluster_;
  std::map<Slot, std::uint32_t> digests_;
  std::map<Slot, std::uint32_t> chosen_;  // CRC of the value and its kind
};

}  // namespace cairn::sim
