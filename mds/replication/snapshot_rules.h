// What a snapshot may look like, whoever sends it; its bytes in messages and in the incoming
// manifest.
//
// Limits: kSnapshotFilesMax files of kSnapshotFileBytesMax, so that sums cannot overflow and the
//           list fits
//         one message.
#pragma once

#include <string_view>

#include "common/kv/kv.h"
#include "mds/replication/table_vault.h"
#include "proto/mds_peer.pb.h"

namespace cairn::mds::replication {

inline constexpr std::size_t kSnapshotFilesMax = 65'536;
inline constexpr ByteCount kSnapshotFileBytesMax = 1_TiB;
inline constexpr std::size_t kMembershipBytesMax = 64 << 10;

// A name that RocksDB gives to a file that belongs to a checkpoint: CURRENT, MANIFEST-N, OPTIONS-N,
// N.sst, N.log. Everything else could name something outside, or confuse an open.
bool is_table_file(std::string_view name);

// kCorrupt, and why: no id, bad or repeated names, impossible sizes.
Status check_snapshot(const Snapshot& snapshot);
ByteCount total_bytes(const Snapshot& snapshot);

pb::OpenSnapshotReply encode_snapshot(const Snapshot& snapshot);
// Checked.
Result<Snapshot> decode_snapshot(const pb::OpenSnapshotReply& reply);

// The rows that a snapshot carries beside its files.
struct TableFacts {
  Slot applied;
  std::string membership;
  friend bool operator==(const TableFacts&, const TableFacts&) = default;
};
Result<TableFacts> table_facts(const kv::Reader& tables);

}  // namespace cairn::mds::replication
