#include "admin/view/units.h"

#include <gtest/gtest.h>

#include "admin/view/suggest.h"
#include "admin/view/table.h"

namespace cairn::admin {
namespace {

TEST(FormatSize, SpellsLikeTheGuide) {
  EXPECT_EQ(format_size(0), "0B");
  EXPECT_EQ(format_size(762), "762B");
  EXPECT_EQ(format_size(1536), "1.5KB");
  EXPECT_EQ(format_size(1_GiB), "1GB");
  EXPECT_EQ(format_size(238_GiB), "238GB");
  EXPECT_EQ(format_size(3584_GiB), "3.5TB");
  EXPECT_EQ(format_size(1024_MiB - 1), "1GB");
  EXPECT_EQ(format_size(UINT64_MAX), "16EB");
}

TEST(FormatDuration, ChoosesTheUnit) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  EXPECT_EQ(format_duration(0), "0 sec");
  EXPECT_EQ(format_duration(59 * kSecond), "59 sec");
  EXPECT_EQ(format_duration(33 * 60 * kSecond), "33 min");
  EXPECT_EQ(format_duration((3 * 60 + 5) * 60 * kSecond), " 3h  5m");
  EXPECT_EQ(format_duration((17 * 24 + 6) * 3600 * kSecond), "17d  6h");
}

TEST(FormatTime, IsoIsUtcWithMilliseconds) {
  EXPECT_EQ(format_time_iso(1'393'001'720'123'456'789), "2014-02-21T16:55:20.123Z");
}

TEST(ParseSize, ReadsUnitsAndRefusesTheRest) {
  EXPECT_EQ(parse_size("4096").value(), 4096U);
  EXPECT_EQ(parse_size("20G").value(), 20_GiB);
  EXPECT_EQ(parse_size("512m").value(), 512_MiB);
  EXPECT_EQ(parse_size("1.5T").value(), 1536_GiB);
  EXPECT_EQ(parse_size("3GiB").value(), 3_GiB);
  EXPECT_EQ(parse_size("3GB").value(), 3_GiB);
  for (const char* bad : {"", "G", "-1G", "1X", "1GG", "1 G", "nan", "inf", "9999999P", "1Bi"}) {
    const auto parsed = parse_size(bad);
    ASSERT_FALSE(parsed.has_value()) << bad;
    EXPECT_EQ(parsed.error().code(), Code::kInvalidArgument);
  }
}

TEST(Table, AlignsColumnsWithoutTrailingBlanks) {
  Table table({"ID", "NAME", "X"});
  table.add({"1", "a", ""});
  table.add({"1025", "longer", "y"});
  EXPECT_EQ(table.to_string(),
            "ID    NAME    X\n"
            "1     a\n"
            "1025  longer  y\n");
  EXPECT_EQ(table.rows(), 2U);
}

TEST(Suggest, FindsTypingErrors) {
  EXPECT_EQ(edit_distance("stat", "stat"), 0U);
  EXPECT_EQ(edit_distance("sta", "stat"), 1U);
  EXPECT_EQ(edit_distance("tsat", "stat"), 1U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  const std::vector<std::string> verbs = {"get-attr", "make-cs", "make-mds", "set-attr", "stat"};
  EXPECT_EQ(nearest("sta", verbs, 3, false), (std::vector<std::string>{"stat"}));
  EXPECT_EQ(nearest("make", verbs, 3, false), (std::vector<std::string>{"make-cs", "make-mds"}));
  EXPECT_TRUE(nearest("frobnicate", verbs, 3, false).empty());
  EXPECT_EQ(nearest("frobnicate", verbs, 3, true).size(), 3U);
  EXPECT_EQ(did_you_mean({}), "");
  EXPECT_EQ(did_you_mean({"a"}), "Did you mean 'a'?");
  EXPECT_EQ(did_you_mean({"a", "b", "c"}), "Did you mean 'a', 'b' or 'c'?");
}

}  // namespace
}  // namespace cairn::admin
