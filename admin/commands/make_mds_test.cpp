#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "admin/commands/commands.h"
#include "admin/commands/local_services.h"
#include "admin/commands/port_probe.h"
#include "admin/commands/repository_checks.h"
#include "admin/testing/free_ports.h"
#include "common/cluster/repository.h"

namespace cairn::admin {
namespace {

using testing::free_port_pair;
using testing::Listener;

class MakeMdsCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "cairn-admin-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    ::setenv("CAIRN_ETC", (root_ + "/etc").c_str(), 1);
    ::unsetenv("CAIRN_CLUSTER");
    options_.init = true;
    options_.force = true;
    options_.address = "127.0.0.1:" + std::to_string(free_port_pair());
    options_.repository = root_ + "/mds";
    globals_.cluster = "stor1";
  }
  void TearDown() override {
    std::filesystem::remove_all(root_);
    ::unsetenv("CAIRN_ETC");
  }
  Code refused() {
    const auto output = make_mds(globals_, options_);
    EXPECT_FALSE(output.has_value());
    return output.has_value() ? Code::kInternal : output.error().code;
  }

  std::string root_;
  Globals globals_;
  MakeMds options_;
};

TEST_F(MakeMdsCommand, WritesRepositoryAddressListAndServiceList) {
  const auto output = make_mds(globals_, options_);
  ASSERT_TRUE(output.has_value()) << to_text(output.error());
  EXPECT_NE(output->text.find("made MDS#1"), std::string::npos);
  const auto repository = cluster::MdsRepository::load(root_ + "/mds");
  ASSERT_TRUE(repository.has_value());
  EXPECT_EQ(repository->cluster, "stor1");
  EXPECT_EQ(repository->address.to_string(), options_.address);
  EXPECT_TRUE(repository->cluster_id.valid());
  EXPECT_NE(repository->repo_uuid, 0U);
  EXPECT_TRUE(repository->bootstrap);
  EXPECT_TRUE(repository->peers.empty());
  EXPECT_FALSE(repository->addresses_changed);
  const cluster::ClusterConfig config({}, "stor1");
  EXPECT_EQ(config.mds_addresses()->front().to_string(), options_.address);
  const auto services = local_services(config);
  ASSERT_TRUE(services.has_value());
  ASSERT_EQ(services->size(), 1U);
  EXPECT_EQ(service_state(services->front()).word, "stopped");
}

TEST_F(MakeMdsCommand, RefusesAndChangesNothing) {
  options_.bootstrap = {"10.0.0.1"};
  EXPECT_EQ(refused(), Code::kInvalidArgument);
  options_.bootstrap = {};
  globals_.cluster = "";
  EXPECT_EQ(refused(), Code::kInvalidArgument);
  globals_.cluster = "bad name";
  EXPECT_EQ(refused(), Code::kInvalidArgument);
  globals_.cluster = "stor1";
  options_.address = "";
  EXPECT_EQ(refused(), Code::kInvalidArgument);
  options_.address = "some-host:2510";
  EXPECT_EQ(refused(), Code::kInvalidArgument);
  options_.address = "192.0.2.1";
  EXPECT_EQ(refused(), Code::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(root_ + "/mds"));
  EXPECT_FALSE(std::filesystem::exists(root_ + "/etc"));
}

TEST_F(MakeMdsCommand, RefusesARepositoryInUse) {
  std::filesystem::create_directories(root_ + "/mds");
  std::ofstream(root_ + "/mds/precious") << "x";
  EXPECT_EQ(refused(), Code::kNotEmpty);
  EXPECT_FALSE(std::filesystem::exists(root_ + "/etc"));
}

TEST_F(MakeMdsCommand, RefusesAPortInUseAndNamesIt) {
  for (const int offset : {0, 1}) {
    const std::uint16_t base = free_port_pair();
    const Listener taken(static_cast<std::uint16_t>(base + offset));
    ASSERT_TRUE(taken.ok());
    options_.address = "127.0.0.1:" + std::to_string(base);
    const auto output = make_mds(globals_, options_);
    ASSERT_FALSE(output.has_value());
    EXPECT_EQ(output.error().code, Code::kBusy);
    EXPECT_NE(output.error().why.find("port " + std::to_string(base + offset)), std::string::npos)
        << output.error().why;
  }
}

TEST_F(MakeMdsCommand, ASecondClusterOfTheSameNameIsRefused) {
  options_.force = false;
  if (free_bytes_at(root_).value() < kMdsFreeBytesMin) GTEST_SKIP() << "less than 10 GB free";
  ASSERT_TRUE(make_mds(globals_, options_).has_value());
  options_.repository = root_ + "/second";
  options_.address = "127.0.0.1:" + std::to_string(free_port_pair());
  EXPECT_EQ(refused(), Code::kExists);
  EXPECT_FALSE(std::filesystem::exists(root_ + "/second"));
}

TEST(ParseAddress, FillsInTheDefaultPort) {
  EXPECT_EQ(parse_address("10.0.0.1", 2510)->to_string(), "10.0.0.1:2510");
  EXPECT_EQ(parse_address("10.0.0.1:4110", 2510)->to_string(), "10.0.0.1:4110");
  EXPECT_EQ(parse_address("fe80::1", 2510)->port, 2510);
  EXPECT_EQ(parse_address("[fe80::1]", 2510)->port, 2510);
  EXPECT_EQ(parse_address("[fe80::1]:4110", 2510)->port, 4110);
  EXPECT_EQ(parse_address("10.0.0.1", 0)->port, 0);
  for (const char* bad : {"", "host", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:70000", "10.0.0"}) {
    EXPECT_FALSE(parse_address(bad, 2510).has_value()) << bad;
  }
}

TEST(LocalServices, ListRoundTrips) {
  const std::vector<LocalService> services = {{ServiceKind::kMds, kFirstMdsId, "/r/with blank"},
                                              {ServiceKind::kCs, kFirstCsId, "/c"}};
  EXPECT_EQ(parse_services(format_services(services)), services);
  EXPECT_TRUE(parse_services("garbage\ncs x /y\ncs 5\n").empty());
}

TEST(LocalServices, RunningIsWhoHoldsTheLock) {
  std::string directory = ::testing::TempDir() + "cairn-service-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  const LocalService service{ServiceKind::kCs, kFirstCsId, directory};
  EXPECT_EQ(service_state(service).word, "missing");
  std::ofstream(directory + "/cs.conf") << "{}";
  EXPECT_EQ(service_state(service).word, "stopped");
  std::ofstream(directory + "/lock") << "4711\n";
  EXPECT_EQ(service_state(service).word, "stopped");
  const std::string lock = directory + "/lock";
  std::FILE* held = std::fopen(lock.c_str(), "r+");
  ASSERT_NE(held, nullptr);
  ASSERT_EQ(::flock(::fileno(held), LOCK_EX), 0);
  EXPECT_EQ(service_state(service).word, "running");
  EXPECT_EQ(service_state(service).pid, 4711);
  std::fclose(held);
  std::filesystem::remove_all(directory);
}

TEST(PortProbe, TheAddressTowardsLoopbackIsLoopback) {
  EXPECT_EQ(local_address_towards({.host = "127.0.0.1", .port = 2510}).value(), "127.0.0.1");
}

}  // namespace
}  // namespace cairn::admin
