// AdminService: what the admin tool asks of the master (service cairn.pb.Admin, proto/admin.proto).
//
// Errors:   kWrongCluster (asked by another name), kNotFound, kInvalidArgument with what to type
//           instead.
#pragma once

#include <functional>
#include <string>

#include "common/net/stream.h"
#include "common/rpc/rpc.h"
#include "mds/master/master.h"
#include "mds/service/process_usage.h"
#include "proto/admin.pb.h"

namespace cairn::mds::service {

inline constexpr const char* kVersion = "0.1.0";

// Of this MDS, for stat.
struct Identity {
  std::string host;
  net::Address address;  // gRPC door
  std::string repository;
  std::function<ProcessUsage()> usage;
};

class AdminService {
 public:
  AdminService(master::Master& master, Identity identity)
      : master_(master), identity_(std::move(identity)) {}
  void add_to(rpc::Dispatcher& dispatcher);

  static Task<Result<pb::HelloReply>> hello(AdminService* self, pb::HelloRequest request);
  static Task<Result<pb::AddCsReply>> add_cs(AdminService* self, pb::AddCsRequest request);
  static Task<Result<pb::StatReply>> stat(AdminService* self, pb::StatRequest request);
  static Task<Result<pb::InfoReply>> info(AdminService* self, pb::InfoRequest request);
  static Task<Result<pb::SetPolicyReply>> set_policy(AdminService* self,
                                                     pb::SetPolicyRequest request);
  static Task<Result<pb::GetPolicyReply>> get_policy(AdminService* self,
                                                     pb::GetPolicyRequest request);
  static Task<Result<pb::EventsReply>> events(AdminService* self, pb::EventsRequest request);

 private:
  using Census = master::ChunkCensus::Shared;
  Status check_cluster(const std::string& name) const;
  Result<pb::InodeRecord> resolve(const pb::Target& target) const;
  // stat.cpp
  Status fill_tables(pb::StatReply* reply) const;
  void fill_mds(pb::StatReply* reply);
  Status fill_cs(const Census& census, pb::StatReply* reply) const;
  void fill_clients(pb::StatReply* reply) const;
  Status fill_events(pb::StatReply* reply) const;
  // policy.cpp
  std::vector<std::string> policy_warnings(const pb::Policy& policy) const;
  Task<Status> apply_policy(std::vector<std::uint64_t> inodes, const pb::SetPolicyRequest* request,
                            pb::SetPolicyReply* total);
  Task<Status> walk_policy(std::uint64_t root, const pb::SetPolicyRequest* request,
                           pb::SetPolicyReply* total);
  Task<Status> set_children(std::uint64_t directory, const pb::SetPolicyRequest* request,
                            std::vector<std::uint64_t>* next_level, pb::SetPolicyReply* total);

  master::Master& master_;
  const Identity identity_;
  master::RateWindow<1> cpu_;
  bool cpu_sampled_ = false;
};

}  // namespace cairn::mds::service
