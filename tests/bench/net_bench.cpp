// cairn_bench_net: what a call and a MiB cost over a Channel, over gRPC, and over plain loopback
// TCP in the same run. Decides decision 0001 (framed sessions beside gRPC). Two threads: one
// serves, one asks. CPU is that of the whole process, both ends. usage: cairn_bench_net [seconds
// per row, default 2]
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "common/daemon/memory.h"
#include "common/net/channel.h"
#include "common/net/tcp_network.h"
#include "common/rpc/grpc_client.h"
#include "common/rpc/grpc_server.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn {
namespace {

using runtime::AsioRuntime;
using runtime::TaskGroup;

constexpr std::size_t kSmall = 64;
constexpr std::size_t kLarge = 1 << 20;
const net::Credentials kCredentials{"bench", "key"};
Duration g_row = 2s;

double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
}
double cpu_now() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// One row of the table, from construction to print().
struct Row {
  explicit Row(std::string n) : name(std::move(n)) {}
  bool more() {
    now = std::chrono::steady_clock::now();
    return now - begin < g_row;
  }
  void print(std::size_t bytes) const {
    const double wall = std::chrono::duration<double>(now - begin).count();
    const auto n = static_cast<double>(std::max<std::size_t>(count, 1));
    const double us = wall / n * 1e6;
    const double cpu_us = (cpu_now() - cpu) / n * 1e6;
    const double mib = n * static_cast<double>(bytes) / wall / (1 << 20);
    fmt::print("{:<34} {:>10.1f} us/unit {:>10.0f} /s {:>10.1f} us CPU", name, us, n / wall,
               cpu_us);
    if (bytes >= kLarge) fmt::print(" {:>8.0f} MiB/s", mib);
    fmt::print("\n");
    std::fflush(stdout);
  }
  std::string name;
  std::size_t count = 0;
  double cpu = cpu_now();
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point now = begin;
};

// ---- plain TCP, blocking, one thread at each end ----

struct Sockets {
  int a = -1;
  int b = -1;
};
Sockets connected() {
  const int door = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  auto* const raw = reinterpret_cast<sockaddr*>(&at);
  Sockets s;
  bool good = ::bind(door, raw, size) == 0 && ::listen(door, 1) == 0 &&
              ::getsockname(door, raw, &size) == 0;
  s.a = ::socket(AF_INET, SOCK_STREAM, 0);
  good = good && ::connect(s.a, raw, size) == 0;
  s.b = ::accept(door, nullptr, nullptr);
  CHECK(good && s.b >= 0);
  for (const int end : {s.a, s.b}) {
    const int one = 1;
    ::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  ::close(door);
  return s;
}
bool receive(int socket, std::vector<char>& into) {
  for (std::size_t got = 0; got < into.size();) {
    const ssize_t n = ::recv(socket, into.data() + got, into.size() - got, 0);
    if (n <= 0) return false;
    got += static_cast<std::size_t>(n);
  }
  return true;
}
bool send_all(int socket, const std::vector<char>& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}
// Requests of `there` bytes, replies of `back` bytes.
void plain(std::string name, std::size_t there, std::size_t back) {
  const Sockets s = connected();
  std::thread server([&] {
    std::vector<char> request(there);
    const std::vector<char> reply(back);
    while (receive(s.b, request) && send_all(s.b, reply)) {
    }
  });
  const std::vector<char> request(there);
  std::vector<char> reply(back);
  Row row(std::move(name));
  while (row.more()) {
    CHECK(send_all(s.a, request) && receive(s.a, reply));
    ++row.count;
  }
  row.print(std::max(there, back));
  ::shutdown(s.a, SHUT_RDWR);
  server.join();
  ::close(s.a);
  ::close(s.b);
}

// ---- a serving thread with its own loop ----

struct Server {
  AsioRuntime loop;
  net::TcpNetwork network{loop};
  std::unique_ptr<observe::Log> log = observe::make_null_log();
  rpc::Dispatcher dispatcher;
  std::unique_ptr<rpc::GrpcServer> grpc;
  std::unique_ptr<net::Listener> listener;
  std::vector<std::unique_ptr<net::Channel>> channels;
  std::unique_ptr<TaskGroup> group = std::make_unique<TaskGroup>(loop);
  net::Address grpc_at;
  net::Address channel_at;
  Buffer large = Buffer::zeroed(kLarge);
};

Task<Result<std::string>> echo(std::string request) { co_return request; }

// Op 1 echoes the meta, op 2 takes a body, op 3 gives one.
Task<Result<net::Payload>> answer(Server* server, std::uint16_t op, net::Payload request) {
  net::Payload reply;
  reply.meta = std::move(request.meta);
  if (op == 3) reply.body.push_back(server->large);
  co_return reply;
}
Task<void> accept(Server* server, std::unique_ptr<net::Stream> stream) {
  net::Channel::Handler handler = [server](std::uint16_t op, net::Payload p) {
    return answer(server, op, std::move(p));
  };
  net::Credentials credentials = kCredentials;
  const Deadline deadline = server->loop.now() + 5s;
  auto channel = co_await net::accept_channel(server->loop, std::move(stream),
                                              std::move(credentials), std::move(handler), deadline);
  if (channel.has_value()) server->channels.push_back(std::move(*channel));
}
void start(Server* server) {
  server->dispatcher.add("/bench/Echo", echo);
  server->grpc = std::make_unique<rpc::GrpcServer>(server->loop, *server->log, server->dispatcher,
                                                   kCredentials);
  const net::Address any{"127.0.0.1", 0};
  server->grpc_at = server->grpc->start(any).value();
  auto listener = server->network.listen(any, [server](std::unique_ptr<net::Stream> s) {
    server->group->spawn(accept(server, std::move(s)));
  });
  server->listener = std::move(*listener);
  server->channel_at = server->listener->address();
}
Task<void> stop(Server* server) {
  server->listener->close();
  for (const auto& channel : server->channels) {
    channel->close();
    co_await channel->closed();
  }
  const Deadline soon = server->loop.now() + 1s;
  co_await server->grpc->stop(soon);
  server->loop.stop();
}

// ---- the asking side ----

struct Client {
  AsioRuntime* loop;
  net::Channel* channel = nullptr;
  rpc::Caller* caller = nullptr;
  Buffer large = Buffer::zeroed(kLarge);
};

Task<void> ask(Client* client, std::uint16_t op, Row* row) {
  while (row->more()) {
    net::Payload request;
    request.meta.assign(kSmall, 'x');
    if (op == 2) request.body.push_back(client->large);
    const Deadline deadline = client->loop->now() + 5s;
    const Result<net::Payload> reply =
        co_await client->channel->call(op, std::move(request), deadline);
    CHECK(reply.has_value());
    ++row->count;
  }
}
Task<void> ask_grpc(Client* client, std::uint16_t, Row* row) {
  while (row->more()) {
    std::string method = "/bench/Echo";
    std::string request(kSmall, 'x');
    const Deadline deadline = client->loop->now() + 5s;
    const Result<std::string> reply =
        co_await client->caller->call(std::move(method), std::move(request), deadline);
    CHECK(reply.has_value());
    ++row->count;
  }
}

using Asker = Task<void> (*)(Client*, std::uint16_t, Row*);
Task<void> measure(Client* client, std::string name, Asker asker, std::uint16_t op, int depth) {
  TaskGroup group(*client->loop);
  Row row(std::move(name));
  for (int i = 0; i < depth; ++i) group.spawn(asker(client, op, &row));
  co_await group.join();
  row.print(op == 1 ? kSmall : kLarge);
}

struct Plan {
  const char* name;
  Asker asker;
  std::uint16_t op;
  int depth;
};
Task<void> run_all(Client* client, net::TcpNetwork* network, Server* server) {
  net::Address to = server->channel_at;
  net::Credentials credentials = kCredentials;
  net::Channel::Handler none;
  const Deadline deadline = client->loop->now() + 5s;
  auto channel = co_await net::connect_channel(*client->loop, *network, std::move(to),
                                               std::move(credentials), std::move(none), deadline);
  client->channel = channel->get();
  rpc::GrpcCaller caller(*client->loop, server->grpc_at, kCredentials);
  client->caller = &caller;
  static constexpr Plan kPlans[] = {
      {"channel, call of 64 B", ask, 1, 1},   {"channel, 64 calls under way", ask, 1, 64},
      {"gRPC, call of 64 B", ask_grpc, 1, 1}, {"gRPC, 64 calls under way", ask_grpc, 1, 64},
      {"channel, send 1 MiB", ask, 2, 1},     {"channel, send 1 MiB, 4 under way", ask, 2, 4},
      {"channel, fetch 1 MiB", ask, 3, 1},    {"channel, fetch 1 MiB, 4 under way", ask, 3, 4},
  };
  for (const Plan& plan : kPlans) {
    std::string name = plan.name;
    co_await measure(client, std::move(name), plan.asker, plan.op, plan.depth);
  }
  (*channel)->close();
  co_await (*channel)->closed();
  client->loop->stop();
}

int bench() {
  daemon::keep_freed_memory();  // as in the daemons
  plain("plain TCP, round trip of 64 B", kSmall, kSmall);
  plain("plain TCP, send 1 MiB", kLarge, kSmall);
  plain("plain TCP, fetch 1 MiB", kSmall, kLarge);
  Server server;
  start(&server);
  std::thread thread([&server] { server.loop.run(); });
  {
    AsioRuntime loop;
    net::TcpNetwork network(loop);
    Client client{&loop};
    TaskGroup group(loop);
    group.spawn(run_all(&client, &network, &server));
    loop.run();
  }
  server.loop.post([&server] { server.group->spawn(stop(&server)); });
  thread.join();
  return 0;
}

}  // namespace
}  // namespace cairn

int main(int argc, char** argv) {
  if (argc > 1) cairn::g_row = std::chrono::milliseconds(std::atoi(argv[1]) * 1000);
  return cairn::bench();
}
