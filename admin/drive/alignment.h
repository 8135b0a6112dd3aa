// Does a filesystem begin on a 4 KiB boundary of its drive? If not, every 4 KiB write touches two
// physical sectors, which the drive must read, change and write (3 to 4 times slower).
#pragma once

#include <optional>
#include <string>

#include "admin/drive/sys_tree.h"

namespace cairn::admin {

// One sentence for the operator when the partition below `directory` (or below where it would be
// made), or one below the volume it lies on, is misaligned; nullopt when all is well or nothing is
// known.
std::optional<std::string> alignment_warning(const std::string& directory);

// The same of a device, by what a tree tells.
std::optional<std::string> device_alignment_warning(const SysTree& tree, const std::string& name);

}  // namespace cairn::admin
