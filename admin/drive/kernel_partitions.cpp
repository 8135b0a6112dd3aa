#include "admin/drive/kernel_partitions.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstdio>
#include <optional>

#include "admin/drive/file_descriptor.h"
#include "admin/drive/sys_tree.h"
#include "common/cluster/durable_file.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::admin {
namespace {

constexpr int kLookAgainMs = 50;  // neither /sys nor a busy drive can be waited for
constexpr ByteCount kSysfsSectorBytes = 512;
constexpr Duration kNodeByOthersTime = 5s;

void pause() { ::poll(nullptr, 0, kLookAgainMs); }

std::string name_of_path(const std::string& path) {
  std::string name = path.substr(std::string("/dev/").size());
  for (char& c : name) {
    if (c == '/') c = '!';
  }
  return name;
}

Status tell_kernel(const DrivePlan& plan) {
  const FileDescriptor file(::open(plan.drive.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return fail(cluster::system_error(errno, "open", plan.drive));
  blkpg_partition partition = {};
  partition.start = static_cast<long long>(plan.start);
  partition.length = static_cast<long long>(plan.bytes);
  partition.pno = 1;
  blkpg_ioctl_arg argument = {};
  argument.op = BLKPG_ADD_PARTITION;
  argument.datalen = sizeof partition;
  argument.data = &partition;
  if (::ioctl(file.get(), BLKPG, &argument) != 0) {
    return fail(cluster::system_error(errno, "tell the kernel of a partition of", plan.drive));
  }
  return {};
}

// nullopt: not there yet.
Result<std::optional<dev_t>> shown_device(const DrivePlan& plan) {
  const SysTree tree;
  const std::string name = name_of_path(plan.partition);
  const std::optional<std::uint64_t> start = tree.number(name, "start");
  const std::optional<std::uint64_t> size = tree.number(name, "size");
  const std::optional<std::string> device = tree.line(name, "dev");
  if (!start.has_value() || !size.has_value() || !device.has_value()) return std::optional<dev_t>();
  if (*start * kSysfsSectorBytes != plan.start || *size * kSysfsSectorBytes != plan.bytes) {
    return fail(Code::kCorrupt,
                "the kernel shows another " + plan.partition + " than the one that was made");
  }
  unsigned numbers[2] = {};
  if (std::sscanf(device->c_str(), "%u:%u", &numbers[0], &numbers[1]) != 2) {
    return std::optional<dev_t>();
  }
  return makedev(numbers[0], numbers[1]);
}

bool has_node(const std::string& path, dev_t device) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode) && status.st_rdev == device;
}

Status await_node(const std::string& path, dev_t device, Duration at_most) {
  const runtime::AsioRuntime clock;
  const Deadline deadline = clock.after(std::min(at_most, kNodeByOthersTime));
  while (!has_node(path, device)) {
    if (clock.now() < deadline) {
      pause();
      continue;
    }
    if (::mknod(path.c_str(), S_IFBLK | 0660, device) != 0 && !has_node(path, device)) {
      return fail(Code::kTimeout, "nobody makes the node " + path + ", and it cannot be made: " +
                                      cluster::system_error(errno, "make", path).message());
    }
  }
  return {};
}

}  // namespace

Status reread_partitions(const std::string& drive, Duration at_most) {
  const runtime::AsioRuntime clock;
  const Deadline deadline = clock.after(at_most);
  for (;;) {
    const FileDescriptor file(::open(drive.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) return fail(cluster::system_error(errno, "open", drive));
    if (::ioctl(file.get(), BLKRRPART) == 0) return {};
    // A drive whose kernel driver knows no partitions has none to forget.
    if (errno == EINVAL || errno == ENOTTY) return {};
    const int error = errno;
    if (error != EBUSY) {
      return fail(cluster::system_error(error, "read the partition table of", drive));
    }
    if (clock.now() >= deadline) {
      return fail(Code::kBusy, "a partition of " + drive + " is still in use");
    }
    pause();
  }
}

Result<ShownBy> await_partition(const DrivePlan& plan, Duration at_most) {
  const runtime::AsioRuntime clock;
  const Deadline deadline = clock.after(at_most);
  TRY_VOID(reread_partitions(plan.drive, at_most));
  // Reading the table is done when the call returns: what is not there now will not come.
  TRY(std::optional<dev_t> device, shown_device(plan));
  ShownBy shown = ShownBy::kTable;
  if (!device.has_value()) {
    shown = ShownBy::kUs;
    TRY_VOID(tell_kernel(plan));
  }
  while (!device.has_value()) {
    if (clock.now() >= deadline) {
      return fail(Code::kTimeout, "the kernel does not show " + plan.partition);
    }
    pause();
    TRY(device, shown_device(plan));
  }
  TRY_VOID(await_node(plan.partition, *device, deadline - clock.now()));
  return shown;
}

}  // namespace cairn::admin
