// make-mds without -I, rm-mds, check-mds and auth-node against a fake MDS.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/commands/mds_door.h"
#include "admin/testing/fake_mds.h"
#include "admin/testing/free_ports.h"
#include "common/cluster/repository.h"

namespace cairn::admin {
namespace {

using testing::FakeMds;

const char* const kPassword = "secret";

std::string key() {
  static const std::string derived = cluster::ClusterConfig::derive_key("stor1", kPassword);
  return derived;
}

class JoinMdsCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "cairn-join-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    ::setenv("CAIRN_ETC", (root_ + "/etc").c_str(), 1);
    ::unsetenv("CAIRN_CLUSTER");
    mds_.say_hello(1, mds_.place());
    mds_.answer("AddMds", [this](const std::string& request) { return add(request); });
    ASSERT_TRUE(config().write_key(key()).has_value());
    globals_ = {.cluster = "stor1", .json = false, .timeout_s = 5};
    own_ = "127.0.0.1:" + std::to_string(testing::free_port_pair());
    options_ = {.init = false,
                .address = own_,
                .repository = root_ + "/mds",
                .bootstrap = {mds_.place()},
                .password = PasswordFrom::kNowhere,
                .force = true};
  }
  void TearDown() override {
    std::filesystem::remove_all(root_);
    ::unsetenv("CAIRN_ETC");
  }
  static cluster::ClusterConfig config() { return {{}, "stor1"}; }

  void tell_state(const std::vector<std::uint32_t>& ids) {
    mds_.answer("Stat", [this, ids](const std::string&) -> Result<std::string> {
      pb::StatReply reply;
      for (const std::uint32_t id : ids) {
        pb::MdsStat* mds = reply.add_mds();
        mds->set_id(id);
        mds->set_address(id == 1 ? mds_.place() : own_);
      }
      return reply.SerializeAsString();
    });
  }
  // As the master: a uuid that comes again gets its id again.
  Result<std::string> add(const std::string& bytes) {
    pb::AddMdsRequest request;
    EXPECT_TRUE(request.ParseFromString(bytes));
    uuids_.push_back(request.repo_uuid());
    if (refuse_.has_value()) return fail(*refuse_, "the master says no");
    if (members_.empty()) {
      members_ = {{request.repo_uuid(), request.address()}};
    }
    pb::AddMdsReply reply;
    reply.set_cluster_id(FakeMds::kClusterId);
    reply.set_mds_id(2);
    pb::MdsMember* first = reply.add_members();
    first->set_id(1);
    first->set_address(mds_.place());
    first->set_role("voter");
    pb::MdsMember* second = reply.add_members();
    second->set_id(2);
    second->set_address(members_.begin()->second);
    second->set_role("learner");
    return reply.SerializeAsString();
  }
  Failure refused() {
    const auto output = make_mds(globals_, options_);
    EXPECT_FALSE(output.has_value());
    return output.has_value() ? Failure{} : output.error();
  }
  bool exists(const std::string& name) const { return std::filesystem::exists(root_ + name); }

  std::string root_;
  FakeMds mds_{net::Credentials{.cluster = "stor1", .key = key()}};
  std::vector<std::uint64_t> uuids_;
  std::map<std::uint64_t, std::string> members_;
  std::optional<Code> refuse_;
  std::string own_;
  Globals globals_;
  MakeMds options_;
};

TEST_F(JoinMdsCommand, WritesRepositoryAddressListAndServiceList) {
  const auto output = make_mds(globals_, options_);
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_EQ(output->text.substr(0, output->text.find(" at ")),
            "made MDS#2 of cluster 'stor1' (0000000000abcdef)");
  EXPECT_NE(output->text.find("cairn-mdsd -r " + root_ + "/mds -D\n"), std::string::npos);
  EXPECT_NE(output->text.find("2 MDS: the cluster stops when either fails"), std::string::npos);
  ASSERT_EQ(uuids_.size(), 1U);
  const auto repository = cluster::MdsRepository::load(root_ + "/mds");
  ASSERT_TRUE(repository.has_value()) << repository.error().to_string();
  EXPECT_EQ(*repository,
            (cluster::MdsRepository{.cluster = "stor1",
                                    .cluster_id = ClusterId::from_raw(FakeMds::kClusterId),
                                    .mds_id = NodeId::from_raw(2),
                                    .address = net::Address::parse(own_).value(),
                                    .repo_uuid = uuids_.front(),
                                    .bootstrap = false,
                                    .peers = {{kFirstMdsId, mds_.address()}},
                                    .addresses_changed = false}));
  EXPECT_FALSE(exists("/mds/mds.joining"));
  EXPECT_EQ(config().mds_addresses().value(),
            (std::vector<net::Address>{mds_.address(), net::Address::parse(own_).value()}));
  EXPECT_EQ(local_services(config()).value(),
            (std::vector<LocalService>{{ServiceKind::kMds, NodeId::from_raw(2), root_ + "/mds"}}));
}

TEST_F(JoinMdsCommand, FindsTheClusterByTheListOfThisHostAndDropsThoseThatAreNoMembers) {
  const net::Address gone{.host = "127.0.0.1", .port = 9};
  ASSERT_TRUE(config().write_mds_addresses({gone, mds_.address()}).has_value());
  options_.bootstrap = {};
  ASSERT_TRUE(make_mds(globals_, options_).has_value());
  EXPECT_EQ(config().mds_addresses().value(),
            (std::vector<net::Address>{mds_.address(), net::Address::parse(own_).value()}));
}

TEST_F(JoinMdsCommand, WithoutAnyAddressItSaysWhatToGive) {
  options_.bootstrap = {};
  const Failure failure = refused();
  EXPECT_EQ(failure.code, Code::kNotFound);
  EXPECT_NE(failure.next.find("-b ADDR"), std::string::npos);
  EXPECT_FALSE(exists("/mds"));
}

TEST_F(JoinMdsCommand, ARefusalLeavesNothing) {
  for (const Code code : {Code::kRefusedForSafety, Code::kUnsupported, Code::kExists}) {
    refuse_ = code;
    const Failure failure = refused();
    EXPECT_EQ(failure.code, code);
    EXPECT_EQ(failure.why, "the master says no");
    EXPECT_EQ(failure.state, "");
    EXPECT_FALSE(exists("/mds"));
    EXPECT_FALSE(exists("/etc/clusters/stor1/bs.list"));
  }
}

TEST_F(JoinMdsCommand, AfterAnUncertainEndARepeatAsksWithTheSameUuid) {
  refuse_ = Code::kConnectionLost;
  const Failure failure = refused();
  EXPECT_NE(failure.state.find("Repeat the same command"), std::string::npos);
  EXPECT_TRUE(exists("/mds/mds.joining"));
  EXPECT_FALSE(exists("/mds/mds.conf"));
  // A clear refusal after an uncertain end says nothing about the first attempt.
  refuse_ = Code::kRefusedForSafety;
  EXPECT_EQ(refused().code, Code::kRefusedForSafety);
  EXPECT_TRUE(exists("/mds/mds.joining"));
  refuse_.reset();
  ASSERT_TRUE(make_mds(globals_, options_).has_value());
  ASSERT_EQ(uuids_.size(), 3U);
  EXPECT_EQ(uuids_[0], uuids_[1]);
  EXPECT_EQ(uuids_[0], uuids_[2]);
  EXPECT_FALSE(exists("/mds/mds.joining"));
}

TEST_F(JoinMdsCommand, GoesOnWhenOnlyTheLastStepsAreMissing) {
  ASSERT_TRUE(make_mds(globals_, options_).has_value());
  const cluster::JoiningMds mark{.cluster = "stor1", .repo_uuid = uuids_.front()};
  // As a crash after mds.conf leaves it.
  const std::string conf = root_ + "/mds/mds.conf";
  std::filesystem::rename(conf, root_ + "/kept");
  ASSERT_TRUE(mark.create(root_ + "/mds").has_value());
  std::filesystem::rename(root_ + "/kept", conf);
  std::filesystem::remove(root_ + "/etc/clusters/stor1/services.list");
  std::filesystem::remove(root_ + "/etc/clusters/stor1/bs.list");
  ASSERT_TRUE(make_mds(globals_, options_).has_value());
  EXPECT_EQ(uuids_.back(), uuids_.front());
  EXPECT_EQ(local_services(config())->size(), 1U);
  EXPECT_EQ(config().mds_addresses()->size(), 2U);
  EXPECT_FALSE(exists("/mds/mds.joining"));
  // Now it is finished, and a further one there is refused.
  EXPECT_EQ(refused().code, Code::kNotEmpty);
}

TEST_F(JoinMdsCommand, ARepeatAtAnotherAddressIsRefused) {
  refuse_ = Code::kTimeout;
  members_ = {{1, own_}};
  refused();
  refuse_.reset();
  options_.address = "127.0.0.1:" + std::to_string(testing::free_port_pair());
  ASSERT_NE(options_.address, own_);
  const Failure failure = refused();
  EXPECT_EQ(failure.code, Code::kExists);
  EXPECT_NE(failure.next.find("-a " + own_), std::string::npos) << failure.next;
  EXPECT_FALSE(exists("/mds/mds.conf"));
}

TEST_F(JoinMdsCommand, RefusesADirectoryThatIsBegunForAnotherCluster) {
  ASSERT_TRUE(
      (cluster::JoiningMds{.cluster = "other", .repo_uuid = 5}).create(root_ + "/mds").has_value());
  EXPECT_EQ(refused().code, Code::kNotEmpty);
  EXPECT_EQ(mds_.calls("AddMds"), 0);
}

TEST_F(JoinMdsCommand, AWrongKeyIsRefusedBeforeAnythingIsMade) {
  ASSERT_TRUE(config().write_key(std::string(32, 'x')).has_value());
  const Failure failure = refused();
  EXPECT_EQ(failure.code, Code::kNotAuthenticated);
  EXPECT_NE(failure.next.find("-p"), std::string::npos);
  EXPECT_FALSE(exists("/mds"));
  EXPECT_EQ(mds_.calls("AddMds"), 0);
}

TEST_F(JoinMdsCommand, WithoutAMajorityItSaysSoAndAsksNothing) {
  mds_.say_hello(1, "");
  globals_.timeout_s = 0.6;
  options_.bootstrap = {mds_.place() + ",127.0.0.1:9", "127.0.0.1:11"};
  mds_.answer("AddMds",
              [](const std::string&) -> Result<std::string> { return fail(Code::kNotMaster); });
  const Failure failure = refused();
  EXPECT_EQ(failure.code, Code::kNoMajority);
  EXPECT_NE(failure.why.find("2 of 3 MDS are down"), std::string::npos) << failure.why;
}

TEST_F(JoinMdsCommand, RmMdsForgetsTheMemberOnThisHost) {
  ASSERT_TRUE(make_mds(globals_, options_).has_value());
  mds_.answer("RemoveMds", [this](const std::string& bytes) -> Result<std::string> {
    pb::RemoveMdsRequest request;
    EXPECT_TRUE(request.ParseFromString(bytes));
    EXPECT_EQ(request.mds_id(), 2U);
    pb::RemoveMdsReply reply;
    reply.set_address(own_);
    pb::MdsMember* left = reply.add_members();
    left->set_id(1);
    left->set_address(mds_.place());
    return reply.SerializeAsString();
  });
  tell_state({1, 2});
  const auto unknown = rm_mds(globals_, {.id = "9"});
  EXPECT_EQ(unknown.error().code, Code::kNotFound);
  EXPECT_EQ(unknown.error().why, "There is no MDS#9; the cluster has MDS#1, MDS#2");
  EXPECT_EQ(mds_.calls("RemoveMds"), 0);
  for (const char* bad : {"", "x", "0", "2x", "-2", "MDS#"}) {
    EXPECT_EQ(rm_mds(globals_, {.id = bad}).error().code, Code::kInvalidArgument) << bad;
  }
  const auto output = rm_mds(globals_, {.id = "MDS#2"});
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_TRUE(output->text.starts_with("removed MDS#2 at " + own_)) << output->text;
  EXPECT_NE(output->text.find(root_ + "/mds\n"), std::string::npos) << output->text;
  EXPECT_EQ(config().mds_addresses().value(), std::vector<net::Address>{mds_.address()});
  EXPECT_TRUE(local_services(config())->empty());
}

TEST_F(JoinMdsCommand, RmMdsWhoseAnswerWasLostInAFailoverIsDone) {
  ASSERT_TRUE(make_mds(globals_, options_).has_value());
  tell_state({1, 2});
  mds_.answer("RemoveMds", [](const std::string&) -> Result<std::string> {
    return fail(Code::kNotFound, "there is no MDS#2");
  });
  const auto output = rm_mds(globals_, {.id = "2"});
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_TRUE(output->text.starts_with("removed MDS#2 at " + own_)) << output->text;
  EXPECT_EQ(config().mds_addresses().value(), std::vector<net::Address>{mds_.address()});
}

TEST_F(JoinMdsCommand, RmMdsTellsWhyItIsRefused) {
  ASSERT_TRUE(config().write_mds_addresses({mds_.address()}).has_value());
  tell_state({1});
  mds_.answer("RemoveMds", [](const std::string&) -> Result<std::string> {
    return fail(Code::kRefusedForSafety, "1 of the 2 that would be left is down");
  });
  const auto output = rm_mds(globals_, {.id = "1"});
  ASSERT_FALSE(output.has_value());
  EXPECT_EQ(exit_code(output.error().code), 4);
  EXPECT_EQ(output.error().what, "cannot remove MDS#1");
  EXPECT_NE(output.error().next.find("make-mds"), std::string::npos);
  EXPECT_EQ(config().mds_addresses()->size(), 1U);
}

TEST_F(JoinMdsCommand, CheckMdsTellsByItsExitCode) {
  ASSERT_TRUE(config().write_mds_addresses({mds_.address()}).has_value());
  struct Case {
    std::vector<std::uint32_t> digests;
    int exit;
  };
  for (const Case& c : {Case{{7, 7, 7}, 0}, Case{{7, 8, 7}, 1}, Case{{7, 7, 0}, 8}}) {
    mds_.answer("CheckMds", [&c](const std::string&) -> Result<std::string> {
      pb::CheckMdsReply reply;
      for (const std::uint32_t digest : c.digests) {
        pb::CheckMdsReply::One* one = reply.add_mds();
        one->set_digest(digest);
        if (digest == 0) one->set_failure("no answer");
      }
      return reply.SerializeAsString();
    });
    const auto output = check_mds(globals_);
    ASSERT_TRUE(output.has_value()) << to_text(output.error());
    EXPECT_EQ(output->exit_code, c.exit);
  }
}

TEST_F(JoinMdsCommand, AnyMemberProvesTheKey) {
  FakeMds follower(net::Credentials{.cluster = "stor1", .key = key()});
  const MdsDoor door{.addresses = {follower.address()},
                     .credentials = {.cluster = "stor1", .key = key()},
                     .timeout = 2s};
  // It says no more than that it is not the master.
  EXPECT_EQ(greet(door).error().code(), Code::kNoMajority);
  follower.say_hello(3, "127.0.0.1:9");
  EXPECT_EQ(greet(door)->mds_id(), 3U);
  EXPECT_EQ(greet({.addresses = {follower.address()},
                   .credentials = {.cluster = "stor1", .key = std::string(32, 'x')},
                   .timeout = 2s})
                .error()
                .code(),
            Code::kNotAuthenticated);
}

}  // namespace
}  // namespace cairn::admin
