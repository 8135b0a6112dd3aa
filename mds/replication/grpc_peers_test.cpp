#include "mds/replication/grpc_peers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "common/net/test_loop.h"
#include "common/rpc/grpc_server.h"

namespace cairn::mds::replication {
namespace {

using net::run_on_loop;
using runtime::AsioRuntime;

const net::Credentials kCredentials{"stor1", "key"};
const net::Address kAny{"127.0.0.1", 0};
constexpr auto kOne = NodeId::from_raw(1);
constexpr auto kTwo = NodeId::from_raw(2);
const auto kCluster = ClusterId::from_raw(77);

// The last errors of the log.
class Errors final : public observe::Log {
 public:
  void write(observe::Severity severity, const std::string& line) override {
    if (severity == observe::Severity::kError) lines.push_back(line);
  }
  bool enabled(observe::Severity) const override { return true; }
  std::vector<std::string> lines;
};

// One MDS as far as its peers see it.
struct Member {
  Member(AsioRuntime& l, NodeId id, ClusterId cluster = kCluster, net::Credentials c = kCredentials)
      : loop(l), self(id), credentials(std::move(c)) {
    peers = std::make_unique<GrpcPeers>(
        loop, log, GrpcPeers::Options{id, cluster, 1000 + id.raw(), "", credentials});
    peers->start(
        [this](NodeId from, std::string bytes) { got.emplace_back(from, std::move(bytes)); });
    peers->on_change([this](NodeId peer) { changed.push_back(peer); });
  }
  void serve(const net::Address& where) {
    server.emplace(loop, log, dispatcher, credentials, &peers->streams());
    at = server->start(where).value();
    peers->set_address(at.to_string());
  }
  Task<void> stop() {
    if (server.has_value()) {
      const Deadline soon = loop.now() + 1s;
      co_await server->stop(soon);
    }
    server.reset();
    peers.reset();
  }

  AsioRuntime& loop;
  const NodeId self;
  const net::Credentials credentials;
  Errors log;
  rpc::Dispatcher dispatcher;
  std::unique_ptr<GrpcPeers> peers;
  std::optional<rpc::GrpcServer> server;
  net::Address at;
  std::vector<std::pair<NodeId, std::string>> got;
  std::vector<NodeId> changed;
};

void link(Member& a, Member& b) {
  a.peers->set_peers({{a.self, a.at}, {b.self, b.at}});
  b.peers->set_peers({{a.self, a.at}, {b.self, b.at}});
}
bool linked(const Member& a, const Member& b) {
  return a.peers->connected(b.self) && b.peers->connected(a.self);
}
void send(Member& from, NodeId to, std::string bytes) {
  from.peers->send(to, std::make_shared<const std::string>(std::move(bytes)));
}

// Until `done`, or 10 s.
using Condition = std::function<bool()>;
Task<void> until(AsioRuntime* loop, const Condition* done) {
  const Deadline limit = loop->now() + 10s;
  while (!(*done)() && loop->now() < limit) co_await runtime::sleep_for(*loop, 1ms);
  EXPECT_TRUE((*done)());
}

struct Pair {
  explicit Pair(AsioRuntime& l) : loop(&l), a(l, kOne), b(l, kTwo) {
    a.serve(kAny);
    b.serve(kAny);
  }
  AsioRuntime* loop;
  Member a;
  Member b;
};
using Body = Task<void> (*)(Pair*);
Task<void> with_pair(std::unique_ptr<Pair> pair, Body body) {
  co_await body(pair.get());
  co_await pair->a.stop();
  co_await pair->b.stop();
}
void run(Body body) {
  run_on_loop([&](AsioRuntime& loop) { return with_pair(std::make_unique<Pair>(loop), body); });
}

Task<void> both_ways(Pair* p) {
  link(p->a, p->b);
  const Condition done1 = [p] { return linked(p->a, p->b); };
  co_await until(p->loop, &done1);
  constexpr int kMessages = 500;
  for (int i = 0; i < kMessages; ++i) {
    send(p->a, kTwo, std::to_string(i));
    send(p->b, kOne, std::to_string(i));
  }
  const Condition done2 = [p] {
    return p->a.got.size() >= kMessages && p->b.got.size() >= kMessages;
  };
  co_await until(p->loop, &done2);
  for (int i = 0; i < kMessages; ++i) {
    const auto n = static_cast<std::size_t>(i);
    EXPECT_EQ(p->a.got[n], std::pair(kTwo, std::to_string(i)));
    EXPECT_EQ(p->b.got[n], std::pair(kOne, std::to_string(i)));
  }
  const std::optional<pb::PeerHello> hello = p->a.peers->hello_of(kTwo);
  EXPECT_EQ(hello->from(), 2U);
  EXPECT_EQ(hello->repo_uuid(), 1002U);
  EXPECT_EQ(hello->address(), p->b.at.to_string());
  EXPECT_FALSE(p->a.peers->hello_of(NodeId::from_raw(3)).has_value());
  EXPECT_TRUE(std::ranges::find(p->a.changed, kTwo) != p->a.changed.end());
}
TEST(GrpcPeers, MessagesArriveInOrderBothWays) { run(both_ways); }

Task<void> restart(Pair* p) {
  link(p->a, p->b);
  const Condition done3 = [p] { return linked(p->a, p->b); };
  co_await until(p->loop, &done3);
  const net::Address at = p->b.at;
  co_await p->b.stop();
  const Condition done4 = [p] { return !p->a.peers->connected(kTwo); };
  co_await until(p->loop, &done4);
  send(p->a, kTwo, "to nobody");
  EXPECT_EQ(p->a.peers->dropped(kTwo), 1U);
  p->b.got.clear();

  Member again(*p->loop, kTwo);
  again.serve(at);
  again.peers->set_peers({{kOne, p->a.at}});
  Member* const raw = &again;
  const Condition done5 = [p, raw] { return linked(p->a, *raw); };
  co_await until(p->loop, &done5);
  send(p->a, kTwo, "welcome");
  const Condition done6 = [raw] { return !raw->got.empty(); };
  co_await until(p->loop, &done6);
  EXPECT_EQ(again.got.front().second, "welcome");
  co_await again.stop();
}
TEST(GrpcPeers, PeerThatRestartedIsFoundAgain) { run(restart); }

Task<void> set_peers(Pair* p) {
  link(p->a, p->b);
  const Condition done7 = [p] { return linked(p->a, p->b); };
  co_await until(p->loop, &done7);
  p->a.peers->set_peers({});
  EXPECT_FALSE(p->a.peers->connected(kTwo));
  send(p->a, kTwo, "x");
  // Elsewhere: nobody is there, then the right address again.
  p->a.peers->set_peers({{kTwo, net::Address{"127.0.0.1", 1}}});
  co_await runtime::sleep_for(*p->loop, 20ms);
  EXPECT_FALSE(p->a.peers->connected(kTwo));
  p->a.peers->set_peers({{kTwo, p->b.at}});
  const Condition done8 = [p] { return p->a.peers->connected(kTwo); };
  co_await until(p->loop, &done8);
  send(p->a, kTwo, "y");
  const Condition done9 = [p] { return !p->b.got.empty(); };
  co_await until(p->loop, &done9);
  EXPECT_EQ(p->b.got.front().second, "y");
}
TEST(GrpcPeers, SetPeersDropsAndMovesLinks) { run(set_peers); }

// `stranger` dials MDS 2 of the pair and must stay outside.
Task<void> refused(Pair* p, Member* stranger, NodeId as) {
  stranger->peers->set_peers({{as, p->b.at}});
  co_await runtime::sleep_for(*p->loop, 300ms);
  EXPECT_FALSE(stranger->peers->connected(as));
  send(*stranger, as, "x");
  co_await runtime::sleep_for(*p->loop, 50ms);
  EXPECT_TRUE(p->b.got.empty());
  EXPECT_FALSE(p->b.peers->hello_of(stranger->self).has_value());
  co_await stranger->stop();
}
Task<void> strangers(Pair* p) {
  Member other_cluster(*p->loop, kOne, ClusterId::from_raw(78));
  co_await refused(p, &other_cluster, kTwo);
  EXPECT_EQ(p->b.log.lines.size(), 1U);
  EXPECT_NE(p->b.log.lines.front().find("of cluster 000000000000004e"), std::string::npos)
      << p->b.log.lines.front();
  Member other_key(*p->loop, kOne, kCluster, net::Credentials{"stor1", "guess"});
  co_await refused(p, &other_key, kTwo);
  Member other_name(*p->loop, kOne, kCluster, net::Credentials{"stor2", "key"});
  co_await refused(p, &other_name, kTwo);
  Member wrong_address(*p->loop, kOne);
  co_await refused(p, &wrong_address, NodeId::from_raw(3));
  Member myself(*p->loop, kTwo);
  myself.peers->set_peers({{kTwo, p->b.at}});
  EXPECT_FALSE(myself.peers->connected(kTwo));
  co_await myself.stop();
}
TEST(GrpcPeers, StrangersStayOutside) { run(strangers); }

Task<void> second_stream(Pair* p) {
  link(p->a, p->b);
  const Condition done10 = [p] { return linked(p->a, p->b); };
  co_await until(p->loop, &done10);
  // The same member, restarted elsewhere, before the old connection is known to be dead.
  Member again(*p->loop, kOne);
  again.serve(kAny);
  again.peers->set_peers({{kTwo, p->b.at}});
  Member* const raw = &again;
  const Condition done11 = [raw] { return raw->peers->connected(kTwo); };
  co_await until(p->loop, &done11);
  EXPECT_EQ(p->b.peers->hello_of(kOne)->address(), again.at.to_string());
  send(again, kTwo, "new");
  const Condition done12 = [p] { return !p->b.got.empty(); };
  co_await until(p->loop, &done12);
  EXPECT_EQ(p->b.got.front().second, "new");
  co_await again.stop();
}
TEST(GrpcPeers, NewerStreamOfAPeerReplacesTheOlder) { run(second_stream); }

}  // namespace
}  // namespace cairn::mds::replication
