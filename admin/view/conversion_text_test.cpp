#include "admin/view/conversion_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "admin/view/file_chunks.h"
#include "admin/view/stat_json.h"
#include "admin/view/stat_text.h"
#include "common/base/units.h"

namespace cairn::admin {
namespace {

pb::Encoding four_and_two() {
  pb::Encoding encoding;
  encoding.set_data(4);
  encoding.set_parity(2);
  encoding.set_min(5);
  return encoding;
}

// One under way, one in trouble, one that waits.
pb::ConversionStat busy() {
  pb::ConversionStat stat;
  stat.set_waiting(3);
  stat.set_under_way(1);
  stat.set_converted(12);
  stat.set_bytes_converted(3_GiB);
  stat.set_bytes_per_second(25.0 * 1024 * 1024);
  pb::ConversionStat::File* file = stat.add_files();
  file->set_inode(77);
  *file->mutable_to() = four_and_two();
  file->set_bytes_done(10_MiB);
  file->set_bytes_total(40_MiB);
  file->set_worker("CS#1025");
  file = stat.add_files();
  file->set_inode(78);
  *file->mutable_to() = four_and_two();
  file->set_trouble("no place for a new chunk (tried again in 40 s)");
  return stat;
}

TEST(ConversionText, StatTellsOfConversionsOnlyWhenThereAreSome) {
  pb::StatReply reply;
  EXPECT_EQ(stat_text(reply).find("onver"), std::string::npos);
  *reply.mutable_conversions() = busy();
  const std::string text = stat_text(reply);
  EXPECT_NE(text.find("Conversions: 1 file under way, 2 wait; 12 converted (3GB), 25MB/s\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\nINODE  CONVERTED_TO    DONE          WORKER   LAST_TROUBLE\n"
                      "77     encoding=4+2:5  10MB of 40MB  CS#1025  -\n"
                      "78     encoding=4+2:5  -             waits    no place for a new chunk "
                      "(tried again in 40 s)\n"),
            std::string::npos)
      << text;
}

TEST(ConversionText, APauseIsSaidWhileFilesWait) {
  pb::ConversionStat stat;
  stat.set_paused(true);
  EXPECT_EQ(conversion_line(stat), "");
  stat.set_waiting(5);
  EXPECT_EQ(conversion_line(stat),
            "Conversions: paused (mds.convert.workers=0), 0 files under way, 5 wait; 0 "
            "converted\n");
  stat.set_waiting(0);
  stat.set_converted(5);
  EXPECT_EQ(conversion_line(stat), "Conversions: 0 files under way, 0 wait; 5 converted\n");
}

TEST(ConversionText, ProgressHasBytesAndTheFirstTrouble) {
  EXPECT_EQ(conversion_progress(busy()),
            "3 files to be converted, 1 under way: 10MB of 40MB, 25MB/s; no place for a new chunk "
            "(tried again in 40 s)");
  pb::ConversionStat paused;
  paused.set_waiting(1);
  paused.set_paused(true);
  EXPECT_EQ(conversion_progress(paused), "1 file to be converted, paused");
}

TEST(ConversionText, InfoTellsWhatIsToBecomeOfTheFile) {
  pb::InfoReply reply;
  reply.mutable_attributes()->set_inode(77);
  EXPECT_EQ(file_chunks_text(reply, "/x").find("Conversion"), std::string::npos);
  EXPECT_FALSE(nlohmann::json::parse(file_chunks_json(reply, "/x")).contains("conversion"));
  *reply.mutable_conversion() = busy().files(0);
  EXPECT_NE(file_chunks_text(reply, "/x")
                .find("Conversion: into encoding=4+2:5, under way by CS#1025, 10MB of 40MB\n"),
            std::string::npos);
  *reply.mutable_conversion() = busy().files(1);
  EXPECT_NE(file_chunks_text(reply, "/x")
                .find("Conversion: into encoding=4+2:5, it waits for its turn; the last attempt "
                      "failed: no place for a new chunk (tried again in 40 s)\n"),
            std::string::npos);
  const auto json = nlohmann::json::parse(file_chunks_json(reply, "/x"));
  EXPECT_EQ(json["conversion"]["to"], "encoding=4+2:5");
  EXPECT_EQ(json["conversion"]["worker"], "");
}

TEST(ConversionText, ProgramsGetAllOfIt) {
  pb::StatReply reply;
  *reply.mutable_conversions() = busy();
  const auto json = nlohmann::json::parse(stat_json(reply))["conversions"];
  EXPECT_EQ(json["waiting"], 3);
  EXPECT_EQ(json["under_way"], 1);
  EXPECT_EQ(json["converted"], 12);
  EXPECT_EQ(json["paused"], false);
  ASSERT_EQ(json["files"].size(), 2U);
  EXPECT_EQ(json["files"][0]["inode"], 77);
  EXPECT_EQ(json["files"][0]["bytes_total"], 40_MiB);
  EXPECT_EQ(json["files"][1]["trouble"], "no place for a new chunk (tried again in 40 s)");
}

}  // namespace
}  // namespace cairn::admin
