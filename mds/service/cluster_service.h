// ClusterService: what chunk servers ask of the master: RegisterCs, Heartbeat and LookupChunk
// (service cairn.pb.Cluster, proto/mds_cluster.proto).
//
// Promises: an id is served only together with the repository it was given to, and only in its
//           cluster. One that comes with a failure keeps the address it had, and gets no work. When
//           it cannot read who it is (no uuid), it is believed only if it is of the host that the
//           id belongs to, and nobody serves under that id.
// Limits:   kRemovalsPerHeartbeat pieces to be removed in one answer.
// Errors:   kWrongCluster, kNotFound (no such CS), kRefusedForSafety (id of another repository).
#pragma once

#include "common/rpc/rpc.h"
#include "mds/master/master.h"
#include "mds/service/members.h"

namespace cairn::mds::service {

class ClusterService {
 public:
  static constexpr std::size_t kRemovalsPerHeartbeat = 2000;
  ClusterService(master::Master& master, const Members& members)
      : master_(master), members_(members) {}
  void add_to(rpc::Dispatcher& dispatcher);

  static Task<Result<pb::RegisterCsReply>> register_cs(ClusterService* self,
                                                       pb::RegisterCsRequest request);
  static Task<Result<pb::HeartbeatReply>> heartbeat(ClusterService* self,
                                                    pb::HeartbeatRequest request);
  static Task<Result<pb::LookupChunkReply>> lookup_chunk(ClusterService* self,
                                                         pb::LookupChunkRequest request);

 private:
  // Who asks; in its heartbeat one does not say its host again.
  struct Caller {
    std::uint64_t cluster_id = 0;
    std::uint32_t cs_id = 0;
    std::uint64_t repo_uuid = 0;
    bool failed = false;
    std::uint64_t host_id = 0;
  };
  Status check(const Caller& caller) const;
  Task<Status> update_record(const pb::RegisterCsRequest* request);
  Status check_nameless(const Caller& caller, const master::CsEntry& entry) const;
  Status add_work(std::uint32_t cs_id, pb::HeartbeatReply* reply) const;
  template <class Reply>
  void add_addresses(Reply* reply) const {
    for (std::string& address : members_.addresses()) reply->add_mds(std::move(address));
  }
  master::Master& master_;
  const Members& members_;
};

}  // namespace cairn::mds::service
