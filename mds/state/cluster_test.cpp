#include <gtest/gtest.h>

#include "common/base/limits.h"
#include "mds/state/client_mutation.h"
#include "mds/state/testing/cluster.h"

namespace cairn::mds::state {
namespace {

using testing::Cluster;
using testing::code_of;

constexpr std::uint64_t kRoot = Cluster::kRoot;

pb::ClientRequest make_request(std::uint64_t session, std::uint64_t seq, const std::string& name,
                               std::uint64_t answered_below = 0) {
  pb::ClientRequest request;
  request.set_session(session);
  request.set_seq(seq);
  request.set_answered_below(answered_below);
  request.mutable_make_node()->set_parent(kRoot);
  request.mutable_make_node()->set_name(name);
  request.mutable_make_node()->set_type(pb::TYPE_REGULAR);
  return request;
}

TEST(Mutations, RepeatsGetTheFirstReplyAndDoNothing) {
  Cluster c = Cluster::made();
  const std::uint64_t s = c.open_session();
  const pb::CommandReply first = c.mutate_as(make_request(s, 1, "f"));
  const pb::CommandReply refused = c.mutate_as(make_request(s, 2, "f"));
  EXPECT_EQ(code_of(refused.client().error()), Code::kExists);
  const std::uint64_t inodes = c.counters().inodes();
  EXPECT_EQ(c.mutate_as(make_request(s, 1, "f")).SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(c.mutate_as(make_request(s, 2, "f")).SerializeAsString(), refused.SerializeAsString());
  EXPECT_EQ(c.counters().inodes(), inodes);
  const auto stored = queries::stored_reply(c.kv(), SessionId::from_raw(s), RequestSeq(1)).value();
  ASSERT_TRUE(stored.has_value());
  EXPECT_EQ(stored->SerializeAsString(), first.client().SerializeAsString());
  c.expect_sound();
}

TEST(Mutations, AcknowledgedRepliesAreForgotten) {
  Cluster c = Cluster::made();
  const std::uint64_t s = c.open_session();
  for (std::uint64_t seq = 1; seq <= 5; ++seq) {
    c.mutate_as(make_request(s, seq, "f" + std::to_string(seq)));
  }
  c.mutate_as(make_request(s, 7, "f7", 4));
  const auto stored = [&](std::uint64_t seq) {
    return queries::stored_reply(c.kv(), SessionId::from_raw(s), RequestSeq(seq))->has_value();
  };
  EXPECT_FALSE(stored(3));
  EXPECT_TRUE(stored(4));
  EXPECT_TRUE(stored(7));
  EXPECT_EQ(code_of(c.mutate_as(make_request(s, 3, "f3")).error()), Code::kProtocol);
  // One that was overtaken, with an older idea of what was answered.
  EXPECT_EQ(Cluster::error(c.mutate_as(make_request(s, 6, "f6", 2))), 0u);
  EXPECT_TRUE(stored(6));
  c.expect_sound();
}

TEST(Mutations, BadEnvelopesStoreNothing) {
  Cluster c = Cluster::made();
  const std::uint64_t s = c.open_session();
  const std::size_t rows = c.kv().size();
  pb::ClientRequest read;
  read.set_session(s);
  read.set_seq(1);
  read.mutable_get_attr()->set_inode(1);
  EXPECT_EQ(code_of(c.mutate_as(read).error()), Code::kProtocol);
  EXPECT_EQ(code_of(c.mutate_as(make_request(s, 0, "f")).error()), Code::kProtocol);
  EXPECT_EQ(code_of(c.mutate_as(make_request(s, 3, "f", 4)).error()), Code::kProtocol);
  EXPECT_EQ(code_of(c.mutate_as(make_request(s + 1, 1, "f")).error()), Code::kSessionGone);
  EXPECT_EQ(code_of(c.mutate_as(make_request(s, 1 + kReplyWindow, "f")).error()),
            Code::kOverloaded);
  EXPECT_EQ(c.kv().size(), rows);
  EXPECT_EQ(Cluster::error(c.mutate_as(make_request(s, kReplyWindow, "f"))), 0u);
}

TEST(Mutations, NumbersOfTheMasterAreExecutedEachTime) {
  Cluster c = Cluster::made();
  const std::uint64_t s = c.open_session();
  EXPECT_EQ(Cluster::error(c.mutate_as(make_request(s, kMasterSeqs | 5, "f"))), 0u);
  const pb::CommandReply again = c.mutate_as(make_request(s, kMasterSeqs | 5, "f"));
  EXPECT_EQ(code_of(again.client().error()), Code::kExists);
  EXPECT_FALSE(queries::stored_reply(c.kv(), SessionId::from_raw(s), RequestSeq(kMasterSeqs | 5))
                   ->has_value());
  c.expect_sound();
}

TEST(Mutations, ReadOnlySessionsAreRefused) {
  Cluster c = Cluster::made();
  pb::Command command;
  command.mutable_open_session()->mutable_request()->set_read_only(true);
  const std::uint64_t s = c.apply(command).open_session().session();
  EXPECT_EQ(code_of(c.mutate_as(make_request(s, 1, "f")).client().error()), Code::kReadOnly);
}

TEST(Sessions, ResumeByTheSameProcessOnly) {
  Cluster c = Cluster::made();
  pb::Command open;
  pb::OpenSession& request = *open.mutable_open_session()->mutable_request();
  request.set_process("9 9 9 9");
  request.set_host_id(3);
  const pb::OpenSessionReply first = c.apply(open).open_session();
  EXPECT_EQ(first.client_id(), kFirstClientId.raw());
  EXPECT_EQ(first.cluster_id(), 77u);
  EXPECT_EQ(first.root(), 1u);
  EXPECT_EQ(first.lease_ms(), limits::kLeaseMsDefault);
  EXPECT_EQ(c.apply(open).open_session().client_id(), kFirstClientId.raw() + 1);
  request.set_resume(first.session());
  EXPECT_EQ(c.apply(open).open_session().client_id(), first.client_id());
  request.set_process("8 8 8 8");
  EXPECT_EQ(code_of(c.apply(open).error()), Code::kSessionGone);
  request.set_resume(99);
  EXPECT_EQ(code_of(c.apply(open).error()), Code::kSessionGone);
  EXPECT_EQ(queries::sessions(c.kv())->size(), 2u);
  request.set_resume(0);
  request.set_host("\xff");
  EXPECT_EQ(code_of(c.apply(open).error()), Code::kInvalidArgument);
  c.expect_sound();
}

TEST(Sessions, EndTakesLeasesAndReplies) {
  Cluster c = Cluster::made();
  const std::uint64_t s = c.open_session();
  const pb::ClientReply made = c.make(s, kRoot, "f", pb::TYPE_REGULAR, true);
  EXPECT_EQ(Cluster::error(c.end_session(s)), 0u);
  EXPECT_EQ(c.inode(made.make_node().attributes().inode()).lease_session(), 0u);
  EXPECT_TRUE(queries::sessions(c.kv())->empty());
  EXPECT_EQ(code_of(c.mutate_as(make_request(s, 2, "g")).error()), Code::kSessionGone);
  c.expect_sound();
}

TEST(ChunkServers, GetOneIdPerRepository) {
  Cluster c = Cluster::made();
  EXPECT_EQ(c.add_cs(11), 1025u);
  EXPECT_EQ(c.add_cs(12), 1026u);
  EXPECT_EQ(c.add_cs(11), 1025u);
  pb::Command wrong;
  wrong.mutable_add_cs()->mutable_request()->set_repo_uuid(13);
  wrong.mutable_add_cs()->mutable_request()->set_cluster("else");
  EXPECT_EQ(code_of(c.apply(wrong).error()), Code::kWrongCluster);
  pb::Command update;
  update.mutable_update_cs()->set_cs_id(1026);
  update.mutable_update_cs()->set_address("10.0.0.1:2600");
  update.mutable_update_cs()->set_tier(2);
  EXPECT_EQ(Cluster::error(c.apply(update)), 0u);
  const auto all = queries::chunk_servers(c.kv());
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ(all->at(1).address(), "10.0.0.1:2600");
  EXPECT_EQ(all->at(1).repo_uuid(), 12u);
  update.mutable_update_cs()->set_cs_id(1);
  EXPECT_EQ(code_of(c.apply(update).error()), Code::kNotFound);
}

TEST(Policies, UnsetFieldsStay) {
  Cluster c = Cluster::made();
  const std::uint64_t s = c.open_session();
  EXPECT_EQ(code_of(c.set_policy(kRoot, 3, 3, 4).error()), Code::kInvalidArgument);
  EXPECT_EQ(c.set_policy(kRoot, 4, 2, 5).set_policy().changed(), 1u);
  EXPECT_EQ(c.set_policy(kRoot, 4, 2, 5).set_policy().changed(), 0u);
  pb::Command tier;
  tier.mutable_set_policy()->add_inodes(kRoot);
  tier.mutable_set_policy()->add_inodes(999);
  tier.mutable_set_policy()->set_set_tier(true);
  tier.mutable_set_policy()->mutable_policy()->set_tier(3);
  EXPECT_EQ(c.apply(tier).set_policy().changed(), 1u);
  const pb::Policy policy = c.inode(c.file(s, kRoot, "f")).policy();
  EXPECT_EQ(policy.encoding().data(), 4u);
  EXPECT_EQ(policy.tier(), 3u);
  EXPECT_EQ(policy.failure_domain(), pb::DOMAIN_HOST);
  tier.mutable_set_policy()->mutable_policy()->set_tier(4);
  EXPECT_EQ(code_of(c.apply(tier).error()), Code::kInvalidArgument);
}

TEST(Events, AreBoundedAndReadable) {
  Cluster c = Cluster::made();
  pb::Command add;
  pb::Event& event = *add.mutable_add_event()->mutable_event();
  event.set_subsystem("MDS");
  event.set_message(std::string("bad \xc3 byte ") + std::string(5000, 'x'));
  for (std::uint64_t i = 0; i < limits::kEventsKeptMax + 5; ++i) c.apply(add);
  const auto all = queries::events(c.kv(), 0, SIZE_MAX);
  ASSERT_EQ(all->size(), limits::kEventsKeptMax);
  EXPECT_EQ(all->front().id(), 6u);
  EXPECT_EQ(all->front().message().substr(0, 10), "bad ? byte");
  EXPECT_EQ(all->front().message().size(), 4096u);
  const auto last = queries::last_events(c.kv(), 3);
  ASSERT_EQ(last->size(), 3u);
  EXPECT_EQ(last->back().id(), limits::kEventsKeptMax + 5);
  EXPECT_EQ(queries::last_events(c.kv(), SIZE_MAX)->size(), limits::kEventsKeptMax);
}

TEST(MachineTest, RefusesASlotTwiceAndWorkBeforeTheCluster) {
  Cluster c;
  pb::Command command;
  command.mutable_open_session();
  EXPECT_EQ(code_of(c.apply(command).error()), Code::kUnavailable);
  EXPECT_EQ(Machine::applied_slot(c.kv()).value(), Slot(1));
  const Result<Applied> again = Machine::apply(Slot(1), command, c.kv());
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code(), Code::kInternal);
  EXPECT_EQ(code_of(c.apply(pb::Command()).error()), Code::kUnavailable);
  Cluster made = Cluster::made();
  EXPECT_EQ(code_of(made.apply(pb::Command()).error()), Code::kUnsupported);
}

// A broken store is an error of apply, never a refusal that could be stored.
TEST(MachineTest, CorruptRowsStopTheMachine) {
  Cluster c = Cluster::made();
  const std::uint64_t s = c.open_session();
  kv::Batch batch;
  batch.put(std::string("I\0\0\0\0\0\0\0\1", 9), "\xff\xff");
  ASSERT_TRUE(c.kv().write(batch).has_value());
  pb::Command command;
  *command.mutable_client()->mutable_request() = make_request(s, 1, "f");
  const Result<Applied> applied = Machine::apply(Slot(100), command, c.kv());
  ASSERT_FALSE(applied.has_value());
  EXPECT_EQ(applied.error().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace cairn::mds::state
