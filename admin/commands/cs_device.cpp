#include "admin/commands/cs_device.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "admin/drive/alignment.h"
#include "admin/drive/file_descriptor.h"
#include "common/base/buffer.h"
#include "common/base/units.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

constexpr const char* kStableNames = "/dev/disk/by-id";
constexpr ByteCount kDeviceMin = 1_GiB;
constexpr ByteCount kLookAt = 1_MiB;  // where partition tables, filesystems and stores begin

std::vector<std::string> links_to(const std::string& device) {
  std::vector<std::string> links;
  std::error_code error;
  std::filesystem::directory_iterator entries(kStableNames, error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    std::error_code broken;
    const std::filesystem::path target = std::filesystem::canonical(entries->path(), broken);
    if (!broken && target == device) links.push_back(entries->path().string());
  }
  return links;
}

Status check_blank(int fd, const std::string& device) {
  const off_t size = ::lseek(fd, 0, SEEK_END);
  if (size < 0) return fail(cluster::system_error(errno, "ask for the size of", device));
  if (static_cast<ByteCount>(size) < kDeviceMin) {
    return fail(Code::kInvalidArgument, device + " is smaller than 1 GB");
  }
  Buffer bytes = Buffer::allocate(kLookAt);
  TRY(const std::size_t got, read_all_at(fd, bytes.span(), 0, device));
  const bool blank = got == kLookAt && std::ranges::all_of(bytes.span(), [](std::byte b) {
                       return b == std::byte{};
                     });
  if (blank) return {};
  return fail(Code::kRefusedForSafety,
              "something is on " + device +
                  ": its first MB is not all zeros (if nobody needs it: blkdiscard -f " + device +
                  ", or dd if=/dev/zero of=" + device + " bs=1M count=1)");
}

}  // namespace

std::string best_name(std::vector<std::string> links) {
  std::ranges::sort(links);
  for (const char* kind : {"/wwn-", "/nvme-eui.", "/nvme-", "/ata-", "/scsi-", "/virtio-"}) {
    for (const std::string& link : links) {
      if (link.find(kind) != std::string::npos) return link;
    }
  }
  return links.empty() ? std::string() : links.front();
}

Result<RawDevice> check_raw_device(const std::string& path) {
  std::error_code error;
  const std::string device = std::filesystem::canonical(path, error).string();
  if (error) return fail(cluster::system_error(error.value(), "look at", path));
  struct stat status = {};
  if (::stat(device.c_str(), &status) != 0) {
    return fail(cluster::system_error(errno, "look at", device));
  }
  if (!S_ISBLK(status.st_mode)) {
    return fail(Code::kInvalidArgument, device + " is not a block device");
  }
  // O_EXCL: the kernel refuses what is mounted, swapped to, or part of a volume.
  const FileDescriptor file(::open(device.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  if (file.get() < 0 && errno == EBUSY) {
    return fail(Code::kBusy, device + " is in use: mounted, swap space, or part of a volume");
  }
  if (file.get() < 0) return fail(cluster::system_error(errno, "open", device));
  TRY_VOID(check_blank(file.get(), device));
  const std::string stable = best_name(links_to(device));
  return RawDevice{.name = stable.empty() ? device : stable, .stable = !stable.empty()};
}

std::optional<std::string> raw_device_warning(const RawDevice& device) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(device.name, error);
  if (error) return std::nullopt;
  return device_alignment_warning(SysTree(), real.filename().string());
}

Status link_device(const std::string& repository, const RawDevice& device) {
  TRY_VOID(cluster::make_directories(repository, 0700));
  const std::string link = repository + "/data";
  if (::symlink(device.name.c_str(), link.c_str()) != 0) {
    const int number = errno;
    std::error_code error;
    const std::filesystem::path present = std::filesystem::read_symlink(link, error);
    if (number != EEXIST || error || present != device.name) {
      return fail(cluster::system_error(number, "make the link", link));
    }
  }
  const FileDescriptor directory(::open(repository.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) {
    return fail(cluster::system_error(errno, "fsync", repository));
  }
  return {};
}

}  // namespace cairn::admin
