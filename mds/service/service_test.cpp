#include <gtest/gtest.h>

#include <algorithm>

#include "mds/service/service_fixture.h"

namespace cairn::mds::service {
namespace {

using master::FakeClient;

TEST_F(ServiceTest, GivesTheSameIdToTheSameRepository) {
  EXPECT_EQ(add(7)->cs_id(), 1025U);
  EXPECT_EQ(add(8)->cs_id(), 1026U);
  EXPECT_EQ(add(7)->cs_id(), 1025U);
  EXPECT_EQ(add(7)->cluster_id(), 42U);
}

TEST_F(ServiceTest, RefusesAChunkServerOfAnotherClusterOrRepository) {
  ASSERT_TRUE(add(7).has_value());
  pb::RegisterCsRequest request = registration(1025, 7);
  request.set_cluster_id(43);
  EXPECT_EQ(wait(ClusterService::register_cs(&cluster_, request)).error().code(),
            Code::kWrongCluster);
  request = registration(1025, 8);
  const auto other = wait(ClusterService::register_cs(&cluster_, request));
  EXPECT_EQ(other.error().code(), Code::kRefusedForSafety);
  request = registration(1099, 8);
  EXPECT_EQ(wait(ClusterService::register_cs(&cluster_, request)).error().code(), Code::kNotFound);
}

TEST_F(ServiceTest, AsksAnUnregisteredChunkServerToRegister) {
  ASSERT_TRUE(add(7).has_value());
  EXPECT_TRUE(wait(ClusterService::heartbeat(&cluster_, beat(1025, 7)))->unknown());
  ASSERT_TRUE(wait(ClusterService::register_cs(&cluster_, registration(1025, 7))).has_value());
  EXPECT_FALSE(wait(ClusterService::heartbeat(&cluster_, beat(1025, 7)))->unknown());
}

TEST_F(ServiceTest, RemovesThePiecesOfAPurgedFileAtTheChunkServers) {
  join(7);
  FakeClient& a = client("a");
  const pb::MakeNodeReply made = a.create("file");
  ASSERT_EQ(
      a.mutate(FakeClient::open_chunk(made.attributes().inode(), made.epoch(), 1))->error().code(),
      0U);
  pb::ClientRequest unlink;
  unlink.mutable_unlink()->set_parent(1);
  unlink.mutable_unlink()->set_name("file");
  ASSERT_EQ(a.mutate(unlink)->error().code(), 0U);
  pb::ClientRequest unpin;
  unpin.mutable_unpin()->add_inodes()->set_inode(made.attributes().inode());
  unpin.mutable_unpin()->mutable_inodes(0)->set_pins(1);
  ASSERT_TRUE(a.call(unpin).has_value());
  runtime_.run_for(1s);
  pb::HeartbeatRequest request = beat(1025, 7);
  const Result<pb::HeartbeatReply> told = wait(ClusterService::heartbeat(&cluster_, request));
  ASSERT_EQ(told->remove_size(), 1);
  *request.add_removed() = told->remove(0);
  EXPECT_EQ(wait(ClusterService::heartbeat(&cluster_, request))->remove_size(), 0);
}

TEST_F(ServiceTest, TellsWhyTheClusterIsNotHealthy) {
  EXPECT_EQ(stat().status(), "degraded");
  EXPECT_EQ(stat().reasons(0), "there is no chunk server: nothing can be written");
  join(7);
  join(8);
  set_root_encoding(1, 1, 1);
  FakeClient& a = client("a");
  const pb::MakeNodeReply made = a.create("file");
  ASSERT_EQ(
      a.mutate(FakeClient::open_chunk(made.attributes().inode(), made.epoch(), 3))->error().code(),
      0U);
  runtime_.run_for(1s);  // counts are kept for a second
  pb::StatReply reply = stat();
  EXPECT_EQ(reply.status(), "healthy") << reply.ShortDebugString();
  EXPECT_EQ(reply.chunks().healthy(), 1U);
  EXPECT_EQ(reply.clients_size(), 1);
  EXPECT_EQ(reply.clients(0).leases_exclusive(), 1U);
  EXPECT_EQ(reply.cs(0).pieces_mapped(), 1U);
  EXPECT_GT(reply.mds(0).memory_bytes(), 0U);
  for (int i = 0; i < 12; ++i) {
    runtime_.run_for(1s);
    ASSERT_TRUE(wait(ClusterService::heartbeat(&cluster_, beat(1025, 7))).has_value());
  }
  reply = stat();
  EXPECT_EQ(reply.status(), "degraded");
  ASSERT_EQ(reply.reasons_size(), 2);
  EXPECT_EQ(reply.reasons(0),
            "CS 1026 at node8 is inactive: no heartbeat for 13 s: 1 chunk is standby");
  EXPECT_EQ(reply.reasons(1), "1 chunk can bear no further loss");
  runtime_.run_for(10s);
  reply = stat();
  EXPECT_EQ(reply.status(), "failure");
}

TEST_F(ServiceTest, SetsThePolicyOfATreeAndWarns) {
  FakeClient& a = client("a");
  pb::ClientRequest make;
  make.mutable_make_node()->set_parent(1);
  make.mutable_make_node()->set_type(pb::TYPE_DIRECTORY);
  make.mutable_make_node()->set_mode(0755);
  make.mutable_make_node()->set_name("dir");
  const std::uint64_t dir = a.mutate(make)->make_node().attributes().inode();
  make.mutable_make_node()->set_parent(dir);
  for (int i = 0; i < 700; ++i) {
    make.mutable_make_node()->set_name("sub" + std::to_string(i));
    ASSERT_EQ(a.mutate(make)->error().code(), 0U);
  }
  pb::SetPolicyRequest request;
  request.mutable_target()->set_path("/dir");
  request.set_recursive(true);
  request.mutable_policy()->mutable_encoding()->set_data(4);
  request.mutable_policy()->mutable_encoding()->set_parity(2);
  request.mutable_policy()->mutable_encoding()->set_min(5);
  const Result<pb::SetPolicyReply> set = wait(AdminService::set_policy(&admin_, request));
  ASSERT_TRUE(set.has_value()) << set.error().to_string();
  EXPECT_EQ(set->changed(), 701U);
  ASSERT_EQ(set->warnings_size(), 1);
  pb::GetPolicyRequest get;
  get.mutable_target()->set_path("dir/sub699");
  EXPECT_EQ(wait(AdminService::get_policy(&admin_, get))->policy().encoding().data(), 4U);
  request.mutable_policy()->mutable_encoding()->set_parity(4);
  EXPECT_EQ(wait(AdminService::set_policy(&admin_, request)).error().code(),
            Code::kInvalidArgument);
}

TEST_F(ServiceTest, QueuesFilesWithDataForConversionAndTellsOfThem) {
  join(7);
  join(8);
  join(9);
  FakeClient& a = client("a");
  const pb::MakeNodeReply made = a.create("file");
  const std::uint64_t id = made.attributes().inode();
  ASSERT_EQ(a.mutate(FakeClient::open_chunk(id, made.epoch(), 1))->error().code(), 0U);
  pb::SetPolicyRequest request;
  request.mutable_target()->set_path("/");
  request.set_recursive(true);
  request.mutable_policy()->mutable_encoding()->set_data(2);
  request.mutable_policy()->mutable_encoding()->set_parity(1);
  request.mutable_policy()->mutable_encoding()->set_min(2);
  request.set_keep_data(true);
  Result<pb::SetPolicyReply> set = wait(AdminService::set_policy(&admin_, request));
  ASSERT_TRUE(set.has_value()) << set.error().to_string();
  EXPECT_EQ(set->keep_layout(), 1U);
  EXPECT_EQ(set->converting(), 0U);
  EXPECT_EQ(stat().conversions().waiting(), 0U);
  EXPECT_FALSE(wait(ClusterService::heartbeat(&cluster_, beat(1025, 7)))->convert());

  request.set_keep_data(false);
  set = wait(AdminService::set_policy(&admin_, request));
  ASSERT_TRUE(set.has_value()) << set.error().to_string();
  EXPECT_EQ(set->keep_layout(), 0U);
  EXPECT_EQ(set->converting(), 1U);
  runtime_.run_for(10ms);
  EXPECT_EQ(stat().conversions().waiting(), 1U);
  pb::InfoRequest info;
  info.mutable_target()->set_path("/file");
  Result<pb::InfoReply> shown = wait(AdminService::info(&admin_, info));
  ASSERT_TRUE(shown.has_value());
  ASSERT_TRUE(shown->has_conversion());
  EXPECT_EQ(shown->conversion().to().data(), 2U);
  EXPECT_EQ(shown->conversion().worker(), "");
  // One file: one chunk server is asked to come.
  const bool first = wait(ClusterService::heartbeat(&cluster_, beat(1025, 7)))->convert();
  const bool second = wait(ClusterService::heartbeat(&cluster_, beat(1026, 8)))->convert();
  const bool third = wait(ClusterService::heartbeat(&cluster_, beat(1027, 9)))->convert();
  EXPECT_EQ(int{first} + int{second} + int{third}, 1);

  FakeClient worker(runtime_, group_, network_, "worker");
  worker.converter = 1026;
  worker.connect();
  worker.open();
  pb::ClientRequest next;
  next.mutable_next_conversion();
  const master::Answer given = worker.call(next);
  ASSERT_TRUE(given.has_value()) << given.error().to_string();
  EXPECT_EQ(given->next_conversion().inode(), id);
  shown = wait(AdminService::info(&admin_, info));
  EXPECT_EQ(shown->conversion().worker(), "CS#1026");
  const pb::StatReply reply = stat();
  EXPECT_EQ(reply.conversions().under_way(), 1U);
  ASSERT_EQ(reply.clients_size(), 1) << "a converter is no mount";
  EXPECT_EQ(reply.clients(0).process(), "a");
  runtime_.run_for(1s);
  const auto events = state::queries::last_events(tables_, 100).value();
  EXPECT_TRUE(std::ranges::any_of(events, [](const pb::Event& event) {
    return event.message() == "1 file of / is to be converted to encoding=2+1:2";
  }));
}

TEST_F(ServiceTest, ShowsWhereTheChunksOfAFileAre) {
  join(7);
  FakeClient& a = client("a");
  const pb::MakeNodeReply made = a.create("file");
  ASSERT_EQ(
      a.mutate(FakeClient::open_chunk(made.attributes().inode(), made.epoch(), 1))->error().code(),
      0U);
  pb::InfoRequest request;
  request.mutable_target()->set_path("/file");
  const Result<pb::InfoReply> info = wait(AdminService::info(&admin_, request));
  ASSERT_TRUE(info.has_value());
  ASSERT_EQ(info->chunks_size(), 1);
  EXPECT_EQ(info->chunks(0).pieces(0).address(), "10.1.0.1:1025");
  EXPECT_EQ(info->chunk_states(0), "healthy");
  EXPECT_NE(info->lease().find("exclusive: session"), std::string::npos);
}

}  // namespace
}  // namespace cairn::mds::service
