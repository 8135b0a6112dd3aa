// set-attr against a fake MDS: what is asked for, what is refused, what is said of conversions.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

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

class SetAttrCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "cairn-set-attr-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    ::setenv("CAIRN_ETC", (root_ + "/etc").c_str(), 1);
    ::unsetenv("CAIRN_CLUSTER");
    const cluster::ClusterConfig config({}, "stor1");
    ASSERT_TRUE(config.write_key(key()).has_value());
    ASSERT_TRUE(add_mds_addresses(config, {mds_.address()}).has_value());
    mds_.say_hello(1, mds_.place());
    mds_.answer("GetPolicy", [this](const std::string& bytes) -> Result<std::string> {
      pb::GetPolicyRequest request;
      EXPECT_TRUE(request.ParseFromString(bytes));
      const auto at = policies_.find(request.target().path());
      if (at == policies_.end()) return fail(Code::kNotFound, "there is no such path");
      return at->second.SerializeAsString();
    });
    mds_.answer("SetPolicy", [this](const std::string& bytes) -> Result<std::string> {
      EXPECT_TRUE(asked_.ParseFromString(bytes));
      return reply_.SerializeAsString();
    });
    // One file less waits each time it is looked at.
    mds_.answer("Stat", [this](const std::string&) -> Result<std::string> {
      pb::StatReply reply;
      reply.mutable_conversions()->set_waiting(waiting_);
      reply.mutable_conversions()->set_paused(paused_);
      if (waiting_ != 0) --waiting_;
      return reply.SerializeAsString();
    });
    reply_.set_changed(3);
    add("/", 1, 2, 2);
  }
  void TearDown() override {
    std::filesystem::remove_all(root_);
    ::unsetenv("CAIRN_ETC");
  }
  void add(const std::string& path, unsigned data, unsigned parity, unsigned min,
           bool with_data = false) {
    pb::GetPolicyReply& reply = policies_[path];
    reply.mutable_policy()->mutable_encoding()->set_data(data);
    reply.mutable_policy()->mutable_encoding()->set_parity(parity);
    reply.mutable_policy()->mutable_encoding()->set_min(min);
    if (with_data) *reply.mutable_layout()->mutable_encoding() = reply.policy().encoding();
  }
  static SetAttr options(const std::string& path, const std::string& attribute) {
    return {.recursive = true, .from_root = true, .words = {path, attribute}};
  }
  Outcome<Output> run(const SetAttr& what) {
    return set_attr({.cluster = "stor1", .json = false, .timeout_s = 5}, what);
  }

  std::string root_;
  FakeMds mds_{net::Credentials{.cluster = "stor1", .key = key()}};
  std::map<std::string, pb::GetPolicyReply> policies_;
  pb::SetPolicyRequest asked_;
  pb::SetPolicyReply reply_;
  std::uint64_t waiting_ = 0;
  bool paused_ = false;
};

TEST_F(SetAttrCommand, SaysHowManyFilesAreConvertedAndHowToWatchAndPauseThem) {
  reply_.set_converting(2);
  const auto output = run(options("/d", "encoding=4+2"));
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_EQ(output->text,
            "changed 3 files and directories\n"
            "2 files with data are converted in the background, in use or not\n"
            "See how far that is:  cairn stat\n"
            "Pause it:             cairn set-config mds.convert.workers=0\n");
  EXPECT_TRUE(output->warnings.empty());
  EXPECT_FALSE(asked_.keep_data());
  EXPECT_TRUE(asked_.recursive());
  EXPECT_EQ(mds_.calls("Stat"), 0);
}

TEST_F(SetAttrCommand, NoConvertKeepsTheDataAsItIs) {
  reply_.set_keep_layout(2);
  SetAttr what = options("/d", "encoding=4+2");
  what.keep_data = true;
  const auto output = run(what);
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_TRUE(asked_.keep_data());
  EXPECT_EQ(output->text, "changed 3 files and directories\n");
  ASSERT_EQ(output->warnings.size(), 1U);
  EXPECT_NE(output->warnings[0].find("keep their present encoding"), std::string::npos);
}

TEST_F(SetAttrCommand, ADirectoryDoesNotGoBackToReplicationByItself) {
  add("/d", 4, 2, 5);
  const auto refused = run(options("/d", "replicas=3"));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(exit_code(refused.error().code), 4);
  EXPECT_NE(refused.error().why.find("does not go back to replication"), std::string::npos);
  EXPECT_NE(refused.error().next.find("--convert"), std::string::npos);
  EXPECT_EQ(mds_.calls("SetPolicy"), 0);
  // Another encoding is taken, and replicas with either word.
  EXPECT_TRUE(run(options("/d", "encoding=7+2")).has_value());
  SetAttr what = options("/d", "replicas=3");
  what.convert = true;
  EXPECT_TRUE(run(what).has_value());
  EXPECT_FALSE(asked_.keep_data());
  what.convert = false;
  what.keep_data = true;
  EXPECT_TRUE(run(what).has_value());
  EXPECT_EQ(mds_.calls("SetPolicy"), 3);
}

TEST_F(SetAttrCommand, TheRootHasNobodyToInheritFrom) {
  add("/", 4, 2, 5);
  EXPECT_FALSE(run(options("/", "replicas=3")).has_value());
  EXPECT_EQ(mds_.calls("SetPolicy"), 0);
}

TEST_F(SetAttrCommand, WhatWasOnlyInheritedAndFilesMayHaveReplicas) {
  add("/", 4, 2, 5);
  add("/d", 4, 2, 5);
  EXPECT_TRUE(run(options("/d", "replicas=3")).has_value());
  add("/d/own", 2, 1, 2);
  EXPECT_FALSE(run(options("/d/own", "replicas=3")).has_value());
  add("/d/own/file", 7, 2, 8, true);
  EXPECT_TRUE(run(options("/d/own/file", "replicas=3")).has_value());
  EXPECT_EQ(mds_.calls("SetPolicy"), 2);
}

TEST_F(SetAttrCommand, AnUnknownPathIsSaidSo) {
  const auto output = run(options("/nowhere", "replicas=3"));
  ASSERT_FALSE(output.has_value());
  EXPECT_EQ(exit_code(output.error().code), 3);
  EXPECT_EQ(mds_.calls("SetPolicy"), 0);
}

TEST_F(SetAttrCommand, WaitsUntilNoFileWaitsAnyMore) {
  reply_.set_converting(2);
  waiting_ = 2;
  std::vector<std::string> lines;
  SetAttr what = options("/d", "encoding=4+2");
  what.wait = true;
  what.on_progress = [&](const std::string& line) { lines.push_back(line); };
  const auto output = run(what);
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_EQ(output->exit_code, 0);
  EXPECT_NE(output->text.find("no file waits for conversion any more\n"), std::string::npos);
  EXPECT_EQ(lines,
            (std::vector<std::string>{"2 files to be converted", "1 file to be converted", ""}));
}

TEST_F(SetAttrCommand, DoesNotWaitForWhatIsPaused) {
  reply_.set_converting(2);
  waiting_ = 2;
  paused_ = true;
  SetAttr what = options("/d", "encoding=4+2");
  what.wait = true;
  const auto output = run(what);
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_EQ(output->exit_code, 8);
  ASSERT_EQ(output->warnings.size(), 1U);
  EXPECT_NE(output->warnings[0].find("paused"), std::string::npos);
}

TEST_F(SetAttrCommand, DoesNotWaitWhenNothingIsConverted) {
  SetAttr what = options("/d", "encoding=4+2");
  what.wait = true;
  EXPECT_TRUE(run(what).has_value());
  EXPECT_EQ(mds_.calls("Stat"), 0);
}

}  // namespace
}  // namespace cairn::admin
