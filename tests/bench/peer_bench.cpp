// cairn_bench_peer: what a message between two MDS costs over a stream (common/rpc/stream.h) and as
// a unary call, side by side, on loopback. A message of N bytes goes there, an answer of 16 bytes
// comes back: on the second stream, as the reply of the call. Two threads: one for each member. CPU
// is that of the whole process, both ends. usage: cairn_bench_peer [seconds per row, default 2]
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <thread>
#include <vector>

#include "common/base/limits.h"
#include "common/daemon/memory.h"
#include "common/rpc/grpc_client.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/grpc_stream.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn {
namespace {

using runtime::AsioRuntime;
using runtime::TaskGroup;

constexpr std::size_t kAnswer = 16;
constexpr const char* kTalk = "/bench/Talk";
constexpr const char* kCall = "/bench/Call";
const net::Credentials kCredentials{"bench", "key"};
Duration g_row = 2s;

double cpu_now() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// One row of the table, from construction to print().
struct Row {
  using Clock = std::chrono::steady_clock;
  bool more() const { return Clock::now() - begin < g_row; }
  void done(Clock::time_point sent) {
    took.push_back(std::chrono::duration<double, std::micro>(Clock::now() - sent).count());
  }
  void print(const std::string& name, std::size_t bytes) {
    const double wall = std::chrono::duration<double>(Clock::now() - begin).count();
    const double cpu_us = (cpu_now() - cpu) * 1e6;
    const auto n = static_cast<double>(std::max<std::size_t>(took.size(), 1));
    std::ranges::sort(took);
    const auto at = [this](double share) {
      return took.empty()
                 ? 0.0
                 : took[static_cast<std::size_t>(share * static_cast<double>(took.size() - 1))];
    };
    fmt::print(
        "{:<38} {:>9.0f} /s {:>8.0f} MiB/s {:>9.1f} us p50 {:>9.1f} us p99 {:>8.1f} us CPU\n", name,
        n / wall, n * static_cast<double>(bytes) / wall / (1 << 20), at(0.5), at(0.99), cpu_us / n);
    std::fflush(stdout);
  }
  std::vector<double> took;
  double cpu = cpu_now();
  Clock::time_point begin = Clock::now();
};

// One end: a server, and a stream to the other end.
struct Side {
  using OnMessage = std::function<void(std::string)>;
  class Receiver final : public rpc::StreamReceiver {
   public:
    explicit Receiver(Side* side) : side_(side) {}
    Status message(std::string bytes) override {
      side_->on_message(std::move(bytes));
      return {};
    }

   private:
    Side* const side_;
  };
  void serve() {
    streams.add(kTalk, [this](rpc::StreamOpening) -> Result<std::unique_ptr<rpc::StreamReceiver>> {
      return std::make_unique<Receiver>(this);
    });
    dispatcher.add(kCall, [](std::string) { return reply(); });
    server = std::make_unique<rpc::GrpcServer>(loop, *log, dispatcher, kCredentials, &streams);
    at = server->start({"127.0.0.1", 0}).value();
  }
  static Task<Result<std::string>> reply() { co_return std::string(kAnswer, 'a'); }
  void dial(const net::Address& to) {
    out = std::make_unique<rpc::GrpcStream>(
        loop, kCredentials,
        rpc::GrpcStream::Options{.address = to,
                                 .method = kTalk,
                                 .hello = [] { return std::string("bench"); },
                                 .queue_bytes_max = limits::kPeerQueueBytesMax,
                                 .on_change = nullptr});
  }
  static Task<void> stop(Side* side) {
    side->out.reset();
    const Deadline soon = side->loop.now() + 1s;
    co_await side->server->stop(soon);
    side->loop.stop();
  }

  AsioRuntime loop;
  std::unique_ptr<observe::Log> log = observe::make_null_log();
  rpc::Dispatcher dispatcher;
  rpc::StreamDispatcher streams;
  std::unique_ptr<rpc::GrpcServer> server;
  net::Address at;
  std::unique_ptr<rpc::GrpcStream> out;
  OnMessage on_message = [](std::string) {};
  TaskGroup tasks{loop};
};

struct Plan {
  std::size_t bytes;
  std::size_t depth;
};
constexpr Plan kPlans[] = {{64, 1},        {64, 64},     {16 << 10, 1},
                           {16 << 10, 64}, {1 << 20, 1}, {1 << 20, 8}};

Task<void> ask_unary(Side* a, rpc::Caller* caller, std::size_t bytes, Row* row) {
  while (row->more()) {
    const auto sent = Row::Clock::now();
    std::string method = kCall;
    std::string request(bytes, 'x');
    const Deadline deadline = a->loop.now() + 5s;
    const Result<std::string> answer =
        co_await caller->call(std::move(method), std::move(request), deadline);
    CHECK(answer.has_value());
    row->done(sent);
  }
}
Task<void> unary(Side* a, rpc::Caller* caller, Plan plan) {
  Row row;
  TaskGroup group(a->loop);
  for (std::size_t i = 0; i < plan.depth; ++i) {
    group.spawn(ask_unary(a, caller, plan.bytes, &row));
  }
  co_await group.join();
  row.print(fmt::format("unary,  {} B, {} under way", plan.bytes, plan.depth), plan.bytes);
}

// `depth` messages under way; each answer sends the next one.
Task<void> streamed(Side* a, Plan plan) {
  Row row;
  runtime::Completion<bool> over(a->loop);
  std::deque<Row::Clock::time_point> sent;
  const auto send = [a, &sent, plan] {
    sent.push_back(Row::Clock::now());
    CHECK(a->out->send(std::make_shared<const std::string>(std::string(plan.bytes, 'x'))));
  };
  a->on_message = [&](std::string answer) {
    CHECK_EQ(answer.size(), kAnswer);
    row.done(sent.front());
    sent.pop_front();
    if (row.more()) {
      send();
    } else if (sent.empty()) {
      over.set(true);
    }
  };
  for (std::size_t i = 0; i < plan.depth; ++i) send();
  co_await over.wait();
  row.print(fmt::format("stream, {} B, {} under way", plan.bytes, plan.depth), plan.bytes);
}

Task<void> run_all(Side* a, Side* b) {
  rpc::GrpcCaller caller(a->loop, b->at, kCredentials);
  while (!a->out->connected()) co_await runtime::sleep_for(a->loop, 1ms);
  {
    // The way back: an answer only comes when the other member is connected too.
    runtime::Completion<bool> linked(a->loop);
    a->on_message = [&linked](std::string) { linked.set(true); };
    while (!linked.is_set()) {
      a->out->send(std::make_shared<const std::string>("anybody"));
      co_await runtime::sleep_for(a->loop, 10ms);
    }
    co_await runtime::sleep_for(a->loop, 100ms);
  }
  for (const Plan& plan : kPlans) {
    co_await unary(a, &caller, plan);
    co_await streamed(a, plan);
  }
  b->loop.post([b] { b->tasks.spawn(Side::stop(b)); });
  co_await Side::stop(a);
}

int bench() {
  daemon::keep_freed_memory();  // as in the daemons
  Side a;
  Side b;
  a.serve();
  b.serve();
  b.on_message = [&b](std::string) {
    b.out->send(std::make_shared<const std::string>(kAnswer, 'a'));
  };
  a.dial(b.at);
  b.dial(a.at);
  std::thread thread([&b] { b.loop.run(); });
  TaskGroup group(a.loop);
  group.spawn(run_all(&a, &b));
  a.loop.run();
  thread.join();
  return 0;
}

}  // namespace
}  // namespace cairn

int main(int argc, char** argv) {
  if (argc > 1) cairn::g_row = std::chrono::milliseconds(std::atoi(argv[1]) * 1000);
  return cairn::bench();
}
