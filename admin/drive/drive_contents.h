// What lies on a block device, by blkid and sfdisk. Their output is parsed by pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "admin/drive/described_drive.h"
#include "common/base/result.h"

namespace cairn::admin {

// `blkid -p -o export`: "NAME=value" lines, blanks in values with a backslash before. Pure.
std::map<std::string, std::string> parse_blkid(std::string_view text);

struct TableEntry {
  unsigned number = 0;
  std::uint64_t start = 0;  // in sectors
  std::uint64_t size = 0;
  std::string name;
  friend bool operator==(const TableEntry&, const TableEntry&) = default;
};
// `sfdisk --dump`: lines as "/dev/sdb1 : start= 2048, size= 100, type=..., name="x"". Pure.
std::vector<TableEntry> parse_partition_table(std::string_view text);

// The drive itself, and each partition of its table, whether the kernel shows it or not.
// Errors:   kNotFound (a program is missing), kDiskFailed (the drive cannot be read).
Result<std::vector<DriveContent>> contents_of(const std::string& drive, ByteCount sector_bytes);

// UUID of the filesystem on a device. Error: kNotFound when there is none.
Result<std::string> filesystem_uuid(const std::string& device);

}  // namespace cairn::admin
