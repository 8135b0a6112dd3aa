#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "admin/view/file_chunks.h"
#include "admin/view/stat_json.h"
#include "admin/view/stat_text.h"
#include "common/base/units.h"

namespace cairn::admin {
namespace {

pb::StatReply a_cluster() {
  pb::StatReply reply;
  reply.set_cluster("stor1");
  reply.set_cluster_id(0xab);
  reply.set_status("degraded");
  reply.add_reasons("CS 1026 has been inactive for 12 s");
  reply.set_space_bytes(250_GiB);
  reply.set_free_bytes(250_GiB);
  reply.set_allocatable_bytes(238_GiB);
  reply.set_allocatable_space_bytes(250_GiB);
  reply.mutable_root_policy()->mutable_encoding()->set_data(1);
  reply.mutable_root_policy()->mutable_encoding()->set_parity(2);
  reply.mutable_root_policy()->mutable_encoding()->set_min(2);
  reply.set_epoch_uptime_ns(33ULL * 60 * 1'000'000'000);
  reply.set_files(51);
  reply.set_inodes(53);
  reply.set_chunk_count(38);
  reply.set_file_bytes(1_GiB);
  reply.mutable_chunks()->set_healthy(36);
  reply.mutable_chunks()->set_standby(2);
  pb::MdsStat* mds = reply.add_mds();
  mds->set_id(1);
  mds->set_master(true);
  mds->set_status("avail");
  mds->set_ctime(0.02);
  mds->set_memory_bytes(64_MiB);
  mds->set_uptime_ns(33ULL * 60 * 1'000'000'000);
  mds->set_host("box");
  mds->set_address("10.0.0.1:2510");
  for (unsigned i = 0; i < 2; ++i) {
    pb::CsStat* cs = reply.add_cs();
    cs->set_id(1025 + i);
    cs->set_status(i == 0 ? "active" : "inactive");
    cs->set_host("box");
    cs->set_address("10.0.0.1:300" + std::to_string(i));
    cs->set_version("0.1.0");
    cs->mutable_statistics()->set_space_bytes(125_GiB);
    cs->mutable_statistics()->set_free_bytes(119_GiB);
    cs->mutable_statistics()->set_io_latency_avg_us(1500);
    cs->mutable_statistics()->set_io_latency_max_us(117'000);
  }
  pb::ClientStat* client = reply.add_clients();
  client->set_id(2053);
  client->set_host("box");
  client->set_mount_point("/mnt/stor1");
  client->set_connected(true);
  client->set_leases_exclusive(1);
  client->set_write_bytes_per_s(10.5 * 1024 * 1024);
  client->set_writes_per_s(10);
  pb::Event* event = reply.add_events();
  event->set_id(7);
  event->set_time_ns(1'393'001'720'000'000'000);
  event->set_subsystem("MDS");
  event->set_severity("WRN");
  event->set_message("CS 1026 is inactive");
  return reply;
}

TEST(StatText, ShowsHeaderTablesAndEvents) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  EXPECT_EQ(
      stat_text(a_cluster()),
      "Cluster 'stor1': degraded\n"
      "  CS 1026 has been inactive for 12 s\n"
      "Space: [OK] allocatable 238GB of 250GB, free 250GB of 250GB\n"
      "MDS nodes: 1 of 1, epoch uptime: 33 min\n"
      "CS nodes: 1 of 2 (1 avail, 1 inactive, 0 offline)\n"
      "Replication: 3 norm, 2 limit\n"
      "Chunks: [WARN] 36 healthy, 2 standby, 0 degraded, 0 urgent,\n"
      "        0 blocked, 0 pending, 0 offline, 0 replicating,\n"
      "        0 overcommitted, 0 deleting, 0 void\n"
      "FS: 1GB in 51 files, 53 inodes, 38 chunks\n"
      "IO: read 0B/s (0ops/s), write 10MB/s (10ops/s)\n"
      "\n"
      "MDSID  STATUS  %CTIME  COMMITS  %CPU  MEM   UPTIME  HOST\n"
      "M   1  avail   2.0%    0/s      0.0%  64MB  33 min  box 10.0.0.1:2510\n"
      "\n"
      "CSID  STATUS    SPACE  AVAIL  REPLICAS  UNIQUE  IOWAIT  IOLAT(ms)  QDEPTH  HOST            "
      "   FLAGS  TIER  BUILD_VERSION\n"
      "1025  active    125GB  119GB  0         0       0%      1/117      0.0     box "
      "10.0.0.1:3000  -      0     0.1.0\n"
      "1026  inactive  125GB  119GB  0         0       0%      1/117      0.0     box "
      "10.0.0.1:3001  -      0     0.1.0\n"
      "\n"
      "CLID  LEASES  READ  WRITE   RD_OPS  WR_OPS   FSYNCS  WAITING  HOST  MOUNT\n"
      "2053  0/1     0B/s  10MB/s  0ops/s  10ops/s  0ops/s  0        box   /mnt/stor1\n"
      "\n"
      "TIME                 SYS  SEV  MESSAGE\n"
      "2014-02-21 16:55:20  MDS  WRN  CS 1026 is inactive\n");
}

TEST(StatText, TellsOfRepairsOnlyWhenThereAreSome) {
  pb::StatReply reply = a_cluster();
  EXPECT_EQ(stat_text(reply).find("Repair:"), std::string::npos);
  reply.mutable_repair()->set_under_way(2);
  reply.mutable_repair()->set_waiting(10);
  reply.mutable_repair()->set_pieces(120);
  reply.mutable_repair()->set_bytes_written(3ULL << 30);
  reply.mutable_repair()->set_longest_hold_us(41'200);
  EXPECT_NE(stat_text(reply).find("Repair: 2 chunks under way, 10 wait; 120 pieces repaired, 3GB "
                                  "copied, writes waited 42 ms at most\n"),
            std::string::npos)
      << stat_text(reply);
  reply.mutable_chunks()->set_standby(0);
  reply.mutable_chunks()->set_replicating(1);
  EXPECT_NE(stat_text(reply).find("Chunks: [WARN]"), std::string::npos);
  reply.mutable_chunks()->set_pending(1);
  EXPECT_NE(stat_text(reply).find("Chunks: [ERR]"), std::string::npos);
}

// A group of four: the master, one that lags, one that is away, one that has just been made.
pb::StatReply a_group() {
  pb::StatReply reply = a_cluster();
  reply.mutable_mds(0)->set_role("voter");
  for (const std::uint32_t id : {2U, 3U, 12U}) {
    pb::MdsStat* mds = reply.add_mds();
    mds->set_id(id);
    mds->set_address("10.0.0." + std::to_string(id) + ":2510");
    mds->set_role(id == 12 ? "learner" : "voter");
    mds->set_status(id == 2 ? "stale" : id == 3 ? "unavail" : "avail");
    if (id == 3) continue;
    mds->set_host("box" + std::to_string(id));
    mds->set_ctime(0.105);
    mds->set_commits_per_s(42);
    mds->set_cpu(0.25);
    mds->set_memory_bytes(1_GiB);
    mds->set_uptime_ns(90'000'000'000);
    mds->set_lag(id == 2 ? 1001 : 5);
    mds->set_applied_slot(100);
    mds->set_flushes(17);
  }
  return reply;
}

TEST(StatText, ShowsEveryMemberOfTheGroup) {
  const std::string text = stat_text(a_group());
  EXPECT_NE(text.find("MDS nodes: 2 of 4, epoch uptime: 33 min\n"), std::string::npos) << text;
  EXPECT_NE(text.find("MDSID  STATUS   %CTIME  COMMITS  %CPU   MEM   UPTIME  HOST\n"
                      "M   1  avail    2.0%    0/s      0.0%   64MB  33 min  box 10.0.0.1:2510\n"
                      "    2  stale    10.5%   42/s     25.0%  1GB   1 min   box2 10.0.0.2:2510\n"
                      "    3  unavail  -       -        -      -     -       10.0.0.3:2510\n"
                      "L  12  avail    10.5%   42/s     25.0%  1GB   1 min   box12 10.0.0.12:2510\n"
                      "MDS 2: 1001 rounds behind\n"
                      "MDS 12: has no vote yet, it gets one by itself when it has caught up; "
                      "5 rounds behind\n"),
            std::string::npos)
      << text;
}

TEST(StatJson, HasEveryFieldOfAMember) {
  const auto json = nlohmann::json::parse(stat_json(a_group()), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  ASSERT_EQ(json["mds"].size(), 4U);
  const auto& second = json["mds"][1];
  EXPECT_EQ(second["role"], "voter");
  EXPECT_EQ(second["status"], "stale");
  EXPECT_EQ(second["lag"], 1001);
  EXPECT_EQ(second["applied_slot"], 100);
  EXPECT_EQ(second["flushes"], 17);
  EXPECT_EQ(second["commits_per_s"], 42);
  // A field that is added to the message is not forgotten here.
  EXPECT_EQ(static_cast<int>(second.size()), pb::MdsStat::descriptor()->field_count());
}

TEST(EventsText, ShowsTheEventsOfTheGroup) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  pb::StatReply reply;
  pb::Event* event = reply.add_events();
  event->set_time_ns(1'393'001'720'000'000'000);
  event->set_subsystem("JRN");
  event->set_severity("ERR");
  event->set_message("MDS#2 (10.0.0.2:2510) lags behind for more than 1000 rounds");
  EXPECT_EQ(events_text(reply.events()),
            "TIME                 SYS  SEV  MESSAGE\n"
            "2014-02-21 16:55:20  JRN  ERR  MDS#2 (10.0.0.2:2510) lags behind for more than 1000 "
            "rounds\n");
}

TEST(StatText, AnEmptyClusterHasItsTablesToo) {
  pb::StatReply reply;
  reply.set_cluster("new");
  reply.set_status("unknown");
  const std::string text = stat_text(reply);
  EXPECT_NE(text.find("Space: [ERR] allocatable 0B of 0B"), std::string::npos);
  EXPECT_NE(text.find("CS nodes: 0 of 0 (0 avail, 0 inactive, 0 offline)"), std::string::npos);
  EXPECT_NE(text.find("\nCSID  STATUS"), std::string::npos);
}

TEST(StatJson, HasTheFieldsOfSchemaOne) {
  const auto json = nlohmann::json::parse(stat_json(a_cluster()), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["cluster"]["name"], "stor1");
  EXPECT_EQ(json["cluster"]["id"], "00000000000000ab");
  EXPECT_EQ(json["cluster"]["status"], "degraded");
  EXPECT_EQ(json["cluster"]["chunks"]["standby"], 2);
  EXPECT_EQ(json["cluster"]["space_bytes"], 250_GiB);
  EXPECT_EQ(json["mds"][0]["id"], 1);
  EXPECT_EQ(json["mds"][0]["master"], true);
  EXPECT_EQ(json["mds"][0]["status"], "avail");
  EXPECT_EQ(json["cs"][1]["id"], 1026);
  EXPECT_EQ(json["cs"][1]["status"], "inactive");
  EXPECT_EQ(json["cs"][0]["io_latency_max_ns"], 117'000'000);
  EXPECT_EQ(json["clients"][0]["id"], 2053);
  EXPECT_EQ(json["clients"][0]["leases_exclusive"], 1);
  EXPECT_EQ(json["events"][0]["time"], "2014-02-21T16:55:20.000Z");
}

TEST(StatJson, BytesThatAreNotTextDoNotBreakIt) {
  pb::StatReply reply = a_cluster();
  reply.mutable_clients(0)->set_mount_point("/mnt/\xff");
  EXPECT_FALSE(nlohmann::json::parse(stat_json(reply), nullptr, false).is_discarded());
}

pb::InfoReply a_file() {
  pb::InfoReply reply;
  reply.mutable_attributes()->set_inode(12);
  reply.mutable_attributes()->set_type(pb::TYPE_REGULAR);
  reply.mutable_attributes()->set_mode(0644);
  reply.mutable_attributes()->set_nlink(1);
  reply.mutable_attributes()->set_size(5000);
  pb::Chunk* chunk = reply.add_chunks();
  chunk->set_id(17);
  chunk->set_index(2);
  chunk->set_version(3);
  chunk->set_piece_bytes(64_MiB);
  chunk->mutable_encoding()->set_data(2);
  chunk->mutable_encoding()->set_parity(1);
  chunk->mutable_encoding()->set_min(2);
  for (unsigned i = 0; i < 3; ++i) {
    pb::Piece* piece = chunk->add_pieces();
    piece->set_index(i);
    piece->set_cs_id(i == 2 ? 0 : 1025 + i);
    piece->set_state(i == 1 ? pb::PIECE_MISSING : pb::PIECE_CURRENT);
    if (i != 2) piece->set_address("10.0.0.1:3000");
  }
  reply.add_chunk_states("degraded");
  return reply;
}

TEST(FileChunks, TextNamesEveryPiece) {
  EXPECT_EQ(file_chunks_text(a_file(), "/a"),
            "File: '/a'\n"
            "Inode: 12, regular file, mode 0644, owner 0:0, 1 links\n"
            "Size: 5000 bytes (4.9KB), 1 chunks\n"
            "Policy: encoding=unset, tier=0, failure-domain=unset\n"
            "\n"
            "Chunk 17: index 2, offset 268435456, version 3, degraded\n"
            "  PIECE  KIND    CSID  STATE    ADDRESS\n"
            "  0      data    1025  current  10.0.0.1:3000\n"
            "  1      data    1026  missing  10.0.0.1:3000\n"
            "  2      parity  none  current  -\n");
}

TEST(FileChunks, JsonHasPiecesAndStates) {
  const auto json = nlohmann::json::parse(file_chunks_json(a_file(), "/a"), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["chunks"][0]["state"], "degraded");
  EXPECT_EQ(json["chunks"][0]["pieces"][1]["state"], "missing");
  EXPECT_EQ(json["chunks"][0]["pieces"][1]["cs"], 1026);
}

}  // namespace
}  // namespace cairn::admin
