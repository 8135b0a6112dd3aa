// Group: one member on virtual time; the others, where there are any, are played by the test.
#include "mds/replication/group.h"

#include <gtest/gtest.h>

#include "mds/replication/mem_log_store.h"
#include "mds/replication/mem_vault.h"
#include "mds/replication/peer_codec.h"
#include "mds/replication/snapshot_server.h"
#include "mds/state/machine.h"
#include "mds/testing/virtual_runtime.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::replication {
namespace {

using testing::Outcome;
using testing::VirtualRuntime;

constexpr ClusterId kCluster = ClusterId::from_raw(42);
constexpr NodeId kSelf = NodeId::from_raw(1);
constexpr NodeId kOther = NodeId::from_raw(2);
constexpr NodeId kThird = NodeId::from_raw(3);

paxos::Membership members_of(std::uint64_t version, std::uint32_t count) {
  paxos::Membership members{.version = version, .members = {}, .next_id = count + 1};
  for (std::uint32_t id = 1; id <= count; ++id) {
    members.members.push_back({.id = NodeId::from_raw(id),
                               .role = paxos::Role::kVoter,
                               .address = "10.0.0." + std::to_string(id) + ":2510",
                               .repo_uuid = id});
  }
  return members;
}

std::string a_command() {
  pb::Command command;
  command.mutable_digest_mark()->set_mark(0);
  return command.SerializeAsString();
}

// The other members are whoever calls say().
class Wire final : public PeerTransport {
 public:
  void start(OnMessage on_message) override { on_message_ = std::move(on_message); }
  void set_peers(const std::map<NodeId, net::Address>&) override {}
  void send(NodeId to, std::shared_ptr<const std::string> bytes) override {
    const Result<PeerMessage> message = decode_peer_message(*bytes);
    ASSERT_TRUE(message.has_value());
    if (const auto* sent = std::get_if<paxos::Message>(&*message)) last_[to] = *sent;
  }
  bool connected(NodeId) const override { return true; }

  void say(NodeId from, const paxos::Message& message) {
    on_message_(from, encode_peer_message(message));
  }
  // What was sent last to a member, if it is of this kind.
  template <class T>
  const T* last(NodeId to) const {
    const auto at = last_.find(to);
    return at == last_.end() ? nullptr : std::get_if<T>(&at->second);
  }

 private:
  OnMessage on_message_;
  std::map<NodeId, paxos::Message> last_;
};

// Asks another member's SnapshotServer.
class SnapshotCaller final : public rpc::Caller {
 public:
  explicit SnapshotCaller(SnapshotServer* server) : server_(server) {}
  Task<Result<std::string>> call(std::string method, std::string request, Deadline) override {
    if (method == "/cairn.pb.Peer/OpenSnapshot") {
      pb::OpenSnapshotRequest open;
      CHECK(open.ParseFromString(request));
      const Result<pb::OpenSnapshotReply> reply = co_await server_->open(std::move(open));
      if (!reply.has_value()) co_return fail(reply.error());
      co_return reply->SerializeAsString();
    }
    pb::ReadSnapshotRequest read;
    CHECK(read.ParseFromString(request));
    const Result<pb::ReadSnapshotReply> reply = co_await server_->read(std::move(read));
    if (!reply.has_value()) co_return fail(reply.error());
    co_return reply->SerializeAsString();
  }

 private:
  SnapshotServer* server_;
};

// The replacement of the tables can be made to take long.
class SlowVault final : public TableVault {
 public:
  explicit SlowVault(VirtualRuntime& runtime) : runtime_(runtime), vault_(runtime, 1ms) {}
  kv::Kv& tables() override { return vault_.tables(); }
  Task<Status> flush() override { return vault_.flush(); }
  Task<Result<Snapshot>> open_snapshot(std::uint64_t resume) override {
    return vault_.open_snapshot(resume);
  }
  Task<Result<std::string>> read_snapshot(std::uint64_t id, std::uint32_t file, ByteCount offset,
                                          ByteCount bytes) override {
    return vault_.read_snapshot(id, file, offset, bytes);
  }
  Task<Result<std::vector<ByteCount>>> begin_incoming(Snapshot snapshot) override {
    return vault_.begin_incoming(std::move(snapshot));
  }
  Task<Status> write_incoming(std::uint32_t file, ByteCount offset, std::string bytes) override {
    return vault_.write_incoming(file, offset, std::move(bytes));
  }
  std::uint64_t incoming_id() const override { return vault_.incoming_id(); }
  Task<Status> install_incoming() override {
    installing = true;
    while (installs_wait) co_await runtime::sleep_for(runtime_, 1ms);
    installing = false;
    Status installed = co_await vault_.install_incoming();
    co_return installed;
  }
  Task<Result<std::uint32_t>> digest() override { return vault_.digest(); }
  Task<void> stop() override { return vault_.stop(); }

  MemVault& inner() { return vault_; }
  bool installs_wait = false;
  bool installing = false;

 private:
  VirtualRuntime& runtime_;
  MemVault vault_;
};

class GroupTest : public ::testing::Test, protected Group::Owner {
 protected:
  ~GroupTest() override { stop(); }

  Status start() {
    options_.self = kSelf;
    options_.cluster_id = kCluster;
    Group::Owner& owner = *this;
    group_ = std::make_unique<Group>(
        runtime_, *log_, vault_, store_, wire_,
        [this](const net::Address&) { return std::make_unique<SnapshotCaller>(&snapshots_); },
        options_, owner);
    Status started = group_->start();
    return started;
  }
  void stop() {
    if (group_ == nullptr) return;
    Outcome<Status> stopped(tasks_, group_->stop());
    ASSERT_TRUE(runtime_.run_until([&] { return stopped.done(); }, 30s)) << "the group hangs";
    runtime_.run_for(1ms);
    group_.reset();
  }
  void found() {
    options_.bootstrap = members_of(0, 1);
    const Status started = start();
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    ASSERT_TRUE(runtime_.run_until([this] { return elected_ == 1; }, 5s));
  }
  Result<std::string> propose() {
    Outcome<Result<std::string>> answer(tasks_, group_->propose(a_command()));
    EXPECT_TRUE(runtime_.run_until([&] { return answer.done(); }, 5s));
    return answer.value();
  }
  void append(std::vector<paxos::Record> records) {
    Outcome<Status> appended(tasks_, store_.append(std::move(records)));
    ASSERT_TRUE(runtime_.run_until([&] { return appended.done(); }, 1s));
    runtime_.run_for(1ms);
  }
  // A voter of three that knows the members and nothing else.
  void join_three() {
    const paxos::Value members{
        .kind = paxos::ValueKind::kMembership,
        .bytes = std::make_shared<const std::string>(encode_membership(members_of(1, 3)))};
    append({paxos::LearnRecord{.slot = Slot(1), .value = members},
            paxos::ChosenRecord{.slot = Slot(1)}});
    const Status started = start();
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    ASSERT_EQ(group_->applied_slot(), Slot(1));
  }
  // Another member with newer tables, and a log that does not reach back.
  void offer_snapshot(Slot applied) {
    kv::Kv& tables = others_.tables();
    const std::string members = encode_membership(members_of(1, 3));
    const Result<state::Applied> group = state::Machine::apply_group(applied, members, tables);
    ASSERT_TRUE(group.has_value());
    ASSERT_TRUE(tables.write(group->changes).has_value());
    wire_.say(kOther, paxos::SnapshotNeeded{.applied = applied});
  }
  // The two others vote for it; they know as little as it does.
  void elect() {
    const auto asked = [this] { return wire_.last<paxos::PreVote>(kOther) != nullptr; };
    ASSERT_TRUE(runtime_.run_until(asked, 10s));
    const paxos::Ballot ballot = wire_.last<paxos::PreVote>(kOther)->ballot;
    wire_.say(kThird, paxos::PreVoteReply{
                          .ballot = ballot, .granted = true, .promised = {}, .chosen = Slot(1)});
    const auto prepares = [this] { return wire_.last<paxos::Prepare>(kThird) != nullptr; };
    ASSERT_TRUE(runtime_.run_until(prepares, 1s));
    const paxos::Ballot own = wire_.last<paxos::Prepare>(kThird)->ballot;
    wire_.say(kThird, paxos::Promise{.ballot = own, .chosen = Slot(1), .accepted = {}});
    runtime_.run_for(5ms);
    ASSERT_TRUE(group_->leads());
  }

  void on_elected() override { ++elected_; }
  void on_deposed() override { ++deposed_; }
  void on_membership(const paxos::Membership& members) override { members_ = members; }
  void on_resync(NodeId) override {}
  void on_report(NodeId, pb::PeerReport) override {}
  void on_failure(const Error& error) override { failure_ = error; }
  bool uses_tables() const override { return uses_tables_; }

  VirtualRuntime runtime_{3};
  runtime::TaskGroup tasks_{runtime_};
  std::unique_ptr<observe::Log> log_ = observe::make_null_log();
  Group::Options options_;
  SlowVault vault_{runtime_};
  MemLogStore store_{runtime_, 1ms};
  MemVault others_{runtime_, 1ms};
  SnapshotServer snapshots_{runtime_, others_, kCluster};
  Wire wire_;
  std::unique_ptr<Group> group_;
  int elected_ = 0;
  int deposed_ = 0;
  paxos::Membership members_;
  std::optional<Error> failure_;
  bool uses_tables_ = false;
};

TEST_F(GroupTest, NobodyWaitsForAConfirmationOfAMemberWhoseLogFailed) {
  found();
  store_.fail_from_now();
  EXPECT_FALSE(propose().has_value());
  EXPECT_TRUE(failure_.has_value());
  Outcome<Status> confirmed(tasks_, group_->confirm());
  ASSERT_TRUE(runtime_.run_until([&] { return confirmed.done(); }, 5s)) << "waits for ever";
  EXPECT_FALSE(confirmed.value().has_value());
}

TEST_F(GroupTest, TheMembersThatTheTablesKnowAreToldAtTheStart) {
  found();
  stop();  // flushes
  members_ = {};
  store_.crash();
  ASSERT_TRUE(start().has_value());
  EXPECT_EQ(members_.version, 1U);
  EXPECT_EQ(members_.members.size(), 1U);
}

TEST_F(GroupTest, TheOnlyMemberDoesNotBeginAnewWithoutItsLog) {
  found();
  EXPECT_TRUE(propose().has_value());
  stop();
  store_.wipe();
  // As after a crash before the repository was told that the group exists.
  const Status started = start();
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code(), Code::kCorrupt);
}

TEST_F(GroupTest, TheOnlyMemberDoesNotBeginAnewWithoutTheTablesThatItsLogGoesOnFrom) {
  options_.tables = {.flush_every_bytes = 1, .keep_slots = 2};
  found();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(propose().has_value());
  runtime_.run_for(1s);
  ASSERT_GT(store_.first_slot(), Slot(1));
  stop();
  vault_.inner().wipe();
  const Status started = start();
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code(), Code::kCorrupt);
}

TEST_F(GroupTest, OneOfSeveralThatLostItsTablesGivesNoVoteUntilItHasThemAgain) {
  append({paxos::LearnRecord{.slot = Slot(50), .value = {.bytes = std::make_shared<std::string>()}},
          paxos::ChosenRecord{.slot = Slot(50)}});
  options_.seeds[kOther] = {.host = "10.0.0.2", .port = 2510};
  ASSERT_TRUE(start().has_value());
  EXPECT_TRUE(group_->recovering());
}

TEST_F(GroupTest, NoReignBeginsWhileTheTablesAreBeingReplaced) {
  join_three();
  vault_.installs_wait = true;
  offer_snapshot(Slot(50));
  ASSERT_TRUE(runtime_.run_until([this] { return vault_.installing; }, 5s));
  elect();
  EXPECT_EQ(elected_, 0) << "a master would read tables that go away";
  vault_.installs_wait = false;
  ASSERT_TRUE(runtime_.run_until([this] { return group_->applied_slot() == Slot(50); }, 5s));
  runtime_.run_for(1ms);
  EXPECT_EQ(elected_, 0) << "with newer tables it is not the leader any more";
  EXPECT_EQ(deposed_, 0);
}

TEST_F(GroupTest, TheTablesAreReplacedOnlyWhenNobodyReadsThemAnyMore) {
  join_three();
  uses_tables_ = true;  // a reign that ended a moment ago
  offer_snapshot(Slot(50));
  runtime_.run_for(5s);
  EXPECT_EQ(vault_.inner().installs(), 0U);
  uses_tables_ = false;
  EXPECT_TRUE(runtime_.run_until([this] { return group_->applied_slot() == Slot(50); }, 5s));
}

}  // namespace
}  // namespace cairn::mds::replication
