// AdminService: what the admin tool asks of the master (service cairn.pb.Admin, proto/admin.proto).
//
// Errors:   kWrongCluster (asked by another name), kNotFound, kInvalidArgument with what to type
//           instead.
#pragma once

#include <string>

#include "common/rpc/rpc.h"
#include "mds/master/master.h"
#include "mds/service/members.h"
#include "proto/admin.pb.h"

namespace cairn::mds::service {

class AdminService {
 public:
  AdminService(master::Master& master, Members& members) : master_(master), members_(members) {}
  void add_to(rpc::Dispatcher& dispatcher);

  static Task<Result<pb::AddCsReply>> add_cs(AdminService* self, pb::AddCsRequest request);
  static Task<Result<pb::StatReply>> stat(AdminService* self, pb::StatRequest request);
  static Task<Result<pb::InfoReply>> info(AdminService* self, pb::InfoRequest request);
  static Task<Result<pb::SetPolicyReply>> set_policy(AdminService* self,
                                                     pb::SetPolicyRequest request);
  static Task<Result<pb::GetPolicyReply>> get_policy(AdminService* self,
                                                     pb::GetPolicyRequest request);
  static Task<Result<pb::EventsReply>> events(AdminService* self, pb::EventsRequest request);
  // config.cpp
  static Task<Result<pb::SetConfigReply>> set_config(AdminService* self,
                                                     pb::SetConfigRequest request);
  static Task<Result<pb::GetConfigReply>> get_config(AdminService* self,
                                                     pb::GetConfigRequest request);
  // scrub.cpp
  static Task<Result<pb::ScrubReply>> scrub(AdminService* self, pb::ScrubRequest request);
  static Task<Result<pb::ScrubReply>> scrub_status(AdminService* self,
                                                   pb::ScrubStatusRequest request);

 private:
  using Census = master::ChunkCensus::Shared;
  Status check_cluster(const std::string& name) const;
  Result<pb::InodeRecord> resolve(const pb::Target& target) const;
  // stat.cpp
  Status fill_tables(pb::StatReply* reply) const;
  Status fill_cs(const Census& census, pb::StatReply* reply) const;
  void fill_clients(pb::StatReply* reply) const;
  Status fill_events(pb::StatReply* reply) const;
  void fill_allocatable(pb::StatReply* reply) const;
  // scrub.cpp
  Result<pb::ScrubReply> scrub_reply(std::uint64_t job) const;
  // policy.cpp
  std::vector<std::string> policy_warnings(const pb::Policy& policy) const;
  void tell_queued(const pb::SetPolicyRequest& request, std::uint64_t files) const;
  Task<Status> apply_policy(std::vector<std::uint64_t> inodes, const pb::SetPolicyRequest* request,
                            pb::SetPolicyReply* total);
  Task<Status> walk_policy(std::uint64_t root, const pb::SetPolicyRequest* request,
                           pb::SetPolicyReply* total);
  Task<Status> set_children(std::uint64_t directory, const pb::SetPolicyRequest* request,
                            std::vector<std::uint64_t>* next_level, pb::SetPolicyReply* total);

  master::Master& master_;
  Members& members_;
};

}  // namespace cairn::mds::service
