#include "client/core/master_list.h"

#include <gtest/gtest.h>

namespace cairn::client {
namespace {

using Addresses = std::vector<net::Address>;

TEST(MasterList, ConfiguredAddressesStayAndLearnedOnesAreReplaced) {
  MasterList list({{"10.0.0.1", 2511}, {"10.0.0.9", 2511}, {"10.0.0.1", 2511}});
  EXPECT_EQ(list.all(), (Addresses{{"10.0.0.1", 2511}, {"10.0.0.9", 2511}}));
  list.learn({"10.0.0.2:2510", "10.0.0.1:2510", "10.0.0.3:2510"});
  EXPECT_EQ(
      list.all(),
      (Addresses{{"10.0.0.2", 2511}, {"10.0.0.1", 2511}, {"10.0.0.3", 2511}, {"10.0.0.9", 2511}}));
  list.learn({"10.0.0.3:2510", "10.0.0.4:2510"});
  EXPECT_EQ(
      list.all(),
      (Addresses{{"10.0.0.3", 2511}, {"10.0.0.4", 2511}, {"10.0.0.1", 2511}, {"10.0.0.9", 2511}}));
}

TEST(MasterList, WhatIsToldIsBoundedAndNonsenseIsSkipped) {
  MasterList list({{"10.0.0.1", 2511}});
  list.learn({});
  list.learn({"nowhere", "10.0.0.2", "10.0.0.3:65535"});
  EXPECT_EQ(list.all().size(), 1U);
  std::vector<std::string> many;
  for (int i = 1; i < 200; ++i) many.push_back("10.1.0." + std::to_string(i) + ":2510");
  list.learn(many);
  EXPECT_EQ(list.all().size(), 1 + MasterList::kLearnedMax);
}

TEST(MasterList, TheOneThatWasPointedToComesFirst) {
  MasterList list({{"10.0.0.1", 2511}, {"10.0.0.2", 2511}});
  EXPECT_EQ(list.point_to("10.0.0.2:2510"), (net::Address{"10.0.0.2", 2511}));
  EXPECT_EQ(list.all(), (Addresses{{"10.0.0.2", 2511}, {"10.0.0.1", 2511}}));
  EXPECT_EQ(list.point_to("10.7.0.1:2610"), (net::Address{"10.7.0.1", 2611}));
  EXPECT_EQ(list.all().front(), (net::Address{"10.7.0.1", 2611}));
  EXPECT_EQ(list.point_to(""), std::nullopt);
  EXPECT_EQ(list.all().size(), 3U);
}

}  // namespace
}  // namespace cairn::client
