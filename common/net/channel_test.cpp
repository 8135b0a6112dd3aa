#include "common/net/channel.h"

#include <gtest/gtest.h>

#include <numeric>

#include "common/base/limits.h"
#include "common/base/prng.h"
#include "common/net/frame.h"
#include "common/net/mem_network.h"
#include "common/net/tcp_network.h"
#include "common/net/test_loop.h"
#include "common/runtime/completion.h"
#include "common/runtime/semaphore.h"

namespace cairn::net {
namespace {

using runtime::AsioRuntime;
using runtime::TaskGroup;

constexpr std::uint16_t kEcho = 1;
constexpr std::uint16_t kFail = 2;
constexpr std::uint16_t kHang = 3;
constexpr std::uint16_t kNote = 4;
constexpr std::uint16_t kCallBack = 5;
constexpr std::uint16_t kTooLargeReply = 6;

// Two ends of one channel on one loop, and what the server saw.
struct World {
  World(AsioRuntime& l, bool tcp) : loop(l), hang(l), group(l) {
    if (tcp) {
      network = std::make_unique<TcpNetwork>(l);
    } else {
      network = std::make_unique<MemNetwork>(l, 10'000);
    }
  }
  AsioRuntime& loop;
  std::unique_ptr<Network> network;
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Channel> client;
  std::unique_ptr<Channel> server;
  runtime::Signal hang;
  TaskGroup group;
  std::vector<std::string> seen;
  std::size_t hanging = 0;
  Status accepted;
};

Task<Result<Payload>> serve(World* world, std::uint16_t op, Payload request) {
  world->seen.push_back(request.meta);
  switch (op) {
    case kEcho:
      co_return request;
    case kFail:
      co_return fail(Code::kNoSpace, "no space for " + request.meta);
    case kHang:
      ++world->hanging;
      co_await world->hang.wait();
      co_return request;
    case kCallBack: {
      const Deadline deadline = world->loop.now() + 5s;
      co_return co_await world->server->call(kEcho, std::move(request), deadline);
    }
    case kTooLargeReply:
      request.meta.assign(limits::kFrameMetaBytesMax + 1, 'x');
      co_return request;
    default:
      co_return Payload{};
  }
}

Task<void> accept(World* world, std::unique_ptr<Stream> stream, Credentials credentials) {
  Channel::Handler handler = [world](std::uint16_t op, Payload p) {
    return serve(world, op, std::move(p));
  };
  const Deadline deadline = world->loop.now() + 5s;
  Result<std::unique_ptr<Channel>> channel = co_await accept_channel(
      world->loop, std::move(stream), std::move(credentials), std::move(handler), deadline);
  if (channel.has_value()) {
    world->server = std::move(*channel);
  } else {
    world->accepted = fail(channel.error());
  }
}

Task<Status> open(World* world, Credentials mine, Credentials theirs) {
  Address any{"127.0.0.1", 0};
  CO_TRY(world->listener, world->network->listen(any, [world, theirs](std::unique_ptr<Stream> s) {
    world->group.spawn(accept(world, std::move(s), theirs));
  }));
  Address to = world->listener->address();
  Channel::Handler handler = [world](std::uint16_t op, Payload p) {
    return serve(world, op, std::move(p));
  };
  const Deadline deadline = world->loop.now() + 5s;
  Result<std::unique_ptr<Channel>> channel = co_await connect_channel(
      world->loop, *world->network, std::move(to), std::move(mine), std::move(handler), deadline);
  co_await world->group.join();
  if (!channel.has_value()) co_return fail(channel.error());
  world->client = std::move(*channel);
  co_return Status{};
}

Task<void> shut(World* world) {
  for (const std::unique_ptr<Channel>* end : {&world->client, &world->server}) {
    if (*end == nullptr) continue;
    (*end)->close();
    world->hang.notify_all();
    co_await (*end)->closed();
  }
  co_await world->group.join();
  // Sockets die before their loop.
  world->client.reset();
  world->server.reset();
  world->listener.reset();
}

using Body = Task<void> (*)(World*);

Task<void> run_world(World* world, Body body) {
  Credentials mine{"stor1", "key"};
  Credentials theirs = mine;
  const Status opened = co_await open(world, std::move(mine), std::move(theirs));
  EXPECT_TRUE(opened.has_value());
  EXPECT_NE(world->server, nullptr);
  if (world->server != nullptr) co_await body(world);
  co_await shut(world);
}

class ChannelTest : public testing::TestWithParam<bool> {
 protected:
  void run(Body body) {
    run_on_loop([&](AsioRuntime& loop) {
      world_ = std::make_unique<World>(loop, GetParam());
      return run_world(world_.get(), body);
    });
    world_.reset();
  }
  std::unique_ptr<World> world_;
};

INSTANTIATE_TEST_SUITE_P(Networks, ChannelTest, testing::Values(false, true),
                         [](const auto& p) { return p.param ? "Tcp" : "Mem"; });

Payload text(std::string meta) { return Payload{std::move(meta), {}}; }

Buffer pattern(std::size_t size, std::uint64_t seed) {
  Buffer buffer = Buffer::allocate(size);
  Prng random(seed);
  for (std::size_t i = 0; i < size; ++i) buffer.data()[i] = static_cast<std::byte>(random.next());
  return buffer;
}

Task<void> call_into(World* world, Channel* channel, std::uint16_t op, Payload request,
                     Duration patience, Result<Payload>* outcome) {
  const Deadline deadline = world->loop.now() + patience;
  *outcome = co_await channel->call(op, std::move(request), deadline);
}

// One call from the client, to its end.
Task<Result<Payload>> ask(World* world, std::uint16_t op, Payload request, Duration patience = 5s) {
  const Deadline deadline = world->loop.now() + patience;
  co_return co_await world->client->call(op, std::move(request), deadline);
}

Task<void> pipelined(World* world) {
  constexpr std::size_t kCalls = 1000;
  std::vector<Result<Payload>> answers(kCalls);
  TaskGroup group(world->loop);
  for (std::size_t i = 0; i < kCalls; ++i) {
    group.spawn(
        call_into(world, world->client.get(), kEcho, text(std::to_string(i)), 5s, &answers[i]));
  }
  co_await group.join();
  EXPECT_EQ(world->seen.size(), kCalls);
  for (std::size_t i = 0; i < kCalls; ++i) {
    EXPECT_EQ(answers[i].value().meta, std::to_string(i));
    EXPECT_EQ(world->seen[i], std::to_string(i));
  }
}
TEST_P(ChannelTest, ManyRequestsArriveInOrderAndEachGetsItsReply) { run(pipelined); }

Task<void> bodies(World* world) {
  for (const std::size_t size : {1UL, 4096UL, 65536UL, 70001UL, 1UL << 20, 8UL << 20}) {
    Payload request = text("m");
    const Buffer all = pattern(size, size);
    // In three parts, one of them empty.
    request.body.push_back(all.slice(0, size / 3));
    request.body.push_back(Buffer());
    request.body.push_back(all.slice(size / 3, size - size / 3));
    Result<Payload> answer = co_await ask(world, kEcho, std::move(request));
    EXPECT_TRUE(answer.has_value());
    if (!answer.has_value()) co_return;
    EXPECT_EQ(answer->body.size(), 1U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(answer->body[0].data()) % 4096, 0U);
    EXPECT_TRUE(std::ranges::equal(answer->body[0].span(), all.span())) << size;
  }
}
TEST_P(ChannelTest, BodiesOfAllSizesTravelWholeAndAligned) { run(bodies); }

Task<void> errors(World* world) {
  Payload request = text("me");
  const Result<Payload> answer = co_await ask(world, kFail, std::move(request));
  EXPECT_EQ(answer.error().code(), Code::kNoSpace);
  EXPECT_EQ(answer.error().message(), "no space for me");
  Payload other = text("");
  const Result<Payload> large = co_await ask(world, kTooLargeReply, std::move(other));
  EXPECT_EQ(large.error().code(), Code::kInternal);
  EXPECT_TRUE(world->client->is_open());
}
TEST_P(ChannelTest, ErrorCodesAndMessagesTravel) { run(errors); }

Task<void> oversize(World* world) {
  Payload request = text(std::string(limits::kFrameMetaBytesMax + 1, 'x'));
  Result<Payload> answer = co_await ask(world, kEcho, std::move(request));
  EXPECT_EQ(answer.error().code(), Code::kInvalidArgument);
  Payload body = text("");
  body.body.push_back(Buffer::allocate(limits::kFrameBodyBytesMax + 1));
  answer = co_await ask(world, kEcho, std::move(body));
  EXPECT_EQ(answer.error().code(), Code::kInvalidArgument);
  EXPECT_TRUE(world->client->is_open());
}
TEST_P(ChannelTest, RequestBeyondTheLimitsIsRefusedBeforeItIsSent) { run(oversize); }

Task<void> timeouts(World* world) {
  Payload request = text("slow");
  const Result<Payload> answer = co_await ask(world, kHang, std::move(request), 20ms);
  EXPECT_EQ(answer.error().code(), Code::kTimeout);
  world->hang.notify_all();  // now the reply comes: late, dropped
  Payload next = text("next");
  const Result<Payload> echoed = co_await ask(world, kEcho, std::move(next));
  EXPECT_EQ(echoed.value().meta, "next");
  Payload past = text("past");
  const Result<Payload> expired = co_await ask(world, kEcho, std::move(past), -1ms);
  EXPECT_EQ(expired.error().code(), Code::kTimeout);
}
TEST_P(ChannelTest, DeadlineEndsACallAndTheLateReplyIsDropped) { run(timeouts); }

Task<void> close_in_flight(World* world) {
  std::vector<Result<Payload>> answers(10);
  bool told = false;
  world->client->on_close([&told] { told = true; });
  TaskGroup group(world->loop);
  for (Result<Payload>& answer : answers) {
    group.spawn(call_into(world, world->client.get(), kHang, text("x"), 5s, &answer));
  }
  while (world->hanging < answers.size()) co_await runtime::yield_turn(world->loop);
  world->client->close();
  EXPECT_FALSE(world->client->is_open());
  world->client->close();
  co_await group.join();
  for (const Result<Payload>& answer : answers) {
    EXPECT_EQ(answer.error().code(), Code::kConnectionLost);
  }
  Payload late = text("late");
  const Result<Payload> refused = co_await ask(world, kEcho, std::move(late));
  EXPECT_EQ(refused.error().code(), Code::kConnectionLost);
  world->client->post(kNote, text("nothing"));
  co_await world->client->closed();
  EXPECT_TRUE(told);
}
TEST_P(ChannelTest, CloseEndsRequestsInFlightAndTellsOnce) { run(close_in_flight); }

Task<void> peer_dies(World* world) {
  std::vector<Result<Payload>> answers(10);
  TaskGroup group(world->loop);
  for (Result<Payload>& answer : answers) {
    group.spawn(call_into(world, world->client.get(), kHang, text("x"), 5s, &answer));
  }
  while (world->hanging < answers.size()) co_await runtime::yield_turn(world->loop);
  world->server->close();
  co_await group.join();
  for (const Result<Payload>& answer : answers) {
    EXPECT_EQ(answer.error().code(), Code::kConnectionLost);
  }
  EXPECT_FALSE(world->client->is_open());
  bool told = false;
  world->client->on_close([&told] { told = true; });  // too late to be first, still told
  co_await world->client->closed();
  EXPECT_TRUE(told);
}
TEST_P(ChannelTest, DyingPeerEndsRequestsInFlight) { run(peer_dies); }

Task<void> both_ways(World* world) {
  constexpr std::size_t kCalls = 100;
  std::vector<Result<Payload>> there(kCalls);
  std::vector<Result<Payload>> back(kCalls);
  TaskGroup group(world->loop);
  for (std::size_t i = 0; i < kCalls; ++i) {
    Payload request = text(std::to_string(i));
    request.body.push_back(pattern(100'000, i));
    group.spawn(call_into(world, world->client.get(), kCallBack, request, 5s, &there[i]));
    group.spawn(call_into(world, world->server.get(), kEcho, request, 5s, &back[i]));
  }
  co_await group.join();
  for (std::size_t i = 0; i < kCalls; ++i) {
    EXPECT_EQ(there[i].value().meta, std::to_string(i));
    EXPECT_EQ(back[i].value().body.at(0).size(), 100'000U);
  }
}
TEST_P(ChannelTest, BothEndsCallAtOnce) { run(both_ways); }

Task<void> in_flight_limit(World* world) {
  std::vector<Result<Payload>> answers(limits::kChannelRequestsInFlightMax);
  TaskGroup group(world->loop);
  for (Result<Payload>& answer : answers) {
    group.spawn(call_into(world, world->client.get(), kHang, text("x"), 5s, &answer));
  }
  Payload extra = text("one more");
  const Result<Payload> refused = co_await ask(world, kEcho, std::move(extra));
  EXPECT_EQ(refused.error().code(), Code::kOverloaded);
  while (world->hanging < answers.size()) co_await runtime::yield_turn(world->loop);
  // The server reads no further than its own limit: posts wait behind the hanging requests.
  world->client->post(kNote, text("post"));
  co_await runtime::sleep_for(world->loop, 20ms);
  EXPECT_EQ(world->seen.size(), answers.size());
  world->hang.notify_all();
  co_await group.join();
  Payload next = text("next");
  const Result<Payload> echoed = co_await ask(world, kEcho, std::move(next));
  EXPECT_TRUE(echoed.has_value());
  EXPECT_EQ(world->seen.at(answers.size()), "post");
}
TEST_P(ChannelTest, RequestsInFlightAreBoundedOnBothSides) { run(in_flight_limit); }

Task<void> posts(World* world) {
  for (int i = 0; i < 1000; ++i) world->client->post(kNote, text(std::to_string(i)));
  Payload last = text("last");
  const Result<Payload> echoed = co_await ask(world, kEcho, std::move(last));
  EXPECT_TRUE(echoed.has_value());
  EXPECT_EQ(world->seen.size(), 1001U);
  EXPECT_EQ(world->seen.at(999), "999");
}
TEST_P(ChannelTest, PostsArriveInOrderWithCalls) { run(posts); }

struct Refused {
  Status connector;
  Status acceptor;
};
Task<void> refuse(World* world, Credentials theirs, Refused* refused) {
  Credentials mine{"stor1", "key"};
  refused->connector = co_await open(world, std::move(mine), std::move(theirs));
  refused->acceptor = world->accepted;
  co_await shut(world);
}
TEST_P(ChannelTest, WrongKeyAndWrongClusterAreToldApart) {
  for (const auto& [theirs, code] :
       {std::pair(Credentials{"stor1", "other"}, Code::kNotAuthenticated),
        std::pair(Credentials{"stor2", "key"}, Code::kWrongCluster)}) {
    Refused refused;
    run_on_loop([&](AsioRuntime& loop) {
      world_ = std::make_unique<World>(loop, GetParam());
      return refuse(world_.get(), theirs, &refused);
    });
    world_.reset();
    EXPECT_EQ(refused.connector.error().code(), code);
    EXPECT_EQ(refused.acceptor.error().code(), code);
  }
}

// Flips one bit of every read, once armed.
class GarblingStream final : public Stream {
 public:
  GarblingStream(std::unique_ptr<Stream> inner, Prng* random)
      : inner_(std::move(inner)), random_(random) {}
  Task<Result<std::size_t>> read_some(MutableBytes into) override {
    Result<std::size_t> got = co_await inner_->read_some(into);
    if (armed && got.has_value() && *got != 0) {
      into[random_->below(*got)] ^= static_cast<std::byte>(1U << random_->below(8));
    }
    co_return got;
  }
  Task<Status> write_all(std::vector<Bytes> parts) override {
    return inner_->write_all(std::move(parts));
  }
  void close() override { inner_->close(); }
  std::string peer() const override { return inner_->peer(); }
  bool armed = false;

 private:
  std::unique_ptr<Stream> inner_;
  Prng* random_;
};

Task<void> garble(World* world, std::uint64_t seed, std::size_t* lost) {
  Prng random(seed);
  GarblingStream* garbling = nullptr;
  Address any{"127.0.0.1", 0};
  Credentials credentials{"stor1", ""};
  auto listener = world->network->listen(any, [&](std::unique_ptr<Stream> s) {
    auto wrapped = std::make_unique<GarblingStream>(std::move(s), &random);
    garbling = wrapped.get();
    world->group.spawn(accept(world, std::move(wrapped), credentials));
  });
  Address to = (*listener)->address();
  Credentials mine = credentials;
  const Deadline deadline = world->loop.now() + 5s;
  Channel::Handler none;
  Result<std::unique_ptr<Channel>> channel = co_await connect_channel(
      world->loop, *world->network, std::move(to), std::move(mine), std::move(none), deadline);
  co_await world->group.join();
  world->client = std::move(*channel);
  garbling->armed = true;
  // A flipped bit in a header or a meta breaks the channel; it never becomes another request.
  Payload request = text("this is the meta of a request");
  const Result<Payload> answer = co_await ask(world, kEcho, std::move(request));
  if (!answer.has_value()) {
    EXPECT_EQ(answer.error().code(), Code::kConnectionLost);
    ++*lost;
  }
  EXPECT_TRUE(world->seen.empty());
  co_await shut(world);
}
TEST_P(ChannelTest, FlippedBitBreaksTheChannelAndReachesNoHandler) {
  std::size_t lost = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    run_on_loop([&](AsioRuntime& loop) {
      world_ = std::make_unique<World>(loop, GetParam());
      return garble(world_.get(), seed, &lost);
    });
    world_.reset();
  }
  EXPECT_EQ(lost, 50U);
}

Task<void> no_handler(World* world) {
  Address any{"127.0.0.1", 0};
  Credentials credentials{"stor1", ""};
  auto listener = world->network->listen(any, [&](std::unique_ptr<Stream> s) {
    world->group.spawn(accept(world, std::move(s), credentials));
  });
  Address to = (*listener)->address();
  Credentials mine = credentials;
  const Deadline deadline = world->loop.now() + 5s;
  Channel::Handler none;
  Result<std::unique_ptr<Channel>> channel = co_await connect_channel(
      world->loop, *world->network, std::move(to), std::move(mine), std::move(none), deadline);
  co_await world->group.join();
  world->client = std::move(*channel);
  Payload request = text("anybody?");
  const Result<Payload> answer = co_await world->server->call(kEcho, std::move(request), deadline);
  EXPECT_EQ(answer.error().code(), Code::kUnsupported);
  co_await shut(world);
}
TEST_P(ChannelTest, EndWithoutAHandlerAnswersUnsupported) {
  run_on_loop([&](AsioRuntime& loop) {
    world_ = std::make_unique<World>(loop, GetParam());
    return no_handler(world_.get());
  });
  world_.reset();
}

}  // namespace
}  // namespace cairn::net
