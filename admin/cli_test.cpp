#include "admin/cli.h"

#include <gtest/gtest.h>

namespace cairn::admin {
namespace {

Failure refused(std::vector<std::string> words) {
  const auto parsed = parse_command_line(std::move(words));
  EXPECT_FALSE(parsed.has_value());
  return parsed.has_value() ? Failure{} : parsed.error();
}

std::string text_of(std::vector<std::string> words) {
  const auto parsed = parse_command_line(std::move(words));
  EXPECT_TRUE(parsed.has_value());
  if (!parsed.has_value()) return to_text(parsed.error());
  const auto output = (*parsed)();
  return output.has_value() ? output->text : to_text(output.error());
}

TEST(CommandLine, AcceptsGlobalOptionsBeforeAndAfterTheCommand) {
  EXPECT_TRUE(parse_command_line({"-c", "stor1", "stat", "--json"}).has_value());
  EXPECT_TRUE(parse_command_line({"stat", "-c", "stor1"}).has_value());
  EXPECT_TRUE(parse_command_line({"--timeout", "3", "get-event", "-n", "5"}).has_value());
  EXPECT_TRUE(
      parse_command_line({"-c", "s", "set-attr", "-R", "-p", "/failure-domain=disk"}).has_value());
  EXPECT_TRUE(parse_command_line({"set-attr", "/x", "replicas=3", "-R"}).has_value());
  EXPECT_TRUE(
      parse_command_line({"set-attr", "-R", "--no-convert", "/x", "encoding=4+2"}).has_value());
  EXPECT_TRUE(
      parse_command_line({"set-attr", "--convert", "/x", "replicas=3", "--wait"}).has_value());
  EXPECT_TRUE(parse_command_line({"info", "stat"}).has_value());
}

TEST(CommandLine, ListsOfAddressesAreRepeatable) {
  EXPECT_TRUE(parse_command_line({"make-mds", "-a", "10.0.0.2", "-r", "/x", "-b",
                                  "10.0.0.1,10.0.0.3", "-b", "10.0.0.4", "-p"})
                  .has_value());
  EXPECT_TRUE(
      parse_command_line({"configure-mds", "-r", "/x", "-n", "1@10.0.0.1", "-n", "2@10.0.0.2:4110"})
          .has_value());
  EXPECT_TRUE(parse_command_line({"auth-node", "-b", "10.0.0.1", "-b", "10.0.0.2"}).has_value());
  // One value an option: what follows is no second one.
  EXPECT_EQ(refused({"make-mds", "-r", "/x", "-b", "10.0.0.1", "10.0.0.2"}).code,
            Code::kInvalidArgument);
  EXPECT_EQ(refused({"configure-mds", "-r", "/x"}).code, Code::kInvalidArgument);
  EXPECT_EQ(refused({"rm-mds"}).code, Code::kInvalidArgument);
  EXPECT_EQ(refused({"check-mds", "1"}).code, Code::kInvalidArgument);
}

TEST(CommandLine, SettingsAndScrubsOfTheCluster) {
  EXPECT_TRUE(parse_command_line({"-c", "s", "set-config", "a.b=1", "c=2"}).has_value());
  EXPECT_TRUE(parse_command_line({"get-config", "a.b", "--json", "-v"}).has_value());
  EXPECT_TRUE(parse_command_line({"get-config"}).has_value());
  EXPECT_TRUE(parse_command_line({"stat", "-v", "--no-chunks"}).has_value());
  EXPECT_TRUE(parse_command_line({"scrub", "now", "-p", "/x", "--no-wait", "--json"}).has_value());
  EXPECT_TRUE(parse_command_line({"-c", "s", "scrub", "status"}).has_value());
  EXPECT_TRUE(parse_command_line({"scrub", "status", "123456", "-c", "s"}).has_value());
  for (const std::vector<std::string>& words : {std::vector<std::string>{"set-config"},
                                                {"scrub"},
                                                {"scrub", "later"},
                                                {"scrub", "now"},
                                                {"scrub", "now", "/x", "/y"},
                                                {"scrub", "now", "/x", "--no-wat"},
                                                {"scrub", "status", "1", "2"}}) {
    const Failure failure = refused(words);
    EXPECT_EQ(exit_code(failure.code), 2) << words.back();
    EXPECT_NE(failure.next.find("cairn help "), std::string::npos) << failure.next;
  }
}

TEST(CommandLine, UnknownCommandsGetASuggestion) {
  const Failure typo = refused({"-c", "x", "stats"});
  EXPECT_EQ(exit_code(typo.code), 2);
  EXPECT_EQ(typo.next, "Did you mean 'stat'?");
  EXPECT_EQ(exit_code(refused({"frobnicate"}).code), 2);
}

TEST(CommandLine, CommandsOfTheGuideThatAreMissingSaySo) {
  for (const char* name : {"top", "rm-cs", "drain", "revoke"}) {
    const Failure failure = refused({"-c", "x", name, "-f", "1028"});
    EXPECT_EQ(exit_code(failure.code), 1) << name;
    EXPECT_NE(failure.why.find("not built yet"), std::string::npos) << name;
  }
}

TEST(CommandLine, UnknownOptionsGetTheThreeNearest) {
  const Failure failure = refused({"make-cs", "-r", "/x", "--sise", "3G"});
  EXPECT_EQ(exit_code(failure.code), 2);
  EXPECT_NE(failure.next.find("'--size'"), std::string::npos) << failure.next;
}

TEST(CommandLine, MissingAndSurplusWordsAreUsageErrors) {
  EXPECT_EQ(exit_code(refused({"make-cs"}).code), 2);
  EXPECT_EQ(exit_code(refused({"stat", "surplus"}).code), 2);
  EXPECT_EQ(exit_code(refused({"set-attr"}).code), 2);
  EXPECT_EQ(exit_code(refused({"set-attr", "--convert", "--no-convert", "/x", "tier=1"}).code), 2);
  EXPECT_EQ(exit_code(refused({"--timeout", "x", "stat"}).code), 2);
  EXPECT_EQ(exit_code(refused({"make-mds", "-r", "/x", "-p", "-P"}).code), 2);
  EXPECT_EQ(exit_code(refused({"--json"}).code), 2);
}

TEST(CommandLine, HelpAndVersionPrint) {
  EXPECT_NE(text_of({}).find("make-mds"), std::string::npos);
  EXPECT_NE(text_of({"--help"}).find("make-mds"), std::string::npos);
  EXPECT_NE(text_of({"help", "make-cs"}).find("--size"), std::string::npos);
  EXPECT_NE(text_of({"make-cs", "--help"}).find("--size"), std::string::npos);
  EXPECT_NE(text_of({"help", "CAIRN-501"}).find("unavailable"), std::string::npos);
  EXPECT_EQ(text_of({"version"}).substr(0, 6), "cairn ");
}

}  // namespace
}  // namespace cairn::admin
