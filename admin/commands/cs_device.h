// A chunk server on a whole block device: REPO/data is a link to it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace cairn::admin {

struct RawDevice {
  std::string
      name;  // what REPO/data shall point to: stays when devices are numbered anew, if it can
  bool stable = false;
};

// Errors:   kNotFound, kInvalidArgument (no block device, too small), kBusy (in use),
//           kRefusedForSafety (something is on it), kAccessDenied, kDiskFailed. Nothing is changed.
Result<RawDevice> check_raw_device(const std::string& path);

// One sentence when it is a partition that does not begin on a 4 KiB boundary.
std::optional<std::string> raw_device_warning(const RawDevice& device);

// Of several links to one device the one to use: those of the hardware before others; pure.
std::string best_name(std::vector<std::string> links);

// Makes the link and the directory it stands in; done already: nothing. kExists: another thing is
// there.
Status link_device(const std::string& repository, const RawDevice& device);

}  // namespace cairn::admin
