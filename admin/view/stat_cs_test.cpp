#include "admin/view/stat_cs.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "admin/view/cs_flags.h"
#include "admin/view/stat_json.h"
#include "admin/view/stat_text.h"
#include "common/base/units.h"

namespace cairn::admin {
namespace {

// A healthy one with its journal on an SSD, and one whose drive failed.
pb::StatReply two_servers() {
  pb::StatReply reply;
  reply.mutable_chunks()->set_healthy(4000);
  pb::CsStat* cs = reply.add_cs();
  cs->set_id(1025);
  cs->set_status("active");
  cs->set_host("box");
  cs->set_address("10.0.0.1:3000");
  cs->set_pieces_mapped(5000);
  cs->set_pieces_written(4000);
  cs->mutable_statistics()->set_pieces(4001);
  cs->set_pieces_unique(2);
  cs->set_version("0.1.0");
  pb::CsStatistics* s = cs->mutable_statistics();
  s->set_space_bytes(125_GiB);
  s->set_free_bytes(119_GiB);
  s->set_io_wait(0.13);
  s->set_io_latency_avg_us(1500);
  s->set_io_latency_max_us(117'000);
  s->set_queue_depth(0.26);
  s->set_flags("JCc");
  s->set_engine("io_uring");
  s->set_rmw(12);
  s->set_jrmw(3400);
  s->set_healed_blocks(5);
  s->set_journal_bytes(8_GiB);
  s->set_journal_backlog_bytes(300_MiB);
  s->set_journal_place("/ssd1/journal");
  s->mutable_scrub()->set_pieces_verified(120);
  s->mutable_scrub()->set_pieces_total(4000);
  s->mutable_scrub()->set_last_round_ns_ago(3LL * 3600 * 1'000'000'000);
  cs = reply.add_cs();
  cs->set_id(1026);
  cs->set_status("offline");
  cs->set_host("box");
  cs->set_failure("read of 4096 bytes: Input/output error");
  cs->set_trouble("H");
  cs->set_repository("/cairn/cs2");
  cs->set_tier(2);
  cs->mutable_statistics()->set_flags("DH");
  cs->mutable_statistics()->set_io_errors(7);
  cs->mutable_statistics()->set_damaged_blocks(3);
  return reply;
}

TEST(CsTable, HasTheColumnsOfTheGuideFirst) {
  EXPECT_EQ(
      cs_table(two_servers()),
      "CSID  STATUS   SPACE  AVAIL  REPLICAS  UNIQUE  IOWAIT  IOLAT(ms)  QDEPTH  HOST             "
      "  FLAGS  TIER  BUILD_VERSION\n"
      "1025  active   125GB  119GB  4000      2       13%     1/117      0.3     box 10.0.0.1:3000"
      "  JCc    0     0.1.0\n"
      "1026  offline  0B     0B     0         0       0%      0/0        0.0     box              "
      "  DH     2     -\n"
      "CS 1026 at /cairn/cs2: read of 4096 bytes: Input/output error\n"
      "Flag H: the drive returned an I/O error, and this CS serves nothing.\n"
      "  Look at the drive (dmesg, smartctl). Put a good one in and make a CS on it: cairn "
      "make-cs\n");
}

TEST(CsTable, DetailsSayWhatDriveJournalAndScrubDid) {
  EXPECT_EQ(cs_details(two_servers()),
            "CSID  ENGINE    RMW  JRMW  DAMAGED  HEALED  IO_ERRORS  SCRUBBED         LAST_SCRUB  "
            "JOURNAL  BACKLOG  JOURNAL_AT\n"
            "1025  io_uring  12   3400  0        5       0          120/4000 (3.0%)  3h  0m ago  "
            "8GB      300MB    /ssd1/journal\n"
            "1026  -         0    0     3        0       7          -                never       "
            "-        -        -\n");
}

TEST(CsTable, TheJournalInTheRepositoryIsNamedSo) {
  pb::StatReply reply = two_servers();
  reply.mutable_cs(0)->mutable_statistics()->clear_journal_place();
  EXPECT_NE(cs_details(reply).find("300MB    repository\n"), std::string::npos);
}

TEST(CsTable, UniqueIsNotKnownWhenTheChunksWereNotCounted) {
  pb::StatReply reply = two_servers();
  reply.clear_chunks();
  EXPECT_NE(cs_table(reply).find("4001      -       13%"), std::string::npos) << cs_table(reply);
  const auto json = nlohmann::json::parse(stat_json(reply), nullptr, false);
  EXPECT_TRUE(json["cs"][0]["pieces_unique"].is_null());
}

TEST(CsTable, StatHasTheSecondTableOnDemand) {
  const pb::StatReply reply = two_servers();
  EXPECT_EQ(stat_text(reply).find("JOURNAL_AT"), std::string::npos);
  EXPECT_NE(stat_text(reply, true).find("\n\n" + cs_details(reply) + "\n"), std::string::npos);
}

TEST(CsFlags, EveryLetterOfTroubleHasALineOfWhatToDo) {
  pb::StatReply reply;
  pb::CsStat* cs = reply.add_cs();
  cs->mutable_statistics()->set_flags("JDCch");
  EXPECT_EQ(cs_flags(*cs), "JDCch");
  EXPECT_NE(trouble_legend(reply.cs()).find("Flag h: "), std::string::npos);
  for (const char* letter : {"H", "S", "R", "T"}) {
    cs->set_trouble(letter);
    cs->mutable_statistics()->set_flags("JC");
    EXPECT_EQ(cs_flags(*cs), std::string("JC") + letter);
    const std::string legend = trouble_legend(reply.cs());
    EXPECT_EQ(legend.find(std::string("Flag ") + letter + ": "), 0U) << legend;
    EXPECT_NE(legend.find("\n  "), std::string::npos);
    EXPECT_EQ(legend.find("Flag ", 1), std::string::npos);
  }
  cs->clear_trouble();
  cs->mutable_statistics()->set_flags("JDCc");
  EXPECT_EQ(trouble_legend(reply.cs()), "");
  cs->mutable_statistics()->clear_flags();
  EXPECT_EQ(cs_flags(*cs), "-");
}

TEST(CsJson, HasEveryFieldOfAChunkServer) {
  const auto json = nlohmann::json::parse(stat_json(two_servers()), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  const auto& first = json["cs"][0];
  EXPECT_EQ(first["engine"], "io_uring");
  EXPECT_EQ(first["rmw"], 12);
  EXPECT_EQ(first["jrmw"], 3400);
  EXPECT_EQ(first["healed_blocks"], 5);
  EXPECT_EQ(first["journal_bytes"], 8_GiB);
  EXPECT_EQ(first["journal_backlog_bytes"], 300_MiB);
  EXPECT_EQ(first["journal_place"], "/ssd1/journal");
  EXPECT_EQ(first["scrub"]["pieces_verified"], 120);
  EXPECT_EQ(first["scrub"]["last_round_ns_ago"], 3LL * 3600 * 1'000'000'000);
  EXPECT_EQ(json["cs"][1]["trouble"], "H");
  EXPECT_EQ(json["cs"][1]["io_errors"], 7);
  EXPECT_EQ(json["cs"][1]["damaged_blocks"], 3);
  // A field that is added to a message is not forgotten here.
  EXPECT_EQ(static_cast<int>(first.size()), pb::CsStat::descriptor()->field_count() - 1 +
                                                pb::CsStatistics::descriptor()->field_count());
  EXPECT_EQ(static_cast<int>(first["scrub"].size()),
            pb::ScrubProgress::descriptor()->field_count());
}

}  // namespace
}  // namespace cairn::admin
