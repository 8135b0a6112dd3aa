#include "admin/drive/journal_sizing.h"

#include <algorithm>
#include <cmath>

namespace cairn::admin {
namespace {

constexpr double kUsableShare = 0.8;  // of speed, and of space
constexpr double kTiny = 1e-6;        // 1500 * 0.8 / 150 is 8, whatever the last bit says
constexpr double kLargest = 1e9;

bool is_positive(double value) { return std::isfinite(value) && value > 0 && value < kLargest; }

}  // namespace

Result<JournalSizing> size_journals(const JournalDrives& drives) {
  const bool speeds = is_positive(drives.ssd_mb_per_s) && is_positive(drives.hdd_mb_per_s);
  if (!speeds || !is_positive(drives.ssd_gb)) {
    return fail(Code::kInvalidArgument, "speeds and sizes are numbers above 0");
  }
  if (drives.hdd_tb != 0 && !is_positive(drives.hdd_tb)) {
    return fail(Code::kInvalidArgument, "the size of an HDD is a number above 0");
  }
  const double served = drives.ssd_mb_per_s * kUsableShare / drives.hdd_mb_per_s + kTiny;
  if (served < 1) {
    return fail(Code::kUnsupported,
                "the SSD is too slow to journal for one such HDD: writes would wait for it");
  }
  JournalSizing sizing;
  sizing.hdds_per_ssd = static_cast<std::uint32_t>(std::min(served, kLargest));
  const std::uint32_t hdds = drives.hdds == 0 ? sizing.hdds_per_ssd : drives.hdds;
  sizing.ssds = (hdds + sizing.hdds_per_ssd - 1) / sizing.hdds_per_ssd;
  sizing.hdds_shared = (hdds + sizing.ssds - 1) / sizing.ssds;
  sizing.journal_gb =
      static_cast<std::uint64_t>(drives.ssd_gb * kUsableShare / sizing.hdds_shared + kTiny);
  if (sizing.journal_gb == 0) {
    return fail(Code::kUnsupported, "the SSD is too small: less than 1 GB for each journal");
  }
  sizing.checksum_gb = drives.hdd_tb * sizing.hdds_shared;
  sizing.checksums_fit = sizing.checksum_gb <= drives.ssd_gb * (1 - kUsableShare) + kTiny;
  return sizing;
}

}  // namespace cairn::admin
