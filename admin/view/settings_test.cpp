#include "admin/view/settings.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace cairn::admin {
namespace {

constexpr const char* kWhat = "cannot set the settings";

pb::GetConfigReply known() {
  pb::GetConfigReply reply;
  pb::GetConfigReply::One* one = reply.add_settings();
  one->set_name("mds.wd.verify_chunks");
  one->set_value("2");
  one->set_default_value("2");
  one->set_range("0 to 1000 pieces a minute");
  one->set_help("How many.");
  one = reply.add_settings();
  one->set_name("later.one");
  one->set_value("x=y");
  one->set_help("This version does not know it.");
  return reply;
}

TEST(Settings, WordsAreSplitAtTheFirstEqualsSign) {
  const auto parsed = parse_settings({"later.one=a=b", "mds.wd.verify_chunks="}, known(), kWhat);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->at(0).value(), "a=b");
  EXPECT_EQ(parsed->at(1).value(), "");
}

TEST(Settings, WhatIsNotNameValueIsRefused) {
  for (const char* bad : {"mds.wd.verify_chunks", "=3", ""}) {
    const auto parsed = parse_settings({bad}, known(), kWhat);
    ASSERT_FALSE(parsed.has_value()) << bad;
    EXPECT_EQ(exit_code(parsed.error().code), 2);
    EXPECT_NE(parsed.error().why.find("is not name=value"), std::string::npos);
  }
}

TEST(Settings, UnknownNamesGetASuggestion) {
  for (const char* typo : {"mds.wd.verify_chunk=3", "verify_chunks=3", "mds.wd.verify=3"}) {
    const auto parsed = parse_settings({typo}, known(), kWhat);
    ASSERT_FALSE(parsed.has_value()) << typo;
    EXPECT_NE(parsed.error().next.find("Did you mean 'mds.wd.verify_chunks'?"), std::string::npos)
        << parsed.error().next;
  }
  const auto chosen = choose_settings({"nothing.like.it.at.all.here"}, known(), kWhat);
  ASSERT_FALSE(chosen.has_value());
  EXPECT_EQ(chosen.error().next, "See all of them:  cairn get-config -v");
}

TEST(Settings, TextIsWhatSetConfigTakes) {
  EXPECT_EQ(settings_text(known(), false), "mds.wd.verify_chunks=2\nlater.one=x=y\n");
  EXPECT_EQ(settings_text(known(), true),
            "mds.wd.verify_chunks=2\n"
            "  How many.\n"
            "  0 to 1000 pieces a minute; default 2\n"
            "later.one=x=y\n"
            "  This version does not know it.\n");
  const auto one = choose_settings({"later.one", "later.one"}, known(), kWhat);
  EXPECT_EQ(settings_text(*one, false), "later.one=x=y\n");
  EXPECT_EQ(choose_settings({}, known(), kWhat)->settings_size(), 2);
}

TEST(Settings, ChangesSayWhatWasBefore) {
  pb::SetConfigReply done;
  pb::Setting* setting = done.add_settings();
  setting->set_name("mds.wd.verify_chunks");
  setting->set_value("3");
  EXPECT_EQ(changes_text(done, known()), "mds.wd.verify_chunks=3 (was 2)\n");
  const auto json = nlohmann::json::parse(changes_json(done, known()), nullptr, false);
  EXPECT_EQ(json["settings"][0]["before"], "2");
  setting->set_value("2");
  EXPECT_EQ(changes_text(done, known()), "mds.wd.verify_chunks=2 (as it was)\n");
}

TEST(Settings, JsonHasEveryField) {
  const auto json = nlohmann::json::parse(settings_json(known()), nullptr, false);
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(static_cast<int>(json["settings"][0].size()),
            pb::GetConfigReply::One::descriptor()->field_count());
}

}  // namespace
}  // namespace cairn::admin
