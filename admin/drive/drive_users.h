// Who uses a drive: mounts, swap, volumes above it. Pure on what it is given.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "admin/drive/described_drive.h"
#include "admin/drive/mount_table.h"
#include "admin/drive/sys_tree.h"

namespace cairn::admin {

// Kernel names of the swap devices in the text of /proc/swaps: "sda2" of "/dev/sda2". Files are
// left out. Pure.
std::vector<std::string> parse_swaps(std::string_view text);

// A mount of a block device, by the device's kernel name.
struct DeviceMount {
  std::string name;
  std::string where;
};

// Of the drive, its partitions, and all volumes above them.
std::vector<DriveUser> drive_users(const SysTree& tree, const std::string& drive,
                                   const std::vector<DeviceMount>& mounts,
                                   const std::vector<std::string>& swaps);

}  // namespace cairn::admin
