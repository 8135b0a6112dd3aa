#include "admin/view/attributes.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace cairn::admin {
namespace {

TEST(ParseAttributes, FillsTheRequest) {
  const auto code = parse_attributes({"encoding=4+2", "tier=1", "failure-domain=disk"});
  ASSERT_TRUE(code.has_value()) << code.error().to_string();
  EXPECT_EQ(code->policy().encoding().data(), 4U);
  EXPECT_EQ(code->policy().encoding().parity(), 2U);
  EXPECT_EQ(code->policy().encoding().min(), 5U);
  EXPECT_TRUE(code->set_tier());
  EXPECT_EQ(code->policy().tier(), 1U);
  EXPECT_EQ(code->policy().failure_domain(), pb::DOMAIN_DISK);

  const auto replicas = parse_attributes({"replicas=3"});
  ASSERT_TRUE(replicas.has_value());
  EXPECT_EQ(replicas->policy().encoding().data(), 1U);
  EXPECT_EQ(replicas->policy().encoding().parity(), 2U);
  EXPECT_EQ(replicas->policy().encoding().min(), 2U);
  EXPECT_FALSE(replicas->set_tier());
  EXPECT_EQ(replicas->policy().failure_domain(), pb::DOMAIN_UNSET);
}

TEST(ParseAttributes, SaysWhatIsWrong) {
  struct Case {
    std::vector<std::string> words;
    Code code;
    const char* message;
  };
  const Case cases[] = {
      {{}, Code::kInvalidArgument, "no attribute"},
      {{"replicas"}, Code::kInvalidArgument, "not name=value"},
      {{"=3"}, Code::kInvalidArgument, "not name=value"},
      {{"replica=3"}, Code::kInvalidArgument, "Did you mean 'replicas'"},
      {{"replicas=0"}, Code::kInvalidArgument, ""},
      {{"encoding=3+3"}, Code::kInvalidArgument, ""},
      {{"encoding=x"}, Code::kInvalidArgument, ""},
      {{"tier=4"}, Code::kInvalidArgument, "tier=4"},
      {{"tier=1x"}, Code::kInvalidArgument, "tier=1x"},
      {{"tier="}, Code::kInvalidArgument, "tier="},
      {{"failure-domain=rack"}, Code::kUnsupported, "not built yet"},
      {{"failure-domain=planet"}, Code::kInvalidArgument, "planet"},
      {{"replicas=3", "replicas=2"}, Code::kInvalidArgument, "twice"},
      {{"replicas=3", "encoding=4+2"}, Code::kInvalidArgument, "exclude"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.words.empty() ? "nothing" : c.words.front());
    const auto parsed = parse_attributes(c.words);
    ASSERT_FALSE(parsed.has_value());
    EXPECT_EQ(parsed.error().code(), c.code);
    EXPECT_NE(parsed.error().message().find(c.message), std::string::npos)
        << parsed.error().message();
  }
}

TEST(SplitArguments, TakesBothSpellingsOfTheGuide) {
  const auto apart = split_arguments({"/", "failure-domain=disk"}, true);
  ASSERT_TRUE(apart.has_value());
  EXPECT_EQ(apart->path, "/");
  EXPECT_EQ(apart->attributes, (std::vector<std::string>{"failure-domain=disk"}));

  const auto joined = split_arguments({"/failure-domain=disk", "tier=1"}, true);
  ASSERT_TRUE(joined.has_value());
  EXPECT_EQ(joined->path, "/");
  EXPECT_EQ(joined->attributes, (std::vector<std::string>{"failure-domain=disk", "tier=1"}));

  // A file may have '=' in its name; without -p a path is what it says.
  EXPECT_EQ(split_arguments({"/a=b", "tier=1"}, true)->path, "/a=b");
  EXPECT_EQ(split_arguments({"/tier=1", "tier=1"}, false)->path, "/tier=1");
  EXPECT_FALSE(split_arguments({}, false).has_value());
  EXPECT_FALSE(split_arguments({"relative", "tier=1"}, true).has_value());
}

pb::GetPolicyReply reply_with(unsigned data, unsigned parity, unsigned min) {
  pb::GetPolicyReply reply;
  reply.set_mds_id(1);
  reply.mutable_policy()->mutable_encoding()->set_data(data);
  reply.mutable_policy()->mutable_encoding()->set_parity(parity);
  reply.mutable_policy()->mutable_encoding()->set_min(min);
  reply.mutable_policy()->set_failure_domain(pb::DOMAIN_HOST);
  return reply;
}

TEST(AttributesText, LooksLikeTheGuide) {
  EXPECT_EQ(attributes_text(reply_with(1, 0, 1), "/mnt/stor1"),
            "connected to MDS#1\n"
            "File: '/mnt/stor1'\n"
            "Attributes:\n"
            "replicas=1:1\n"
            "tier=0\n"
            "failure-domain=host\n");
}

TEST(AttributesText, ShowsHowDataIsStored) {
  pb::GetPolicyReply reply = reply_with(1, 2, 2);
  reply.mutable_layout()->mutable_encoding()->set_data(4);
  reply.mutable_layout()->mutable_encoding()->set_parity(2);
  reply.mutable_layout()->mutable_encoding()->set_min(5);
  reply.mutable_layout()->set_cell_bytes(1 << 20);
  EXPECT_EQ(attributes_text(reply, "f"),
            "connected to MDS#1\nFile: 'f'\nAttributes:\nreplicas=3:2\ntier=0\n"
            "failure-domain=host\nData is stored as:\nencoding=4+2:5\ncell=1MB\n");
  const auto json = nlohmann::json::parse(attributes_json(reply, "f"), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["attributes"]["replicas"], "3:2");
  EXPECT_EQ(json["attributes"]["tier"], 0);
  EXPECT_EQ(json["stored"]["encoding"], "4+2:5");
}

}  // namespace
}  // namespace cairn::admin
