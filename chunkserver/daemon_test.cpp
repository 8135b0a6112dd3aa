// What cairn-csd decides before it serves: where it is, where it logs; and whose journals it opens.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "chunkserver/ring_files.h"
#include "chunkserver/store_options.h"
#include "chunkserver/whereabouts.h"
#include "common/cluster/services_list.h"

namespace cairn::chunkserver {
namespace {

cairn::cluster::CsRepository a_cs() {
  cairn::cluster::CsRepository cs;
  cs.cluster = "stor1";
  cs.cluster_id = ClusterId::from_raw(7);
  cs.cs_id = NodeId::from_raw(1025);
  cs.repo_uuid = 99;
  cs.host_id = HostId::from_raw(3);
  cs.host = "box";
  cs.address = {.host = "127.0.0.1", .port = 0};
  cs.tier = 1;
  return cs;
}

class DaemonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "cairn-daemon-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = std::filesystem::canonical(name).string();
    repository_ = root_ + "/cs1";
    ::setenv("CAIRN_ETC", (root_ + "/etc").c_str(), 1);
    ::unsetenv("JOURNAL_STREAM");
  }
  void TearDown() override {
    std::filesystem::remove_all(root_);
    ::unsetenv("CAIRN_ETC");
  }
  // As make-cs notes it.
  void note(bool with_registration) {
    std::filesystem::create_directories(root_ + "/etc/clusters/stor1");
    cairn::cluster::LocalService service{
        .kind = cairn::cluster::ServiceKind::kCs, .id = a_cs().cs_id, .repository = repository_};
    if (with_registration) {
      service.registration = cairn::cluster::CsRegistration{.cluster_id = a_cs().cluster_id,
                                                            .repo_uuid = a_cs().repo_uuid,
                                                            .host_id = a_cs().host_id,
                                                            .tier = a_cs().tier};
    }
    std::ofstream(root_ + "/etc/clusters/stor1/services.list")
        << cairn::cluster::format_services({service});
  }
  std::string root_;
  std::string repository_;
};

TEST_F(DaemonTest, AtHomeItIsWhatItsRepositorySays) {
  ASSERT_TRUE(a_cs().create(repository_).has_value());
  const auto place = look_around(repository_, "v1");
  ASSERT_TRUE(place.has_value());
  EXPECT_FALSE(place->failure.has_value());
  EXPECT_EQ(place->repository, a_cs());
  EXPECT_EQ(place->identity.repo_uuid(), 99U);
  EXPECT_EQ(place->identity.version(), "v1");
  EXPECT_EQ(place->identity.repository(), repository_);
  EXPECT_EQ(default_log(*place), repository_ + "/logs/log");
}

TEST_F(DaemonTest, UnknownDirectoryIsAnErrorForWhoStartsIt) {
  EXPECT_EQ(look_around(repository_, "v1").error().code(), Code::kNotFound);
  note(false);
  const auto old = look_around(repository_, "v1");
  ASSERT_FALSE(old.has_value());
  EXPECT_NE(old.error().message().find("mount its disk"), std::string::npos);
}

TEST_F(DaemonTest, KnownDirectoryThatIsNotThereIsFlagR) {
  note(true);
  for (const bool mount_point : {false, true}) {
    if (mount_point) std::filesystem::create_directories(repository_);
    const auto place = look_around(repository_, "v1");
    ASSERT_TRUE(place.has_value());
    ASSERT_TRUE(place->failure.has_value());
    EXPECT_EQ(place->failure->letter, 'R');
    EXPECT_FALSE(place->repository.has_value());
    EXPECT_EQ(place->cluster, "stor1");
    EXPECT_EQ(place->identity.cs_id(), 1025U);
    EXPECT_EQ(place->identity.repo_uuid(), 99U);
    EXPECT_EQ(place->identity.host_id(), 3U);
    EXPECT_EQ(place->identity.tier(), 1U);
    EXPECT_TRUE(place->identity.address().empty());
    EXPECT_EQ(place->identity.repository(), repository_);
    EXPECT_EQ(default_log(*place), root_ + "/etc/logs/csd-1025.log");
    EXPECT_EQ(look_again(*place, "v1").error().code(), Code::kNotFound);
  }
  ::setenv("JOURNAL_STREAM", "8:1", 1);
  EXPECT_EQ(default_log(*look_around(repository_, "v1")), "journald");
}

TEST_F(DaemonTest, OnlyTheSameChunkServerComesHome) {
  note(true);
  const auto missing = look_around(repository_, "v1");
  ASSERT_TRUE(missing.has_value());
  ASSERT_TRUE(a_cs().create(repository_).has_value());
  const auto found = look_again(*missing, "v1");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->repository, a_cs());
  cairn::cluster::CsRepository other = a_cs();
  other.repo_uuid = 100;
  ASSERT_TRUE(other.save(repository_).has_value());
  EXPECT_EQ(look_again(*missing, "v1").error().code(), Code::kRefusedForSafety);
}

TEST_F(DaemonTest, DamagedIdentityIsNoMatterOfDisks) {
  note(true);
  std::filesystem::create_directories(repository_);
  std::ofstream(repository_ + "/cs.conf") << "{";
  EXPECT_EQ(look_around(repository_, "v1").error().code(), Code::kCorrupt);
}

TEST_F(DaemonTest, LogBelowALostRepositoryIsSeen) {
  EXPECT_TRUE(is_below(repository_ + "/logs/log", repository_));
  EXPECT_TRUE(is_below(repository_ + "/../cs1/x", repository_));
  EXPECT_FALSE(is_below(root_ + "/cs10/log", repository_));
  EXPECT_FALSE(is_below("/var/log/x", repository_));
}

TEST_F(DaemonTest, JournalIsOpenedOnlyWhereItBelongsToUs) {
  runtime::AsioRuntime loop;
  const std::string place = root_ + "/ssd/cs1";
  const auto owner = [this](std::uint64_t uuid) {
    return cairn::cluster::JournalOwner{.cluster = "stor1",
                                        .cs_id = NodeId::from_raw(1025),
                                        .repo_uuid = uuid,
                                        .repository = repository_};
  };
  RingFiles mine(loop, owner(99), false);
  RingFiles other(loop, owner(100), false);
  // An SSD that is not mounted: nothing is made below its mount point.
  std::filesystem::create_directories(place);
  EXPECT_EQ(mine.open_hook()(place, true).error().code(), Code::kJournalFailed);
  EXPECT_TRUE(std::filesystem::is_empty(place));
  ASSERT_TRUE(mine.take(place, 32_MiB).has_value());
  EXPECT_EQ(other.take(place, 32_MiB).error().code(), Code::kBusy);
  EXPECT_EQ(mine.take(place, 1ULL << 60).error().code(), Code::kNoSpace);
  {
    auto device = mine.open_hook()(place, true);
    ASSERT_TRUE(device.has_value()) << device.error().to_string();
    EXPECT_EQ(mine.oldest_request(), Duration{});
    // By one at a time, and by nobody else.
    EXPECT_EQ(mine.open_hook()(place, false).error().code(), Code::kJournalFailed);
    EXPECT_EQ(other.open_hook()(place, false).error().code(), Code::kJournalFailed);
    EXPECT_TRUE(other.remove_hook()(place).has_value());
    EXPECT_TRUE(std::filesystem::exists(place + "/" + cairn::cluster::kJournalFile));
  }
  EXPECT_TRUE(mine.open_hook()(place, false).has_value());
  EXPECT_TRUE(mine.remove_hook()(place).has_value());
  EXPECT_TRUE(mine.remove_hook()(place).has_value());
  EXPECT_TRUE(mine.remove_hook()(root_ + "/never").has_value());
  EXPECT_TRUE(std::filesystem::is_empty(place));
  EXPECT_TRUE(other.take(place, 32_MiB).has_value());
}

TEST(StoreOptions, AreWhatCsConfSays) {
  cairn::cluster::CsRepository cs = a_cs();
  cs.size_bytes = 7_GiB;
  cs.checksums = false;
  cs.journal = {.on = false, .directory = "/ssd/x", .bytes = 96_MiB};
  const store::StoreOptions hdd = store_options_of(cs);
  EXPECT_EQ(hdd.size_bytes, 7_GiB);
  EXPECT_FALSE(hdd.verify_on_read);
  EXPECT_FALSE(hdd.journal);
  EXPECT_EQ(hdd.journal_directory, "/ssd/x");
  EXPECT_EQ(hdd.journal_bytes, 96_MiB);
  cs.tune = cairn::cluster::Tune::kSsd;
  const store::StoreOptions ssd = store_options_of(cs);
  EXPECT_LT(ssd.home_delay, hdd.home_delay);
  EXPECT_LT(ssd.fold_delay, hdd.fold_delay);
  EXPECT_LT(ssd.journal_write_max, hdd.journal_write_max);
}

}  // namespace
}  // namespace cairn::chunkserver
