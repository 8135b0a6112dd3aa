// What /proc says of processes: the name of this process for ever, whether another still runs,
// whether a thread is being killed.
// Thread rule: any thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "common/base/result.h"

namespace cairn::client::fuse {

// "PID START-TIME BOOT-ID PID-NAMESPACE" of the calling process: no other process, before or after,
// on this host has the same.
// Errors:   kUnavailable when /proc is not there.
Result<std::string> process_identity();

// False only when the process of that identity cannot run any more: other boot, pid gone or used by
// another, or a zombie. A process of another pid namespace cannot be seen: true.
bool process_alive(std::string_view identity);

// A fatal signal waits for this thread, or it is gone. 0 (a caller of another pid namespace): true,
// since nobody can tell and it must stay killable.
bool fatal_signal_pending(pid_t thread);

// For threads of ours: signals go to the main thread.
void block_signals_of_this_thread();

}  // namespace cairn::client::fuse
