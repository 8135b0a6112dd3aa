#include <gtest/gtest.h>

#include "admin/cli.h"

namespace cairn::admin {
namespace {

int code_of(std::vector<std::string> words) {
  const auto parsed = parse_command_line(std::move(words));
  return parsed.has_value() ? 0 : exit_code(parsed.error().code);
}

Failure run(std::vector<std::string> words) {
  const auto parsed = parse_command_line(std::move(words));
  EXPECT_TRUE(parsed.has_value());
  if (!parsed.has_value()) return parsed.error();
  const auto output = (*parsed)();
  EXPECT_FALSE(output.has_value());
  return output.has_value() ? Failure{} : output.error();
}

TEST(DriveCommandLine, TakesTheGuidesWords) {
  EXPECT_EQ(code_of({"hwflush-check", "-l"}), 0);
  EXPECT_EQ(code_of({"hwflush-check", "-s", "host", "-d", "/x", "-t", "50"}), 0);
  EXPECT_EQ(code_of({"prepare-drive", "/dev/sdb", "--noboot"}), 0);
  EXPECT_EQ(code_of({"prepare-drive", "/dev/sdb", "--ssd", "-y", "-c", "stor1"}), 0);
}

TEST(DriveCommandLine, ThreadsAreOneTo200) {
  EXPECT_EQ(code_of({"hwflush-check", "-s", "host", "-d", "/x", "-t", "200"}), 0);
  for (const char* bad : {"0", "201", "-1", "x"}) {
    EXPECT_EQ(code_of({"hwflush-check", "-s", "host", "-d", "/x", "-t", bad}), 2) << bad;
  }
}

TEST(DriveCommandLine, HwflushCheckIsServerOrClient) {
  EXPECT_EQ(exit_code(run({"hwflush-check"}).code), 2);
  EXPECT_EQ(exit_code(run({"hwflush-check", "-l", "-s", "host", "-d", "/x"}).code), 2);
  EXPECT_EQ(exit_code(run({"hwflush-check", "-s", "host"}).code), 2);
  EXPECT_EQ(code_of({"hwflush-check", "-s", "h", "-d", "/x", "--fsync", "--direct"}), 2);
}

TEST(DriveCommandLine, BootIsRefusedBeforeAnythingIsLookedAt) {
  EXPECT_EQ(run({"prepare-drive", "/no/such", "--boot"}).code, Code::kUnsupported);
  EXPECT_EQ(code_of({"prepare-drive"}), 2);
}

TEST(DriveCommandLine, JournalSizeReproducesTheGuide) {
  const auto parsed = parse_command_line(
      {"journal-size", "--ssd-speed", "1500", "--hdd-speed", "150", "--ssd-size", "512"});
  ASSERT_TRUE(parsed.has_value());
  const auto output = (*parsed)();
  ASSERT_TRUE(output.has_value());
  EXPECT_NE(output->text.find("up to 8 "), std::string::npos) << output->text;
  EXPECT_NE(output->text.find("51 GB"), std::string::npos) << output->text;
  EXPECT_NE(output->text.find("-s 52224 "), std::string::npos) << output->text;
}

}  // namespace
}  // namespace cairn::admin
