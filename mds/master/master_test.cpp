#include "mds/master/master.h"

#include "mds/master/master_fixture.h"

namespace cairn::mds::master {
namespace {

using Client = FakeClient;

TEST_F(MasterTest, GivesTheDelayedSizeToALookupOfAnotherClient) {
  Client& a = client("a");
  Client& b = client("b");
  const pb::MakeNodeReply made = a.create("file");
  EXPECT_GT(made.epoch(), 0U);
  Outcome<Answer> seen = b.begin(Client::lookup("file"));
  runtime_.run_for(100ms);
  EXPECT_FALSE(seen.done());
  ASSERT_EQ(a.recalls.size(), 1U);
  EXPECT_EQ(a.recalls[0].keep(), pb::LEASE_SHARED);
  EXPECT_EQ(a.recalls[0].epoch(), made.epoch());
  ASSERT_TRUE(a.mutate(Client::release(a.recalls[0], 12345)).has_value());
  const Answer answer = b.finish(seen);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->attributes().size(), 12345U);
  EXPECT_EQ(inode(made.attributes().inode()).lease_session(), 0U);
}

TEST_F(MasterTest, AnswersTheHolderWithoutARecall) {
  Client& a = client("a");
  a.create("file");
  EXPECT_TRUE(a.call(Client::lookup("file")).has_value());
  EXPECT_TRUE(a.recalls.empty());
}

TEST_F(MasterTest, MovesTheExclusiveLeaseFromWriterToWriter) {
  Client& a = client("a");
  Client& b = client("b");
  const pb::MakeNodeReply made = a.create("file");
  const std::uint64_t id = made.attributes().inode();
  Outcome<Answer> wanted = b.begin(Client::acquire(id, pb::LEASE_EXCLUSIVE));
  runtime_.run_for(100ms);
  ASSERT_EQ(a.recalls.size(), 1U);
  EXPECT_EQ(a.recalls[0].keep(), pb::LEASE_NONE);
  ASSERT_TRUE(a.mutate(Client::release(a.recalls[0])).has_value());
  const Answer answer = b.finish(wanted);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->acquire_lease().mode(), pb::LEASE_EXCLUSIVE);
  EXPECT_GT(answer->acquire_lease().epoch(), made.epoch());
  EXPECT_EQ(inode(id).lease_session(), b.session);
}

TEST_F(MasterTest, RepeatsARecallOverANewConnection) {
  Client& a = client("a");
  Client& b = client("b");
  const pb::MakeNodeReply made = a.create("file");
  a.disconnect();
  Outcome<Answer> seen = b.begin(Client::lookup("file"));
  runtime_.run_for(1s);
  EXPECT_TRUE(a.recalls.empty());
  a.connect();
  a.open(a.session);
  runtime_.run_for(100ms);
  ASSERT_EQ(a.recalls.size(), 1U);
  ASSERT_TRUE(a.mutate(Client::release(a.recalls[0], 77)).has_value());
  EXPECT_EQ(b.finish(seen)->attributes().size(), 77U);
  EXPECT_GT(made.epoch(), 0U);
}

TEST_F(MasterTest, DoesARepeatedMutationOnce) {
  Client& a = client("a");
  pb::ClientRequest make;
  make.mutable_make_node()->set_parent(1);
  make.mutable_make_node()->set_name("dir");
  make.mutable_make_node()->set_type(pb::TYPE_DIRECTORY);
  make.mutable_make_node()->set_mode(0755);
  const Answer first = a.mutate(make);
  ASSERT_TRUE(first.has_value());
  ASSERT_EQ(first->error().code(), 0U);
  a.disconnect();
  a.connect();
  EXPECT_FALSE(a.open(a.session).reclaim());
  a.seq -= 1;  // the answer was lost: the same request again
  const Answer again = a.mutate(make);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
  const Answer fresh = a.mutate(make);
  EXPECT_EQ(fresh->error().code(), static_cast<std::uint32_t>(Code::kExists));
}

TEST_F(MasterTest, PlacesANewChunkOncePerHostAndTellsAddresses) {
  add_servers(6);
  set_root_encoding(4, 2, 5);
  Client& a = client("a");
  const pb::MakeNodeReply made = a.create("file");
  const std::uint64_t id = made.attributes().inode();
  const Answer opened = a.mutate(Client::open_chunk(id, made.epoch(), 0b110001));
  ASSERT_TRUE(opened.has_value());
  ASSERT_EQ(opened->error().code(), 0U) << opened->error().message();
  const pb::Chunk& chunk = opened->open_chunk().chunk();
  ASSERT_EQ(chunk.pieces_size(), 6);
  std::set<std::string> addresses;
  for (const pb::Piece& piece : chunk.pieces()) addresses.insert(piece.address());
  EXPECT_EQ(addresses.size(), 6U);
  EXPECT_FALSE(addresses.contains(""));
}

TEST_F(MasterTest, SaysWhyThereIsNoPlace) {
  add_servers(2);
  set_root_encoding(4, 2, 5);
  Client& a = client("a");
  const pb::MakeNodeReply made = a.create("file");
  const Answer opened = a.mutate(Client::open_chunk(made.attributes().inode(), made.epoch(), 1));
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(opened->error().code(), static_cast<std::uint32_t>(Code::kNoSpace));
  EXPECT_NE(opened->error().message().find("2 of 6 pieces have a place, 5 are needed"),
            std::string::npos);
}

TEST_F(MasterTest, DropsAChunkThatWasNeverCommittedWithoutItsPieces) {
  add_servers(3);
  set_root_encoding(1, 2, 2);
  Client& a = client("a");
  const pb::MakeNodeReply made = a.create("file");
  const std::uint64_t id = made.attributes().inode();
  ASSERT_EQ(a.mutate(Client::open_chunk(id, made.epoch(), 0b111))->error().code(), 0U);
  for (const auto& server : servers_) server->stop();
  a.disconnect();
  Client& b = client("b");
  pb::ClientRequest request;
  request.mutable_end_dead_session()->set_session(a.session);
  request.mutable_end_dead_session()->set_process("a");
  request.mutable_end_dead_session()->set_host_id(7);
  ASSERT_TRUE(b.call(request).has_value());
  ASSERT_TRUE(b.finish(b.begin(Client::acquire(id, pb::LEASE_EXCLUSIVE))).has_value());
  EXPECT_EQ(inode(id).chunk_count(), 0U);
}

class SilentHolder : public MasterTest {
 protected:
  // "a" keeps its session alive and answers no recall, until it is hung up.
  Outcome<Answer> hang_up_on(Client& a, Client& b) {
    const std::uint64_t id = a.create("file").attributes().inode();
    Outcome<Answer> wanted = b.begin(Client::acquire(id, pb::LEASE_EXCLUSIVE));
    for (int i = 0; i < 70 && a.connected(); ++i) {
      pb::ClientRequest alive;
      alive.mutable_keep_alive();
      (void)a.call(alive);
      (void)b.call(alive);
      runtime_.run_for(1s);
    }
    EXPECT_FALSE(a.connected());
    return wanted;
  }
};

TEST_F(SilentHolder, LosesItsSessionAndMayTrustItsCachesUntilItNotices) {
  Client& a = client("a");
  Client& b = client("b");
  Outcome<Answer> wanted = hang_up_on(a, b);
  runtime_.run_for(10s);
  EXPECT_FALSE(wanted.done());
  a.connect();
  a.open();
  runtime_.run_for(1s);
  ASSERT_TRUE(wanted.done());
  EXPECT_TRUE(wanted.value().has_value());
}

TEST_F(SilentHolder, IsWaitedForUntilItsLeaseEnds) {
  Client& a = client("a");
  Client& b = client("b");
  Outcome<Answer> wanted = hang_up_on(a, b);
  for (int i = 0; i < 65 && !wanted.done(); ++i) {
    pb::ClientRequest alive;
    alive.mutable_keep_alive();
    (void)b.call(alive);
    runtime_.run_for(1s);
  }
  ASSERT_TRUE(wanted.done());
  EXPECT_TRUE(wanted.value().has_value());
}

// The session ends while its release is in the log: a shared lease that it kept would be nobody's.
TEST_F(MasterTest, KeepsNothingForASessionThatEndedDuringItsRelease) {
  Client& a = client("a");
  Client& b = client("b");
  const pb::MakeNodeReply made = a.create("file");
  pb::RecallLease back;
  back.set_inode(made.attributes().inode());
  back.set_epoch(made.epoch());
  back.set_keep(pb::LEASE_SHARED);
  Outcome<Answer> released = a.begin_mutation(Client::release(back));
  pb::ClientRequest dead;
  dead.mutable_end_dead_session()->set_session(a.session);
  dead.mutable_end_dead_session()->set_process("a");
  dead.mutable_end_dead_session()->set_host_id(7);
  Outcome<Answer> reported = b.begin(dead);
  const Answer write =
      b.finish(b.begin(Client::acquire(made.attributes().inode(), pb::LEASE_EXCLUSIVE)));
  EXPECT_TRUE(write.has_value());
  EXPECT_TRUE(reported.done());
  EXPECT_TRUE(released.done());
}

TEST_F(MasterTest, TakesNothingFromTheOlderChannelOfASession) {
  Client& a = client("a");
  Client twin(runtime_, group_, network_, "a");
  twin.connect();
  twin.open(a.session);
  runtime_.run_for(100ms);
  EXPECT_FALSE(a.connected());
  pb::ClientRequest alive;
  alive.mutable_keep_alive();
  EXPECT_TRUE(twin.call(alive).has_value());
}

TEST_F(MasterTest, KeepsAnUnlinkedFileWhileItIsPinned) {
  Client& a = client("a");
  const pb::MakeNodeReply made = a.create("file");
  const InodeId id = InodeId::from_raw(made.attributes().inode());
  pb::ClientRequest unlink;
  unlink.mutable_unlink()->set_parent(1);
  unlink.mutable_unlink()->set_name("file");
  ASSERT_EQ(a.mutate(unlink)->error().code(), 0U);
  runtime_.run_for(2s);
  EXPECT_TRUE(state::queries::inode(tables_, id).has_value());
  pb::ClientRequest unpin;
  unpin.mutable_unpin()->add_inodes()->set_inode(id.raw());
  unpin.mutable_unpin()->mutable_inodes(0)->set_pins(1);
  ASSERT_TRUE(a.call(unpin).has_value());
  runtime_.run_for(2s);
  EXPECT_FALSE(state::queries::inode(tables_, id).has_value());
}

TEST_F(MasterTest, GrantsNothingConflictingUntilEverySessionReclaimed) {
  Client& a = client("a");
  Client& b = client("b");
  const std::uint64_t id = a.create("file").attributes().inode();
  pb::RecallLease back;
  back.set_inode(id);
  back.set_epoch(inode(id).lease_epoch());
  back.set_keep(pb::LEASE_SHARED);
  ASSERT_EQ(a.mutate(Client::release(back))->error().code(), 0U);
  a.disconnect();
  b.disconnect();
  stop();
  start();
  EXPECT_TRUE(master_->in_grace());
  b.connect();
  EXPECT_TRUE(b.open(b.session).reclaim());
  pb::ClientRequest nothing;
  nothing.mutable_reclaim();
  ASSERT_TRUE(b.call(nothing).has_value());
  Outcome<Answer> wanted = b.begin(Client::acquire(id, pb::LEASE_EXCLUSIVE));
  runtime_.run_for(5s);
  EXPECT_FALSE(wanted.done());
  a.connect();
  EXPECT_TRUE(a.open(a.session).reclaim());
  pb::ClientRequest reclaim;
  reclaim.mutable_reclaim()->add_held()->set_inode(id);
  reclaim.mutable_reclaim()->mutable_held(0)->set_mode(pb::LEASE_SHARED);
  ASSERT_TRUE(a.call(reclaim).has_value());
  EXPECT_FALSE(master_->in_grace());
  runtime_.run_for(100ms);
  ASSERT_EQ(a.recalls.size(), 1U);
  EXPECT_EQ(a.recalls[0].keep(), pb::LEASE_NONE);
  ASSERT_TRUE(a.call(Client::release(a.recalls[0])).has_value());
  EXPECT_TRUE(b.finish(wanted).has_value());
}

TEST_F(MasterTest, HasItsStateAgainAfterTheTablesLostEverything) {
  Client& a = client("a");
  for (int i = 0; i < 50; ++i) a.create("file" + std::to_string(i));
  const std::uint32_t before = state::Machine::digest(tables_).value();
  a.disconnect();
  clients_.clear();
  replication::MemVault fresh(runtime_, 1ms);
  testing::SoloGroup again(runtime_, *log_, fresh, store_);
  again.start();
  EXPECT_EQ(state::Machine::digest(fresh.tables()).value(), before);
  again.stop();
}

TEST_F(MasterTest, GoesOnEndingASessionThatAMasterBeforeBeganToEnd) {
  Client& a = client("a");
  const std::uint64_t session = a.session;
  pb::Command begin;
  begin.mutable_end_session()->set_session(session);
  begin.mutable_end_session()->set_begin(true);
  run(std::move(begin));
  ASSERT_EQ(state::queries::sessions(tables_)->size(), 1U) << "it is still there";
  stop();
  start();
  a.connect();
  pb::ClientRequest resume;
  resume.mutable_open_session()->set_protocol(1);
  resume.mutable_open_session()->set_host_id(7);
  resume.mutable_open_session()->set_host("host");
  resume.mutable_open_session()->set_process("a");
  resume.mutable_open_session()->set_resume(session);
  const Answer resumed = a.call(resume);
  ASSERT_FALSE(resumed.has_value());
  EXPECT_EQ(resumed.error().code(), Code::kSessionGone);
  ASSERT_TRUE(runtime_.run_until([&] { return state::queries::sessions(tables_)->empty(); }, 10s));
}

TEST_F(MasterTest, AProcessThatOpensAnotherSessionLeavesNoneBehind) {
  Client& a = client("a");
  const std::uint64_t first = a.session;
  a.disconnect();
  Client& again = client("a");
  EXPECT_NE(again.session, first);
  ASSERT_TRUE(
      runtime_.run_until([&] { return state::queries::sessions(tables_)->size() == 1; }, 10s));
  EXPECT_EQ((*state::queries::sessions(tables_))[0].id(), again.session);
}

TEST_F(MasterTest, CountsChunkStatesAndSeesCsFail) {
  add_servers(3);
  set_root_encoding(1, 2, 2);
  Client& a = client("a");
  for (int i = 0; i < 5; ++i) {
    const pb::MakeNodeReply made = a.create("file" + std::to_string(i));
    const Answer opened =
        a.mutate(Client::open_chunk(made.attributes().inode(), made.epoch(), 0b111));
    ASSERT_EQ(opened->error().code(), 0U) << opened->error().message();
  }
  const auto census = [this] {
    Outcome<Result<ChunkCensus::Shared>> taken(group_, master_->census().take());
    EXPECT_TRUE(runtime_.run_until([&] { return taken.done(); }, 10s));
    return *taken.value();
  };
  EXPECT_EQ(census()->states.healthy(), 5U);
  for (int i = 0; i < 6; ++i) {
    runtime_.run_for(1s);
    heartbeat(1025);
    heartbeat(1026);
  }
  EXPECT_EQ(master_->cs_board().state_of(1027, runtime_.now()), CsState::kInactive);
  EXPECT_EQ(census()->states.standby(), 5U);
  for (int i = 0; i < 300; ++i) {
    runtime_.run_for(1s);
    heartbeat(1025);
    heartbeat(1026);
    pb::ClientRequest alive;
    alive.mutable_keep_alive();
    (void)a.call(alive);
  }
  EXPECT_EQ(master_->cs_board().state_of(1027, runtime_.now()), CsState::kOffline);
  EXPECT_EQ(census()->states.degraded(), 5U);
}

}  // namespace
}  // namespace cairn::mds::master
