// A drive as prepare-drive sees it before it decides: what it is, who uses it, what is on it. Plain
// data, so that the decisions are tested without a drive.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/units.h"

namespace cairn::admin {

enum class DriveKind {
  kDrive,
  kPartition,
  kOther,  // a block device that is no drive; `why_not` says what it is
};

// "/dev/sdb1", "is mounted at /home".
struct DriveUser {
  std::string device;
  std::string how;
  friend bool operator==(const DriveUser&, const DriveUser&) = default;
};

// What lies on the drive itself or in one of its partitions.
struct DriveContent {
  std::string where;  // "/dev/sdb", "partition 2 of /dev/sdb"
  std::string type;   // as blkid says: "ext4", "LVM2_member"; empty: nothing known
  std::string label;  // of the filesystem
  std::string name;   // of the partition in a GPT
  friend bool operator==(const DriveContent&, const DriveContent&) = default;
};

struct DescribedDrive {
  std::string path;  // "/dev/sdb"
  DriveKind kind = DriveKind::kDrive;
  std::string whole;    // kPartition: the drive it belongs to
  std::string why_not;  // kOther
  ByteCount bytes = 0;
  ByteCount sector_bytes = 512;
  bool read_only = false;
  std::vector<DriveUser> users;
  std::vector<DriveContent> contents;
};

}  // namespace cairn::admin
