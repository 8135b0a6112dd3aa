// What prepare-drive does to a drive, as data: a pure function of the drive's description. It
// decides about refusals too.
#pragma once

#include <string>
#include <vector>

#include "admin/drive/described_drive.h"
#include "common/base/result.h"

namespace cairn::admin {

struct PrepareOptions {
  bool ssd = false;     // for journals and caches: discard, whole erase blocks, another label
  bool force = false;   // also what belongs to a cluster or to a volume
  std::string cluster;  // goes into the partition's name; may be empty
};

inline constexpr ByteCount kDriveBytesMin = 100_MiB;
// Begins of everything that a probe may still find: tables, superblocks, labels of volumes.
inline constexpr ByteCount kWipedBytes = 16_MiB;

enum class DriveStepKind {
  kWipe,   // zeros to the first and last kWipedBytes; the kernel forgets the partitions
  kRun,    // `words` with `input`
  kAwait,  // until the kernel shows the partition
};

struct DriveStep {
  DriveStepKind kind = DriveStepKind::kRun;
  std::string says;  // the line shown before it
  std::vector<std::string> words = {};
  std::string input = {};
  friend bool operator==(const DriveStep&, const DriveStep&) = default;
};

struct DrivePlan {
  std::string drive;      // "/dev/sdb"
  std::string partition;  // "/dev/sdb1"
  ByteCount drive_bytes = 0;
  ByteCount start = 0;  // of the partition, in bytes
  ByteCount bytes = 0;
  std::string label;
  std::vector<DriveStep> steps;
};

// The line of the question (guide V2.3-6).
std::string prepare_question(const std::string& drive);

// Errors:   kInvalidArgument (no whole drive), kBusy (in use; by whom), kRefusedForSafety (--force
//           would help), kNoSpace (too small), kReadOnly.
Result<DrivePlan> plan_drive(const DescribedDrive& drive, const PrepareOptions& options);

}  // namespace cairn::admin
