#include "admin/hwflush/medium.h"

#include <sys/stat.h>

#include <array>
#include <optional>

#include "admin/drive/mount_table.h"

namespace cairn::admin {
namespace {

constexpr unsigned kStackedMax = 8;
constexpr std::array kVirtualDrivers = {"virtio_blk", "vbd", "hv_storvsc", "vmw_pvscsi"};
constexpr std::array kVirtualNames = {"loop", "vd", "xvd", "nbd", "rbd", "ram", "zram"};

bool is_virtual(const SysTree& tree, const std::string& drive) {
  for (const char* const prefix : kVirtualNames) {
    if (drive.starts_with(prefix)) return true;
  }
  const std::string driver = tree.driver_of(drive);
  for (const char* const known : kVirtualDrivers) {
    if (driver == known) return true;
  }
  const std::string model = tree.line(drive, "device/model").value_or("");
  return model.starts_with("QEMU") || model.starts_with("VBOX") || model.starts_with("Virtual");
}

std::string filesystem_at(const std::string& directory) {
  struct stat status = {};
  const auto mounts = mount_table();
  if (::stat(existing_part(directory).c_str(), &status) != 0 || !mounts.has_value()) return {};
  for (const MountEntry& mount : *mounts) {
    if (mount.device == status.st_dev) return mount.type;
  }
  return {};
}

// The drive below volumes on volumes; of several the first speaks for all.
std::string lowest_drive(const SysTree& tree, const std::string& device) {
  std::string drive = tree.drive_of(device);
  for (unsigned depth = 0; depth < kStackedMax; ++depth) {
    const std::vector<std::string> lower = tree.entries(drive, "slaves");
    if (lower.empty()) break;
    drive = tree.drive_of(lower.front());
  }
  return drive;
}

}  // namespace

Medium medium_of(const SysTree& tree, const std::string& device) {
  const std::string drive = lowest_drive(tree, device);
  Medium medium;
  medium.drive = device_path(drive);
  medium.write_cache = tree.line(drive, "queue/write_cache").value_or("");
  if (is_virtual(tree, drive)) {
    medium.kind = MediumKind::kVirtual;
  } else {
    const bool rotating = tree.number(drive, "queue/rotational").value_or(0) != 0;
    medium.kind = rotating ? MediumKind::kRotating : MediumKind::kSolidState;
  }
  return medium;
}

Medium medium_below(const std::string& directory) {
  const SysTree tree;
  const std::optional<std::string> device = block_device_below(tree, directory);
  Medium medium = device.has_value() ? medium_of(tree, *device) : Medium{};
  medium.filesystem = filesystem_at(directory);
  return medium;
}

}  // namespace cairn::admin
