// SysTree: what the kernel tells of block devices in /sys, or in a copy of it (tests).
//
// Names are the kernel's ("sda1"); a '!' in them stands for a '/' of the path below /dev.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cairn::admin {

class SysTree {
 public:
  explicit SysTree(std::string root = "/sys") : root_(std::move(root)) {}

  // Below class/block/NAME. First line without the newline; nullopt: there is no such file.
  std::optional<std::string> line(const std::string& name, const std::string& attribute) const;
  std::optional<std::uint64_t> number(const std::string& name, const std::string& attribute) const;
  // The sorted entries of a directory below class/block/NAME.
  std::vector<std::string> entries(const std::string& name, const std::string& directory) const;
  bool exists(const std::string& name) const;

  // Name of the device with this number; nullopt when the kernel has none.
  std::optional<std::string> name_of(dev_t device) const;
  bool is_partition(const std::string& name) const;
  // The drive of a partition; a drive is its own.
  std::string drive_of(const std::string& name) const;
  // Partitions of a drive, sorted by number.
  std::vector<std::string> partitions_of(const std::string& drive) const;
  // Name of the driver of the drive's controller ("virtio_blk", "sd"); empty: not told.
  std::string driver_of(const std::string& drive) const;

 private:
  std::string directory(const std::string& name) const;

  std::string root_;
};

// "sda1" -> "/dev/sda1", "cciss!c0d0" -> "/dev/cciss/c0d0".
std::string device_path(const std::string& name);
// Name of a drive's partition: "sda" -> "sda1", "nvme0n1" -> "nvme0n1p1".
std::string partition_name(const std::string& drive, unsigned number);

}  // namespace cairn::admin
