// What can be told of a device's flushes without cutting the power: writes and flushes for some
// seconds, and compares how fast that was with what the medium can do. It cannot prove that a
// device keeps what it flushed; only `cairn hwflush-check` and a power cut can, and the text says
// so.
//
// Requires: room for 1 MiB in `directory`, which exists. Leaves nothing there.
// Errors:   kDiskFailed (a write or a flush failed), kAccessDenied, kNotFound, kNoSpace, kReadOnly.
#pragma once

#include <chrono>
#include <string>

#include "common/base/result.h"

namespace cairn::admin {

struct FlushVerdict {
  bool suspicious = false;  // faster than the medium can be, or no medium at all
  double flushes_per_second = 0;
  std::string text;  // sentences for the operator: figures, the write cache, limits of this check
};

// Blocks for about `duration` (at least one flush).
Result<FlushVerdict> quick_flush_check(const std::string& directory, std::chrono::seconds duration);

}  // namespace cairn::admin
