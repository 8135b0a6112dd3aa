// SnapshotServer: gives this member's tables to another one.
//
// Requires: the loop thread; the vault outlives it and its tasks.
// Limits:   kReadsMax parts under way, Options::bytes_per_s for all pullers together.
// Errors:   kWrongCluster, kOverloaded, those of the vault.
#pragma once

#include "common/base/ids.h"
#include "common/runtime/runtime.h"
#include "mds/replication/table_vault.h"
#include "mds/replication/token_bucket.h"
#include "proto/mds_peer.pb.h"

namespace cairn::mds::replication {

class SnapshotServer {
 public:
  static constexpr std::size_t kReadsMax = 32;

  // bytes_per_s 0: no limit.
  SnapshotServer(runtime::Runtime& runtime, TableVault& vault, ClusterId cluster_id,
                 ByteCount bytes_per_s = 200_MiB);

  Task<Result<pb::OpenSnapshotReply>> open(pb::OpenSnapshotRequest request);
  Task<Result<pb::ReadSnapshotReply>> read(pb::ReadSnapshotRequest request);

 private:
  Status check_cluster(std::uint64_t cluster_id) const;

  runtime::Runtime& runtime_;
  TableVault& vault_;
  const ClusterId cluster_id_;
  TokenBucket bucket_;
  std::size_t reading_ = 0;
};

}  // namespace cairn::mds::replication
