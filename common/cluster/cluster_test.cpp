#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "common/cluster/cluster_config.h"
#include "common/cluster/durable_file.h"

namespace cairn::cluster {
namespace {

class ClusterFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "cairn-cluster-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    ::unsetenv("CAIRN_HOST_ID_FILE");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << content;
  }
  std::string etc() const { return root_ + "/etc"; }

  std::string root_;
};

TEST(ClusterName, AcceptsTheAllowedCharactersOnly) {
  for (const char* good : {"stor1", "A-b_9", "x"})
    EXPECT_TRUE(check_cluster_name(good).has_value());
  EXPECT_TRUE(check_cluster_name(std::string(63, 'a')).has_value());
  for (const char* bad : {"", "a b", "../x", "a/b", "a.b", "\xc3\xa4"}) {
    ASSERT_FALSE(check_cluster_name(bad).has_value()) << bad;
    EXPECT_EQ(check_cluster_name(bad).error().code(), Code::kInvalidArgument);
  }
  EXPECT_FALSE(check_cluster_name(std::string(64, 'a')).has_value());
}

TEST_F(ClusterFiles, BsListKeepsAddressesAndAllowsComments) {
  const ClusterConfig config(etc(), "stor1");
  write(config.directory() + "/bs.list",
        "# the MDS\n\n 10.0.0.1:2510  # first\n[fe80::1]:4110\r\n10.0.0.3:2510");
  const auto addresses = config.mds_addresses();
  ASSERT_TRUE(addresses.has_value()) << addresses.error().to_string();
  ASSERT_EQ(addresses->size(), 3U);
  EXPECT_EQ((*addresses)[0].to_string(), "10.0.0.1:2510");
  EXPECT_EQ((*addresses)[1].to_string(), "[fe80::1]:4110");
  EXPECT_EQ((*addresses)[2].port, 2510);

  ASSERT_TRUE(config.write_mds_addresses(*addresses).has_value());
  const auto again = config.mds_addresses();
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(*again, *addresses);
}

TEST_F(ClusterFiles, BsListErrorsNameTheFileAndTheLine) {
  const ClusterConfig config(etc(), "stor1");
  const auto missing = config.mds_addresses();
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code(), Code::kNotFound);
  EXPECT_NE(missing.error().message().find("clusters/stor1/bs.list"), std::string::npos);

  write(config.directory() + "/bs.list", "10.0.0.1:2510\nnonsense\n");
  const auto bad = config.mds_addresses();
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().code(), Code::kInvalidArgument);
  EXPECT_NE(bad.error().message().find("bs.list line 2"), std::string::npos)
      << bad.error().message();

  write(config.directory() + "/bs.list", "# nothing\n");
  EXPECT_EQ(config.mds_addresses().error().code(), Code::kNotFound);
}

TEST_F(ClusterFiles, KeyIsDerivedSaltedAndPrivate) {
  const std::string key = ClusterConfig::derive_key("stor1", "secret");
  EXPECT_EQ(key.size(), 32U);
  EXPECT_EQ(key, ClusterConfig::derive_key("stor1", "secret"));
  EXPECT_NE(key, ClusterConfig::derive_key("stor2", "secret"));
  EXPECT_NE(key, ClusterConfig::derive_key("stor1", "Secret"));

  const ClusterConfig config(etc(), "stor1");
  EXPECT_FALSE(config.has_key());
  ASSERT_TRUE(config.credentials().has_value());
  EXPECT_EQ(config.credentials()->key, "");
  ASSERT_TRUE(config.write_key(key).has_value());
  EXPECT_TRUE(config.has_key());
  EXPECT_EQ(config.credentials()->key, key);
  EXPECT_EQ(config.credentials()->cluster, "stor1");

  struct stat status = {};
  const std::string path = config.directory() + "/auth_digest.key";
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_EQ(read_small_file(path)->size(), 65U);
  EXPECT_EQ(read_small_file(path)->find("secret"), std::string::npos);
}

TEST_F(ClusterFiles, DamagedKeyIsAnErrorNotAnEmptyKey) {
  const ClusterConfig config(etc(), "stor1");
  for (const char* bad : {"", "xyz", "00ff", "zz"}) {
    write(config.directory() + "/auth_digest.key", bad);
    ASSERT_FALSE(config.credentials().has_value()) << bad;
    EXPECT_EQ(config.credentials().error().code(), Code::kInvalidArgument);
  }
}

TEST_F(ClusterFiles, HostIdIsMadeOnceAlsoByManyAtOnce) {
  const ClusterConfig config(etc(), "stor1");
  std::array<Result<HostId>, 8> ids;
  {
    std::vector<std::jthread> threads;
    for (Result<HostId>& id : ids) {
      threads.emplace_back([&id, &config] { id = config.host_id(); });
    }
  }
  for (const Result<HostId>& id : ids) {
    ASSERT_TRUE(id.has_value()) << id.error().to_string();
    EXPECT_TRUE(id->valid());
    EXPECT_EQ(*id, *ids[0]);
  }
  EXPECT_EQ(*read_small_file(etc() + "/host_id"), format_host_id(*ids[0]) + "\n");
}

TEST_F(ClusterFiles, HostIdFileOfTheEnvironmentWins) {
  const std::string path = root_ + "/hosts/h3";
  ::setenv("CAIRN_HOST_ID_FILE", path.c_str(), 1);
  const auto id = ClusterConfig(etc(), "stor1").host_id();
  ::unsetenv("CAIRN_HOST_ID_FILE");
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ(*read_small_file(path), format_host_id(*id) + "\n");
}

TEST(HostIdText, RoundTripsAndRefusesOtherThings) {
  EXPECT_EQ(format_host_id(HostId::from_raw(0xab12)), "000000000000ab12");
  EXPECT_EQ(parse_host_id("000000000000ab12")->raw(), 0xab12U);
  for (const char* bad : {"", "ab12", "000000000000000g", "0000000000000000", "0x00000000000001",
                          "000000000000ab123"}) {
    EXPECT_FALSE(parse_host_id(bad).has_value()) << bad;
  }
}

TEST_F(ClusterFiles, KnownClustersAreSorted) {
  EXPECT_TRUE(ClusterConfig::known(etc()).empty());
  for (const char* name : {"b", "a", "not.one"}) {
    std::filesystem::create_directories(etc() + "/clusters/" + name);
  }
  write(etc() + "/clusters/file", "x");
  EXPECT_EQ(ClusterConfig::known(etc()), (std::vector<std::string>{"a", "b"}));
}

TEST_F(ClusterFiles, DurableWriteReplacesWholeFilesAndLeavesNothingBeside) {
  const std::string path = root_ + "/f";
  ASSERT_TRUE(write_file_durably(path, "one", 0644).has_value());
  ASSERT_TRUE(write_file_durably(path, "two", 0600).has_value());
  EXPECT_EQ(*read_small_file(path), "two");
  EXPECT_EQ(create_file_durably(path, "three", 0600).error().code(), Code::kExists);
  EXPECT_EQ(*read_small_file(path), "two");
  EXPECT_EQ(write_file_durably(root_ + "/no/f", "x", 0600).error().code(), Code::kNotFound);
  ASSERT_TRUE(write_file_durably(root_ + "/g", "x", 0600).has_value());
  ASSERT_TRUE(remove_file_durably(root_ + "/g").has_value());
  ASSERT_TRUE(remove_file_durably(root_ + "/g").has_value());
  int entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(root_)) ++entries;
  EXPECT_EQ(entries, 1);
}

TEST(SessionAddress, IsTheNextPort) {
  EXPECT_EQ(session_address({.host = "10.0.0.1", .port = 4110}).to_string(), "10.0.0.1:4111");
}

}  // namespace
}  // namespace cairn::cluster
