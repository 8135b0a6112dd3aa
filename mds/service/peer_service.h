// PeerService: what other members ask of this one by unary calls: snapshots and digests (service
// cairn.pb.Peer, proto/mds_peer.proto). Answered by every member.
#pragma once

#include "common/rpc/rpc.h"
#include "mds/replication/group.h"
#include "mds/replication/snapshot_server.h"

namespace cairn::mds::service {

class PeerService {
 public:
  PeerService(replication::Group& group, replication::SnapshotServer& snapshots,
              ClusterId cluster_id)
      : group_(group), snapshots_(snapshots), cluster_id_(cluster_id) {}
  void add_to(rpc::Dispatcher& dispatcher);

  static Task<Result<pb::DigestReply>> digest(PeerService* self, pb::DigestRequest request);

 private:
  replication::Group& group_;
  replication::SnapshotServer& snapshots_;
  const ClusterId cluster_id_;
};

pb::DigestReply digest_reply(const replication::Group& group, std::uint64_t mark);

}  // namespace cairn::mds::service
