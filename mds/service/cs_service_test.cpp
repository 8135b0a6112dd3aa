// Chunk servers with trouble, the settings of the cluster and scrubs, as the services answer them.
#include <gtest/gtest.h>

#include <algorithm>

#include "mds/service/service_fixture.h"

namespace cairn::mds::service {
namespace {

using master::FakeClient;

class CsServiceTest : public ServiceTest {
 protected:
  pb::RegisterCsRequest failing(std::uint32_t cs, std::uint64_t uuid, const std::string& letter) {
    pb::RegisterCsRequest request = registration(cs, uuid);
    request.clear_address();
    request.set_failure("no cs.conf there");
    request.set_trouble(letter);
    request.set_repository("/disk7/cs");
    return request;
  }
  Status registers(pb::RegisterCsRequest request) {
    const Result<pb::RegisterCsReply> reply =
        wait(ClusterService::register_cs(&cluster_, std::move(request)));
    if (!reply.has_value()) return fail(reply.error());
    return {};
  }
  Result<pb::HeartbeatReply> beats(pb::HeartbeatRequest request) {
    return wait(ClusterService::heartbeat(&cluster_, std::move(request)));
  }
  Result<pb::SetConfigReply> set(std::initializer_list<std::pair<std::string, std::string>> pairs) {
    pb::SetConfigRequest request;
    request.set_cluster("test");
    request.set_from("10.9.9.9");
    for (const auto& [name, value] : pairs) {
      pb::Setting* setting = request.add_settings();
      setting->set_name(name);
      setting->set_value(value);
    }
    return wait(AdminService::set_config(&admin_, request));
  }
  Result<pb::GetConfigReply> get(const std::string& name = {}) {
    pb::GetConfigRequest request;
    if (!name.empty()) request.add_names(name);
    return wait(AdminService::get_config(&admin_, request));
  }
  std::vector<std::string> events() {
    runtime_.run_for(1500ms);
    std::vector<std::string> messages;
    const auto last = state::queries::last_events(tables_, 100);
    for (const pb::Event& event : *last) {
      messages.push_back(event.message());
    }
    return messages;
  }
  // A file with one chunk of two pieces.
  std::uint64_t file() {
    FakeClient& a = client("a");
    const pb::MakeNodeReply made = a.create("file");
    const auto opened =
        a.mutate(FakeClient::open_chunk(made.attributes().inode(), made.epoch(), 3));
    EXPECT_TRUE(opened.has_value() && opened->error().code() == 0);
    chunk_ = opened->open_chunk().chunk();
    return made.attributes().inode();
  }

  pb::Chunk chunk_;
};

TEST_F(CsServiceTest, OneThatFailedKeepsItsAddressAndGetsNoWork) {
  join(7);
  pb::HeartbeatRequest request = beat(1025, 7);
  EXPECT_EQ(beats(request)->verify_chunks(), 2U);
  ASSERT_TRUE(registers(failing(1025, 7, "R")).has_value());
  const pb::StatReply shown = stat();
  EXPECT_EQ(shown.cs(0).status(), "offline");
  EXPECT_EQ(shown.cs(0).address(), "10.1.0.1:1025");
  EXPECT_EQ(shown.cs(0).failure(), "no cs.conf there");
  EXPECT_EQ(shown.cs(0).trouble(), "R");
  EXPECT_EQ(shown.cs(0).repository(), "/disk7/cs");
  EXPECT_EQ(shown.allocatable_bytes(), 0U);
  EXPECT_EQ(shown.reasons(0),
            "CS 1025 at node7 is offline because it reported a hard error (R): no cs.conf there: "
            "no chunk has a piece there");
  request.set_failure("no cs.conf there");
  request.set_trouble("R");
  EXPECT_EQ(beats(request)->verify_chunks(), 0U);
  const std::string told = "CS#1025 has reported hard error on /disk7/cs (R): no cs.conf there";
  EXPECT_EQ(std::ranges::count(events(), told), 1);
  ASSERT_TRUE(beats(request).has_value());
  EXPECT_EQ(std::ranges::count(events(), told), 1) << "once a trouble";
  ASSERT_TRUE(registers(registration(1025, 7)).has_value());
  ASSERT_TRUE(beats(beat(1025, 7)).has_value());
  EXPECT_EQ(stat().cs(0).status(), "active");
  EXPECT_EQ(stat().cs(0).trouble(), "");
}

// Its directory is not mounted: it cannot say which repository it is.
TEST_F(CsServiceTest, OneWithoutARepositoryIsBelievedOnlyOfItsOwnHost) {
  join(7);
  pb::RegisterCsRequest request = failing(1025, 7, "R");
  request.set_repo_uuid(0);
  EXPECT_EQ(registers(request).error().code(), Code::kRefusedForSafety) << "it serves";
  runtime_.run_for(5s);
  request.set_host_id(99);
  EXPECT_EQ(registers(request).error().code(), Code::kRefusedForSafety) << "another host's";
  request.set_host_id(1007);
  EXPECT_TRUE(registers(request).has_value());
  EXPECT_EQ(stat().cs(0).trouble(), "R");
  pb::HeartbeatRequest again = beat(1025, 0);
  EXPECT_EQ(beats(again).error().code(), Code::kRefusedForSafety) << "healthy, but of no uuid";
  again.set_failure("no cs.conf there");
  EXPECT_TRUE(beats(again).has_value());
}

TEST_F(CsServiceTest, DamagedBlocksAndTroublesAreReasons) {
  join(7);
  pb::HeartbeatRequest request = beat(1025, 7);
  request.mutable_statistics()->set_damaged_blocks(3);
  request.mutable_statistics()->set_flags("JChT");
  ASSERT_TRUE(beats(request).has_value());
  const pb::StatReply shown = stat();
  EXPECT_EQ(shown.status(), "degraded");
  ASSERT_EQ(shown.reasons_size(), 2);
  EXPECT_EQ(shown.reasons(0),
            "CS 1025 at node7 has 3 damaged blocks: they are read from the other pieces and "
            "written anew from them");
  EXPECT_EQ(shown.reasons(1), "CS 1025 at node7 reports trouble T and still serves");
}

TEST_F(CsServiceTest, ShowsTheEngineOfTheRegistrationUntilItIsTold) {
  ASSERT_TRUE(add(7).has_value());
  pb::RegisterCsRequest request = registration(1025, 7);
  request.set_engine("io_uring");
  ASSERT_TRUE(registers(request).has_value());
  EXPECT_EQ(stat().cs(0).statistics().engine(), "io_uring");
  pb::HeartbeatRequest told = beat(1025, 7);
  told.mutable_statistics()->set_engine("threads");
  ASSERT_TRUE(beats(told).has_value());
  EXPECT_EQ(stat().cs(0).statistics().engine(), "threads");
}

TEST_F(CsServiceTest, FindsAChunkForAServerOfTheCluster) {
  join(7);
  join(8);
  set_root_encoding(1, 1, 1);
  const std::uint64_t inode = file();
  pb::LookupChunkRequest request;
  request.set_cluster_id(42);
  request.set_cs_id(1025);
  request.set_repo_uuid(7);
  request.set_chunk(chunk_.id());
  const auto found = wait(ClusterService::lookup_chunk(&cluster_, request));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->chunk().inode(), inode);
  ASSERT_EQ(found->chunk().pieces_size(), 2);
  EXPECT_EQ(found->chunk().pieces(0).address().substr(0, 9), "10.1.0.1:");
  request.set_chunk(999);
  EXPECT_FALSE(wait(ClusterService::lookup_chunk(&cluster_, request))->has_chunk());
  request.set_repo_uuid(9);
  EXPECT_EQ(wait(ClusterService::lookup_chunk(&cluster_, request)).error().code(),
            Code::kRefusedForSafety);
  request.set_cluster_id(43);
  EXPECT_EQ(wait(ClusterService::lookup_chunk(&cluster_, request)).error().code(),
            Code::kWrongCluster);
}

TEST_F(CsServiceTest, SettingsReachTheChunkServers) {
  join(7);
  const auto done = set({{"mds.wd.verify_chunks", "007"}});
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->settings(0).value(), "7");
  EXPECT_EQ(beats(beat(1025, 7))->verify_chunks(), 7U);
  const std::string told =
      "Global configuration updated by request from 10.9.9.9: mds.wd.verify_chunks=7";
  EXPECT_EQ(std::ranges::count(events(), told), 1);
  EXPECT_EQ(get()->settings(0).name(), "mds.convert.workers");
  EXPECT_EQ(get()->settings(0).value(), "2");
  EXPECT_EQ(get()->settings_size(), 2);
  const auto shown = get("mds.wd.verify_chunks");
  ASSERT_EQ(shown->settings_size(), 1);
  EXPECT_EQ(shown->settings(0).name(), "mds.wd.verify_chunks");
  EXPECT_EQ(shown->settings(0).value(), "7");
  EXPECT_EQ(shown->settings(0).default_value(), "2");
  EXPECT_EQ(shown->settings(0).range(), "0 to 1000 pieces a minute and chunk server");
  ASSERT_TRUE(set({{"mds.wd.verify_chunks", "default"}}).has_value());
  EXPECT_EQ(beats(beat(1025, 7))->verify_chunks(), 2U);
  EXPECT_TRUE(state::queries::stored_settings(tables_)->empty());
}

TEST_F(CsServiceTest, AllSettingsOfARequestOrNone) {
  const std::string name = "mds.wd.verify_chunks";
  EXPECT_EQ(set({}).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(set({{name, "3"}, {name, "4"}}).error().message(), name + " is given twice");
  EXPECT_EQ(set({{name, "3"}, {"no.such", "1"}}).error().message(),
            "there is no setting 'no.such'");
  EXPECT_EQ(set({{name, "1001"}}).error().message(),
            name + "=1001 is not allowed: it is 0 to 1000 pieces a minute and chunk server");
  EXPECT_EQ(set({{name, ""}}).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(get(name)->settings(0).value(), "2");
  EXPECT_EQ(get("no.such").error().code(), Code::kInvalidArgument);
  pb::SetConfigRequest other;
  other.set_cluster("else");
  EXPECT_EQ(wait(AdminService::set_config(&admin_, other)).error().code(), Code::kWrongCluster);
}

TEST_F(CsServiceTest, ASettingOfANewerVersionIsShown) {
  pb::Command command;
  pb::Setting* setting = command.mutable_set_config()->add_settings();
  setting->set_name("later.one");
  setting->set_value("x");
  run(std::move(command));
  EXPECT_EQ(get()->settings_size(), 3);
  EXPECT_EQ(get("later.one")->settings(0).value(), "x");
  EXPECT_EQ(set({{"later.one", "y"}}).error().code(), Code::kInvalidArgument);
}

TEST_F(CsServiceTest, AScrubRunsOverTheHeartbeats) {
  join(7);
  join(8);
  set_root_encoding(1, 1, 1);
  file();
  pb::ScrubRequest request;
  request.mutable_target()->set_path("/");
  const auto begun = wait(AdminService::scrub(&admin_, request));
  ASSERT_TRUE(begun.has_value());
  EXPECT_EQ(begun->target(), "/");
  runtime_.run_for(10ms);
  for (const auto& [cs, uuid] : {std::pair{1025U, 7U}, std::pair{1026U, 8U}}) {
    const auto told = beats(beat(cs, uuid));
    ASSERT_EQ(told->scrub_size(), 1);
    pb::HeartbeatRequest answer = beat(cs, uuid);
    pb::ScrubDone* done = answer.add_scrubbed();
    done->set_job(told->scrub(0).job());
    *done->mutable_piece() = told->scrub(0).piece();
    done->set_blocks(10);
    done->set_damaged(cs == 1026 ? 1 : 0);
    EXPECT_EQ(beats(answer)->scrub_size(), 0);
  }
  pb::ScrubStatusRequest status;
  status.set_job(begun->job());
  const auto ended = wait(AdminService::scrub_status(&admin_, status));
  ASSERT_TRUE(ended.has_value());
  EXPECT_TRUE(ended->done());
  EXPECT_EQ(ended->verified(), 2U);
  EXPECT_EQ(ended->blocks(), 20U);
  EXPECT_EQ(ended->damaged(), 1U);
  EXPECT_EQ(ended->findings_size(), 1);
  ASSERT_EQ(ended->jobs_size(), 1);
  status.set_job(begun->job() + 1);
  EXPECT_EQ(wait(AdminService::scrub_status(&admin_, status)).error().code(), Code::kNotFound);
  request.mutable_target()->set_path("/nowhere");
  EXPECT_EQ(wait(AdminService::scrub(&admin_, request)).error().code(), Code::kNotFound);
}

TEST_F(CsServiceTest, AllocatableIsWhatFitsOncePerHost) {
  set_root_encoding(1, 1, 1);
  join(7);
  join(8);
  pb::HeartbeatRequest small = beat(1026, 8);
  small.mutable_statistics()->set_free_bytes(25_GiB);
  ASSERT_TRUE(beats(small).has_value());
  const pb::StatReply shown = stat();
  EXPECT_EQ(shown.space_bytes(), 200_GiB);
  EXPECT_EQ(shown.free_bytes(), 75_GiB);
  EXPECT_EQ(shown.allocatable_bytes(), 20_GiB) << "two copies on two hosts, 5 % kept";
  EXPECT_EQ(shown.allocatable_space_bytes(), 100_GiB);
}

}  // namespace
}  // namespace cairn::mds::service
