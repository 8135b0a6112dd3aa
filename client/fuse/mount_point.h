// Where to mount: checked and named as the kernel will name it.
#pragma once

#include <string>

#include "common/base/result.h"

namespace cairn::client::fuse {

// The directory without symlinks, absolute. A mount of the same `source` ("cairn://stor1") whose
// process died is cleared away first: it would only answer ENOTCONN.
// Errors:   kNotFound; kBusy (not a directory, mounted already, somebody else's dead mount).
//           Sentences for people.
Result<std::string> prepare_mount_point(const std::string& path, const std::string& source);

}  // namespace cairn::client::fuse
