#include "mds/service/peer_service.h"

namespace cairn::mds::service {

void PeerService::add_to(rpc::Dispatcher& dispatcher) {
  dispatcher.add<pb::OpenSnapshotRequest, pb::OpenSnapshotReply>(
      "/cairn.pb.Peer/OpenSnapshot",
      [this](pb::OpenSnapshotRequest request) { return snapshots_.open(std::move(request)); });
  dispatcher.add<pb::ReadSnapshotRequest, pb::ReadSnapshotReply>(
      "/cairn.pb.Peer/ReadSnapshot",
      [this](pb::ReadSnapshotRequest request) { return snapshots_.read(std::move(request)); });
  dispatcher.add<pb::DigestRequest, pb::DigestReply>(
      "/cairn.pb.Peer/Digest",
      [this](pb::DigestRequest request) { return digest(this, std::move(request)); });
}

Task<Result<pb::DigestReply>> PeerService::digest(PeerService* self, pb::DigestRequest request) {
  if (request.cluster_id() != self->cluster_id_.raw()) {
    co_return fail(Code::kWrongCluster, "this MDS belongs to another cluster");
  }
  co_return digest_reply(self->group_, request.mark());
}

pb::DigestReply digest_reply(const replication::Group& group, std::uint64_t mark) {
  pb::DigestReply reply;
  const replication::Group::Digest* digest = group.digest(mark);
  if (digest == nullptr || !digest->done) {
    reply.set_pending(true);
    return reply;
  }
  reply.set_slot(digest->slot.raw());
  reply.set_digest(digest->value);
  reply.set_failure(digest->failure);
  return reply;
}

}  // namespace cairn::mds::service
