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

pb::SealReply::Undecided op(std::uint64_t epoch, std::uint64_t seq, std::uint32_t participants) {
  pb::SealReply::Undecided held;
  held.set_epoch(epoch);
  held.set_seq(seq);
  held.set_participants(participants);
  return held;
}

class LostWriter : public MasterTest {
 protected:
  // Client "a" dies with an open chunk of replicas=3:2 whose op 1 is everywhere and op 2 is not.
  void lose_writer(std::size_t holders_of_second) {
    add_servers(3);
    set_root_encoding(1, 2, 2);
    Client& a = client("a");
    const pb::MakeNodeReply made = a.create("file");
    id_ = made.attributes().inode();
    epoch_ = made.epoch();
    const Answer opened = a.mutate(Client::open_chunk(id_, epoch_, 0b111));
    ASSERT_EQ(opened->error().code(), 0U) << opened->error().message();
    chunk_ = opened->open_chunk().chunk();
    pb::ClientRequest commit;
    commit.mutable_commit_file()->set_inode(id_);
    commit.mutable_commit_file()->set_epoch(epoch_);
    commit.mutable_commit_file()->mutable_update()->set_size(4096);
    ASSERT_EQ(a.mutate(commit)->error().code(), 0U);
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      servers_[i]->undecided.push_back(op(epoch_, 1, 0b111));
      if (i < holders_of_second) servers_[i]->undecided.push_back(op(epoch_, 2, 0b111));
    }
    dead_ = a.session;
    a.disconnect();
  }
  Answer report_dead(Client& b, const std::string& process) {
    pb::ClientRequest request;
    request.mutable_end_dead_session()->set_session(dead_);
    request.mutable_end_dead_session()->set_process(process);
    request.mutable_end_dead_session()->set_host_id(7);
    return b.call(request);
  }
  pb::Chunk chunk() {
    return state::queries::chunk(tables_, ChunkId::from_raw(chunk_.id())).value();
  }
  std::uint64_t id_ = 0;
  std::uint64_t epoch_ = 0;
  std::uint64_t dead_ = 0;
  pb::Chunk chunk_;
};

TEST_F(LostWriter, IsRecoveredBeforeSomebodyElseMayRead) {
  lose_writer(2);
  Client& b = client("b");
  EXPECT_EQ(report_dead(b, "other").error().code(), Code::kNotPermitted);
  ASSERT_TRUE(report_dead(b, "a").has_value());
  const Answer read = b.finish(b.begin(Client::acquire(id_, pb::LEASE_SHARED)));
  ASSERT_TRUE(read.has_value()) << read.error().to_string();
  EXPECT_EQ(read->acquire_lease().mode(), pb::LEASE_SHARED);
  for (const auto& server : servers_) {
    ASSERT_EQ(server->resolves.size(), 1U);
    ASSERT_EQ(server->resolves[0].forward_size(), 1) << "op 2 is not everywhere";
    EXPECT_EQ(server->resolves[0].forward(0).seq(), 1U);
    EXPECT_GT(server->seals[0].version(), chunk_.version());
    EXPECT_GT(server->seals[0].epoch(), epoch_);
  }
  EXPECT_EQ(chunk().writer_epoch(), 0U);
  runtime_.run_for(1s);
  EXPECT_EQ(state::queries::sessions(tables_)->size(), 1U);
}

TEST_F(LostWriter, LosesAnUnreachablePieceAndKeepsTheRest) {
  lose_writer(3);
  servers_[2]->stop();
  Client& b = client("b");
  ASSERT_TRUE(report_dead(b, "a").has_value());
  const Answer write = b.finish(b.begin(Client::acquire(id_, pb::LEASE_EXCLUSIVE)));
  ASSERT_TRUE(write.has_value()) << write.error().to_string();
  unsigned missing = 0;
  const pb::Chunk after = chunk();
  for (const pb::Piece& piece : after.pieces()) {
    if (piece.state() == pb::PIECE_MISSING) ++missing;
  }
  EXPECT_EQ(missing, 1U);
  EXPECT_EQ(servers_[0]->resolves[0].forward_size(), 2);
}

TEST_F(LostWriter, WaitsUntilTheMinimumCanBeReached) {
  lose_writer(3);
  servers_[1]->stop();
  servers_[2]->stop();
  Client& b = client("b");
  ASSERT_TRUE(report_dead(b, "a").has_value());
  Outcome<Answer> read = b.begin(Client::acquire(id_, pb::LEASE_SHARED));
  runtime_.run_for(20s);
  EXPECT_FALSE(read.done());
  EXPECT_NE(chunk().writer_epoch(), 0U);
  servers_[1]->start();
  EXPECT_TRUE(b.finish(read).has_value());
  EXPECT_EQ(chunk().writer_epoch(), 0U);
}

TEST_F(LostWriter, LosesAPieceThatWasNeverMadeWhileEnoughOthersAreThere) {
  lose_writer(3);
  servers_[2]->absent = true;
  Client& b = client("b");
  ASSERT_TRUE(report_dead(b, "a").has_value());
  ASSERT_TRUE(b.finish(b.begin(Client::acquire(id_, pb::LEASE_SHARED))).has_value());
  const pb::Chunk after = chunk();
  unsigned missing = 0;
  for (const pb::Piece& piece : after.pieces()) {
    if (piece.state() == pb::PIECE_MISSING) ++missing;
  }
  EXPECT_EQ(missing, 1U);
  EXPECT_TRUE(servers_[2]->prepares.empty());
}

TEST_F(LostWriter, MakesNeverWrittenPiecesBehindTheFenceWhenTooFewOthersAreThere) {
  lose_writer(0);
  for (const auto& server : servers_) {
    server->undecided.clear();
    server->absent = true;
  }
  Client& b = client("b");
  ASSERT_TRUE(report_dead(b, "a").has_value());
  ASSERT_TRUE(b.finish(b.begin(Client::acquire(id_, pb::LEASE_SHARED))).has_value());
  std::size_t made = 0;
  for (const auto& server : servers_) {
    for (const pb::Prepare& prepare : server->prepares) {
      ++made;
      EXPECT_TRUE(prepare.create());
      EXPECT_EQ(prepare.writes_size(), 0);
      EXPECT_GT(prepare.version(), chunk_.version());
      EXPECT_GT(prepare.epoch(), epoch_);
    }
  }
  EXPECT_EQ(made, 2U);  // the minimum
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

TEST_F(LostWriter, IsFoundBySilenceToo) {
  lose_writer(3);
  Client& b = client("b");
  Outcome<Answer> read = b.begin(Client::acquire(id_, pb::LEASE_SHARED));
  // b keeps itself alive meanwhile.
  for (int i = 0; i < 70 && !read.done(); ++i) {
    pb::ClientRequest alive;
    alive.mutable_keep_alive();
    ASSERT_TRUE(b.call(alive).has_value());
    runtime_.run_for(1s);
  }
  ASSERT_TRUE(read.done());
  EXPECT_TRUE(read.value().has_value());
}

TEST_F(LostWriter, MayBeTheHolderItselfThatAsksForIt) {
  add_servers(3);
  set_root_encoding(1, 2, 2);
  Client& a = client("a");
  const pb::MakeNodeReply made = a.create("file");
  const std::uint64_t id = made.attributes().inode();
  ASSERT_EQ(a.mutate(Client::open_chunk(id, made.epoch(), 0b111))->error().code(), 0U);
  pb::ClientRequest release;
  release.mutable_release_lease()->set_inode(id);
  release.mutable_release_lease()->set_epoch(made.epoch());
  release.mutable_release_lease()->mutable_update()->set_size(100);
  release.mutable_release_lease()->set_unsettled(true);
  const Answer released = a.mutate(release);
  ASSERT_TRUE(released.has_value()) << released.error().to_string();
  EXPECT_EQ(released->error().code(), 0U) << released->error().message();
  runtime_.run_for(1s);
  EXPECT_EQ(servers_[0]->seals.size(), 1U);
  EXPECT_EQ(servers_[0]->resolves.size(), 1U);
  EXPECT_EQ(inode(id).attributes().size(), 100U);
  EXPECT_EQ(inode(id).lease_session(), 0U);
  EXPECT_TRUE(state::queries::open_chunks(tables_, InodeId::from_raw(id))->empty());
}

TEST_F(MasterTest, EndsASessionThatDoesNotAnswerARecall) {
  Client& a = client("a");
  Client& b = client("b");
  const pb::MakeNodeReply made = a.create("file");
  Outcome<Answer> wanted = b.begin(Client::acquire(made.attributes().inode(), pb::LEASE_EXCLUSIVE));
  for (int i = 0; i < 70 && !wanted.done(); ++i) {
    pb::ClientRequest alive;
    alive.mutable_keep_alive();
    if (a.connected()) (void)a.call(alive);
    (void)b.call(alive);
    runtime_.run_for(1s);
  }
  ASSERT_TRUE(wanted.done());
  EXPECT_TRUE(wanted.value().has_value());
  EXPECT_FALSE(a.connected());
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
  kv::MemKv fresh;
  replication::Applier applier(runtime_, *log_, fresh, store_, {});
  ASSERT_TRUE(applier.replay().has_value());
  EXPECT_EQ(state::Machine::digest(fresh).value(), before);
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
