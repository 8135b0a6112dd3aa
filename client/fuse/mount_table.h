// What the kernel says of mounts, and the ways to end one.
// Thread rule: any thread. unmount() may wait for requests that this process serves: never on the
//           loop.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace cairn::client::fuse {

struct MountEntry {
  std::string device;  // "0:52"
  std::string mount_point;
  std::string type;    // "fuse.cairn"
  std::string source;  // "cairn://stor1"
  friend bool operator==(const MountEntry&, const MountEntry&) = default;
};

// Lines of /proc/PID/mountinfo (proc(5)); others are skipped.
std::vector<MountEntry> parse_mountinfo(std::string_view text);
// The mount one sees at `mount_point`: the last one there.
std::optional<MountEntry> visible_mount(const std::string& mount_point);

// Ends the mount at `mount_point` if it still is `device`. A busy one is synced and detached: it
// vanishes from the tree and ends with its last user.
// Errors:   kBusy (what the system said).
Status unmount(const std::string& mount_point, const std::string& device);

// Lets the kernel read ahead far enough for several requests of 1 MiB at a time. Without the right
// to do so nothing happens.
void raise_read_ahead(const std::string& device);

}  // namespace cairn::client::fuse
