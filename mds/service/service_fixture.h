// A master with its services for chunk servers and the admin tool, on virtual time. For tests of
// this folder.
#pragma once

#include <gtest/gtest.h>

#include "mds/master/master_fixture.h"
#include "mds/service/admin_service.h"
#include "mds/service/cluster_service.h"

namespace cairn::mds::service {

using testing::Outcome;

class ServiceTest : public master::MasterTest {
 protected:
  template <class T>
  Result<T> wait(Task<Result<T>> task) {
    Outcome<Result<T>> outcome(group_, std::move(task));
    EXPECT_TRUE(runtime_.run_until([&] { return outcome.done(); }, 30s));
    return std::move(outcome.value());
  }
  Result<pb::AddCsReply> add(std::uint64_t uuid) {
    pb::AddCsRequest request;
    request.set_cluster("test");
    request.set_repo_uuid(uuid);
    request.set_host_id(uuid + 1000);
    request.set_host("node" + std::to_string(uuid));
    return wait(AdminService::add_cs(&admin_, request));
  }
  pb::RegisterCsRequest registration(std::uint32_t cs, std::uint64_t uuid) {
    pb::RegisterCsRequest request;
    request.set_cluster_id(42);
    request.set_cs_id(cs);
    request.set_repo_uuid(uuid);
    request.set_host_id(uuid + 1000);
    request.set_host("node" + std::to_string(uuid));
    request.set_address("10.1.0.1:" + std::to_string(cs));
    return request;
  }
  pb::HeartbeatRequest beat(std::uint32_t cs, std::uint64_t uuid) {
    pb::HeartbeatRequest request;
    request.set_cluster_id(42);
    request.set_cs_id(cs);
    request.set_repo_uuid(uuid);
    request.mutable_statistics()->set_space_bytes(100_GiB);
    request.mutable_statistics()->set_free_bytes(50_GiB);
    return request;
  }
  void join(std::uint64_t uuid) {
    const Result<pb::AddCsReply> added = add(uuid);
    ASSERT_TRUE(added.has_value());
    const std::uint32_t cs = added->cs_id();
    ASSERT_TRUE(wait(ClusterService::register_cs(&cluster_, registration(cs, uuid))).has_value());
    ASSERT_TRUE(wait(ClusterService::heartbeat(&cluster_, beat(cs, uuid))).has_value());
  }
  pb::StatReply stat() {
    pb::StatRequest request;
    request.set_chunks(true);
    return wait(AdminService::stat(&admin_, request)).value();
  }

  Members members_{runtime_,
                   *log_,
                   commands_->group(),
                   {.mds_id = kFirstMdsId,
                    .host = "mds-host",
                    .address = {"10.0.0.1", 2510},
                    .repo_uuid = 1,
                    .repository = "/repo",
                    .usage = process_usage}};
  ClusterService cluster_{*master_, members_};
  AdminService admin_{*master_, members_};
};

}  // namespace cairn::mds::service
