#include "admin/drive/describe_drive.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "admin/drive/drive_contents.h"
#include "admin/drive/drive_users.h"
#include "admin/drive/file_descriptor.h"
#include "admin/drive/mount_table.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

struct NoDrive {
  const char* prefix;
  const char* what;
};
constexpr NoDrive kNoDrives[] = {
    {"dm-", "is a volume of the device mapper"},
    {"sr", "is an optical drive"},
    {"fd", "is a floppy drive"},
    {"ram", "is memory"},
    {"zram", "is memory"},
};

Result<std::string> kernel_name(const SysTree& tree, const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0)
    return fail(cluster::system_error(errno, "look at", path));
  if (!S_ISBLK(status.st_mode)) {
    return fail(Code::kInvalidArgument, path + " is not a block device");
  }
  const std::optional<std::string> name = tree.name_of(status.st_rdev);
  if (!name.has_value()) return fail(Code::kNotFound, "the kernel has no device behind " + path);
  return *name;
}

// By source too: some filesystems (btrfs) have a device number of their own.
Result<std::vector<DeviceMount>> device_mounts(const SysTree& tree) {
  TRY(const std::vector<MountEntry> mounts, mount_table());
  std::vector<DeviceMount> result;
  for (const MountEntry& mount : mounts) {
    std::optional<std::string> name = tree.name_of(mount.device);
    struct stat source = {};
    if (!name.has_value() && mount.source.starts_with('/') &&
        ::stat(mount.source.c_str(), &source) == 0 && S_ISBLK(source.st_mode)) {
      name = tree.name_of(source.st_rdev);
    }
    if (name.has_value()) result.push_back({*name, mount.where});
  }
  return result;
}

Status read_size(DescribedDrive* drive) {
  const FileDescriptor file(::open(drive->path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return fail(cluster::system_error(errno, "open", drive->path));
  std::uint64_t bytes = 0;
  int sector = 0;
  if (::ioctl(file.get(), BLKGETSIZE64, &bytes) != 0 ||
      ::ioctl(file.get(), BLKSSZGET, &sector) != 0) {
    return fail(cluster::system_error(errno, "ask for the size of", drive->path));
  }
  drive->bytes = bytes;
  drive->sector_bytes = static_cast<ByteCount>(sector);
  return {};
}

}  // namespace

DescribedDrive classify_device(const SysTree& tree, const std::string& name) {
  DescribedDrive drive;
  drive.path = device_path(name);
  drive.read_only = tree.number(name, "ro").value_or(0) != 0;
  if (tree.is_partition(name)) {
    drive.kind = DriveKind::kPartition;
    drive.whole = device_path(tree.drive_of(name));
    return drive;
  }
  for (const NoDrive& no : kNoDrives) {
    if (!name.starts_with(no.prefix)) continue;
    drive.kind = DriveKind::kOther;
    drive.why_not = no.what;
  }
  return drive;
}

Result<DescribedDrive> describe_drive(const std::string& path) {
  const SysTree tree;
  TRY(const std::string name, kernel_name(tree, path));
  DescribedDrive drive = classify_device(tree, name);
  if (drive.kind != DriveKind::kDrive) return drive;
  TRY(const std::vector<DeviceMount> mounts, device_mounts(tree));
  TRY(const std::string swaps, cluster::read_small_file("/proc/swaps"));
  drive.users = drive_users(tree, name, mounts, parse_swaps(swaps));
  // Nobody looks at what is on a drive that is refused anyway.
  if (!drive.users.empty()) return drive;
  TRY_VOID(read_size(&drive));
  if (drive.bytes == 0) return drive;
  TRY(drive.contents, contents_of(drive.path, drive.sector_bytes));
  return drive;
}

}  // namespace cairn::admin
