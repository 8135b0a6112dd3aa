#include "admin/view/scrub_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace cairn::admin {
namespace {

pb::ScrubReply a_scrub() {
  pb::ScrubReply scrub;
  scrub.set_job(123456);
  scrub.set_target("/backup");
  scrub.set_pieces(24);
  scrub.set_verified(24);
  scrub.set_blocks(3072);
  scrub.set_done(true);
  return scrub;
}

TEST(ScrubText, ACleanOneSaysSo) {
  EXPECT_EQ(scrub_text(a_scrub()),
            "Scrub 123456 of '/backup': done\n"
            "Pieces: 24, 24 verified, 0 could not be\n"
            "Blocks: 3072 (12MB), 0 damaged\n"
            "No damage was found.\n");
  EXPECT_EQ(scrub_exit_code(a_scrub()), 0);
}

TEST(ScrubText, DamageIsListedWithTheNextStep) {
  pb::ScrubReply scrub = a_scrub();
  scrub.set_damaged(3);
  scrub.add_findings("inode 7 chunk 1 piece 4 on CS 1025: 3 of 10 blocks are damaged");
  scrub.set_findings_total(3);
  EXPECT_EQ(scrub_text(scrub),
            "Scrub 123456 of '/backup': done\n"
            "Pieces: 24, 24 verified, 0 could not be\n"
            "Blocks: 3072 (12MB), 3 damaged\n"
            "  inode 7 chunk 1 piece 4 on CS 1025: 3 of 10 blocks are damaged\n"
            "  and 2 more\n"
            "The damaged blocks are written anew from the other pieces; see the chunk servers:\n"
            "  cairn stat -v\n"
            "Which file an inode is:  find MOUNT -inum INODE\n");
  EXPECT_EQ(scrub_exit_code(scrub), 1);
}

TEST(ScrubText, WhatCouldNotBeVerifiedIsPartlyDone) {
  pb::ScrubReply scrub = a_scrub();
  scrub.set_verified(20);
  scrub.set_unreachable(4);
  EXPECT_EQ(scrub_exit_code(scrub), 8);
  EXPECT_NE(scrub_text(scrub).find("Repeat it when all chunk servers are back."),
            std::string::npos);
  scrub.set_failure("there are more than 10000000 pieces");
  EXPECT_TRUE(scrub_text(scrub).starts_with(
      "Scrub 123456 of '/backup': ended early\n  there are more than 10000000 pieces\nPieces: "));
  scrub.set_damaged(1);
  EXPECT_EQ(scrub_exit_code(scrub), 1);
}

TEST(ScrubText, ARunningOneHasNoConclusion) {
  pb::ScrubReply scrub = a_scrub();
  scrub.set_done(false);
  scrub.set_verified(6);
  EXPECT_EQ(scrub_progress(scrub), "6 of 24 pieces verified (25.0%), 0 blocks damaged");
  EXPECT_EQ(scrub_text(scrub),
            "Scrub 123456 of '/backup': running\n"
            "Pieces: 24, 6 verified, 0 could not be\n"
            "Blocks: 3072 (12MB), 0 damaged\n");
  EXPECT_EQ(scrub_exit_code(scrub), 0);
  scrub.set_walking(true);
  EXPECT_EQ(scrub_progress(scrub), "6 of 24 or more pieces verified, 0 blocks damaged");
}

TEST(ScrubText, ListsThoseThatAreKnown) {
  pb::ScrubReply second = a_scrub();
  second.set_job(123455);
  second.set_target("/");
  second.set_done(false);
  second.set_walking(true);
  EXPECT_EQ(scrub_list({a_scrub(), second}),
            "JOB     STATE               PIECES  VERIFIED  UNREACHABLE  DAMAGED   TARGET\n"
            "123456  done                24      24        0            0 blocks  /backup\n"
            "123455  looking for pieces  24      24        0            0 blocks  /\n");
  EXPECT_EQ(scrub_list({}), "No scrub was asked for since this MDS became the master.\n");
}

TEST(ScrubText, JsonHasEveryFieldOnce) {
  const auto json = nlohmann::json::parse(scrub_json(a_scrub()), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["state"], "done");
  EXPECT_EQ(json["damaged_blocks"], 0);
  // `walking` is told in the state, `jobs` is for the list.
  EXPECT_EQ(static_cast<int>(json.size()), pb::ScrubReply::descriptor()->field_count() - 2 + 2);
  const auto list = nlohmann::json::parse(scrub_list_json({a_scrub()}), nullptr, false);
  EXPECT_EQ(list["scrubs"][0]["target"], "/backup");
}

}  // namespace
}  // namespace cairn::admin
