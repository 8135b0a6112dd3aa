// A group of MDS on virtual time, with everything but processes: elections, reigns, doors, members.
#include "mds/server/mds_server.h"

#include <gtest/gtest.h>

#include "common/net/mem_network.h"
#include "mds/master/master_fixture.h"
#include "mds/replication/mem_log_store.h"
#include "mds/replication/mem_vault.h"
#include "mds/state/machine.h"
#include "mds/testing/mem_peers.h"
#include "mds/testing/virtual_runtime.h"

namespace cairn::mds::server {
namespace {

using master::FakeClient;
using testing::Outcome;
using testing::VirtualRuntime;

net::Address door(unsigned id) { return {.host = "10.0.0." + std::to_string(id), .port = 2510}; }

// One MDS: what survives it, and its present life.
struct Node {
  Node(VirtualRuntime& runtime, unsigned number)
      : id(NodeId::from_raw(number)), vault(runtime, 1ms), store(runtime, 1ms) {}
  NodeId id;
  replication::MemVault vault;
  replication::MemLogStore store;
  std::unique_ptr<testing::MemPeers> peers;
  std::unique_ptr<MdsServer> server;
  std::unique_ptr<net::Listener> listener;
  std::optional<Error> ended;
};

// Calls the dispatcher of a node, if it lives.
class DirectCaller final : public rpc::Caller {
 public:
  explicit DirectCaller(Node* node) : node_(node) {}
  Task<Result<std::string>> call(std::string method, std::string request, Deadline) override {
    if (node_ == nullptr || node_->server == nullptr) co_return fail(Code::kUnavailable, "down");
    const rpc::Handler* handler = node_->server->dispatcher().find(method);
    if (handler == nullptr) co_return fail(Code::kUnsupported, method);
    Result<std::string> reply = co_await (*handler)(std::move(request));
    co_return reply;
  }

 private:
  Node* node_;
};

class MdsServerTest : public ::testing::Test {
 protected:
  MdsServerTest() {
    for (unsigned id = 1; id <= 3; ++id) nodes_.push_back(std::make_unique<Node>(runtime_, id));
  }
  ~MdsServerTest() override {
    for (auto& node : nodes_) stop(*node);
    runtime_.run_for(10s);
    EXPECT_EQ(tasks_.running(), 0U);
  }

  Node& node(unsigned id) { return *nodes_[id - 1]; }

  void start(unsigned id) {
    Node& node = *nodes_[id - 1];
    node.peers = std::make_unique<testing::MemPeers>(hub_, node.id);
    MdsServer::Options options;
    options.settings.mds_id = node.id;
    options.settings.address = door(id).to_string();
    options.settings.cluster = "test";
    options.settings.cluster_id = ClusterId::from_raw(42);
    options.settings.credentials = master::kCredentials;
    options.identity = {.mds_id = node.id,
                        .host = "host" + std::to_string(id),
                        .address = door(id),
                        .repo_uuid = 100 + id,
                        .repository = "/repo",
                        .usage = {}};
    options.group.self = node.id;
    options.group.cluster_id = options.settings.cluster_id;
    const bool founder = id == 1 && node.store.state().empty && !wiped_;
    if (founder) {
      options.group.bootstrap = {.version = 0,
                                 .members = {{.id = node.id,
                                              .role = paxos::Role::kVoter,
                                              .address = door(1).to_string(),
                                              .repo_uuid = 101}},
                                 .next_id = 2};
    }
    options.group.log_lost = node.store.state().empty && !founder;
    for (unsigned other = 1; other <= 3; ++other) {
      if (other != id) options.group.seeds[NodeId::from_raw(other)] = door(other);
    }
    options.on_end = [&node](const Error& error) { node.ended = error; };
    node.server = std::make_unique<MdsServer>(
        MdsServer::Parts{.runtime = runtime_,
                         .network = network_,
                         .log = *log_,
                         .vault = node.vault,
                         .store = node.store,
                         .peers = *node.peers,
                         .make_caller = [this](const net::Address& to) { return caller(to); }},
        options);
    const Status started = node.server->start();
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    MdsServer* server = node.server.get();
    auto listener = network_.listen(
        {.host = door(id).host, .port = 2511},
        [server](std::unique_ptr<net::Stream> stream) { server->accept(std::move(stream)); });
    ASSERT_TRUE(listener.has_value());
    node.listener = std::move(*listener);
  }
  void stop(Node& node) {
    if (node.server == nullptr) return;
    node.listener->close();
    Outcome<Status> stopped(tasks_, node.server->stop(runtime_.after(1s)));
    ASSERT_TRUE(runtime_.run_until([&] { return stopped.done(); }, 60s)) << "the MDS hangs";
    runtime_.run_for(1ms);
    node.server.reset();
    node.listener.reset();
    node.peers.reset();
  }
  std::unique_ptr<rpc::Caller> caller(const net::Address& to) {
    for (auto& node : nodes_) {
      if (door(node->id.raw()) == to) return std::make_unique<DirectCaller>(node.get());
    }
    return std::make_unique<DirectCaller>(nullptr);
  }
  template <class Reply, class Request>
  Result<Reply> ask(Node& node, const char* method, Request request) {
    DirectCaller caller(&node);
    Outcome<Result<Reply>> answer(
        tasks_, rpc::call<Reply, Request>(caller, std::string("/cairn.pb.Admin/") + method,
                                          std::move(request), runtime_.after(200s)));
    EXPECT_TRUE(runtime_.run_until([&] { return answer.done(); }, 200s));
    return std::move(answer.value());
  }
  Node* master() {
    for (auto& node : nodes_) {
      if (node->server != nullptr && node->server->is_master()) return node.get();
    }
    return nullptr;
  }
  static Task<Result<pb::CheckMdsReply>> check(std::shared_ptr<DirectCaller> caller) {
    pb::CheckMdsRequest request;
    std::string method = "/cairn.pb.Admin/CheckMds";
    Result<pb::CheckMdsReply> reply = co_await rpc::call<pb::CheckMdsReply>(
        *caller, std::move(method), std::move(request), Deadline::infinite());
    co_return reply;
  }
  bool wait_master(Duration limit) {
    return runtime_.run_until([this] { return master() != nullptr; }, limit);
  }
  Result<pb::AddMdsReply> add(unsigned id) {
    pb::AddMdsRequest request;
    request.set_cluster("test");
    request.set_address(door(id).to_string());
    request.set_repo_uuid(100 + id);
    return ask<pb::AddMdsReply>(*master(), "AddMds", request);
  }
  // Three voters.
  void form_group() {
    start(1);
    ASSERT_TRUE(wait_master(5s));
    for (unsigned id = 2; id <= 3; ++id) {
      const Result<pb::AddMdsReply> added = add(id);
      ASSERT_TRUE(added.has_value()) << added.error().to_string();
      ASSERT_EQ(added->mds_id(), id);
      start(id);
    }
    ASSERT_TRUE(runtime_.run_until(
        [this] { return paxos::voters(node(1).server->group().membership()) == 3; }, 20s));
  }
  void make_files(Node& at, const std::string& prefix, int count) {
    FakeClient client(runtime_, tasks_, network_, "process " + prefix,
                      {.host = door(at.id.raw()).host, .port = 2511});
    client.connect();
    client.open();
    for (int i = 0; i < count; ++i) client.create(prefix + std::to_string(i));
  }
  bool converge() {
    return runtime_.run_until(
        [this] {
          Slot slot;
          for (auto& node : nodes_) {
            if (node->server == nullptr) continue;
            const Slot applied = node->server->group().applied_slot();
            if (slot != Slot() && applied != slot) return false;
            slot = applied;
          }
          return true;
        },
        20s);
  }
  std::uint32_t digest(Node& node) { return state::Machine::digest(node.vault.tables()).value(); }

  VirtualRuntime runtime_{7};
  runtime::TaskGroup tasks_{runtime_};
  net::MemNetwork network_{runtime_};
  testing::PeerHub hub_{runtime_};
  std::unique_ptr<observe::Log> log_ = observe::make_null_log();
  std::vector<std::unique_ptr<Node>> nodes_;
  bool wiped_ = false;
};

TEST_F(MdsServerTest, MembersJoinCatchUpAndBecomeVotersByThemselves) {
  form_group();
  make_files(*master(), "file", 20);
  ASSERT_TRUE(converge());
  EXPECT_EQ(digest(node(1)), digest(node(2)));
  EXPECT_EQ(digest(node(1)), digest(node(3)));
  const Result<pb::AddMdsReply> again = add(3);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->mds_id(), 3U) << "the same repository has the same id";
}

TEST_F(MdsServerTest, AnotherOneServesWhenTheMasterStopsAndWhenItIsCutOff) {
  form_group();
  Node* first = master();
  make_files(*first, "a", 5);
  stop(*first);
  ASSERT_TRUE(wait_master(3s)) << "a clean stop hands over";
  Node* second = master();
  ASSERT_NE(second, first);
  make_files(*second, "b", 5);
  start(first->id.raw());
  ASSERT_TRUE(converge());
  hub_.isolate(second->id);
  ASSERT_TRUE(runtime_.run_until([&] { return master() != nullptr && master() != second; }, 5s));
  EXPECT_FALSE(second->server->group().may_serve());
  EXPECT_TRUE(runtime_.run_until([&] { return !second->server->is_master(); }, 3s));
  hub_.rejoin(second->id);
  make_files(*master(), "c", 5);
  ASSERT_TRUE(converge());
  EXPECT_EQ(digest(node(1)), digest(node(2)));
  EXPECT_EQ(digest(node(1)), digest(node(3)));
}

TEST_F(MdsServerTest, WhoeverIsNotTheMasterSaysWhoIs) {
  form_group();
  Node* leader = master();
  Node& other = leader == &node(1) ? node(2) : node(1);
  runtime_.run_for(1s);
  const auto refused = ask<pb::StatReply>(other, "Stat", pb::StatRequest());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Code::kNotMaster);
  EXPECT_NE(refused.error().message().find(door(leader->id.raw()).to_string()), std::string::npos);
  const auto hello = ask<pb::HelloReply>(other, "Hello", pb::HelloRequest());
  ASSERT_TRUE(hello.has_value());
  EXPECT_EQ(hello->master(), door(leader->id.raw()).to_string());
  pb::HelloRequest wrong;
  wrong.set_cluster("another");
  EXPECT_EQ(ask<pb::HelloReply>(other, "Hello", wrong).error().code(), Code::kWrongCluster);
  FakeClient client(runtime_, tasks_, network_, "process",
                    {.host = door(other.id.raw()).host, .port = 2511});
  client.connect();
  pb::ClientRequest request;
  request.mutable_open_session()->set_protocol(1);
  const master::Answer answer = client.call(request);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->error().code(), static_cast<std::uint32_t>(Code::kNotMaster));
  EXPECT_EQ(answer->master(), door(leader->id.raw()).to_string());
}

TEST_F(MdsServerTest, StatShowsEveryMemberAndItsState) {
  form_group();
  runtime_.run_for(3s);
  Node* leader = master();
  Node& other = leader == &node(3) ? node(2) : node(3);
  stop(other);
  runtime_.run_for(5s);
  const auto stat = ask<pb::StatReply>(*master(), "Stat", pb::StatRequest());
  ASSERT_TRUE(stat.has_value());
  ASSERT_EQ(stat->mds_size(), 3);
  for (const pb::MdsStat& mds : stat->mds()) {
    const bool down = mds.id() == other.id.raw();
    EXPECT_EQ(mds.status(), down ? "unavail" : "avail") << mds.id();
    EXPECT_EQ(mds.master(), mds.id() == master()->id.raw());
    EXPECT_EQ(mds.role(), "voter");
    EXPECT_EQ(mds.host(), "host" + std::to_string(mds.id()));
  }
}

TEST_F(MdsServerTest, RefusesToRemoveAMemberWithoutWhomNoMajorityIsUp) {
  form_group();
  stop(node(3));
  runtime_.run_for(5s);
  const unsigned victim = master() == &node(1) ? 2 : 1;
  pb::RemoveMdsRequest request;
  request.set_mds_id(victim);
  const auto refused = ask<pb::RemoveMdsReply>(*master(), "RemoveMds", request);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Code::kRefusedForSafety);
  request.set_mds_id(3);
  const auto removed = ask<pb::RemoveMdsReply>(*master(), "RemoveMds", request);
  ASSERT_TRUE(removed.has_value()) << removed.error().to_string();
  EXPECT_EQ(removed->members_size(), 2);
}

TEST_F(MdsServerTest, TheMasterHandsOverBeforeItIsRemovedAndThenEnds) {
  form_group();
  Node* first = master();
  pb::RemoveMdsRequest request;
  request.set_mds_id(first->id.raw());
  const auto handed = ask<pb::RemoveMdsReply>(*first, "RemoveMds", request);
  ASSERT_FALSE(handed.has_value());
  EXPECT_EQ(handed.error().code(), Code::kNotMaster);
  ASSERT_TRUE(runtime_.run_until([&] { return master() != nullptr && master() != first; }, 5s));
  const auto removed = ask<pb::RemoveMdsReply>(*master(), "RemoveMds", request);
  ASSERT_TRUE(removed.has_value()) << removed.error().to_string();
  EXPECT_TRUE(runtime_.run_until([&] { return first->ended.has_value(); }, 15s));
  EXPECT_EQ(first->ended->code(), Code::kNotFound);
}

TEST_F(MdsServerTest, AMasterEndsSoonAlthoughAClientNeverSaysWhoItIs) {
  form_group();
  Node* first = master();
  Node& other = first == &node(1) ? node(2) : node(1);
  std::vector<std::unique_ptr<net::Stream>> silent;
  for (Node* node : {first, &other}) {
    Outcome<Result<std::unique_ptr<net::Stream>>> made(
        tasks_,
        network_.connect({.host = door(node->id.raw()).host, .port = 2511}, runtime_.after(5s)));
    ASSERT_TRUE(runtime_.run_until([&] { return made.done(); }, 5s));
    ASSERT_TRUE(made.value().has_value());
    silent.push_back(std::move(*made.value()));
  }
  runtime_.run_for(100ms);
  for (Node* node : {first, &other}) {
    const Instant asked = runtime_.now();
    stop(*node);
    EXPECT_LT(runtime_.now() - asked, 2s);
  }
}

TEST_F(MdsServerTest, AMasterWhoseDiskFailedEndsAlthoughClientsWaitForAnswers) {
  start(1);
  ASSERT_TRUE(wait_master(5s));
  Node& only = node(1);
  FakeClient client(runtime_, tasks_, network_, "process", {.host = door(1).host, .port = 2511});
  client.connect();
  client.open();
  only.store.fail_from_now();
  pb::ClientRequest make;
  make.mutable_make_node()->set_parent(1);
  make.mutable_make_node()->set_name("file");
  make.mutable_make_node()->set_type(pb::TYPE_REGULAR);
  EXPECT_FALSE(client.mutate(make).has_value());
  ASSERT_TRUE(only.ended.has_value());
  EXPECT_EQ(only.ended->code(), Code::kDiskFailed);
  Outcome<master::Answer> read = client.begin(FakeClient::lookup("file"));
  runtime_.run_for(10ms);
  stop(only);
  EXPECT_TRUE(runtime_.run_until([&] { return read.done(); }, 1s));
}

TEST_F(MdsServerTest, WhoIsElectedAgainServesWhileItsLastReignStillEnds) {
  form_group();
  Node* first = master();
  FakeClient client(runtime_, tasks_, network_, "process",
                    {.host = door(first->id.raw()).host, .port = 2511});
  client.connect();
  client.open();
  Outcome<Result<pb::CheckMdsReply>> checked = [&] {
    hub_.isolate(first == &node(3) ? node(2).id : node(3).id);  // its digest never comes
    auto caller = std::make_shared<DirectCaller>(first);
    return Outcome<Result<pb::CheckMdsReply>>(tasks_, check(caller));
  }();
  runtime_.run_for(500ms);
  EXPECT_FALSE(checked.done());
  hub_.isolate(first->id);
  ASSERT_TRUE(runtime_.run_until([&] { return !first->server->is_master(); }, 5s));
  hub_.heal_all();
  ASSERT_TRUE(wait_master(5s));
  // What it read for that call in its last reign is not told in another one.
  ASSERT_TRUE(runtime_.run_until([&] { return checked.done(); }, 200s));
  EXPECT_FALSE(checked.value().has_value());
}

TEST_F(MdsServerTest, AWipedMemberComesBackByAFullResync) {
  form_group();
  make_files(*master(), "a", 30);
  Node& victim = master() == &node(3) ? node(2) : node(3);
  stop(victim);
  victim.store.wipe();
  victim.vault.wipe();
  wiped_ = true;
  make_files(*master(), "b", 30);
  start(victim.id.raw());
  ASSERT_TRUE(runtime_.run_until([&] { return !victim.server->group().recovering(); }, 30s));
  ASSERT_TRUE(converge());
  EXPECT_EQ(digest(node(1)), digest(victim));
}

TEST_F(MdsServerTest, CheckMdsComparesTheDigestsOfOneSlot) {
  form_group();
  make_files(*master(), "file", 10);
  const auto checked = ask<pb::CheckMdsReply>(*master(), "CheckMds", pb::CheckMdsRequest());
  ASSERT_TRUE(checked.has_value()) << checked.error().to_string();
  ASSERT_EQ(checked->mds_size(), 3);
  EXPECT_GT(checked->slot(), 0U);
  for (const auto& one : checked->mds()) {
    EXPECT_EQ(one.failure(), "");
    EXPECT_EQ(one.digest(), checked->mds(0).digest());
  }
}

}  // namespace
}  // namespace cairn::mds::server
