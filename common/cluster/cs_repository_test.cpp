#include "common/cluster/cs_repository.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/cluster/durable_file.h"

namespace cairn::cluster {
namespace {

class CsConf : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "cairn-cs-conf-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  Result<CsRepository> load(const std::string& content) const {
    std::ofstream(root_ + "/cs.conf") << content;
    return CsRepository::load(root_);
  }
  std::string root_;
};

CsRepository a_cs() {
  return {.cluster = "stor1",
          .cluster_id = ClusterId::from_raw(0xf122334455667788),
          .cs_id = kFirstCsId,
          .repo_uuid = 0xfedcba9876543210,
          .host_id = HostId::from_raw(7),
          .host = "box",
          .address = {.host = "fe80::1", .port = 0},
          .tier = 2,
          .size_bytes = 20_GiB,
          .checksums = false,
          .tune = Tune::kSsd,
          .journal = {.on = true, .directory = "/ssd/cs1", .bytes = 2048_MiB},
          .flush_check = FlushCheck{
              .suspicious = true, .flushes_per_second = 90'000, .checked_at_ns = 1'718'000'000}};
}

// The bytes on the disk: a daemon of another version must read them.
constexpr const char* kFormat2 = R"({
  "format": 2,
  "kind": "cs",
  "cluster": "stor1",
  "cluster_id": "f122334455667788",
  "cs_id": 1025,
  "repo_uuid": "fedcba9876543210",
  "host_id": "0000000000000007",
  "host": "box",
  "address": "fe80::1",
  "port": 0,
  "tier": 2,
  "size_bytes": 21474836480,
  "checksums": false,
  "tune": "ssd",
  "journal": {
    "on": true,
    "directory": "/ssd/cs1",
    "bytes": 2147483648
  },
  "flush_check": {
    "suspicious": true,
    "flushes_per_second": 90000,
    "checked_at_ns": 1718000000
  }
}
)";
constexpr const char* kFormat1 = R"({
  "format": 1,
  "kind": "cs",
  "cluster": "stor1",
  "cluster_id": "f122334455667788",
  "cs_id": 1025,
  "repo_uuid": "fedcba9876543210",
  "host_id": "0000000000000007",
  "host": "box",
  "address": "fe80::1",
  "port": 0,
  "tier": 2,
  "size_bytes": 21474836480
}
)";

TEST_F(CsConf, HasTheBytesOfFormat2AndComesBackTheSame) {
  ASSERT_TRUE(a_cs().create(root_).has_value());
  EXPECT_EQ(*read_small_file(root_ + "/cs.conf"), kFormat2);
  const auto loaded = CsRepository::load(root_);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
  EXPECT_EQ(*loaded, a_cs());
}

TEST_F(CsConf, Format1HasTheDefaultsOfTheRest) {
  const auto loaded = load(kFormat1);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
  CsRepository wanted = a_cs();
  wanted.checksums = true;
  wanted.tune = Tune::kHdd;
  wanted.journal = JournalWish{};
  wanted.flush_check.reset();
  EXPECT_EQ(*loaded, wanted);
  EXPECT_TRUE(wanted.journal.on);
  EXPECT_EQ(wanted.journal.bytes, 64_MiB);
  // Saved, it is of format 2 and says the same.
  ASSERT_TRUE(loaded->save(root_).has_value());
  EXPECT_NE(read_small_file(root_ + "/cs.conf")->find("\"format\": 2"), std::string::npos);
  EXPECT_EQ(CsRepository::load(root_).value(), wanted);
}

TEST_F(CsConf, NeverCheckedIsNotTheSameAsFoundGood) {
  CsRepository cs = a_cs();
  cs.flush_check.reset();
  ASSERT_TRUE(cs.create(root_).has_value());
  EXPECT_EQ(read_small_file(root_ + "/cs.conf")->find("flush_check"), std::string::npos);
  EXPECT_EQ(CsRepository::load(root_).value(), cs);
}

TEST_F(CsConf, LinkToTheDriveMayBeThereBefore) {
  std::filesystem::create_symlink("/dev/disk/by-id/none", root_ + "/data");
  EXPECT_EQ(a_cs().create(root_).error().code(), Code::kNotEmpty);
  EXPECT_TRUE(a_cs().create(root_, "data").has_value());
}

TEST_F(CsConf, LoadSaysWhatIsWrong) {
  struct Case {
    const char* from;
    const char* to;
    const char* message;
  };
  const Case cases[] = {
      {"\"format\": 2", "\"format\": 3", "format 3"},
      {"\"cs\"", "\"mds\"", "does not describe"},
      {"\"cs_id\": 1025", "\"cs_id\": 0", "'cs_id'"},
      {"\"tier\": 2", "\"tier\": 4", "'tier'"},
      {"\"checksums\": false", "\"checksums\": 0", "'checksums'"},
      {"\"tune\": \"ssd\"", "\"tune\": \"tape\"", "'tune'"},
      {"\"on\": true", "\"on\": 1", "'journal.on'"},
      {"\"/ssd/cs1\"", "\"ssd/cs1\"", "'journal.directory'"},
      {"\"bytes\": 2147483648", "\"bytes\": 0", "'journal.bytes'"},
      {"\"bytes\": 2147483648", "\"bytes\": 2147483648000", "'journal.bytes'"},
      {"\"journal\"", "\"journals\"", "'journal'"},
      {"\"suspicious\": true", "\"suspicious\": \"no\"", "'flush_check.suspicious'"},
      {"90000", "-1", "'flush_check.flushes_per_second'"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.to);
    std::string bad = kFormat2;
    ASSERT_NE(bad.find(c.from), std::string::npos);
    bad.replace(bad.find(c.from), std::string(c.from).size(), c.to);
    const auto loaded = load(bad);
    ASSERT_FALSE(loaded.has_value());
    EXPECT_EQ(loaded.error().code(), Code::kCorrupt);
    EXPECT_NE(loaded.error().message().find(c.message), std::string::npos)
        << loaded.error().message();
  }
}

}  // namespace
}  // namespace cairn::cluster
