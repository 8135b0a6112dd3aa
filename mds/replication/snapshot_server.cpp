#include "mds/replication/snapshot_server.h"

#include "common/base/limits.h"
#include "mds/replication/snapshot_rules.h"

namespace cairn::mds::replication {
namespace {

// A part that would wait longer comes after its asker has given up.
constexpr Duration kBacklogMax = 2s;

}  // namespace

SnapshotServer::SnapshotServer(runtime::Runtime& runtime, TableVault& vault, ClusterId cluster_id,
                               ByteCount bytes_per_s)
    : runtime_(runtime), vault_(vault), cluster_id_(cluster_id), bucket_(bytes_per_s) {}

Status SnapshotServer::check_cluster(std::uint64_t cluster_id) const {
  if (cluster_id == cluster_id_.raw()) return {};
  return fail(Code::kWrongCluster, "this is an MDS of another cluster");
}

Task<Result<pb::OpenSnapshotReply>> SnapshotServer::open(pb::OpenSnapshotRequest request) {
  CO_TRY_VOID(check_cluster(request.cluster_id()));
  const Result<Snapshot> snapshot = co_await vault_.open_snapshot(request.resume());
  if (!snapshot.has_value()) co_return fail(snapshot.error());
  co_return encode_snapshot(*snapshot);
}

Task<Result<pb::ReadSnapshotReply>> SnapshotServer::read(pb::ReadSnapshotRequest request) {
  CO_TRY_VOID(check_cluster(request.cluster_id()));
  if (request.bytes() > limits::kSnapshotPartBytes) {
    co_return fail(Code::kInvalidArgument, "a part of a snapshot is smaller than that");
  }
  if (reading_ >= kReadsMax || bucket_.backlog(runtime_.now()) > kBacklogMax) {
    co_return fail(Code::kOverloaded, "too many parts of snapshots are wanted");
  }
  ++reading_;
  const Instant at = bucket_.take(request.bytes(), runtime_.now());
  if (at > runtime_.now()) co_await runtime::sleep_until(runtime_, at);
  Result<std::string> bytes = co_await vault_.read_snapshot(request.id(), request.file(),
                                                            request.offset(), request.bytes());
  --reading_;
  if (!bytes.has_value()) co_return fail(bytes.error());
  pb::ReadSnapshotReply reply;
  reply.set_bytes(std::move(*bytes));
  co_return reply;
}

}  // namespace cairn::mds::replication
