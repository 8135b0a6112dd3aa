// The line of /etc/fstab that mounts a prepared drive, and the place it is mounted at. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cairn::admin {

struct FstabLine {
  std::string what;
  std::string where;
  friend bool operator==(const FstabLine&, const FstabLine&) = default;
};

// Comments and lines that are none are left out.
std::vector<FstabLine> parse_fstab(std::string_view text);

inline constexpr const char* kMountRoot = "/cairn";

// "/cairn/stor1-cs" or "/cairn/stor1-ssd": the number comes behind it (guide V2.3.1-2, V2.3.2-1).
std::string mount_point_stem(const std::string& root, const std::string& cluster, bool ssd);

// The first STEM<N>, N from 1, that is not in `used`.
std::string first_unused_mount_point(const std::string& stem, const std::vector<std::string>& used);

// "UUID=... /cairn/stor1-cs1 ext4 defaults,nofail,lazytime,noatime 0 0", without a newline.
std::string fstab_line(const std::string& uuid, const std::string& where);

// The table with one more line at its end.
std::string with_line(std::string table, const std::string& line);

}  // namespace cairn::admin
