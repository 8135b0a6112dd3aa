// What a lost writer leaves behind, and who may have it when.
#include "mds/master/master_fixture.h"

namespace cairn::mds::master {
namespace {

using Client = FakeClient;

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

TEST_F(LostWriter, WaitsUntilTheDataCanBeRead) {
  lose_writer(3);
  for (const auto& server : servers_) server->stop();
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

TEST_F(LostWriter, EndsBelowTheMinimumAndTellsWhatTheLostPiecesMissed) {
  lose_writer(2);
  for (auto& held : servers_[0]->undecided) {
    const std::uint64_t first = held.seq() == 1 ? 0 : 300;
    held.set_first_block(first);
    held.set_end_block(first + 2);
  }
  servers_[1]->stop();
  servers_[2]->stop();
  ASSERT_TRUE(report_dead(client("b"), "a").has_value());
  Client& c = client("c");
  ASSERT_TRUE(c.finish(c.begin(Client::acquire(id_, pb::LEASE_SHARED))).has_value());
  const pb::Chunk after = chunk();
  EXPECT_EQ(after.writer_epoch(), 0U);
  for (const pb::Piece& piece : after.pieces()) {
    const bool kept = piece.cs_id() == 1025;
    EXPECT_EQ(piece.state(), kept ? pb::PIECE_CURRENT : pb::PIECE_MISSING);
    // A region of a piece of 64 MiB has 256 blocks.
    EXPECT_EQ(piece.missed(), kept ? 0U : 0b11U);
    EXPECT_NE(piece.cs_id(), 0U) << "it keeps its place";
  }
}

TEST_F(LostWriter, TakesAnOpThatDoesNotTellItsBlocksForOneThatMayHaveChangedAll) {
  lose_writer(2);
  servers_[2]->stop();
  ASSERT_TRUE(report_dead(client("b"), "a").has_value());
  Client& c = client("c");
  ASSERT_TRUE(c.finish(c.begin(Client::acquire(id_, pb::LEASE_SHARED))).has_value());
  const pb::Chunk after = chunk();
  for (const pb::Piece& piece : after.pieces()) {
    if (piece.state() == pb::PIECE_MISSING) {
      EXPECT_EQ(piece.missed(), layout::kAllRegions);
    }
  }
}

// An attempt rolled op 2 forward, and the master did not live to finish it. The piece that lacks
// the op could not be reached then: it is stale, for nothing can undo the op any more.
TEST_F(LostWriter, GivesUpAPieceThatLacksWhatAnEarlierLifeRolledForward) {
  lose_writer(0);
  for (const std::size_t holder : {1U, 2U}) {
    servers_[holder]->undecided.push_back(op(epoch_, 2, 0b111));
    servers_[holder]->resolving = false;
  }
  servers_[0]->stop();
  ASSERT_TRUE(report_dead(client("b"), "a").has_value());
  runtime_.run_for(200ms);
  ASSERT_FALSE(servers_[2]->resolves.empty());
  ASSERT_NE(chunk().writer_epoch(), 0U);
  clients_.clear();
  stop();
  for (const auto& server : servers_) server->resolving = true;
  servers_[0]->start();
  start();
  register_servers();
  Client& c = client("c");
  ASSERT_TRUE(report_dead(c, "a").has_value());
  ASSERT_TRUE(c.finish(c.begin(Client::acquire(id_, pb::LEASE_SHARED))).has_value());
  EXPECT_EQ(chunk().writer_epoch(), 0U);
  for (int i = 0; i < 3; ++i) {
    const bool stale = chunk_.pieces(i).cs_id() == 1025;
    EXPECT_EQ(chunk().pieces(i).state(), stale ? pb::PIECE_MISSING : pb::PIECE_CURRENT);
  }
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
      EXPECT_EQ(prepare.epoch(), epoch_) << "it must not pass for a piece that settled his ops";
      EXPECT_EQ(server->seals.size(), 1U) << "fenced like the others";
    }
  }
  EXPECT_EQ(made, 1U);  // what the data needs
}

// The master died between the beginning of a recovery and the end of the session, which goes on.
TEST_F(LostWriter, GoesOnWithANewEpochOnceItsChunksAreWhole) {
  lose_writer(2);
  Client& a = *clients_.back();
  pb::Command begin;
  begin.mutable_begin_recovery()->set_chunk(chunk_.id());
  run(std::move(begin));
  a.connect();
  a.open(dead_);
  const Answer again = a.call(Client::acquire(id_, pb::LEASE_EXCLUSIVE));
  ASSERT_TRUE(again.has_value()) << again.error().to_string();
  EXPECT_GT(again->acquire_lease().epoch(), epoch_);
  EXPECT_EQ(chunk().writer_epoch(), 0U);
  EXPECT_EQ(servers_[0]->resolves.size(), 1U);
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

}  // namespace
}  // namespace cairn::mds::master
