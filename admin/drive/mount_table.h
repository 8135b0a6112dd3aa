// What is mounted: /proc/self/mountinfo, and which block device lies below a directory.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "admin/drive/sys_tree.h"
#include "common/base/result.h"

namespace cairn::admin {

struct MountEntry {
  dev_t device = 0;
  std::string where;
  std::string type;
  std::string source;  // "/dev/sda1", "tmpfs"
  friend bool operator==(const MountEntry&, const MountEntry&) = default;
};

// Pure: lines that are not understood are left out.
std::vector<MountEntry> parse_mount_table(std::string_view text);
Result<std::vector<MountEntry>> mount_table();

// The nearest directory on the way to `path` that exists: where it is or would be made.
std::string existing_part(const std::string& path);

// Kernel name of the block device of the filesystem where `directory` is or would be made. Also
// for filesystems with a device number of their own (btrfs). nullopt: it lies on none (tmpfs,
// network, FUSE).
std::optional<std::string> block_device_below(const SysTree& tree, const std::string& directory);

}  // namespace cairn::admin
