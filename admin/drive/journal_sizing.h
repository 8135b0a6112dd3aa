// How many HDDs one SSD can journal for, and how big each journal may be: the arithmetic of guide
// V7.6.1. Pure.
#pragma once

#include <cstdint>

#include "common/base/result.h"

namespace cairn::admin {

struct JournalDrives {
  double ssd_mb_per_s = 0;  // sustained sequential write, the average of 60 s
  double hdd_mb_per_s = 0;
  double ssd_gb = 0;
  std::uint32_t hdds = 0;  // that there are; 0: as many as the SSD can serve
  double hdd_tb = 0;       // size of each, for the space that checksums take; 0: not said
};

struct JournalSizing {
  std::uint32_t hdds_per_ssd = 0;
  std::uint32_t ssds = 1;         // for all HDDs
  std::uint32_t hdds_shared = 0;  // journals on the SSD that has most
  std::uint64_t journal_gb = 0;   // of each, rounded down
  double checksum_gb = 0;         // 1 GB for 1 TB of HDD, on the SSD that has most
  bool checksums_fit = true;      // in the reserved fifth
};

// Errors:   kInvalidArgument (a number that is not positive), kUnsupported (the SSD is too slow for
//           one HDD, or too small for a journal of 1 GB).
Result<JournalSizing> size_journals(const JournalDrives& drives);

}  // namespace cairn::admin
