#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "admin/commands/commands.h"
#include "admin/commands/file_lock.h"
#include "admin/commands/renumber.h"
#include "common/cluster/cluster_config.h"

namespace cairn::admin {
namespace {

NodeId node(std::uint32_t id) { return NodeId::from_raw(id); }
net::Address at(const std::string& text) { return net::Address::parse(text).value(); }

cluster::MdsRepository second_of_three() {
  return {.cluster = "stor1",
          .cluster_id = ClusterId::from_raw(7),
          .mds_id = node(2),
          .address = at("10.0.0.2:2510"),
          .repo_uuid = 9,
          .bootstrap = false,
          .peers = {{node(1), at("10.0.0.1:2510")}, {node(3), at("10.0.0.3:2510")}},
          .addresses_changed = false};
}

TEST(ParseNodes, ReadsIdsAndAddresses) {
  const auto nodes = parse_nodes({"1@10.1.0.1", "3@10.1.0.3:4110", "12@[fe80::1]:2510"});
  ASSERT_TRUE(nodes.has_value()) << nodes.error().to_string();
  EXPECT_EQ(*nodes, (Members{{node(1), at("10.1.0.1:2510")},
                             {node(3), at("10.1.0.3:4110")},
                             {node(12), at("[fe80::1]:2510")}}));
}

TEST(ParseNodes, RefusesEverythingElse) {
  const std::vector<std::vector<std::string>> cases = {{},
                                                       {"1"},
                                                       {"@10.0.0.1"},
                                                       {"0@10.0.0.1"},
                                                       {"x@10.0.0.1"},
                                                       {"1@"},
                                                       {"1@host"},
                                                       {"1@10.0.0.1:70000"},
                                                       {"1@10.0.0.1:65535"},
                                                       {"-1@10.0.0.1"},
                                                       {"1@10.0.0.1", "1@10.0.0.2"}};
  for (const auto& words : cases) {
    const auto nodes = parse_nodes(words);
    ASSERT_FALSE(nodes.has_value()) << ::testing::PrintToString(words);
    EXPECT_EQ(nodes.error().code(), Code::kInvalidArgument);
  }
}

TEST(Renumber, ChangesItselfAndTheOthersAndSaysSo) {
  const auto after = renumber(
      second_of_three(), {{node(2), at("10.1.0.2:2510")}, {node(3), at("10.1.0.3:2510")}}, false);
  ASSERT_TRUE(after.has_value());
  EXPECT_TRUE(after->addresses_changed);
  EXPECT_EQ(members_of(*after), (Members{{node(1), at("10.0.0.1:2510")},
                                         {node(2), at("10.1.0.2:2510")},
                                         {node(3), at("10.1.0.3:2510")}}));
  EXPECT_EQ(after->address, at("10.1.0.2:2510"));
  EXPECT_EQ(after->repo_uuid, 9U);
}

TEST(Renumber, TheSameAddressesAreNoChange) {
  const auto after = renumber(second_of_three(), members_of(second_of_three()), false);
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(*after, second_of_three());
}

TEST(Renumber, AnUnknownIdIsRefusedUnlessForced) {
  const Members stranger = {{node(4), at("10.1.0.4:2510")}};
  const auto refused = renumber(second_of_three(), stranger, false);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Code::kNotFound);
  EXPECT_NE(refused.error().message().find("MDS#1, MDS#2, MDS#3"), std::string::npos)
      << refused.error().message();
  const auto forced = renumber(second_of_three(), stranger, true);
  ASSERT_TRUE(forced.has_value());
  EXPECT_EQ(forced->peers.at(node(4)), at("10.1.0.4:2510"));
}

TEST(Renumber, TwoMdsNeverShareAPort) {
  for (const char* taken : {"10.0.0.1:2510", "10.0.0.1:2511", "10.0.0.1:2509"}) {
    const auto refused = renumber(second_of_three(), {{node(2), at(taken)}}, false);
    ASSERT_FALSE(refused.has_value()) << taken;
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  }
  EXPECT_TRUE(renumber(second_of_three(), {{node(2), at("10.0.0.1:2512")}}, false).has_value());
  // Two that change places are fine.
  EXPECT_TRUE(renumber(second_of_three(),
                       {{node(2), at("10.0.0.1:2510")}, {node(1), at("10.0.0.2:2510")}}, false)
                  .has_value());
}

class ConfigureMdsCommand : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "cairn-configure-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    ::setenv("CAIRN_ETC", (root_ + "/etc").c_str(), 1);
    repository_ = root_ + "/mds";
    ASSERT_TRUE(second_of_three().create(repository_).has_value());
    ASSERT_TRUE(
        config()
            .write_mds_addresses({at("10.0.0.1:2510"), at("10.0.0.2:2510"), at("10.0.0.3:2510")})
            .has_value());
    options_ = {.repository = repository_,
                .nodes = {"1@10.1.0.1", "2@10.1.0.2", "3@10.1.0.3"},
                .force = false};
  }
  void TearDown() override {
    std::filesystem::remove_all(root_);
    ::unsetenv("CAIRN_ETC");
  }
  static cluster::ClusterConfig config() { return {{}, "stor1"}; }
  cluster::MdsRepository stored() const {
    return cluster::MdsRepository::load(repository_).value();
  }

  std::string root_;
  std::string repository_;
  Globals globals_;
  ConfigureMds options_;
};

TEST_F(ConfigureMdsCommand, WritesRepositoryAndAddressList) {
  const auto output = configure_mds(globals_, options_);
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_EQ(output->text.substr(0, output->text.find("Next:")),
            "MDS#2 of cluster 'stor1' at " + repository_ +
                " now has these addresses:\n"
                "  MDS#1  10.1.0.1:2510  (was 10.0.0.1:2510)\n"
                "  MDS#2  10.1.0.2:2510  (was 10.0.0.2:2510)  this one\n"
                "  MDS#3  10.1.0.3:2510  (was 10.0.0.3:2510)\n");
  EXPECT_EQ(stored().address, at("10.1.0.2:2510"));
  EXPECT_EQ(stored().peers.at(node(3)), at("10.1.0.3:2510"));
  EXPECT_TRUE(stored().addresses_changed);
  EXPECT_EQ(
      config().mds_addresses().value(),
      (std::vector<net::Address>{at("10.1.0.1:2510"), at("10.1.0.2:2510"), at("10.1.0.3:2510")}));
  const auto again = configure_mds(globals_, options_);
  ASSERT_TRUE(again.has_value());
  EXPECT_NE(again->text.find("nothing to change"), std::string::npos);
  EXPECT_TRUE(stored().addresses_changed);
}

TEST_F(ConfigureMdsCommand, MembersThatAreNotNamedKeepTheirAddress) {
  options_.nodes = {"2@10.0.0.1:4110"};
  ASSERT_TRUE(configure_mds(globals_, options_).has_value());
  EXPECT_EQ(stored().peers, second_of_three().peers);
  EXPECT_EQ(
      config().mds_addresses().value(),
      (std::vector<net::Address>{at("10.0.0.1:2510"), at("10.0.0.3:2510"), at("10.0.0.1:4110")}));
}

TEST_F(ConfigureMdsCommand, RefusesWhileTheDaemonRuns) {
  const auto lock = lock_stopped_repository(repository_);
  ASSERT_TRUE(lock.has_value());
  std::ofstream(repository_ + "/lock") << "4711\n";
  const auto output = configure_mds(globals_, options_);
  ASSERT_FALSE(output.has_value());
  EXPECT_EQ(output.error().code, Code::kBusy);
  EXPECT_NE(output.error().why.find("process 4711"), std::string::npos) << output.error().why;
  EXPECT_EQ(stored(), second_of_three());
  EXPECT_EQ(config().mds_addresses()->front(), at("10.0.0.1:2510"));
}

TEST_F(ConfigureMdsCommand, RefusesWhatItDoesNotKnowAndChangesNothing) {
  options_.nodes = {"9@10.1.0.9"};
  EXPECT_EQ(configure_mds(globals_, options_).error().code, Code::kNotFound);
  options_.nodes = {"2@10.1.0.2"};
  globals_.cluster = "other";
  EXPECT_EQ(configure_mds(globals_, options_).error().code, Code::kInvalidArgument);
  globals_.cluster = "";
  options_.repository = root_;
  EXPECT_EQ(configure_mds(globals_, options_).error().code, Code::kNotFound);
  EXPECT_EQ(stored(), second_of_three());
  EXPECT_EQ(config().mds_addresses()->front(), at("10.0.0.1:2510"));
}

}  // namespace
}  // namespace cairn::admin
