#include "admin/view/mds_group.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace cairn::admin {
namespace {

// One answer an MDS: digest 0 is none.
pb::CheckMdsReply compared(const std::vector<std::uint32_t>& digests) {
  pb::CheckMdsReply reply;
  reply.set_slot(4711);
  for (std::size_t i = 0; i < digests.size(); ++i) {
    pb::CheckMdsReply::One* one = reply.add_mds();
    one->set_mds_id(static_cast<std::uint32_t>(i + 1));
    one->set_address("10.0.0." + std::to_string(i + 1) + ":2510");
    one->set_digest(digests[i]);
    if (digests[i] == 0) one->set_failure("unavailable (501): connect: refused");
  }
  return reply;
}

TEST(GroupSizeAdvice, SaysHowManyMayFail) {
  EXPECT_EQ(group_size_advice(1), "One MDS: the cluster stops with it; make two more.");
  EXPECT_EQ(group_size_advice(2), "2 MDS: the cluster stops when either fails; make one more.");
  EXPECT_EQ(group_size_advice(3), "3 MDS: the cluster survives the loss of 1.");
  EXPECT_EQ(group_size_advice(4),
            "4 MDS: the cluster survives the loss of 1, no more than with 3; make one more or "
            "remove one.");
  EXPECT_EQ(group_size_advice(5), "5 MDS: the cluster survives the loss of 2.");
}

TEST(Judge, TakesTheDigestOfTheMajorityAsRight) {
  using Kind = MdsVerdict::Kind;
  struct Case {
    std::vector<std::uint32_t> digests;
    Kind kind;
    bool reference_known;
    std::uint32_t reference;
  };
  const Case cases[] = {
      {{7}, Kind::kAllAgree, true, 7},           {{7, 7, 7}, Kind::kAllAgree, true, 7},
      {{7, 0, 7}, Kind::kSomeSilent, true, 7},   {{7, 9, 9}, Kind::kDiffer, true, 9},
      {{7, 9}, Kind::kDiffer, false, 0},         {{7, 9, 0}, Kind::kDiffer, false, 0},
      {{7, 8, 9}, Kind::kDiffer, false, 0},      {{7, 7, 9, 9, 8}, Kind::kDiffer, false, 0},
      {{7, 7, 7, 9, 0}, Kind::kDiffer, true, 7}, {{}, Kind::kSomeSilent, false, 0},
      {{0, 0}, Kind::kSomeSilent, false, 0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::PrintToString(c.digests));
    const MdsVerdict verdict = judge(compared(c.digests));
    EXPECT_EQ(verdict.kind, c.kind);
    EXPECT_EQ(verdict.reference_known, c.reference_known);
    if (c.reference_known) {
      EXPECT_EQ(verdict.reference, c.reference);
    }
  }
}

TEST(MdsCheckText, SaysThatAllAgree) {
  EXPECT_EQ(mds_check_text(compared({0xab, 0xab, 0xab})),
            "Compared at slot 4711 of the log:\n"
            "MDSID  ADDRESS        DIGEST    RESULT\n"
            "1      10.0.0.1:2510  000000ab  OK\n"
            "2      10.0.0.2:2510  000000ab  OK\n"
            "3      10.0.0.3:2510  000000ab  OK\n"
            "All 3 MDS agree.\n");
}

TEST(MdsCheckText, NamesTheOneThatDiffersAndTheSilentOne) {
  EXPECT_EQ(mds_check_text(compared({0xab, 0xcd, 0xab, 0xab, 0})),
            "Compared at slot 4711 of the log:\n"
            "MDSID  ADDRESS        DIGEST    RESULT\n"
            "1      10.0.0.1:2510  000000ab  OK\n"
            "2      10.0.0.2:2510  000000cd  DIFFERS\n"
            "3      10.0.0.3:2510  000000ab  OK\n"
            "4      10.0.0.4:2510  000000ab  OK\n"
            "5      10.0.0.5:2510  -         no digest: refused\n"
            "Keep a copy of the repository that differs and report it; then replace it:\n"
            "  cairn rm-mds 2, and make-mds with an empty directory\n");
}

TEST(MdsCheckText, BlamesNobodyWithoutAMajority) {
  const std::string text = mds_check_text(compared({0xab, 0xcd}));
  EXPECT_NE(text.find("000000ab  differs\n"), std::string::npos) << text;
  EXPECT_NE(text.find("no digest has a majority"), std::string::npos) << text;
  EXPECT_EQ(text.find("rm-mds"), std::string::npos) << text;
}

TEST(MdsCheckJson, HasTheFieldsOfSchemaOne) {
  const auto json =
      nlohmann::json::parse(mds_check_json(compared({0xab, 0xcd, 0xab, 0})), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["slot"], 4711);
  EXPECT_EQ(json["result"], "differ");
  EXPECT_EQ(json["mds"][0]["digest"], "000000ab");
  EXPECT_EQ(json["mds"][0]["agrees"], true);
  EXPECT_EQ(json["mds"][1]["agrees"], false);
  EXPECT_TRUE(json["mds"][3]["digest"].is_null());
  EXPECT_TRUE(json["mds"][3]["agrees"].is_null());
  EXPECT_EQ(json["mds"][3]["failure"], "unavailable (501): connect: refused");
}

}  // namespace
}  // namespace cairn::admin
