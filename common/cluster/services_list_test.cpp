#include "common/cluster/services_list.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace cairn::cluster {
namespace {

const CsRegistration kRegistration{.cluster_id = ClusterId::from_raw(0x1122334455667788),
                                   .repo_uuid = 0xfedcba9876543210,
                                   .host_id = HostId::from_raw(0xa7),
                                   .tier = 2};

TEST(ServicesList, HasTheseBytes) {
  const std::vector<LocalService> services = {
      {.kind = ServiceKind::kMds, .id = NodeId::from_raw(1), .repository = "/r/with blank"},
      {.kind = ServiceKind::kCs, .id = NodeId::from_raw(1025), .repository = "/old=1 x/cs"},
      {.kind = ServiceKind::kCs,
       .id = NodeId::from_raw(1026),
       .repository = "/c s/tier=3",
       .registration = kRegistration}};
  const std::string text =
      "mds 1 /r/with blank\n"
      "cs 1025 /old=1 x/cs\n"
      "cs 1026 cluster=1122334455667788 uuid=fedcba9876543210 host=00000000000000a7 tier=2 "
      "/c s/tier=3\n";
  EXPECT_EQ(format_services(services), text);
  EXPECT_EQ(parse_services(text), services);
}

TEST(ServicesList, OddLinesAreLeftOutAndOddWordsPassedOver) {
  EXPECT_TRUE(parse_services("garbage\ncs x /y\ncs 5\n\ncs 0 /y\ncs 5 uuid=12\n").empty());
  const auto partly = parse_services("cs 7 cluster=zz uuid=1 colour=red tier=9  /d\n");
  ASSERT_EQ(partly.size(), 1U);
  EXPECT_EQ(partly[0].repository, "/d");
  EXPECT_FALSE(partly[0].registration.has_value());
}

TEST(ServicesList, FindsAChunkServerWhoseDirectoryIsGone) {
  std::string etc = testing::TempDir() + "cairn-services-XXXXXX";
  ASSERT_NE(::mkdtemp(etc.data()), nullptr);
  std::filesystem::create_directories(etc + "/clusters/stor1");
  std::filesystem::create_directories(etc + "/clusters/stor2");
  const std::string repository = etc + "/disks/cs1";
  std::ofstream(etc + "/clusters/stor2/services.list") << format_services(
      {{.kind = ServiceKind::kCs,
        .id = NodeId::from_raw(1026),
        .repository = repository,
        .registration = kRegistration},
       {.kind = ServiceKind::kMds, .id = NodeId::from_raw(1), .repository = etc + "/disks/mds"}});
  for (const std::string& spelled : {repository, repository + "/", etc + "/disks/../disks/cs1"}) {
    const auto found = find_known_cs(etc, spelled);
    ASSERT_TRUE(found.has_value() && found->has_value()) << spelled;
    EXPECT_EQ((*found)->cluster, "stor2");
    EXPECT_EQ((*found)->service.registration, kRegistration);
  }
  EXPECT_FALSE(find_known_cs(etc, etc + "/disks/mds").value().has_value());
  EXPECT_FALSE(find_known_cs(etc, etc + "/disks/cs10").value().has_value());
  EXPECT_FALSE(find_known_cs(etc + "/nowhere", repository).value().has_value());
  std::filesystem::remove_all(etc);
}

}  // namespace
}  // namespace cairn::cluster
