// The table of this machine's mounts as a file: which places are taken, and one more line in it.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"

namespace cairn::admin {

// Of a table that is not there: empty. Errors: as cluster::system_error.
Result<std::string> read_fstab(const std::string& path);

// The first place for a drive of the cluster that no table names, nothing is mounted at, and no
// directory with something in it occupies. make-cs suggests the same.
Result<std::string> next_mount_point(const std::string& root, const std::string& cluster, bool ssd,
                                     const std::string& fstab);

// Adds a line, durably: the old table or the new one is there after a crash. Makes the mount point.
// `findmnt --verify` has approved the line, and the table as far as it did before.
// Errors:   kExists (the mount point is in the table already), kInvalidArgument (not approved; its
//           words), as cluster::system_error.
Status add_to_fstab(const std::string& path, const std::string& line);

}  // namespace cairn::admin
