#include "common/cluster/repository.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/cluster/durable_file.h"

namespace cairn::cluster {
namespace {

class Repositories : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "cairn-repository-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  static void write(const std::string& path, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << content;
  }
  // kInternal when it loads.
  Error load_error(const std::string& content) const {
    write(root_ + "/bad/mds.conf", content);
    const auto loaded = MdsRepository::load(root_ + "/bad");
    return loaded.has_value() ? Error(Code::kInternal) : loaded.error();
  }

  std::string root_;
};

MdsRepository an_mds() {
  return {.cluster = "stor1",
          .cluster_id = ClusterId::from_raw(0x1122334455667788),
          .mds_id = NodeId::from_raw(3),
          .address = {.host = "127.0.0.1", .port = 2510},
          .repo_uuid = 0xfedcba9876543210,
          .bootstrap = false,
          .peers = {{NodeId::from_raw(1), {.host = "10.0.0.1", .port = 2510}},
                    {NodeId::from_raw(2), {.host = "fe80::1", .port = 4110}}},
          .addresses_changed = true};
}

CsRepository a_cs() {
  return {.cluster = "stor1",
          .cluster_id = ClusterId::from_raw(0xf122334455667788),
          .cs_id = kFirstCsId,
          .repo_uuid = 0xfedcba9876543210,
          .host_id = HostId::from_raw(7),
          .host = "box",
          .address = {.host = "fe80::1", .port = 0},
          .tier = 2,
          .size_bytes = 20_GiB};
}

// The bytes on the disk: a daemon of another version must read them.
constexpr const char* kFormat2 = R"({
  "format": 2,
  "kind": "mds",
  "cluster": "stor1",
  "cluster_id": "1122334455667788",
  "mds_id": 3,
  "repo_uuid": "fedcba9876543210",
  "address": "127.0.0.1",
  "port": 2510,
  "bootstrap": false,
  "peers": [
    {
      "id": 1,
      "address": "10.0.0.1",
      "port": 2510
    },
    {
      "id": 2,
      "address": "fe80::1",
      "port": 4110
    }
  ],
  "addresses_changed": true
}
)";
constexpr const char* kFormat1 = R"({
  "format": 1,
  "kind": "mds",
  "cluster": "stor1",
  "cluster_id": "1122334455667788",
  "mds_id": 1,
  "address": "127.0.0.1",
  "port": 2510
}
)";

TEST_F(Repositories, MdsConfHasTheBytesOfFormat2) {
  ASSERT_TRUE(an_mds().create(root_ + "/deep/mds").has_value());
  EXPECT_EQ(*read_small_file(root_ + "/deep/mds/mds.conf"), kFormat2);
  const auto loaded = MdsRepository::load(root_ + "/deep/mds");
  ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
  EXPECT_EQ(*loaded, an_mds());
}

TEST_F(Repositories, MdsConfOfFormat1IsTheOneThatFoundedItsCluster) {
  write(root_ + "/old/mds.conf", kFormat1);
  const auto old = MdsRepository::load(root_ + "/old");
  ASSERT_TRUE(old.has_value()) << old.error().to_string();
  EXPECT_EQ(*old, (MdsRepository{.cluster = "stor1",
                                 .cluster_id = ClusterId::from_raw(0x1122334455667788),
                                 .mds_id = kFirstMdsId,
                                 .address = {.host = "127.0.0.1", .port = 2510},
                                 .repo_uuid = 0,
                                 .bootstrap = true,
                                 .peers = {},
                                 .addresses_changed = false}));
  // Saved, it is of format 2, still without a uuid.
  ASSERT_TRUE(old->save(root_ + "/old").has_value());
  EXPECT_NE(read_small_file(root_ + "/old/mds.conf")->find("\"format\": 2"), std::string::npos);
  EXPECT_EQ(MdsRepository::load(root_ + "/old").value(), *old);
}

TEST_F(Repositories, SaveReplacesTheWholeFile) {
  ASSERT_TRUE(an_mds().create(root_ + "/r").has_value());
  MdsRepository changed = an_mds();
  changed.address.host = "10.9.9.9";
  changed.peers.erase(NodeId::from_raw(1));
  changed.addresses_changed = false;
  changed.bootstrap = true;
  ASSERT_TRUE(changed.save(root_ + "/r").has_value());
  EXPECT_EQ(MdsRepository::load(root_ + "/r").value(), changed);
}

TEST_F(Repositories, CsConfRoundTrips) {
  std::filesystem::create_directories(root_ + "/cs/lost+found");
  ASSERT_TRUE(a_cs().create(root_ + "/cs").has_value());
  const auto cs = CsRepository::load(root_ + "/cs");
  ASSERT_TRUE(cs.has_value()) << cs.error().to_string();
  EXPECT_EQ(cs->cluster_id, a_cs().cluster_id);
  EXPECT_EQ(cs->cs_id, kFirstCsId);
  EXPECT_EQ(cs->repo_uuid, a_cs().repo_uuid);
  EXPECT_EQ(cs->host_id, a_cs().host_id);
  EXPECT_EQ(cs->host, "box");
  EXPECT_EQ(cs->address, a_cs().address);
  EXPECT_EQ(cs->tier, 2U);
  EXPECT_EQ(cs->size_bytes, 20_GiB);
}

TEST_F(Repositories, CreateRefusesADirectoryInUse) {
  ASSERT_TRUE(an_mds().create(root_ + "/r").has_value());
  const std::string before = *read_small_file(root_ + "/r/mds.conf");
  for (const Status& again : {an_mds().create(root_ + "/r"), a_cs().create(root_ + "/r")}) {
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(again.error().code(), Code::kNotEmpty);
  }
  EXPECT_EQ(*read_small_file(root_ + "/r/mds.conf"), before);
  write(root_ + "/file", "x");
  EXPECT_EQ(an_mds().create(root_ + "/file").error().code(), Code::kNotDirectory);
}

TEST_F(Repositories, AJoiningMdsKeepsItsUuidAndGivesWayToTheRepository) {
  const std::string directory = root_ + "/new/mds";
  EXPECT_FALSE(JoiningMds::load(directory).value().has_value());
  ASSERT_TRUE((JoiningMds{.cluster = "stor1", .repo_uuid = 42}).create(directory).has_value());
  EXPECT_EQ(*read_small_file(directory + "/mds.joining"),
            "{\n  \"format\": 1,\n  \"kind\": \"mds-joining\",\n  \"cluster\": \"stor1\",\n"
            "  \"repo_uuid\": \"000000000000002a\"\n}\n");
  const auto found = JoiningMds::load(directory);
  ASSERT_TRUE(found.has_value() && found->has_value());
  EXPECT_EQ((*found)->cluster, "stor1");
  EXPECT_EQ((*found)->repo_uuid, 42U);
  EXPECT_FALSE(is_empty_directory(directory).value());
  EXPECT_EQ(a_cs().create(directory).error().code(), Code::kNotEmpty);
  // A write that was killed before it had its name is nothing.
  write(directory + "/mds.conf.tmp.Ab3xYz", "{");
  ASSERT_TRUE(an_mds().create(directory).has_value());
  ASSERT_TRUE(JoiningMds::remove(directory).has_value());
  ASSERT_TRUE(JoiningMds::remove(directory).has_value());
  EXPECT_FALSE(JoiningMds::load(directory).value().has_value());
  EXPECT_EQ(MdsRepository::load(directory).value(), an_mds());
}

TEST_F(Repositories, ADamagedMarkOfJoiningIsAnError) {
  write(root_ + "/r/mds.joining", "{\"format\": 1, \"kind\": \"mds-joining\"}");
  EXPECT_EQ(JoiningMds::load(root_ + "/r").error().code(), Code::kCorrupt);
}

TEST_F(Repositories, LoadSaysWhatIsWrong) {
  EXPECT_EQ(MdsRepository::load(root_).error().code(), Code::kNotFound);
  struct Case {
    const char* name;
    const char* from;
    const char* to;
    const char* message;
  };
  const Case cases[] = {
      {"not json", "{", "", "JSON"},
      {"newer format", "\"format\": 2", "\"format\": 3", "format 3"},
      {"format 0", "\"format\": 2", "\"format\": 0", "format 0"},
      {"other kind", "\"mds\"", "\"cs\"", "does not describe"},
      {"bad name", "stor1", "st or", "'cluster'"},
      {"short id", "1122334455667788", "1122", "'cluster_id'"},
      {"no mds id", "\"mds_id\": 3", "\"mds_id\": 0", "'mds_id'"},
      {"bad address", "127.0.0.1", "a host", "'address'"},
      {"bad port", "2510", "65536", "'port'"},
      {"no port", "2510", "0", "'port'"},
      {"bad uuid", "fedcba9876543210", "0000000000000000", "'repo_uuid'"},
      {"bad bootstrap", "\"bootstrap\": false", "\"bootstrap\": 0", "'bootstrap'"},
      {"no peers", "\"peers\"", "\"others\"", "'peers'"},
      {"peer without id", "\"id\": 2", "\"id\": 0", "'peers'"},
      {"peer twice", "\"id\": 2", "\"id\": 1", "'peers'"},
      {"itself as a peer", "\"id\": 2", "\"id\": 3", "'peers'"},
      {"bad address of a peer", "fe80::1", "some host", "'peers'"},
      {"no port of a peer", "4110", "0", "'peers'"},
      {"bad flag", "\"addresses_changed\": true", "\"addresses_changed\": 1",
       "'addresses_changed'"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::string bad = kFormat2;
    ASSERT_NE(bad.find(c.from), std::string::npos);
    bad.replace(bad.find(c.from), std::string(c.from).size(), c.to);
    const Error error = load_error(bad);
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_NE(error.message().find(c.message), std::string::npos) << error.message();
  }
  EXPECT_EQ(load_error(kFormat2).code(), Code::kInternal);
}

}  // namespace
}  // namespace cairn::cluster
