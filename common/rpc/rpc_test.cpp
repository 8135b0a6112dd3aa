#include "common/rpc/rpc.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/net/test_loop.h"
#include "common/rpc/grpc_client.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/multi_caller.h"
#include "common/rpc/status_code.h"
#include "common/runtime/semaphore.h"
#include "proto/types.pb.h"

namespace cairn::rpc {
namespace {

using net::run_on_loop;
using runtime::AsioRuntime;
using runtime::TaskGroup;

const net::Credentials kCredentials{"stor1", "key"};
const net::Address kAny{"127.0.0.1", 0};

struct World {
  explicit World(AsioRuntime& l)
      : loop(l), log(observe::make_null_log()), server(l, *log, dispatcher, kCredentials), hang(l) {
    dispatcher.add("/t/Echo", [](std::string request) { return echo(std::move(request)); });
    dispatcher.add("/t/Fail", [](std::string request) { return refuse(std::move(request)); });
    dispatcher.add("/t/Hang",
                   [this](std::string request) { return wait(this, std::move(request)); });
    dispatcher.add<pb::ErrorDetail, pb::Encoding>(
        "/t/Typed", [](pb::ErrorDetail request) { return typed(std::move(request)); });
  }
  static Task<Result<std::string>> echo(std::string request) { co_return request; }
  static Task<Result<std::string>> refuse(std::string request) {
    co_return fail(Code::kRefusedForSafety, "not " + request);
  }
  static Task<Result<std::string>> wait(World* world, std::string request) {
    ++world->hanging;
    co_await world->hang.wait();
    co_return request;
  }
  static Task<Result<pb::Encoding>> typed(pb::ErrorDetail request) {
    pb::Encoding reply;
    reply.set_data(request.code());
    co_return reply;
  }

  AsioRuntime& loop;
  std::unique_ptr<observe::Log> log;
  Dispatcher dispatcher;
  GrpcServer server;
  runtime::Signal hang;
  std::size_t hanging = 0;
  std::unique_ptr<Caller> caller;
};

// `request` outlives the task.
Task<Result<std::string>> ask(World* world, const char* method, std::string_view request,
                              Duration patience = 5s) {
  const Deadline deadline = world->loop.now() + patience;
  std::string name = method;
  std::string bytes(request);
  co_return co_await world->caller->call(std::move(name), std::move(bytes), deadline);
}
Task<void> ask_into(World* world, const char* method, std::string request, Duration patience,
                    Result<std::string>* outcome) {
  *outcome = co_await ask(world, method, request, patience);
}

using Body = Task<void> (*)(World*);
Task<void> run_world(std::unique_ptr<World> world, Body body) {
  const Result<net::Address> at = world->server.start(kAny);
  EXPECT_TRUE(at.has_value());
  if (!at.has_value()) co_return;
  world->caller = std::make_unique<GrpcCaller>(world->loop, *at, kCredentials);
  co_await body(world.get());
  world->hang.notify_all();
  const Deadline soon = world->loop.now() + 1s;
  co_await world->server.stop(soon);
  world->caller.reset();
}
void run(Body body) {
  run_on_loop([&](AsioRuntime& loop) { return run_world(std::make_unique<World>(loop), body); });
}

Task<void> round_trips(World* world) {
  constexpr std::size_t kCalls = 200;
  std::vector<Result<std::string>> answers(kCalls);
  TaskGroup group(world->loop);
  for (std::size_t i = 0; i < kCalls; ++i) {
    group.spawn(ask_into(world, "/t/Echo", std::to_string(i), 5s, &answers[i]));
  }
  co_await group.join();
  for (std::size_t i = 0; i < kCalls; ++i) EXPECT_EQ(answers[i].value(), std::to_string(i));
  std::string large(5'000'000, 'x');
  const Result<std::string> big = co_await ask(world, "/t/Echo", large);
  EXPECT_EQ(big.value().size(), 5'000'000U);
  std::string nothing;
  const Result<std::string> none = co_await ask(world, "/t/Echo", nothing);
  EXPECT_EQ(none.value(), "");
}
TEST(Grpc, ManyCallsEachGetTheirReply) { run(round_trips); }

Task<void> typed_call(World* world) {
  pb::ErrorDetail request;
  request.set_code(17);
  const Deadline deadline = world->loop.now() + 5s;
  std::string method = "/t/Typed";
  Result<pb::Encoding> reply =
      co_await call<pb::Encoding>(*world->caller, std::move(method), std::move(request), deadline);
  EXPECT_EQ(reply.value().data(), 17U);
  const Result<std::string> bad = co_await ask(world, "/t/Typed", "\xff\xff");
  EXPECT_EQ(bad.error().code(), Code::kProtocol);
}
TEST(Grpc, TypedHandlersDecodeAndEncode) { run(typed_call); }

Task<void> errors(World* world) {
  const Result<std::string> refused = co_await ask(world, "/t/Fail", "today");
  EXPECT_EQ(refused.error().code(), Code::kRefusedForSafety);
  EXPECT_EQ(refused.error().message(), "not today");
  std::string odd = "\n%\x01 \xc3\xa9";
  odd += std::string(5000, 'y');
  const Result<std::string> cut = co_await ask(world, "/t/Fail", odd);
  EXPECT_EQ(cut.error().code(), Code::kRefusedForSafety);
  EXPECT_TRUE(("not " + odd).starts_with(cut.error().message()));
  EXPECT_EQ(cut.error().message().size(), 2048U);
  const Result<std::string> unknown = co_await ask(world, "/t/Nothing", "x");
  EXPECT_EQ(unknown.error().code(), Code::kUnsupported);
  std::string huge(40'000'000, 'x');
  const Result<std::string> large = co_await ask(world, "/t/Echo", huge);
  EXPECT_EQ(large.error().code(), Code::kInvalidArgument);
}
TEST(Grpc, ErrorsTravelWithCodeAndMessage) { run(errors); }

Task<void> deadlines(World* world) {
  const Result<std::string> late = co_await ask(world, "/t/Hang", "x", 50ms);
  EXPECT_EQ(late.error().code(), Code::kTimeout);
  const Result<std::string> past = co_await ask(world, "/t/Echo", "x", -1ms);
  EXPECT_EQ(past.error().code(), Code::kTimeout);
}
TEST(Grpc, DeadlineEndsACall) { run(deadlines); }

// What a caller with `credentials` is told.
Task<Result<std::string>> ask_as(World* world, net::Address at, net::Credentials credentials) {
  const std::unique_ptr<Caller> other =
      std::make_unique<GrpcCaller>(world->loop, at, std::move(credentials));
  const Deadline deadline = world->loop.now() + 8s;
  std::string method = "/t/Echo";
  std::string request = "x";
  co_return co_await other->call(std::move(method), std::move(request), deadline);
}
Task<void> strangers(std::unique_ptr<World> world) {
  const Result<net::Address> at = world->server.start(kAny);
  net::Credentials wrong_key{"stor1", "guess"};
  net::Credentials wrong_cluster{"stor2", "key"};
  net::Credentials good = kCredentials;
  const Result<std::string> key = co_await ask_as(world.get(), *at, std::move(wrong_key));
  EXPECT_EQ(key.error().code(), Code::kNotAuthenticated);
  const Result<std::string> cluster = co_await ask_as(world.get(), *at, std::move(wrong_cluster));
  EXPECT_EQ(cluster.error().code(), Code::kWrongCluster);
  const Result<std::string> fine = co_await ask_as(world.get(), *at, std::move(good));
  EXPECT_EQ(fine.value(), "x");

  // Twenty guesses at once take most of a second: 20 a second are answered.
  const Instant begin = world->loop.now();
  world->caller =
      std::make_unique<GrpcCaller>(world->loop, *at, net::Credentials{"stor1", "guess"});
  std::vector<Result<std::string>> answers(20);
  TaskGroup group(world->loop);
  for (Result<std::string>& answer : answers) {
    group.spawn(ask_into(world.get(), "/t/Echo", "x", 8s, &answer));
  }
  co_await group.join();
  for (const Result<std::string>& answer : answers) {
    EXPECT_EQ(answer.error().code(), Code::kNotAuthenticated);
  }
  EXPECT_GT(world->loop.now() - begin, 800ms);
  const Deadline soon = world->loop.now() + 1s;
  co_await world->server.stop(soon);
}
TEST(Grpc, CallersWithoutTheKeyAreRefusedSlowly) {
  run_on_loop([](AsioRuntime& loop) { return strangers(std::make_unique<World>(loop)); });
}

Task<void> ports(std::unique_ptr<World> world) {
  const Result<net::Address> at = world->server.start(kAny);
  EXPECT_NE(at->port, 0);
  GrpcServer second(world->loop, *world->log, world->dispatcher, kCredentials);
  const Result<net::Address> taken = second.start(*at);
  EXPECT_EQ(taken.error().code(), Code::kBusy);
  EXPECT_NE(taken.error().message().find(std::to_string(at->port)), std::string::npos);
  const net::Address foreign{"203.0.113.7", 1};
  const Result<net::Address> elsewhere = second.start(foreign);
  EXPECT_EQ(elsewhere.error().code(), Code::kUnavailable);
  Deadline soon = world->loop.now() + 1s;
  co_await world->server.stop(soon);
  // Given back at once, and a server can start again.
  EXPECT_TRUE(second.start(*at).has_value());
  soon = world->loop.now() + 1s;
  co_await second.stop(soon);
}
TEST(Grpc, TakenPortIsBusyAndGivenBackByStop) {
  run_on_loop([](AsioRuntime& loop) { return ports(std::make_unique<World>(loop)); });
}

Task<void> stop_with_calls(std::unique_ptr<World> world) {
  const Result<net::Address> at = world->server.start(kAny);
  world->caller = std::make_unique<GrpcCaller>(world->loop, *at, kCredentials);
  Result<std::string> answer;
  TaskGroup group(world->loop);
  group.spawn(ask_into(world.get(), "/t/Hang", "x", 5s, &answer));
  while (world->hanging == 0) co_await runtime::sleep_for(world->loop, 1ms);
  World* const raw = world.get();
  world->loop.schedule(world->loop.now() + 100ms, [raw] { raw->hang.notify_all(); });
  const Deadline soon = world->loop.now() + 20ms;
  co_await world->server.stop(soon);
  co_await group.join();
  EXPECT_EQ(answer.error().code(), Code::kConnectionLost);
  const Result<std::string> gone = co_await ask(world.get(), "/t/Echo", "x");
  EXPECT_FALSE(gone.has_value());
}
TEST(Grpc, StopAnswersWhatIsLeftAndJoinsHandlers) {
  run_on_loop([](AsioRuntime& loop) { return stop_with_calls(std::make_unique<World>(loop)); });
}

// An address where nobody listens now.
net::Address free_address() {
  const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  EXPECT_EQ(::bind(probe, reinterpret_cast<sockaddr*>(&at), size), 0);
  EXPECT_EQ(::getsockname(probe, reinterpret_cast<sockaddr*>(&at), &size), 0);
  ::close(probe);
  return net::Address{"127.0.0.1", ntohs(at.sin_port)};
}

Task<void> nobody(std::unique_ptr<World> world) {
  const net::Address nowhere = free_address();
  world->caller = std::make_unique<GrpcCaller>(world->loop, nowhere, kCredentials);
  const Result<std::string> refused = co_await ask(world.get(), "/t/Echo", "x");
  EXPECT_EQ(refused.error().code(), Code::kUnavailable) << refused.error().to_string();
  // The caller finds the server once it is there.
  EXPECT_TRUE(world->server.start(nowhere).has_value());
  Result<std::string> found = fail(Code::kUnavailable);
  for (int i = 0; i < 100 && !found.has_value(); ++i) {
    found = co_await ask(world.get(), "/t/Echo", "x");
    if (!found.has_value()) co_await runtime::sleep_for(world->loop, 50ms);
  }
  EXPECT_TRUE(found.has_value());
  const Deadline soon = world->loop.now() + 1s;
  co_await world->server.stop(soon);
}
TEST(Grpc, RefusedConnectionIsUnavailableUntilTheServerComes) {
  run_on_loop([](AsioRuntime& loop) { return nobody(std::make_unique<World>(loop)); });
}

Task<void> abandon(std::unique_ptr<World> world) {
  const Result<net::Address> at = world->server.start(kAny);
  world->caller = std::make_unique<GrpcCaller>(world->loop, *at, kCredentials);
  Result<std::string> answer;
  TaskGroup group(world->loop);
  group.spawn(ask_into(world.get(), "/t/Hang", "x", 5s, &answer));
  while (world->hanging == 0) co_await runtime::sleep_for(world->loop, 1ms);
  world->caller.reset();  // cancels
  co_await group.join();
  EXPECT_EQ(answer.error().code(), Code::kCancelled);
  world->hang.notify_all();
  const Deadline soon = world->loop.now() + 1s;
  co_await world->server.stop(soon);
}
TEST(Grpc, CallerMayDieWithCallsUnderWay) {
  run_on_loop([](AsioRuntime& loop) { return abandon(std::make_unique<World>(loop)); });
}

// Answers as told, and counts.
struct Scripted final : Caller {
  explicit Scripted(std::vector<Code> s) : script(std::move(s)) {}
  Task<Result<std::string>> call(std::string, std::string request, Deadline) override {
    const Code code = script[std::min(asked++, script.size() - 1)];
    if (code == kGood) co_return request;
    co_return fail(code);
  }
  static constexpr Code kGood = Code{0};
  std::vector<Code> script;
  std::size_t asked = 0;
};

struct Row {
  const char* name;
  std::vector<std::vector<Code>> peers;
  Patience patience;
  Code outcome;
  std::vector<std::size_t> asked;
};
Task<void> ask_rows(AsioRuntime* loop) {
  constexpr Code kGood = Scripted::kGood;
  const std::vector<Row> rows = {
      {"first answers", {{kGood}, {kGood}}, Patience::kOneRound, kGood, {1, 0}},
      {"second answers", {{Code::kUnavailable}, {kGood}}, Patience::kOneRound, kGood, {1, 1}},
      {"not master", {{Code::kNotMaster}, {kGood}}, Patience::kOneRound, kGood, {1, 1}},
      {"all gone",
       {{Code::kUnavailable}, {Code::kNotMaster}},
       Patience::kOneRound,
       Code::kNotMaster,
       {1, 1}},
      {"unknown outcome", {{Code::kTimeout}, {kGood}}, Patience::kOneRound, Code::kTimeout, {1, 0}},
      {"lost",
       {{Code::kConnectionLost}, {kGood}},
       Patience::kUntilDeadline,
       Code::kConnectionLost,
       {1, 0}},
      {"refused", {{Code::kNotFound}, {kGood}}, Patience::kUntilDeadline, Code::kNotFound, {1, 0}},
      {"election",
       {{Code::kNotMaster}, {Code::kNotMaster, kGood}},
       Patience::kUntilDeadline,
       kGood,
       {2, 2}},
      {"nobody", {}, Patience::kOneRound, Code::kUnavailable, {}},
  };
  for (const Row& row : rows) {
    std::vector<std::unique_ptr<Caller>> peers;
    std::vector<Scripted*> scripted;
    for (const std::vector<Code>& script : row.peers) {
      auto peer = std::make_unique<Scripted>(script);
      scripted.push_back(peer.get());
      peers.push_back(std::move(peer));
    }
    MultiCaller multi(*loop, std::move(peers), row.patience);
    const Deadline deadline = loop->now() + 2s;
    std::string method = "/t/X";
    std::string request = "x";
    const Result<std::string> outcome =
        co_await multi.call(std::move(method), std::move(request), deadline);
    EXPECT_EQ(outcome.has_value() ? kGood : outcome.error().code(), row.outcome) << row.name;
    for (std::size_t i = 0; i < scripted.size(); ++i) {
      EXPECT_EQ(scripted[i]->asked, row.asked[i]) << row.name << " peer " << i;
    }
  }
}
TEST(MultiCaller, GoesOnOnlyWhenNothingHappened) {
  run_on_loop([](AsioRuntime& loop) { return ask_rows(&loop); });
}

TEST(StatusCode, EveryCodeSurvivesByItsNumber) {
  for (std::uint32_t raw = 0; raw < 600; ++raw) {
    if (!is_known_code(raw)) continue;
    const Code code = static_cast<Code>(raw);
    const Error back = from_grpc_status(to_grpc_status(code), "m", std::to_string(raw));
    EXPECT_EQ(back.code(), code);
    EXPECT_NE(to_grpc_status(code), 0);
  }
  EXPECT_EQ(from_grpc_status(14, "failed to connect to all addresses", "").code(),
            Code::kUnavailable);
  EXPECT_EQ(from_grpc_status(14, "Socket closed", "").code(), Code::kConnectionLost);
  EXPECT_EQ(from_grpc_status(4, "", "").code(), Code::kTimeout);
  EXPECT_EQ(from_grpc_status(12, "", "").code(), Code::kUnsupported);
  EXPECT_EQ(from_grpc_status(13, "", "60000").code(), Code::kInternal);
}

}  // namespace
}  // namespace cairn::rpc
