// What the file thread of RocksVault does with whole sets of tables: making one for others, and
// judging one that came in.
//
// Requires: blocks on the disk. `stop` may turn true at any time: kCancelled soon after.
// Errors:   kCorrupt, kNoSpace, kDiskFailed, kCancelled.
#pragma once

#include <atomic>

#include "common/kv/rocks_kv.h"
#include "mds/replication/disk_files.h"
#include "mds/replication/table_vault.h"

namespace cairn::mds::replication {

// A checkpoint of `tables` in the new directory `to`, with sizes and checksums. Nothing is left of
// it after an error.
Result<Snapshot> make_snapshot(kv::RocksKv& tables, const disk::Path& to, std::uint64_t id,
                               const std::atomic<bool>& stop);

// The tables in `directory` are what `snapshot` says, of cluster `cluster` (none: of any), and
// every block can be read. Anything wrong is kCorrupt, or kWrongCluster when only that is.
Status judge_tables(const disk::Path& directory, const Snapshot& snapshot, ClusterId cluster,
                    const std::atomic<bool>& stop);

// The digest of a view, given up when `stop` turns true.
Result<std::uint32_t> digest_of(const kv::Reader& view, const std::atomic<bool>& stop);

}  // namespace cairn::mds::replication
