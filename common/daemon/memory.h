// The C library's allocator, set for daemons that move bodies of megabytes.
#pragma once

namespace cairn::daemon {

// Keeps freed memory of the heap in the process, up to 128 MiB at its end, instead of giving every
// body's pages back and taking them again: page faults cost more than the transfer itself
// (tests/bench/net_bench: 1.2 against 3 GiB/s). Call once, before any thread exists.
// Daemon::start() does.
void keep_freed_memory();

// After work that needed much and is over for long: what it freed goes back to the system.
void give_freed_memory_back();

}  // namespace cairn::daemon
