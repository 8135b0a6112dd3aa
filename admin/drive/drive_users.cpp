#include "admin/drive/drive_users.h"

#include <algorithm>
#include <sstream>

namespace cairn::admin {
namespace {

constexpr std::string_view kDevices = "/dev/";
constexpr unsigned kStackedMax = 8;

// "belongs to the LVM volume vg-root (dm-0)".
std::string holder_text(const SysTree& tree, const std::string& holder) {
  const std::string uuid = tree.line(holder, "dm/uuid").value_or("");
  const std::string name = tree.line(holder, "dm/name").value_or("");
  if (!name.empty() || !uuid.empty()) {
    std::string kind = "the device-mapper volume";
    if (uuid.starts_with("LVM-")) kind = "the LVM volume";
    if (uuid.starts_with("CRYPT-")) kind = "the encrypted volume";
    if (uuid.starts_with("mpath-")) kind = "the multipath drive";
    return "belongs to " + kind + " " + name + " (" + holder + ")";
  }
  if (const auto level = tree.line(holder, "md/level")) {
    return "belongs to the RAID " + device_path(holder) + " (" + *level + ")";
  }
  return "belongs to " + device_path(holder);
}

struct Search {
  const SysTree& tree;
  const std::vector<DeviceMount>& mounts;
  const std::vector<std::string>& swaps;
  std::vector<DriveUser> found;

  void add(const std::string& name, std::string how) {
    DriveUser user{device_path(name), std::move(how)};
    if (std::ranges::find(found, user) == found.end()) found.push_back(std::move(user));
  }
  void look_at(const std::string& name, unsigned depth) {
    for (const DeviceMount& mount : mounts) {
      if (mount.name == name) add(name, "is mounted at " + mount.where);
    }
    if (std::ranges::find(swaps, name) != swaps.end()) add(name, "is swap space in use");
    for (const std::string& holder : tree.entries(name, "holders")) {
      add(name, holder_text(tree, holder));
      if (depth > 0) look_at_all(holder, depth - 1);
    }
  }
  void look_at_all(const std::string& drive, unsigned depth) {
    look_at(drive, depth);
    for (const std::string& partition : tree.partitions_of(drive)) look_at(partition, depth);
  }
};

}  // namespace

std::vector<std::string> parse_swaps(std::string_view text) {
  std::vector<std::string> result;
  std::istringstream lines{std::string(text)};
  std::string line;
  std::getline(lines, line);  // header
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string path;
    words >> path;
    if (!path.starts_with(kDevices)) continue;
    std::string name = path.substr(kDevices.size());
    std::ranges::replace(name, '/', '!');
    result.push_back(std::move(name));
  }
  return result;
}

std::vector<DriveUser> drive_users(const SysTree& tree, const std::string& drive,
                                   const std::vector<DeviceMount>& mounts,
                                   const std::vector<std::string>& swaps) {
  Search search{tree, mounts, swaps, {}};
  search.look_at_all(drive, kStackedMax);
  return std::move(search.found);
}

}  // namespace cairn::admin
