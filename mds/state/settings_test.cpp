#include "mds/state/settings.h"

#include <gtest/gtest.h>

#include "mds/state/testing/cluster.h"

namespace cairn::mds::state {
namespace {

using testing::Cluster;
using testing::code_of;

constexpr SettingSpec kNumber = {.name = "x.number",
                                 .type = SettingType::kNumber,
                                 .default_value = 5,
                                 .min = 1,
                                 .max = 60,
                                 .unit = "minutes",
                                 .help = "A number."};
constexpr SettingSpec kFlag = {.name = "x.flag",
                               .type = SettingType::kFlag,
                               .default_value = 0,
                               .min = 0,
                               .max = 1,
                               .unit = {},
                               .help = "A flag."};

TEST(Settings, TheTableHasWhatTheGuideNames) {
  const SettingSpec* scrub = find_setting("mds.wd.verify_chunks");
  ASSERT_NE(scrub, nullptr);
  EXPECT_EQ(scrub->default_value, 2U);
  EXPECT_EQ(range_text(*scrub), "0 to 1000 pieces a minute and chunk server");
  EXPECT_EQ(find_setting("mds.wd.verify_chunk"), nullptr);
  EXPECT_EQ(find_setting(""), nullptr);
}

TEST(Settings, NumbersAreReadWithinTheirRange) {
  EXPECT_EQ(parse_setting(kNumber, "1").value(), 1U);
  EXPECT_EQ(parse_setting(kNumber, "60").value(), 60U);
  EXPECT_EQ(parse_setting(kNumber, "007").value(), 7U);
  for (const char* bad : {"", "0", "61", "-1", "+1", "1 ", " 1", "1.5", "1m", "ten", "0x5",
                          "99999999999999999999999"}) {
    const Result<std::uint64_t> read = parse_setting(kNumber, bad);
    ASSERT_FALSE(read.has_value()) << bad;
    EXPECT_EQ(read.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(read.error().message(),
              "x.number=" + std::string(bad) + " is not allowed: it is 1 to 60 minutes");
  }
}

TEST(Settings, FlagsHaveTheUsualWords) {
  for (const char* yes : {"1", "on", "yes"}) EXPECT_EQ(parse_setting(kFlag, yes).value(), 1U);
  for (const char* no : {"0", "off", "no"}) EXPECT_EQ(parse_setting(kFlag, no).value(), 0U);
  EXPECT_FALSE(parse_setting(kFlag, "2").has_value());
  EXPECT_EQ(range_text(kFlag), "0 or 1");
}

pb::Command set(std::initializer_list<std::pair<std::string, std::string>> settings) {
  pb::Command command;
  command.mutable_set_config();
  for (const auto& [name, value] : settings) {
    pb::Setting& one = *command.mutable_set_config()->add_settings();
    one.set_name(name);
    one.set_value(value);
  }
  return command;
}

TEST(SettingsTable, IsAtTheDefaultUntilItIsSetAndAgainWhenItIsErased) {
  Cluster c = Cluster::made();
  const SettingSpec& spec = settings::kVerifyChunks;
  EXPECT_EQ(queries::setting(c.kv(), spec).value(), 2U);
  EXPECT_EQ(Cluster::error(c.apply(set({{"mds.wd.verify_chunks", "7"}, {"later.one", "x"}}))), 0U);
  EXPECT_EQ(queries::setting(c.kv(), spec).value(), 7U);
  const auto stored = queries::stored_settings(c.kv());
  ASSERT_EQ(stored->size(), 2U);
  EXPECT_EQ(stored->at(0).name(), "later.one");
  EXPECT_EQ(stored->at(1).value(), "7");
  c.expect_sound();
  EXPECT_EQ(Cluster::error(c.apply(set({{"mds.wd.verify_chunks", ""}}))), 0U);
  EXPECT_EQ(queries::setting(c.kv(), spec).value(), 2U);
  EXPECT_EQ(queries::stored_settings(c.kv())->size(), 1U);
}

// Of a newer version that allowed more.
TEST(SettingsTable, AValueThisVersionCannotReadIsTheDefault) {
  Cluster c = Cluster::made();
  EXPECT_EQ(Cluster::error(c.apply(set({{"mds.wd.verify_chunks", "2000"}}))), 0U);
  EXPECT_EQ(queries::setting(c.kv(), settings::kVerifyChunks).value(), 2U);
}

TEST(SettingsTable, ARefusedCommandSetsNothingAtAll) {
  Cluster c = Cluster::made();
  for (const std::string& bad : {std::string(), std::string("a b"), std::string("\xff"),
                                 std::string("A"), std::string(65, 'a')}) {
    EXPECT_EQ(code_of(c.apply(set({{"good", "1"}, {bad, "1"}})).error()), Code::kInvalidArgument);
  }
  EXPECT_EQ(code_of(c.apply(set({{"a", std::string(257, '1')}})).error()), Code::kInvalidArgument);
  EXPECT_EQ(code_of(c.apply(set({{"a", "\xff"}})).error()), Code::kInvalidArgument);
  pb::Command many = set({});
  for (int i = 0; i < 101; ++i) many.mutable_set_config()->add_settings()->set_name("a");
  EXPECT_EQ(code_of(c.apply(many).error()), Code::kInvalidArgument);
  EXPECT_TRUE(queries::stored_settings(c.kv())->empty());
}

}  // namespace
}  // namespace cairn::mds::state
