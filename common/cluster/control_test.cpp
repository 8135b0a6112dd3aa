#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "common/base/prng.h"
#include "common/cluster/control_protocol.h"
#include "common/cluster/control_socket.h"

namespace cairn::cluster::control {
namespace {

TEST(ControlProtocol, EveryRequestComesBackTheSame) {
  const Request requests[] = {
      StatusRequest{},
      JournalRequest{.on = true,
                     .directory = "/ssd/[a] {b}/cs 1",
                     .bytes = 2048_MiB,
                     .timeout = std::chrono::seconds(5)},
      JournalRequest{.on = false, .directory = "", .bytes = 64_MiB},
      CommitRequest{.timeout = std::chrono::seconds(7)},
      TuneRequest{.tune = Tune::kSsd},
      FaultRequest{.device = FaultRequest::Device::kJournal, .plan = "stall=on"},
  };
  for (const Request& request : requests) {
    const std::string line = encode(request);
    EXPECT_EQ(line.back(), '\n');
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const auto parsed = parse_request(line);
    ASSERT_TRUE(parsed.has_value()) << line << parsed.error().to_string();
    EXPECT_EQ(*parsed, request) << line;
  }
}

TEST(ControlProtocol, WrongRequestsAreRefusedWithTheField) {
  const struct {
    const char* line;
    Code code;
    const char* message;
  } cases[] = {
      {"", Code::kInvalidArgument, "JSON"},
      {"[1]", Code::kInvalidArgument, "JSON"},
      {"{}", Code::kInvalidArgument, "'op'"},
      {R"({"op": 3})", Code::kInvalidArgument, "'op'"},
      {R"({"op": "format"})", Code::kUnsupported, "format"},
      {R"({"op": "status", "x": 1})", Code::kInvalidArgument, "'x'"},
      {R"({"op": "journal", "on": 1, "directory": "/a", "mb": 64})", Code::kInvalidArgument,
       "'on'"},
      {R"({"op": "journal", "on": true, "directory": "a", "mb": 64})", Code::kInvalidArgument,
       "'directory'"},
      {R"({"op": "journal", "on": true, "directory": "/a\n", "mb": 64})", Code::kInvalidArgument,
       "'directory'"},
      {R"({"op": "journal", "on": true, "directory": "/a"})", Code::kInvalidArgument, "'mb'"},
      {R"({"op": "journal", "on": true, "directory": "/a", "mb": 31})", Code::kInvalidArgument,
       "'mb'"},
      {R"({"op": "journal", "on": true, "directory": "/a", "mb": 262145})", Code::kInvalidArgument,
       "'mb'"},
      {R"({"op": "journal", "on": true, "directory": "/a", "mb": -64})", Code::kInvalidArgument,
       "'mb'"},
      {R"({"op": "journal", "on": false, "directory": "/a", "mb": 64})", Code::kInvalidArgument,
       "directory"},
      {R"({"op": "commit", "timeout_s": 0})", Code::kInvalidArgument, "timeout_s"},
      {R"({"op": "tune", "tune": "tape"})", Code::kInvalidArgument, "'tune'"},
      {R"({"op": "fault", "device": "ring", "plan": ""})", Code::kInvalidArgument, "'device'"},
  };
  for (const auto& c : cases) {
    const auto parsed = parse_request(c.line);
    ASSERT_FALSE(parsed.has_value()) << c.line;
    EXPECT_EQ(parsed.error().code(), c.code) << c.line;
    EXPECT_NE(parsed.error().message().find(c.message), std::string::npos)
        << c.line << ": " << parsed.error().message();
  }
  const std::string long_name(kDirectoryMax, 'x');
  EXPECT_FALSE(parse_request(encode(JournalRequest{.directory = "/" + long_name, .bytes = 64_MiB}))
                   .has_value());
  EXPECT_FALSE(parse_request(std::string(kControlLineMax + 1, ' ')).has_value());
}

TEST(ControlProtocol, NoBytesBreakTheParsers) {
  Prng prng(4);
  const std::string seeds[] = {encode(StatusRequest{}),
                               encode(JournalRequest{.directory = "/ssd", .bytes = 64_MiB}),
                               encode(FaultRequest{.plan = "fail=reads"}), success_line({{"a", 1}}),
                               failure_line(Error(Code::kNoSpace, "full"))};
  for (int round = 0; round < 20'000; ++round) {
    std::string line = seeds[prng.below(std::size(seeds))];
    for (std::uint64_t edits = 1 + prng.below(6); edits > 0; --edits) {
      const std::size_t at = prng.below(line.size());
      switch (prng.below(3)) {
        case 0:
          line[at] = static_cast<char>(prng.next());
          break;
        case 1:
          line.erase(at, 1 + prng.below(4));
          break;
        default:
          line.insert(at, line.substr(prng.below(line.size()), prng.below(20)));
      }
      if (line.empty()) line = "{";
    }
    const auto request = parse_request(line);
    if (request.has_value()) {
      EXPECT_EQ(parse_request(encode(*request)).value(), *request);
    }
    const auto answer = parse_answer(line);
    if (answer.has_value()) {
      EXPECT_FALSE(answer->content.is_discarded());
    }
  }
  // Depth costs no stack.
  for (const char bracket : {'[', '{'}) {
    EXPECT_FALSE(parse_request(std::string(kControlLineMax, bracket)).has_value());
  }
  EXPECT_FALSE(parse_request(std::string(30'000, '[') + std::string(30'000, ']')).has_value());
}

TEST(ControlProtocol, AnswersSayProgressStateOrTheDaemonsError) {
  const auto progress = parse_answer(progress_line({{"left", 7}}));
  ASSERT_TRUE(progress.has_value());
  EXPECT_FALSE(progress->last);
  EXPECT_EQ(progress->content["left"], 7);
  const auto state = parse_answer(success_line({{"flags", "JC"}}));
  ASSERT_TRUE(state.has_value());
  EXPECT_TRUE(state->last);
  EXPECT_EQ(state->content["flags"], "JC");
  const auto error = parse_answer(failure_line(Error(Code::kJournalFailed, "SSD \xff gone")));
  ASSERT_FALSE(error.has_value());
  EXPECT_EQ(error.error().code(), Code::kJournalFailed);
  EXPECT_EQ(parse_answer("{\"ok\": true}").error().code(), Code::kProtocol);
  EXPECT_EQ(parse_answer("{\"ok\": false, \"code\": 99999, \"message\": \"x\"}").error().code(),
            Code::kInternal);
}

class ControlSocket : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "cairn-control-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  std::string root_;
};

TEST_F(ControlSocket, WorksBelowAPathThatIsLongerThanASocketsAddress) {
  const std::string deep = root_ + "/" + std::string(120, 'a') + "/" + std::string(120, 'b');
  std::filesystem::create_directories(deep);
  EXPECT_EQ(connect_to_control(deep).error().code(), Code::kNotFound);
  const auto listening = listen_at_control(deep);
  ASSERT_TRUE(listening.has_value()) << listening.error().to_string();
  struct stat status = {};
  ASSERT_EQ(::stat((deep + "/" + kControlSocket).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
  const auto connected = connect_to_control(deep);
  ASSERT_TRUE(connected.has_value()) << connected.error().to_string();
  EXPECT_TRUE(check_peer(connected->get()).has_value());
}

TEST_F(ControlSocket, WhatADeadDaemonLeftIsReplaced) {
  {
    const auto first = listen_at_control(root_);
    ASSERT_TRUE(first.has_value());
  }
  EXPECT_TRUE(std::filesystem::exists(root_ + "/" + kControlSocket));
  EXPECT_EQ(connect_to_control(root_).error().code(), Code::kNotFound);
  const auto second = listen_at_control(root_);
  ASSERT_TRUE(second.has_value()) << second.error().to_string();
  EXPECT_TRUE(connect_to_control(root_).has_value());
  remove_control(root_);
  EXPECT_EQ(connect_to_control(root_).error().code(), Code::kNotFound);
  EXPECT_EQ(listen_at_control(root_ + "/nowhere").error().code(), Code::kNotFound);
}

}  // namespace
}  // namespace cairn::cluster::control
