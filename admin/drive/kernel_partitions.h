// The kernel's own table of a drive's partitions, and their nodes below /dev.
#pragma once

#include <string>

#include "admin/drive/prepare_plan.h"
#include "common/base/result.h"
#include "common/base/time.h"

namespace cairn::admin {

// The kernel reads the partition table again. Waits while somebody (udev) still looks at the drive.
// Errors:   kBusy, kDiskFailed.
Status reread_partitions(const std::string& drive, Duration at_most);

enum class ShownBy { kTable, kUs };

// Until the kernel shows the plan's partition, with its place and its node. A kernel that does not
// understand the table is told of the partition; where nothing makes nodes below /dev (a container
// without udev), the node is made.
// Errors:   kTimeout, kCorrupt (another partition is there), kDiskFailed.
Result<ShownBy> await_partition(const DrivePlan& plan, Duration at_most);

}  // namespace cairn::admin
