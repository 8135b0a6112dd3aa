// The command line of cairn-mount and of the mount helper mount.fuse.cairn, as values. Pure.
//
//   cairn-mount -c NAME DIR [options]            cairn-mount cairn://NAME DIR [options]
//   mount.fuse.cairn cairn://NAME DIR [-sfnv] [-o OPTIONS] [-t TYPE]      as mount(8) calls it
//
// Errors: kInvalidArgument: one sentence that names the word and what to type instead.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/base/units.h"

namespace cairn::client::fuse {

struct MountRequest {
  std::string cluster;
  std::string mount_point;
  std::vector<std::string> kernel_options;  // "ro", "nosuid", "noatime"...
  bool read_only = false;
  bool foreground = false;
  bool verbose = false;
  bool debug = false;  // every request of the kernel
  bool help = false;
  bool version = false;
  bool fake = false;  // mount -f: check everything, mount nothing
  bool fail_on_nospace = false;
  bool soft = false;  // writes that cannot proceed fail after `timeout`
  ByteCount cache_bytes = 256_MiB;
  Duration timeout = 30s;
  std::string log_file;

  std::string source() const { return "cairn://" + cluster; }
};

// `program`: argv[0]; a name that begins with "mount." is the helper. `superuser`: allow_other is
// on.
Result<MountRequest> parse_mount_request(std::string_view program,
                                         std::span<const std::string> words, bool superuser);
std::string_view mount_usage();

}  // namespace cairn::client::fuse
