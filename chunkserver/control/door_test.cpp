// The control door as its clients see it: over streams of MemNetwork on virtual time, and once over
// a real Unix socket.
#include "chunkserver/control/door.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "chunkserver/control/line_reader.h"
#include "chunkserver/control/unix_stream.h"
#include "chunkserver/testing/virtual_loop.h"
#include "common/base/prng.h"
#include "common/net/mem_network.h"

namespace cairn::chunkserver::control {
namespace {

using chunkserver::testing::VirtualLoop;

// Answers at once, but for a commit: that takes as long as it is told.
class SlowOperator final : public Operator {
 public:
  explicit SlowOperator(runtime::Runtime& runtime) : runtime_(runtime) {}
  Task<Result<protocol::Json>> carry_out(protocol::Request request) override {
    ++asked;
    if (std::holds_alternative<protocol::CommitRequest>(request)) {
      co_await runtime::sleep_for(runtime_, commit_time);
      ++committed;
    }
    if (const auto* fault = std::get_if<protocol::FaultRequest>(&request)) {
      co_return fail(Code::kUnsupported, "no faults: " + fault->plan);
    }
    co_return protocol::Json{{"asked", asked}};
  }
  protocol::Json progress() const override { return {{"left", 7}}; }

  runtime::Runtime& runtime_;
  Duration commit_time = 0s;
  int asked = 0;
  int committed = 0;
};

class DoorTest : public ::testing::Test {
 protected:
  DoorTest()
      : loop_(1),
        network_(loop_),
        log_(observe::make_null_log()),
        operator_(loop_),
        door_(loop_, operator_, *log_) {
    auto listener = network_.listen(
        kAt, [this](std::unique_ptr<net::Stream> stream) { door_.accept(std::move(stream)); });
    listener_ = std::move(*listener);
  }
  ~DoorTest() override { loop_.run(door_.stop()); }

  std::unique_ptr<net::Stream> connect() {
    Result<std::unique_ptr<net::Stream>> stream = loop_.run(network_.connect(kAt, loop_.after(1s)));
    CHECK(stream.has_value());
    return std::move(*stream);
  }
  static Task<Status> send(net::Stream* stream, std::string bytes) {
    std::vector<Bytes> parts{Bytes(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size())};
    co_return co_await stream->write_all(std::move(parts));
  }
  void say(net::Stream& stream, std::string bytes) {
    const Status sent = loop_.run(send(&stream, std::move(bytes)));
    ignore(sent, "the door may have closed already");
  }
  Result<std::string> hear(LineReader& reader) { return loop_.run(reader.next()); }

  static inline const net::Address kAt{"10.0.0.1", 1};
  VirtualLoop loop_;
  net::MemNetwork network_;
  std::unique_ptr<observe::Log> log_;
  SlowOperator operator_;
  ControlDoor door_;
  std::unique_ptr<net::Listener> listener_;
};

TEST_F(DoorTest, AnswersOneRequestAfterTheOther) {
  const auto stream = connect();
  LineReader reader(*stream, protocol::kControlLineMax);
  for (int i = 1; i <= 3; ++i) {
    say(*stream, protocol::encode(protocol::StatusRequest{}));
    const Result<std::string> line = hear(reader);
    ASSERT_TRUE(line.has_value());
    const auto answer = protocol::parse_answer(*line);
    ASSERT_TRUE(answer.has_value() && answer->last);
    EXPECT_EQ(answer->content["asked"], i);
  }
  // Two in one packet, one in two.
  const std::string line = protocol::encode(protocol::StatusRequest{});
  say(*stream, line + line.substr(0, 5));
  EXPECT_TRUE(hear(reader).has_value());
  say(*stream, line.substr(5));
  EXPECT_TRUE(hear(reader).has_value());
  stream->close();
}

TEST_F(DoorTest, RefusalsAndErrorsReachTheClient) {
  const auto stream = connect();
  LineReader reader(*stream, protocol::kControlLineMax);
  say(*stream, "{\"op\": \"format\"}\n");
  EXPECT_EQ(protocol::parse_answer(*hear(reader)).error().code(), Code::kUnsupported);
  EXPECT_EQ(operator_.asked, 0);
  say(*stream, protocol::encode(protocol::FaultRequest{.plan = "stall=on"}));
  const auto answer = protocol::parse_answer(*hear(reader));
  EXPECT_EQ(answer.error().code(), Code::kUnsupported);
  EXPECT_EQ(answer.error().message(), "no faults: stall=on");
  stream->close();
}

TEST_F(DoorTest, LongWorkShowsProgressAndThenItsEnd) {
  operator_.commit_time = 3500ms;
  const auto stream = connect();
  LineReader reader(*stream, protocol::kControlLineMax);
  say(*stream, protocol::encode(protocol::CommitRequest{}));
  for (int i = 0; i < 3; ++i) {
    const auto answer = protocol::parse_answer(*hear(reader));
    ASSERT_TRUE(answer.has_value());
    EXPECT_FALSE(answer->last);
    EXPECT_EQ(answer->content["left"], 7);
  }
  const auto answer = protocol::parse_answer(*hear(reader));
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->last);
  stream->close();
}

TEST_F(DoorTest, WorkThatTakesTooLongGoesOnWithoutItsClient) {
  operator_.commit_time = 30s;
  const auto stream = connect();
  LineReader reader(*stream, protocol::kControlLineMax);
  say(*stream, protocol::encode(protocol::CommitRequest{.timeout = std::chrono::seconds(2)}));
  Result<protocol::Answer> answer = protocol::parse_answer(*hear(reader));
  while (answer.has_value() && !answer->last) answer = protocol::parse_answer(*hear(reader));
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code(), Code::kTimeout);
  // The door is free for others meanwhile, and who leaves stops nothing.
  say(*stream, protocol::encode(protocol::StatusRequest{}));
  EXPECT_TRUE(protocol::parse_answer(*hear(reader)).has_value());
  stream->close();
  loop_.run_for(40s);
  EXPECT_EQ(operator_.committed, 1);
}

TEST_F(DoorTest, WhoSaysNothingIsNotWaitedFor) {
  const auto stream = connect();
  say(*stream, "{\"op\": ");
  LineReader reader(*stream, protocol::kControlLineMax);
  const Instant before = loop_.now();
  EXPECT_FALSE(hear(reader).has_value());
  EXPECT_EQ(loop_.now() - before, Duration(ControlDoor::kIdle));
  stream->close();
}

TEST_F(DoorTest, LineWithoutEndIsRefusedBeforeItFillsMemory) {
  const auto stream = connect();
  LineReader reader(*stream, protocol::kControlLineMax);
  say(*stream, std::string(protocol::kControlLineMax + 8192, 'x'));
  const Result<std::string> line = hear(reader);
  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(protocol::parse_answer(*line).error().code(), Code::kProtocol);
  EXPECT_FALSE(hear(reader).has_value());
  stream->close();
}

TEST_F(DoorTest, TooManyConnectionsAreClosedAtOnce) {
  std::vector<std::unique_ptr<net::Stream>> streams;
  for (std::size_t i = 0; i < ControlDoor::kConnectionsMax; ++i) streams.push_back(connect());
  const auto surplus = connect();
  LineReader reader(*surplus, protocol::kControlLineMax);
  EXPECT_FALSE(hear(reader).has_value());
  LineReader last(*streams.back(), protocol::kControlLineMax);
  say(*streams.back(), protocol::encode(protocol::StatusRequest{}));
  EXPECT_TRUE(hear(last).has_value());
  surplus->close();
  for (const auto& stream : streams) stream->close();
}

TEST_F(DoorTest, RandomBytesBreakNothing) {
  Prng prng(9);
  const std::string good =
      protocol::encode(protocol::JournalRequest{.directory = "/ssd/cs1", .bytes = 64_MiB});
  for (int round = 0; round < 300; ++round) {
    const auto stream = connect();
    std::string bytes;
    for (std::uint64_t lines = 1 + prng.below(4); lines > 0; --lines) {
      std::string line = good;
      for (std::uint64_t edits = prng.below(8); edits > 0; --edits) {
        line[prng.below(line.size())] = static_cast<char>(prng.next());
      }
      bytes += line.substr(0, prng.below(2) == 0 ? line.size() : prng.below(line.size()));
    }
    say(*stream, bytes);
    loop_.run_for(10ms);
    stream->close();
    loop_.run_for(10ms);
  }
  const auto stream = connect();
  LineReader reader(*stream, protocol::kControlLineMax);
  say(*stream, protocol::encode(protocol::StatusRequest{}));
  EXPECT_TRUE(protocol::parse_answer(*hear(reader)).has_value());
  stream->close();
}

TEST(UnixStream, CarriesARequestOverARealSocket) {
  runtime::AsioRuntime loop;
  const auto log = observe::make_null_log();
  SlowOperator work(loop);
  ControlDoor door(loop, work, *log);
  struct Body {
    static Task<void> run(runtime::AsioRuntime* loop, ControlDoor* door) {
      int ends[2] = {-1, -1};
      CHECK_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
      Result<std::unique_ptr<net::Stream>> served =
          make_unix_stream(*loop, cairn::cluster::Socket(ends[0]));
      Result<std::unique_ptr<net::Stream>> mine =
          make_unix_stream(*loop, cairn::cluster::Socket(ends[1]));
      CHECK(served.has_value() && mine.has_value());
      door->accept(std::move(*served));
      // Longer than a socket's buffer would take at once, in blanks that JSON ignores.
      std::string line = "{\"op\":" + std::string(60'000, ' ') + "\"status\"}\n";
      std::vector<Bytes> parts{Bytes(reinterpret_cast<const std::byte*>(line.data()), line.size())};
      const Status sent = co_await (*mine)->write_all(std::move(parts));
      EXPECT_TRUE(sent.has_value());
      LineReader reader(**mine, protocol::kControlLineMax);
      const Result<std::string> answer = co_await reader.next();
      EXPECT_TRUE(answer.has_value() && protocol::parse_answer(*answer).has_value());
      (*mine)->close();
      co_await door->stop();
      loop->stop();
    }
  };
  runtime::TaskGroup group(loop);
  group.spawn(Body::run(&loop, &door));
  loop.run();
  EXPECT_EQ(work.asked, 1);
  EXPECT_FALSE(make_unix_stream(loop, cairn::cluster::Socket(-1)).has_value());
}

}  // namespace
}  // namespace cairn::chunkserver::control
