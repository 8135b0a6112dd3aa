// What /proc says of processes that open sessions: the name of this one for ever, whether another
// still runs.
// Thread rule: any thread.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"

namespace cairn::daemon {

// "PID START-TIME BOOT-ID PID-NAMESPACE" of the calling process: no other process, before or after,
// on this host has the same.
// Errors:   kUnavailable when /proc is not there.
Result<std::string> process_identity();

// False only when the process of that identity cannot run any more: other boot, pid gone or used by
// another, or a zombie. A process of another pid namespace cannot be seen: true.
bool process_alive(std::string_view identity);

}  // namespace cairn::daemon
