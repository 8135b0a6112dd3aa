// What kind of device a directory lies on, as the kernel tells it: the quick check's yardstick.
#pragma once

#include <string>

#include "admin/drive/sys_tree.h"

namespace cairn::admin {

enum class MediumKind {
  kNone,        // no block device: memory, network, FUSE
  kRotating,    // a disk
  kSolidState,  // an SSD
  kVirtual,     // a machine's or file's device: who made it decides what a flush means
};

struct Medium {
  MediumKind kind = MediumKind::kNone;
  std::string filesystem;   // "ext4", "tmpfs"; empty: unknown
  std::string drive;        // "/dev/sda"; empty without one
  std::string write_cache;  // "write back", "write through"; empty: not told
};

Medium medium_below(const std::string& directory);
// By what a tree tells of a device.
Medium medium_of(const SysTree& tree, const std::string& device);

}  // namespace cairn::admin
