#include "common/rpc/grpc_stream.h"

#include <grpcpp/support/byte_buffer.h>
#include <gtest/gtest.h>

#include "common/base/prng.h"
#include "common/rpc/grpc_server_stream.h"
#include "common/rpc/stream_batch.h"
#include "common/rpc/stream_fixture.h"

namespace cairn::rpc {
namespace {

using testing::Condition;
using testing::kCredentials;
using testing::Opener;
using testing::run;
using testing::text;
using testing::until;
using testing::World;
using Message = std::shared_ptr<const std::string>;

// ---- batches ----

BatchItem part(const Message& message, std::size_t offset, std::size_t size) {
  return {message, offset, size};
}

TEST(StreamBatch, MessagesOfAllSizesComeBack) {
  Prng prng(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<Message> messages;
    std::vector<std::string> back;
    std::vector<BatchItem> items;
    BatchReader reader;
    const auto pass = [&] {
      Result<std::vector<std::string>> read = reader.read(pack_batch(items));
      ASSERT_TRUE(read.has_value());
      for (std::string& one : *read) back.push_back(std::move(one));
      items.clear();
    };
    for (std::uint64_t i = prng.below(8); i > 0; --i) {
      messages.push_back(text(
          std::string(prng.below(1ULL << prng.below(18)), static_cast<char>(prng.below(256)))));
      const std::size_t size = messages.back()->size();
      // Often in two parts, anywhere in the batches.
      const std::size_t cut = size > 1 && prng.chance(500) ? prng.between(1, size - 1) : 0;
      if (cut > 0) items.push_back(part(messages.back(), 0, cut));
      if (prng.chance(300)) pass();
      items.push_back(part(messages.back(), cut, size - cut));
      if (prng.chance(300)) pass();
    }
    pass();
    ASSERT_EQ(back.size(), messages.size());
    for (std::size_t i = 0; i < messages.size(); ++i) EXPECT_EQ(back[i], *messages[i]);
  }
}

TEST(StreamBatch, NoiseIsRefused) {
  Prng prng(2);
  std::size_t refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(prng.between(1, 12), '\0');
    for (char& byte : bytes) byte = static_cast<char>(prng.below(256));
    if (prng.chance(700)) bytes[0] = prng.chance(500) ? 0x0a : 0x12;
    const std::size_t cut = prng.below(bytes.size());
    const grpc::Slice slices[] = {grpc::Slice(bytes.data(), cut),
                                  grpc::Slice(bytes.data() + cut, bytes.size() - cut)};
    BatchReader reader;
    const Result<std::vector<std::string>> back = reader.read(grpc::ByteBuffer(slices, 2));
    if (back.has_value()) continue;
    ++refused;
    EXPECT_EQ(back.error().code(), Code::kProtocol);
  }
  EXPECT_GT(refused, 15'000U);
  EXPECT_LT(refused, 20'000U);
}

TEST(StreamBatch, PartsWithoutEndAreRefused) {
  const Message large = text(std::string(40_MiB, 'x'));
  BatchReader reader;
  ByteCount taken = 0;
  Code code{0};
  while (code == Code{0} && taken <= kStreamMessageBytesMax) {
    const auto read = reader.read(pack_batch({part(large, 0, large->size() - 1)}));
    if (!read.has_value()) {
      code = read.error().code();
    } else {
      taken += large->size() - 1;
    }
  }
  EXPECT_EQ(code, Code::kProtocol);
  EXPECT_GT(taken, kStreamMessageBytesMax - 40_MiB);
}

// ---- streams ----

Task<void> order(World* w) {
  constexpr std::size_t kMessages = 20'000;
  for (std::size_t i = 0; i < kMessages; ++i) {
    std::string bytes = std::to_string(i);
    if (i % 1000 == 0) bytes.resize(100'000, 'x');
    EXPECT_TRUE(w->opener->stream.send(text(std::move(bytes))));
  }
  const Condition all = [w] { return w->listener.got.size() >= kMessages; };
  co_await until(w->loop, &all);
  for (std::size_t i = 0; i < kMessages; ++i) {
    EXPECT_TRUE(w->listener.got[i].starts_with(std::to_string(i)));
  }
  EXPECT_EQ(w->listener.hellos, std::vector<std::string>{"hello"});
  EXPECT_EQ(w->opener->stream.queued_bytes(), 0U);
}
TEST(GrpcStream, MessagesArriveInOrder) { run(order); }

Task<void> large(World* w) {
  Opener narrow(*w->loop, w->listener.at, "narrow", 1_MiB);
  const Condition connected = [&narrow] { return narrow.stream.connected(); };
  co_await until(w->loop, &connected);
  std::string bytes(100_MiB, 'x');
  for (std::size_t i = 0; i < bytes.size(); i += 4096) bytes[i] = static_cast<char>(i >> 12);
  const Message whole = text(std::move(bytes));
  EXPECT_TRUE(narrow.stream.send(text("before")));
  EXPECT_TRUE(narrow.stream.send(whole));
  EXPECT_FALSE(narrow.stream.send(text("no room")));
  EXPECT_FALSE(narrow.stream.send(text(std::string(kStreamMessageBytesMax + 1, 'x'))));
  EXPECT_EQ(narrow.stream.dropped(), 2U);
  const Condition sent = [&narrow] { return narrow.stream.queued_bytes() == 0; };
  co_await until(w->loop, &sent);
  EXPECT_TRUE(narrow.stream.send(text("")));
  const Condition all = [w] { return w->listener.got.size() == 3; };
  co_await until(w->loop, &all);
  EXPECT_EQ(w->listener.got[0], "before");
  EXPECT_TRUE(w->listener.got[1] == *whole);
  EXPECT_EQ(w->listener.got[2], "");
}
TEST(GrpcStream, LargeMessagePassesAlone) { run(large); }

// The loop reads nothing while it is busy: what is sent meanwhile from another thread's opener is
//                                          bounded by the
// queue of the opener and what the listener reads ahead.
Task<void> full(World* w) {
  Opener narrow(*w->loop, w->listener.at, "narrow", 1_MiB);
  const Condition connected = [&narrow] { return narrow.stream.connected(); };
  co_await until(w->loop, &connected);
  // No turn of the loop in between.
  std::size_t taken = 0;
  const Instant end = w->loop->now() + 300ms;
  while (w->loop->now() < end) {
    if (narrow.stream.send(text(std::string(64'000, 'x')))) ++taken;
  }
  EXPECT_GT(narrow.stream.dropped(), 0U);
  // Ahead, queue, writes under way, buffers of HTTP/2 and TCP.
  EXPECT_LT(taken * 64'000, kStreamAheadBytesMax + 24_MiB);
  EXPECT_GE(taken * 64'000, kStreamAheadBytesMax);
  const Condition all = [w, taken] { return w->listener.got.size() >= taken; };
  co_await until(w->loop, &all);
  EXPECT_EQ(w->listener.got.size(), taken);
}
TEST(GrpcStream, SlowReceiverFillsTheQueueAndNoMore) { run(full); }

Task<void> refusals(World* w) {
  Opener villain(*w->loop, w->listener.at, "villain");
  Opener guess(*w->loop, w->listener.at, "hello", 1_MiB, net::Credentials{"stor1", "guess"});
  const Condition told = [&] { return !villain.states.empty() && !guess.states.empty(); };
  co_await until(w->loop, &told);
  EXPECT_EQ(villain.states[0].error().code(), Code::kWrongCluster);
  EXPECT_EQ(villain.states[0].error().message(), "not you");
  EXPECT_EQ(guess.states[0].error().code(), Code::kNotAuthenticated);
  EXPECT_FALSE(villain.stream.send(text("x")));
  EXPECT_EQ(w->listener.open_now, 1U);
  // It asks again, ever more seldom.
  const Condition again = [&villain] { return villain.states.size() >= 4; };
  const Duration took = co_await until(w->loop, &again);
  EXPECT_GT(took, 200ms);
}
TEST(GrpcStream, RefusedOpenerIsToldWhy) { run(refusals); }

Task<void> ends(World* w) {
  EXPECT_TRUE(w->opener->stream.send(text("good")));
  EXPECT_TRUE(w->opener->stream.send(text("bad")));
  co_await until(w->loop, &w->lost);
  EXPECT_EQ(w->opener->states.back().error().code(), Code::kRefusedForSafety);
  EXPECT_EQ(w->listener.got, std::vector<std::string>{"good"});
  co_await until(w->loop, &w->connected);
  w->listener.close(Error(Code::kBusy, "for today"));
  co_await until(w->loop, &w->lost);
  EXPECT_EQ(w->opener->states.back().error().code(), Code::kBusy);
  EXPECT_EQ(w->listener.open_now, 0U);
  co_await until(w->loop, &w->connected);
  EXPECT_EQ(w->listener.open_now, 1U);
}
TEST(GrpcStream, ListenerEndsAStreamAndIsDialledAgain) { run(ends); }

Task<void> restart(World* w) {
  co_await w->listener.stop();
  co_await until(w->loop, &w->lost);
  EXPECT_FALSE(w->opener->stream.send(text("nobody")));
  co_await runtime::sleep_for(*w->loop, 800ms);  // attempts are most of a second apart by now
  w->listener.restart();
  const Duration found = co_await until(w->loop, &w->connected);
  EXPECT_LT(found, 1500ms);
  EXPECT_TRUE(w->opener->stream.send(text("hello")));
  const Condition arrived = [w] { return !w->listener.got.empty(); };
  co_await until(w->loop, &arrived);

  // Told that the peer is there, it does not wait.
  co_await w->listener.stop();
  co_await runtime::sleep_for(*w->loop, 800ms);
  w->listener.restart();
  w->opener->stream.retry_now();
  const Duration at_once = co_await until(w->loop, &w->connected);
  EXPECT_LT(at_once, 400ms);
}
TEST(GrpcStream, ServerThatComesBackIsFoundSoon) { run(restart); }

Task<void> short_lives(World* w) {
  Prng prng(3);
  const Message large = text(std::string(3_MiB, 'x'));
  for (int i = 0; i < 300; ++i) {
    if (i % 100 == 99) {
      co_await w->listener.stop();
      w->listener.restart();
    }
    auto opener = std::make_unique<Opener>(*w->loop, w->listener.at, "hello", 16_MiB);
    const Instant end = w->loop->now() + std::chrono::microseconds(prng.below(4000));
    while (w->loop->now() < end) {
      opener->stream.send(prng.chance(300) ? large : text("x"));
      co_await runtime::yield_turn(*w->loop);
    }
    if (prng.chance(200) && w->listener.close) w->listener.close(Error(Code::kBusy, "enough"));
    opener.reset();
  }
  w->opener.reset();
  const Condition none = [w] { return w->listener.open_now == 0; };
  co_await until(w->loop, &none);
  EXPECT_FALSE(w->listener.got.empty());
}
TEST(GrpcStream, StreamsMayDieAtAnyTime) { run(short_lives); }

Task<void> idle(World* w) {
  co_await runtime::sleep_for(*w->loop, 2500ms);
  EXPECT_EQ(w->opener->states.size(), 1U);  // connected, once
  EXPECT_EQ(w->listener.hellos.size(), 1U);
  EXPECT_TRUE(w->opener->stream.send(text("still here")));
  const Condition arrived = [w] { return !w->listener.got.empty(); };
  co_await until(w->loop, &arrived);
}
TEST(GrpcStream, IdleStreamStays) { run(idle); }

}  // namespace
}  // namespace cairn::rpc
