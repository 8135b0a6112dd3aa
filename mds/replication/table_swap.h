// Replacing REPO/db by REPO/incoming/db so that a crash at any point leaves the old tables or the
// new ones. docs/formats/repository.md has the steps.
//
// Promises: finish_swap() does the same whether it is called after begin_swap() or by a later life
//           after a crash at any of its steps.
// Requires: nothing has REPO/db or REPO/incoming/db open. One thread at a time; blocks on the disk.
// Errors:   kDiskFailed, kNoSpace, kCorrupt (neither old nor new tables are there).
#pragma once

#include <functional>

#include "mds/replication/disk_files.h"

namespace cairn::mds::replication {

// Called before each step. Tests let it fail, as a crash would.
using SwapHook = std::function<Status(int step)>;
inline constexpr int kSwapSteps = 8;

// The incoming tables are complete, verified and durable: from here on they will replace the
// present ones.
Status begin_swap(const disk::Path& repository, const SwapHook& hook);
// Completes a swap that was begun. REPO/db.old stays.
Status finish_swap(const disk::Path& repository, const SwapHook& hook);
// The new tables work: REPO/db.old goes.
Status drop_old_tables(const disk::Path& repository, const SwapHook& hook);

}  // namespace cairn::mds::replication
