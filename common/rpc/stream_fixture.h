// A server with a stream method and a unary one, an opener, and what both were told.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/net/test_loop.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/grpc_stream.h"

namespace cairn::rpc::testing {

using runtime::AsioRuntime;

inline const net::Credentials kCredentials{"stor1", "key"};
inline const net::Address kAny{"127.0.0.1", 0};
inline std::shared_ptr<const std::string> text(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

// A server with one stream method, and what it heard.
struct Listener {
  explicit Listener(AsioRuntime& l) : loop(l), log(observe::make_null_log()) {
    streams.add("/t/Talk", [this](StreamOpening o) { return open(std::move(o)); });
    dispatcher.add("/t/Echo", [](std::string request) { return echo(std::move(request)); });
    restart();
  }
  class Receiver final : public StreamReceiver {
   public:
    explicit Receiver(Listener* owner) : owner_(owner) { ++owner_->open_now; }
    ~Receiver() override { --owner_->open_now; }
    Status message(std::string bytes) override {
      if (bytes == "bad") return fail(Code::kRefusedForSafety, "a bad word");
      owner_->bytes += bytes.size();
      owner_->got.push_back(std::move(bytes));
      return {};
    }

   private:
    Listener* const owner_;
  };
  Result<std::unique_ptr<StreamReceiver>> open(StreamOpening opening) {
    hellos.push_back(opening.hello);
    close = std::move(opening.close);
    if (opening.hello == "villain") return fail(Code::kWrongCluster, "not you");
    return std::make_unique<Receiver>(this);
  }
  static Task<Result<std::string>> echo(std::string request) { co_return request; }
  Task<void> stop() {
    const Deadline soon = loop.now() + 1s;
    co_await server->stop(soon);
    EXPECT_EQ(open_now, 0U);
  }
  void restart() {
    server.emplace(loop, *log, dispatcher, kCredentials, &streams);
    at = server->start(at).value();
  }

  AsioRuntime& loop;
  std::unique_ptr<observe::Log> log;
  Dispatcher dispatcher;
  StreamDispatcher streams;
  std::optional<GrpcServer> server;
  net::Address at = kAny;
  std::vector<std::string> hellos;
  std::vector<std::string> got;
  std::function<void(const Error&)> close;
  ByteCount bytes = 0;
  std::size_t open_now = 0;
};

// An opener, and what it was told.
struct Opener {
  Opener(AsioRuntime& loop, const net::Address& to, std::string hello = "hello",
         ByteCount queue = 64_MiB, net::Credentials credentials = kCredentials)
      : stream(loop, std::move(credentials),
               {.address = to,
                .method = "/t/Talk",
                .hello = [hello] { return hello; },
                .queue_bytes_max = queue,
                .on_change = [this](const Status& s) { states.push_back(s); }}) {}
  std::vector<Status> states;
  GrpcStream stream;
};

using Condition = std::function<bool()>;
// Until `done`, or 10 s. How long it took.
inline Task<Duration> until(AsioRuntime* loop, const Condition* done) {
  const Instant begin = loop->now();
  while (!(*done)() && loop->now() < begin + 10s) co_await runtime::sleep_for(*loop, 1ms);
  EXPECT_TRUE((*done)());
  co_return loop->now() - begin;
}

struct World {
  explicit World(AsioRuntime& l)
      : loop(&l), listener(l), opener(std::make_unique<Opener>(l, listener.at)) {}
  AsioRuntime* loop;
  Listener listener;
  std::unique_ptr<Opener> opener;
  Condition connected = [this] { return opener->stream.connected(); };
  Condition lost = [this] { return !opener->stream.connected(); };
};
using Body = Task<void> (*)(World*);
inline Task<void> run_world(std::unique_ptr<World> world, Body body) {
  co_await until(world->loop, &world->connected);
  co_await body(world.get());
  world->opener.reset();
  co_await world->listener.stop();
}
inline void run(Body body) {
  net::run_on_loop(
      [&](AsioRuntime& loop) { return run_world(std::make_unique<World>(loop), body); });
}

}  // namespace cairn::rpc::testing
