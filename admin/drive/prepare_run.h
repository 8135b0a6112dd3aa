// Carries out the plan of prepare-drive.
//
// Promises: nothing is written when somebody has the drive open for himself (the kernel is asked
//           once more), or when it is not the size that was planned for.
// Errors:   kBusy, kTimeout (the kernel does not show the partition), kDiskFailed (a write or a
//           program failed; its words are in the message), kNotFound (a program is missing).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "admin/drive/prepare_plan.h"
#include "common/base/result.h"

namespace cairn::admin {

struct PreparedDrive {
  std::string partition;
  std::string uuid;
  std::vector<std::string> warnings;
};

// Are the programs of the plan there?
Status check_programs(const DrivePlan& plan);

// Does the kernel give the drive to us alone? Nothing is written.
Status check_exclusive(const DrivePlan& plan);

// From its start on the drive's data may be gone. `say` gets the progress lines, with their
// newline.
Result<PreparedDrive> carry_out(const DrivePlan& plan,
                                const std::function<void(const std::string&)>& say);

}  // namespace cairn::admin
