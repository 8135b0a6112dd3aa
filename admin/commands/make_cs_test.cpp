// make-cs against a fake MDS, and what it and configure-cs ask of places.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "admin/commands/cs_commands.h"
#include "admin/commands/cs_device.h"
#include "admin/commands/cs_place.h"
#include "admin/commands/flush_offer.h"
#include "admin/commands/local_services.h"
#include "admin/testing/fake_mds.h"
#include "common/cluster/durable_file.h"
#include "common/cluster/journal_directory.h"
#include "common/cluster/repository.h"

namespace cairn::admin {
namespace {

using testing::FakeMds;

std::string key() {
  static const std::string derived = cluster::ClusterConfig::derive_key("stor1", "secret");
  return derived;
}

class MakeCsCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "cairn-make-cs-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = std::filesystem::canonical(name).string();
    ::setenv("CAIRN_ETC", (root_ + "/etc").c_str(), 1);
    ::unsetenv("CAIRN_CLUSTER");
    ::unsetenv("CAIRN_HOST_ID_FILE");
    mds_.say_hello(1, mds_.place());
    mds_.answer("AddCs", [this](const std::string& bytes) -> Result<std::string> {
      EXPECT_TRUE(asked_.ParseFromString(bytes));
      if (refuse_) return fail(Code::kNoMajority, "two of three MDS are down");
      pb::AddCsReply reply;
      reply.set_cs_id(1025);
      reply.set_cluster_id(FakeMds::kClusterId);
      return reply.SerializeAsString();
    });
    ASSERT_TRUE(config().write_key(key()).has_value());
    ASSERT_TRUE(config().write_mds_addresses({mds_.address()}).has_value());
    globals_ = {.cluster = "stor1", .json = false, .timeout_s = 5};
    options_.repository = root_ + "/cs1";
    options_.flush_check = FlushCheckWish::kNo;
  }
  void TearDown() override {
    std::filesystem::remove_all(root_);
    ::unsetenv("CAIRN_ETC");
  }
  static cluster::ClusterConfig config() { return {{}, "stor1"}; }
  void expect_refused(Code code, const std::string& part) {
    const auto made = make_cs(globals_, options_);
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, code) << to_text(made.error());
    EXPECT_NE(to_text(made.error()).find(part), std::string::npos) << to_text(made.error());
    EXPECT_FALSE(std::filesystem::exists(options_.repository + "/cs.conf"));
    EXPECT_TRUE(local_services(config()).value().empty());
  }

  std::string root_;
  FakeMds mds_{{.cluster = "stor1", .key = key()}};
  Globals globals_;
  MakeCs options_;
  pb::AddCsRequest asked_;
  bool refuse_ = false;
};

TEST_F(MakeCsCommand, WritesWhatTheDaemonNeeds) {
  options_.journal = root_ + "/ssd/cs1";
  options_.journal_mb = "32";
  options_.tune = "ssd";
  options_.no_checksums = true;
  options_.size = "5G";
  options_.tier = 2;
  const auto made = make_cs(globals_, options_);
  ASSERT_TRUE(made.has_value()) << to_text(made.error());
  EXPECT_NE(made->text.find("a journal of 32 MB at " + root_ + "/ssd/cs1"), std::string::npos);
  const auto cs = cluster::CsRepository::load(root_ + "/cs1");
  ASSERT_TRUE(cs.has_value()) << cs.error().to_string();
  EXPECT_EQ(cs->journal,
            (cluster::JournalWish{.on = true, .directory = root_ + "/ssd/cs1", .bytes = 32_MiB}));
  EXPECT_EQ(cs->tune, cluster::Tune::kSsd);
  EXPECT_FALSE(cs->checksums);
  EXPECT_FALSE(cs->flush_check.has_value());
  EXPECT_EQ(cs->size_bytes, 5_GiB);
  const auto owner = cluster::journal_owner(root_ + "/ssd/cs1").value();
  ASSERT_TRUE(owner.has_value());
  EXPECT_EQ(owner->repo_uuid, cs->repo_uuid);
  EXPECT_EQ(owner->cs_id.raw(), 1025U);
  // What it can register with when its disk is not there.
  const auto services = local_services(config()).value();
  ASSERT_EQ(services.size(), 1U);
  EXPECT_EQ(services[0].registration,
            (cluster::CsRegistration{.cluster_id = ClusterId::from_raw(FakeMds::kClusterId),
                                     .repo_uuid = cs->repo_uuid,
                                     .host_id = cs->host_id,
                                     .tier = 2}));
}

TEST_F(MakeCsCommand, WithoutOptionsTheJournalIsInTheRepository) {
  ASSERT_TRUE(make_cs(globals_, options_).has_value());
  const auto cs = cluster::CsRepository::load(root_ + "/cs1").value();
  EXPECT_EQ(cs.journal, cluster::JournalWish{});
  EXPECT_TRUE(cs.checksums);
  EXPECT_EQ(cs.tune, cluster::Tune::kHdd);
}

TEST_F(MakeCsCommand, JournalInItsOwnRepositoryAndNone) {
  options_.journal = root_ + "/cs1/journal";
  options_.journal_mb = "96";
  ASSERT_TRUE(make_cs(globals_, options_).has_value());
  EXPECT_EQ(cluster::CsRepository::load(root_ + "/cs1").value().journal,
            (cluster::JournalWish{.on = true, .directory = "", .bytes = 96_MiB}));
  MakeCs none;
  none.repository = root_ + "/cs2";
  none.no_journal = true;
  none.flush_check = FlushCheckWish::kNo;
  ASSERT_TRUE(make_cs(globals_, none).has_value());
  EXPECT_FALSE(cluster::CsRepository::load(root_ + "/cs2").value().journal.on);
}

TEST_F(MakeCsCommand, JournalOfAnotherIsRefusedAndAFreeOneNamed) {
  ASSERT_TRUE(cluster::take_journal_directory(root_ + "/ssd", {.cluster = "stor1",
                                                               .cs_id = NodeId::from_raw(1030),
                                                               .repo_uuid = 5,
                                                               .repository = "/cairn/cs6"})
                  .has_value());
  options_.journal = root_ + "/ssd";
  options_.journal_mb = "32";
  expect_refused(Code::kBusy, "CS 1030");
  expect_refused(Code::kBusy, root_ + "/ssd-stor1-cs1");
  EXPECT_EQ(mds_.calls("AddCs"), 0);
}

TEST_F(MakeCsCommand, RefusedByTheClusterTakesNoJournal) {
  refuse_ = true;
  options_.journal = root_ + "/ssd/cs1";
  options_.journal_mb = "32";
  expect_refused(Code::kNoMajority, "two of three");
  EXPECT_FALSE(cluster::journal_owner(root_ + "/ssd/cs1").value().has_value());
}

TEST_F(MakeCsCommand, FlushCheckLeavesOnlyItsVerdict) {
  std::filesystem::create_directories(root_ + "/ssd");
  const FlushOffer none = offer_flush_check(FlushCheckWish::kNo, root_, "");
  EXPECT_FALSE(none.result.has_value());
  const FlushOffer offer = offer_flush_check(FlushCheckWish::kYes, root_ + "/cs1/not/there",
                                             root_ + "/ssd", std::chrono::seconds(1));
  ASSERT_TRUE(offer.result.has_value());
  EXPECT_GT(offer.result->checked_at_ns, 0);
  EXPECT_GT(offer.result->flushes_per_second, 0U);
  EXPECT_EQ(offer.result->suspicious, !offer.warnings.empty());
  EXPECT_FALSE(std::filesystem::exists(root_ + "/cs1"));
  EXPECT_TRUE(std::filesystem::is_empty(root_ + "/ssd"));
}

TEST_F(MakeCsCommand, PlacesInOtherRepositoriesAreFound) {
  std::filesystem::create_directories(root_ + "/mds/deep/er");
  std::ofstream(root_ + "/mds/mds.conf") << "{}";
  EXPECT_EQ(enclosing_repository(root_ + "/mds/deep/er/not/there"), root_ + "/mds");
  EXPECT_EQ(enclosing_repository(root_ + "/mds"), root_ + "/mds");
  EXPECT_FALSE(enclosing_repository(root_ + "/mdsx").has_value());
  EXPECT_EQ(journal_place(root_ + "/cs1", root_ + "/mds/deep").error().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(journal_place(root_ + "/cs1", root_ + "/cs1/").value(), "");
  EXPECT_EQ(journal_place(root_ + "/cs1", root_ + "/cs10").value(), root_ + "/cs10");
}

TEST(JournalSize, IsMegabytesInTheRange) {
  EXPECT_EQ(parse_journal_mb("30720").value(), 30720_MiB);
  EXPECT_EQ(parse_journal_mb("32").value(), 32_MiB);
  EXPECT_EQ(parse_journal_mb("262144").value(), 262144_MiB);
  for (const char* bad : {"", "0", "31", "262145", "-64", "64M", "6.4", "18446744073709551616"}) {
    EXPECT_EQ(parse_journal_mb(bad).error().code(), Code::kInvalidArgument) << bad;
  }
}

TEST(RawDevices, NameOfTheHardwareIsPreferred) {
  EXPECT_EQ(best_name({"/dev/disk/by-id/dm-name-x", "/dev/disk/by-id/ata-WDC_1",
                       "/dev/disk/by-id/wwn-0x5000"}),
            "/dev/disk/by-id/wwn-0x5000");
  EXPECT_EQ(best_name({"/dev/disk/by-id/usb-b", "/dev/disk/by-id/usb-a"}), "/dev/disk/by-id/usb-a");
  EXPECT_EQ(best_name({}), "");
}

TEST(RawDevices, WhatIsNoBlankDeviceIsRefused) {
  EXPECT_EQ(check_raw_device("/dev/null").error().code(), Code::kInvalidArgument);
  EXPECT_EQ(check_raw_device("/dev/does-not-exist").error().code(), Code::kNotFound);
}

TEST(RawDevices, LinkIsMadeOnceAndNeverOverAnother) {
  std::string root = ::testing::TempDir() + "cairn-link-XXXXXX";
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  const RawDevice device{.name = "/dev/disk/by-id/x", .stable = true};
  EXPECT_TRUE(link_device(root + "/cs", device).has_value());
  EXPECT_TRUE(link_device(root + "/cs", device).has_value());
  EXPECT_EQ(std::filesystem::read_symlink(root + "/cs/data"), "/dev/disk/by-id/x");
  EXPECT_FALSE(link_device(root + "/cs", {.name = "/dev/disk/by-id/y"}).has_value());
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace cairn::admin
