// set-config, get-config and scrub against a fake MDS.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/testing/fake_mds.h"

namespace cairn::admin {
namespace {

using testing::FakeMds;

std::string key() {
  static const std::string derived = cluster::ClusterConfig::derive_key("stor1", "secret");
  return derived;
}

class ClusterCommands : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "cairn-config-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    ::setenv("CAIRN_ETC", (root_ + "/etc").c_str(), 1);
    ::unsetenv("CAIRN_CLUSTER");
    const cluster::ClusterConfig config({}, "stor1");
    ASSERT_TRUE(config.write_key(key()).has_value());
    ASSERT_TRUE(add_mds_addresses(config, {mds_.address()}).has_value());
    mds_.say_hello(1, mds_.place());
    mds_.answer("GetConfig", [](const std::string&) -> Result<std::string> {
      pb::GetConfigReply reply;
      pb::GetConfigReply::One* one = reply.add_settings();
      one->set_name("mds.wd.verify_chunks");
      one->set_value("2");
      return reply.SerializeAsString();
    });
    mds_.answer("SetConfig", [this](const std::string& bytes) -> Result<std::string> {
      EXPECT_TRUE(asked_.ParseFromString(bytes));
      if (asked_.settings(0).value() == "1001") {
        return fail(Code::kInvalidArgument, "mds.wd.verify_chunks=1001 is not allowed");
      }
      pb::SetConfigReply reply;
      *reply.mutable_settings() = asked_.settings();
      return reply.SerializeAsString();
    });
    mds_.answer("Scrub", [](const std::string&) -> Result<std::string> {
      return scrub(0).SerializeAsString();
    });
    // A third of it done each time it is looked at.
    mds_.answer("ScrubStatus", [this](const std::string& bytes) -> Result<std::string> {
      pb::ScrubStatusRequest request;
      EXPECT_TRUE(request.ParseFromString(bytes));
      if (forgets_ || (request.job() != 0 && request.job() != 4711)) {
        return fail(Code::kNotFound, "not known");
      }
      return scrub(std::min(++looks_, 3)).SerializeAsString();
    });
    globals_ = {.cluster = "stor1", .json = false, .timeout_s = 5};
  }
  void TearDown() override {
    std::filesystem::remove_all(root_);
    ::unsetenv("CAIRN_ETC");
  }
  static pb::ScrubReply scrub(int thirds) {
    pb::ScrubReply reply;
    reply.set_job(4711);
    reply.set_target("/x");
    reply.set_pieces(3);
    reply.set_verified(static_cast<std::uint64_t>(thirds));
    reply.set_done(thirds == 3);
    reply.add_jobs(4711);
    return reply;
  }
  ScrubNow now() const {
    return {.from_root = true, .path = "/x", .wait = true, .on_progress = {}};
  }

  std::string root_;
  FakeMds mds_{net::Credentials{.cluster = "stor1", .key = key()}};
  pb::SetConfigRequest asked_;
  int looks_ = 0;
  bool forgets_ = false;
  Globals globals_;
};

TEST_F(ClusterCommands, SetConfigSaysWhatWasBeforeAndWhereItWasTyped) {
  const auto output = set_config(globals_, {.words = {"mds.wd.verify_chunks=3"}});
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_EQ(output->text, "mds.wd.verify_chunks=3 (was 2)\n");
  EXPECT_EQ(asked_.cluster(), "stor1");
  EXPECT_EQ(asked_.from(), "127.0.0.1");
}

TEST_F(ClusterCommands, SetConfigOfAnUnknownNameAsksForNothing) {
  const auto output =
      set_config(globals_, {.words = {"mds.wd.verify_chunks=3", "mds.wd.verify_chunk=3"}});
  ASSERT_FALSE(output.has_value());
  EXPECT_EQ(exit_code(output.error().code), 2);
  EXPECT_NE(output.error().next.find("Did you mean 'mds.wd.verify_chunks'?"), std::string::npos);
  EXPECT_EQ(mds_.calls("SetConfig"), 0);
}

TEST_F(ClusterCommands, ABadValueIsWhatTheClusterSays) {
  const auto output = set_config(globals_, {.words = {"mds.wd.verify_chunks=1001"}});
  ASSERT_FALSE(output.has_value());
  EXPECT_EQ(exit_code(output.error().code), 2);
  EXPECT_NE(output.error().why.find("is not allowed"), std::string::npos);
}

TEST_F(ClusterCommands, GetConfigShowsOneOrAll) {
  EXPECT_EQ(get_config(globals_, {})->text, "mds.wd.verify_chunks=2\n");
  EXPECT_EQ(get_config(globals_, {.names = {"mds.wd.verify_chunks"}})->text,
            "mds.wd.verify_chunks=2\n");
  EXPECT_FALSE(get_config(globals_, {.names = {"nothing"}}).has_value());
}

TEST_F(ClusterCommands, ScrubWaitsForItsEndAndShowsHowFarItIs) {
  std::vector<std::string> lines;
  ScrubNow options = now();
  options.on_progress = [&](const std::string& line) { lines.push_back(line); };
  const auto output = scrub_now(globals_, options);
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_EQ(output->exit_code, 0);
  EXPECT_NE(output->text.find("Scrub 4711 of '/x': done"), std::string::npos);
  EXPECT_EQ(lines,
            (std::vector<std::string>{"0 of 3 pieces verified (0.0%), 0 blocks damaged",
                                      "1 of 3 pieces verified (33.3%), 0 blocks damaged",
                                      "2 of 3 pieces verified (66.7%), 0 blocks damaged", ""}));
}

TEST_F(ClusterCommands, ScrubWithoutWaitingNamesTheJob) {
  ScrubNow options = now();
  options.wait = false;
  EXPECT_EQ(scrub_now(globals_, options)->text,
            "scrub 4711 of '/x' has begun\nSee it:  cairn scrub status 4711\n");
  EXPECT_EQ(mds_.calls("ScrubStatus"), 0);
}

TEST_F(ClusterCommands, AFailoverEndsAScrubAndTheToolSaysSo) {
  forgets_ = true;
  const auto output = scrub_now(globals_, now());
  ASSERT_TRUE(output.has_value());
  EXPECT_EQ(output->exit_code, 8);
  ASSERT_EQ(output->warnings.size(), 1U);
  EXPECT_NE(output->warnings[0].find("the master of the cluster changed"), std::string::npos);
  EXPECT_EQ(scrub_status(globals_, {})->text,
            "No scrub was asked for since this MDS became the master.\n");
  const auto one = scrub_status(globals_, {.job = "4711"});
  ASSERT_FALSE(one.has_value());
  EXPECT_EQ(exit_code(one.error().code), 3);
}

TEST_F(ClusterCommands, ScrubStatusListsAllOrShowsOne) {
  EXPECT_NE(scrub_status(globals_, {})->text.find("\n4711  running"), std::string::npos);
  EXPECT_NE(scrub_status(globals_, {.job = "4711"})->text.find("of '/x': done"), std::string::npos);
  EXPECT_EQ(exit_code(scrub_status(globals_, {.job = "1"}).error().code), 3);
  for (const char* bad : {"x", "0", "-1", "1x"}) {
    EXPECT_EQ(exit_code(scrub_status(globals_, {.job = bad}).error().code), 2) << bad;
  }
}

}  // namespace
}  // namespace cairn::admin
