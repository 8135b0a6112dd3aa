// ClusterService: what chunk servers ask of the master: RegisterCs and Heartbeat
// (service cairn.pb.Cluster, proto/mds_cluster.proto).
//
// Promises: an id is served only together with the repository it was given to, and only in its
//           cluster.
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

 private:
  Status check(std::uint64_t cluster_id, std::uint32_t cs_id, std::uint64_t repo_uuid) const;
  template <class Reply>
  void add_addresses(Reply* reply) const {
    for (std::string& address : members_.addresses()) reply->add_mds(std::move(address));
  }
  master::Master& master_;
  const Members& members_;
};

}  // namespace cairn::mds::service
