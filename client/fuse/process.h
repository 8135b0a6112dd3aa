// Threads of this process and signals: whether one is being killed, and which take none.
// Thread rule: any thread.
#pragma once

#include <sys/types.h>

namespace cairn::client::fuse {

// A fatal signal waits for this thread, or it is gone. 0 (a caller of another pid namespace): true,
// since nobody can tell and it must stay killable.
bool fatal_signal_pending(pid_t thread);

// For threads of ours: signals go to the main thread.
void block_signals_of_this_thread();

}  // namespace cairn::client::fuse
