// Looks at a drive of this machine.
#pragma once

#include <string>

#include "admin/drive/described_drive.h"
#include "admin/drive/sys_tree.h"
#include "common/base/result.h"

namespace cairn::admin {

// What the kernel's name and attributes say of a block device: kind, whole, why_not, read_only.
DescribedDrive classify_device(const SysTree& tree, const std::string& name);

// `path` may be a link as in /dev/disk/by-id. Reads the drive, changes nothing.
// Errors:   kNotFound, kInvalidArgument (no block device), kAccessDenied, kDiskFailed.
Result<DescribedDrive> describe_drive(const std::string& path);

}  // namespace cairn::admin
