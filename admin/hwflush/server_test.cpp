#include "admin/hwflush/server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "admin/drive/testing/temp_directory.h"
#include "admin/hwflush/reporter.h"
#include "common/base/prng.h"
#include "common/net/tcp_network.h"

namespace cairn::admin::hwflush {
namespace {

Task<void> stop_and_end(Server* server, runtime::AsioRuntime* runtime) {
  co_await server->stop();
  runtime->stop();
}

// A server on a thread of its own, at a port of its own.
class RunningServer {
 public:
  explicit RunningServer(std::string state_file = {})
      : network_(runtime_),
        tasks_(runtime_),
        server_(&runtime_, &network_,
                {.at = {"127.0.0.1", 0},
                 .state_file = std::move(state_file),
                 .say = [](const std::string&) {},
                 .on_failure = [this](const Error&) { failed = true; }}) {
    started = server_.start();
    if (!started.has_value()) return;
    address = server_.address();
    loop_ = std::jthread([this] { runtime_.run(); });
  }
  ~RunningServer() { stop(); }
  void stop() {
    if (!loop_.joinable()) return;
    runtime_.post([this] { tasks_.spawn(stop_and_end(&server_, &runtime_)); });
    loop_.join();
  }

  Status started;
  net::Address address;
  std::atomic<bool> failed = false;

 private:
  runtime::AsioRuntime runtime_;
  net::TcpNetwork network_;
  runtime::TaskGroup tasks_;
  Server server_;
  std::jthread loop_;
};

Hello hello_of(std::uint64_t directory, Counters on_disk = {}) {
  return {.directory = {directory, 1},
          .fresh = false,
          .host = "h",
          .path = "/test" + std::to_string(directory),
          .on_disk = std::move(on_disk)};
}

TEST(Server, RemembersWhatItWasTold) {
  const RunningServer server;
  {
    Reporter reporter([] {});
    const auto known = reporter.greet({server.address}, hello_of(1));
    ASSERT_TRUE(known.has_value()) << known.error().message();
    EXPECT_EQ(known->by, KnownBy::kNothing);
    ASSERT_TRUE(reporter.tell({0, 1}).has_value());
    ASSERT_TRUE(reporter.tell({0, 2}).has_value());
  }
  Reporter again([] {});
  const auto known = again.greet({server.address}, hello_of(1, {{0, 2}}));
  ASSERT_TRUE(known.has_value());
  EXPECT_EQ(known->by, KnownBy::kDirectory);
  EXPECT_EQ(known->on_server, (Counters{{0, 2}}));
}

TEST(Server, ManyThreadsTellAtOnce) {
  constexpr std::uint32_t kThreads = 200;
  constexpr std::uint64_t kCounters = 20;
  const RunningServer server;
  std::atomic<int> failures = 0;
  {
    Reporter reporter([&failures] { ++failures; });
    ASSERT_TRUE(reporter.greet({server.address}, hello_of(1)).has_value());
    std::vector<std::jthread> threads;
    for (std::uint32_t id = 0; id < kThreads; ++id) {
      threads.emplace_back([&reporter, &failures, id] {
        for (std::uint64_t n = 1; n <= kCounters; ++n) {
          if (!reporter.tell({id, n}).has_value()) ++failures;
        }
      });
    }
  }
  EXPECT_EQ(failures, 0);
  Counters wanted;
  for (std::uint32_t id = 0; id < kThreads; ++id) wanted.push_back({id, kCounters});
  Reporter again([] {});
  const auto known = again.greet({server.address}, hello_of(1, wanted));
  ASSERT_TRUE(known.has_value());
  EXPECT_EQ(known->on_server, wanted);
}

TEST(Server, WithAStateFileSurvivesItsRestart) {
  const TempDirectory directory;
  {
    RunningServer server(directory / "state");
    ASSERT_TRUE(server.started.has_value());
    Reporter reporter([] {});
    ASSERT_TRUE(reporter.greet({server.address}, hello_of(1)).has_value());
    ASSERT_TRUE(reporter.tell({5, 77}).has_value());
    // Acknowledged: it is in the file before any orderly end.
    const Result<Memory> file = Memory::parse(directory.read("state"));
    ASSERT_TRUE(file.has_value());
    EXPECT_EQ(file->directories(), 1U);
  }
  const RunningServer server(directory / "state");
  ASSERT_TRUE(server.started.has_value()) << server.started.error().message();
  Reporter reporter([] {});
  const auto known = reporter.greet({server.address}, hello_of(1, {{5, 77}}));
  ASSERT_TRUE(known.has_value());
  EXPECT_EQ(known->on_server, (Counters{{5, 77}}));
}

TEST(Server, DoesNotStartWithADamagedState) {
  const TempDirectory directory;
  directory.write("state", "cairn-hwflush-state 1\ncrc 00000000\n");
  const RunningServer server(directory / "state");
  ASSERT_FALSE(server.started.has_value());
  EXPECT_EQ(server.started.error().code(), Code::kCorrupt);
}

TEST(Server, AcknowledgesNothingThatItCannotKeep) {
  const TempDirectory directory;
  const std::string place = directory / "gone";
  std::filesystem::create_directory(place);
  const RunningServer server(place + "/state");
  ASSERT_TRUE(server.started.has_value());
  Reporter reporter([] {});
  ASSERT_TRUE(reporter.greet({server.address}, hello_of(1)).has_value());
  std::filesystem::remove_all(place);
  EXPECT_FALSE(reporter.tell({0, 1}).has_value());
  EXPECT_TRUE(server.failed);
}

TEST(Server, RefusesReportsOfADeviceThatLostData) {
  const RunningServer server;
  {
    Reporter reporter([] {});
    ASSERT_TRUE(reporter.greet({server.address}, hello_of(1)).has_value());
    ASSERT_TRUE(reporter.tell({0, 9}).has_value());
  }
  Reporter again([] {});
  const auto known = again.greet({server.address}, hello_of(1, {{0, 8}}));
  ASSERT_TRUE(known.has_value());
  EXPECT_EQ(known->on_server, (Counters{{0, 9}}));
  EXPECT_FALSE(again.tell({0, 9}).has_value());
  EXPECT_FALSE(again.tell({0, 10}).has_value());  // the first failure is final
}

TEST(Server, ANewConnectionOfADirectoryEndsTheOldOne) {
  const RunningServer server;
  Reporter before([] {});
  ASSERT_TRUE(before.greet({server.address}, hello_of(1)).has_value());
  ASSERT_TRUE(before.tell({0, 1}).has_value());
  Reporter after([] {});
  ASSERT_TRUE(after.greet({server.address}, hello_of(1, {{0, 1}})).has_value());
  EXPECT_FALSE(before.tell({0, 2}).has_value());
  EXPECT_TRUE(after.tell({0, 2}).has_value());
}

TEST(Reporter, AServerThatGoesFailsEveryThread) {
  RunningServer server;
  std::atomic<int> notices = 0;
  Reporter reporter([&notices] { ++notices; });
  ASSERT_TRUE(reporter.greet({server.address}, hello_of(1)).has_value());
  ASSERT_TRUE(reporter.tell({0, 1}).has_value());
  server.stop();
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t id = 0; id < 20; ++id) {
      threads.emplace_back([&reporter, &failures, id] {
        if (!reporter.tell({id, 2}).has_value()) ++failures;
      });
    }
  }
  EXPECT_EQ(failures, 20);
  EXPECT_EQ(notices, 1);
}

TEST(Reporter, NobodyAtThePortIsSaid) {
  net::Address address;
  {
    const RunningServer server;
    address = server.address;
  }
  Reporter reporter([] {});
  const auto known = reporter.greet({address}, hello_of(1));
  ASSERT_FALSE(known.has_value());
  EXPECT_EQ(known.error().code(), Code::kUnavailable);
}

// Sends bytes and reads until the server ends the connection.
Task<void> send_garbage(net::TcpNetwork* network, runtime::AsioRuntime* runtime,
                        net::Address address, std::vector<std::byte> garbage, bool* ended) {
  Result<std::unique_ptr<net::Stream>> stream =
      co_await network->connect(address, runtime->after(5s));
  if (stream.has_value()) {
    std::vector<Bytes> parts = {Bytes(garbage)};
    const Status sent = co_await (*stream)->write_all(std::move(parts));
    ignore(sent, "the server may have hung up");
    std::vector<std::byte> into(4096);
    for (;;) {
      const Result<std::size_t> got = co_await (*stream)->read_some(into);
      if (!got.has_value()) break;
      if (*got == 0) break;
    }
    *ended = true;
    (*stream)->close();
  }
  runtime->stop();
}

TEST(Server, EndsConnectionsThatMakeNoSenseAndServesOthers) {
  const RunningServer server;
  Prng prng(3);
  for (int round = 0; round < 20; ++round) {
    // A good beginning, then noise: more than one message long.
    std::vector<std::byte> garbage = encode_message(hello_of(1));
    if (round % 2 == 0) garbage.clear();
    for (int i = 0; i < 40000; ++i) garbage.push_back(static_cast<std::byte>(prng.next()));
    runtime::AsioRuntime runtime;
    net::TcpNetwork network(runtime);
    runtime::TaskGroup tasks(runtime);
    bool ended = false;
    tasks.spawn(send_garbage(&network, &runtime, server.address, std::move(garbage), &ended));
    runtime.run();
    ASSERT_TRUE(ended);
  }
  Reporter reporter([] {});
  ASSERT_TRUE(reporter.greet({server.address}, hello_of(2)).has_value());
  EXPECT_TRUE(reporter.tell({0, 1}).has_value());
}

}  // namespace
}  // namespace cairn::admin::hwflush
