#include <gtest/gtest.h>

#include "common/net/mem_network.h"
#include "common/net/tcp_network.h"
#include "common/net/test_loop.h"
#include "common/runtime/completion.h"

namespace cairn::net {
namespace {

using runtime::AsioRuntime;
using runtime::TaskGroup;

class NetworkTest : public testing::TestWithParam<bool> {
 protected:
  static std::unique_ptr<Network> make(AsioRuntime& loop) {
    if (GetParam()) return std::make_unique<TcpNetwork>(loop);
    return std::make_unique<MemNetwork>(loop, 1000);
  }
};
INSTANTIATE_TEST_SUITE_P(Networks, NetworkTest, testing::Values(false, true),
                         [](const auto& p) { return p.param ? "Tcp" : "Mem"; });

const Address kAny{"127.0.0.1", 0};

TEST_P(NetworkTest, TakenPortIsBusyAndNamed) {
  AsioRuntime loop;
  const std::unique_ptr<Network> network = make(loop);
  const auto first = network->listen(kAny, [](std::unique_ptr<Stream>) {});
  ASSERT_TRUE(first.has_value());
  const Address at = (*first)->address();
  EXPECT_NE(at.port, 0);
  const auto second = network->listen(at, [](std::unique_ptr<Stream>) {});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), Code::kBusy);
  EXPECT_NE(second.error().message().find(std::to_string(at.port)), std::string::npos);
  (*first)->close();
  EXPECT_TRUE(network->listen(at, [](std::unique_ptr<Stream>) {}).has_value());
}

Task<void> connect_to_nobody(AsioRuntime* loop, Network* network, Address to) {
  const Deadline deadline = loop->now() + 5s;
  const Result<std::unique_ptr<Stream>> stream = co_await network->connect(std::move(to), deadline);
  EXPECT_EQ(stream.error().code(), Code::kUnavailable);
}
TEST_P(NetworkTest, ClosedPortIsUnavailable) {
  std::unique_ptr<Network> network;
  run_on_loop([&](AsioRuntime& loop) {
    network = make(loop);
    auto listener = network->listen(kAny, [](std::unique_ptr<Stream>) {});
    const Address gone = (*listener)->address();
    (*listener)->close();
    return connect_to_nobody(&loop, network.get(), gone);
  });
}

struct Pair {
  std::unique_ptr<Stream> connector;
  std::unique_ptr<Stream> acceptor;
};
Task<void> make_streams(AsioRuntime* loop, Network* network, Pair* pair) {
  runtime::Completion<bool> accepted(*loop);
  auto listener = network->listen(kAny, [pair, accepted](std::unique_ptr<Stream> s) mutable {
    pair->acceptor = std::move(s);
    accepted.set(true);
  });
  Address to = (*listener)->address();
  const Deadline deadline = loop->now() + 5s;
  auto stream = co_await network->connect(std::move(to), deadline);
  pair->connector = std::move(*stream);
  co_await accepted.wait();
}

Task<void> write_numbers(Stream* stream, std::size_t count, bool* done) {
  // More parts than one system call takes, of sizes that fit nothing.
  std::string bytes(count, '\0');
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(i * 7 + i / 256);
  std::vector<Bytes> parts;
  Bytes rest = as_bytes(bytes);
  for (std::size_t n = 0; !rest.empty(); n = (n + 37) % 1501) {
    const std::size_t take = std::min(n, rest.size());
    parts.push_back(rest.first(take));
    rest = rest.subspan(take);
  }
  const Status sent = co_await stream->write_all(std::move(parts));
  EXPECT_TRUE(sent.has_value());
  *done = true;
  stream->close();
}
Task<void> read_numbers(Stream* stream, std::size_t count) {
  std::vector<std::byte> bytes(3000);
  std::size_t seen = 0;
  std::size_t wrong = 0;
  for (;;) {
    const Result<std::size_t> got = co_await stream->read_some(bytes);
    EXPECT_TRUE(got.has_value());
    if (!got.has_value() || *got == 0) break;
    for (std::size_t i = 0; i < *got; ++i, ++seen) {
      wrong += bytes[i] != static_cast<std::byte>(static_cast<char>(seen * 7 + seen / 256));
    }
  }
  EXPECT_EQ(seen, count);
  EXPECT_EQ(wrong, 0U);
}
Task<void> transfer(AsioRuntime* loop, Network* network) {
  Pair pair;
  co_await make_streams(loop, network, &pair);
  TaskGroup group(*loop);
  bool written = false;
  constexpr std::size_t kCount = 20'000'000;
  group.spawn(write_numbers(pair.connector.get(), kCount, &written));
  // Back-pressure: nobody reads, so the writer cannot be done.
  co_await runtime::sleep_for(*loop, 20ms);
  EXPECT_FALSE(written);
  group.spawn(read_numbers(pair.acceptor.get(), kCount));
  co_await group.join();
}
TEST_P(NetworkTest, LongWritesOfManyPartsArriveWholeBeforeTheEnd) {
  std::unique_ptr<Network> network;
  run_on_loop([&](AsioRuntime& loop) {
    network = make(loop);
    return transfer(&loop, network.get());
  });
}

Task<void> read_until_lost(Stream* stream, Code* code) {
  std::array<std::byte, 16> bytes;
  const Result<std::size_t> got = co_await stream->read_some(bytes);
  *code = got.error().code();
}
Task<void> write_until_lost(Stream* stream, Code* code) {
  const std::string bytes(100'000'000, 'x');
  std::vector<Bytes> parts(1, as_bytes(bytes));
  const Status sent = co_await stream->write_all(std::move(parts));
  *code = sent.error().code();
}
Task<void> close_under_way(AsioRuntime* loop, Network* network) {
  Pair pair;
  co_await make_streams(loop, network, &pair);
  TaskGroup group(*loop);
  Code read = Code::kInternal;
  Code write = Code::kInternal;
  group.spawn(read_until_lost(pair.connector.get(), &read));
  group.spawn(write_until_lost(pair.connector.get(), &write));
  co_await runtime::sleep_for(*loop, 5ms);
  pair.connector->close();
  pair.connector->close();
  co_await group.join();
  EXPECT_EQ(read, Code::kConnectionLost);
  EXPECT_EQ(write, Code::kConnectionLost);
}
TEST_P(NetworkTest, CloseEndsReadsAndWritesUnderWay) {
  std::unique_ptr<Network> network;
  run_on_loop([&](AsioRuntime& loop) {
    network = make(loop);
    return close_under_way(&loop, network.get());
  });
}

Task<void> faults(AsioRuntime* loop, MemNetwork* network) {
  const Address at{"10.0.0.1", 9};
  std::unique_ptr<Stream> accepted;
  auto listener = network->listen(at, [&](std::unique_ptr<Stream> s) { accepted = std::move(s); });
  network->set_unreachable(at, true);
  Deadline deadline = loop->now() + 10ms;
  auto stream = co_await network->connect(at, deadline);
  EXPECT_EQ(stream.error().code(), Code::kTimeout);
  network->set_unreachable(at, false);
  deadline = loop->now() + 10ms;
  stream = co_await network->connect(at, deadline);
  EXPECT_TRUE(stream.has_value());
  network->cut(at);
  Code code = Code::kInternal;
  co_await read_until_lost(stream->get(), &code);
  EXPECT_EQ(code, Code::kConnectionLost);
}
TEST(MemNetwork, UnreachableTimesOutAndCutBreaksConnections) {
  std::unique_ptr<MemNetwork> network;
  run_on_loop([&](AsioRuntime& loop) {
    network = std::make_unique<MemNetwork>(loop);
    return faults(&loop, network.get());
  });
}

}  // namespace
}  // namespace cairn::net
