// Missing pieces come back: where they were, elsewhere, whoever dies meanwhile.
#include "mds/master/repairs.h"

#include "mds/master/master_fixture.h"

namespace cairn::mds::master {
namespace {

using Client = FakeClient;

class RepairsTest : public MasterTest {
 protected:
  struct File {
    Client* writer = nullptr;
    std::uint64_t inode = 0;
    std::uint64_t epoch = 0;
    pb::Chunk chunk;
  };

  // A file of copies, open at its writer.
  File open_file(const std::string& name, unsigned copies, unsigned min) {
    set_root_encoding(1, copies - 1, min);
    File file;
    file.writer = &client(name);
    const pb::MakeNodeReply made = file.writer->create(name);
    file.inode = made.attributes().inode();
    file.epoch = made.epoch();
    const Answer opened = file.writer->mutate(open_chunk(file));
    EXPECT_EQ(opened->error().code(), 0U) << opened->error().message();
    file.chunk = opened->open_chunk().chunk();
    return file;
  }
  static pb::ClientRequest open_chunk(const File& file) {
    return Client::open_chunk(file.inode, file.epoch, 0b111);
  }
  pb::Chunk now(const File& file) {
    return state::queries::chunk(tables_, ChunkId::from_raw(file.chunk.id())).value();
  }
  FakeCs& server_of(const pb::Chunk& chunk, int piece) {
    return *servers_.at(chunk.pieces(piece).cs_id() - 1025);
  }
  void drop(const File& file, std::uint32_t pieces, std::uint64_t regions) {
    const Answer dropped =
        file.writer->mutate(Client::drop_pieces(now(file), file.epoch, pieces, regions));
    ASSERT_TRUE(dropped.has_value());
    ASSERT_EQ(dropped->error().code(), 0U) << dropped->error().message();
  }
  bool healthy(const File& file) { return !rank_of(now(file)).has_value(); }
  // Time passes; the chunk servers that are up are heard.
  void live(Duration duration) {
    const Instant end = runtime_.now() + duration;
    while (runtime_.now() < end) {
      for (std::uint32_t i = 0; i < servers_.size(); ++i) {
        if (!away_.contains(i)) heartbeat(1025 + i);
      }
      for (const auto& client : clients_) {
        if (client->connected() && !mute_.contains(client.get())) keep_alive(*client);
      }
      runtime_.run_for(std::min<Duration>(1s, end - runtime_.now()));
    }
  }
  void keep_alive(Client& client) {
    pb::ClientRequest alive;
    alive.mutable_keep_alive();
    ASSERT_TRUE(client.call(alive).has_value());
  }
  void take_away(const pb::Chunk& chunk, int piece) {
    server_of(chunk, piece).stop();
    away_.insert(chunk.pieces(piece).cs_id() - 1025);
  }
  std::uint64_t repairs_told() {
    std::uint64_t told = 0;
    for (const auto& server : servers_) told += server->repairs.size();
    return told;
  }
  void fail_over() {
    for (const auto& client : clients_) client->disconnect();
    stop();
    start();
    register_servers();
    for (const auto& client : clients_) {
      client->connect();
      client->open(client->session);
      pb::ClientRequest reclaim;
      reclaim.mutable_reclaim();
      ASSERT_TRUE(client->call(reclaim).has_value());
    }
  }

  std::set<std::size_t> away_;
  std::set<Client*> mute_;
};

TEST_F(RepairsTest, BringsAPieceUpToDateWhereItIsAndCopiesOnlyWhatItMissed) {
  add_servers(3);
  const File file = open_file("a", 3, 2);
  drop(file, 0b100, 0b101);
  EXPECT_EQ(now(file).pieces(2).missed(), 0b101U);
  runtime_.run_for(50ms);
  ASSERT_EQ(file.writer->holds.size(), 1U);
  const pb::HoldChunk hold = file.writer->holds[0];
  EXPECT_EQ(hold.chunk(), file.chunk.id());
  EXPECT_EQ(hold.epoch(), file.epoch);
  EXPECT_EQ(repairs_told(), 0U) << "its writer has it open";
  server_of(file.chunk, 2).repair_time = 2s;
  ASSERT_EQ(file.writer->mutate(Client::close_chunk(hold, 7))->error().code(), 0U);
  Outcome<Answer> again = file.writer->begin_mutation(open_chunk(file));
  runtime_.run_for(1s);
  EXPECT_FALSE(again.done()) << "nothing is written while it is copied";
  EXPECT_TRUE(master_->repairs().copying(ChunkId::from_raw(file.chunk.id())));
  const Answer opened = file.writer->finish(again);
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(opened->open_chunk().chunk().pieces(2).state(), pb::PIECE_CURRENT);
  EXPECT_EQ(opened->open_chunk().chunk().seq_floor(), 17U);
  ASSERT_EQ(server_of(file.chunk, 2).repairs.size(), 1U);
  const pb::Repair& repair = server_of(file.chunk, 2).repairs[0];
  EXPECT_EQ(repair.regions(), 0b101U);
  EXPECT_FALSE(repair.whole());
  EXPECT_EQ(repair.first_seq(), 7U);
  EXPECT_EQ(repair.epoch(), file.epoch);
  EXPECT_EQ(repair.version(), repair.chunk().version() + 1);
  EXPECT_EQ(repair.blocks(), 16384U);
  EXPECT_EQ(repair.chunk().pieces(0).address(), server_of(file.chunk, 0).address().to_string());
  const Repairs::Progress progress = master_->repairs().progress();
  EXPECT_EQ(progress.pieces, 1U);
  EXPECT_EQ(progress.bytes_written, 4096U);
  EXPECT_GE(progress.longest_hold, 2s);
}

TEST_F(RepairsTest, AsksForAWholeCopyWhenThePieceIsNotThere) {
  add_servers(3);
  const File file = open_file("a", 3, 2);
  server_of(file.chunk, 2).repair_errors = {Code::kPieceMissing};
  drop(file, 0b100, 0b101);
  runtime_.run_for(50ms);
  file.writer->mutate(Client::close_chunk(file.writer->holds.at(0), 7));
  runtime_.run_for(100ms);
  ASSERT_TRUE(healthy(file));
  const std::vector<pb::Repair>& told = server_of(file.chunk, 2).repairs;
  ASSERT_EQ(told.size(), 2U);
  EXPECT_TRUE(told[1].whole());
  EXPECT_EQ(told[1].regions(), layout::kAllRegions);
}

TEST_F(RepairsTest, ReplacesAtOnceWhatAWriteWaitsFor) {
  add_servers(4);
  const File file = open_file("a", 3, 2);
  take_away(file.chunk, 1);
  take_away(file.chunk, 2);
  const Instant dropped = runtime_.now();
  drop(file, 0b110, 0b1);
  EXPECT_TRUE(is_pending(now(file)));
  ASSERT_TRUE(runtime_.run_until([&] { return !file.writer->holds.empty(); }, 5s));
  file.writer->mutate(Client::close_chunk(file.writer->holds[0], 3));
  Outcome<Answer> waiting = file.writer->begin_mutation(open_chunk(file));
  const Answer opened = file.writer->finish(waiting);
  ASSERT_TRUE(opened.has_value());
  EXPECT_LT(runtime_.now() - dropped, 2s);
  const pb::Chunk after = opened->open_chunk().chunk();
  EXPECT_FALSE(is_pending(after));
  int moved = 0;
  for (int i = 1; i < 3; ++i) {
    if (after.pieces(i).state() != pb::PIECE_CURRENT) continue;
    ++moved;
    EXPECT_NE(after.pieces(i).cs_id(), file.chunk.pieces(i).cs_id());
    const std::vector<pb::Repair>& told = server_of(after, i).repairs;
    ASSERT_EQ(told.size(), 1U);
    EXPECT_TRUE(told[0].whole());
    const std::uint32_t before = file.chunk.pieces(i).cs_id();
    EXPECT_EQ(state::queries::removals(tables_, NodeId::from_raw(before), 10)->size(), 1U);
  }
  EXPECT_EQ(moved, 1) << "there is one place, and the other piece waits for its server";
  EXPECT_TRUE(state::check_invariants(tables_)->empty());
}

TEST_F(RepairsTest, WaitsForAnInactiveServerAndReplacesItWhenItIsOffline) {
  add_servers(4);
  const File file = open_file("a", 3, 2);
  take_away(file.chunk, 2);
  drop(file, 0b100, 0b1);
  live(2min);
  EXPECT_FALSE(healthy(file));
  EXPECT_EQ(repairs_told(), 0U);
  EXPECT_TRUE(file.writer->holds.empty()) << "nobody is bothered for nothing";
  EXPECT_EQ(master_->repairs().progress().why, "the chunk server is inactive and may come back");
  live(4min);
  ASSERT_FALSE(file.writer->holds.empty());
  file.writer->mutate(Client::close_chunk(file.writer->holds[0], 3));
  live(5s);
  ASSERT_TRUE(healthy(file));
  EXPECT_NE(now(file).pieces(2).cs_id(), file.chunk.pieces(2).cs_id());
}

TEST_F(RepairsTest, RejoinsWhenTheServerIsBackInTime) {
  add_servers(4);
  const File file = open_file("a", 3, 2);
  take_away(file.chunk, 2);
  drop(file, 0b100, 0b1000);
  live(1min);
  server_of(file.chunk, 2).start();
  away_.clear();
  register_servers();
  master_->repairs().restarted(file.chunk.pieces(2).cs_id());
  live(2s);
  ASSERT_FALSE(file.writer->holds.empty());
  file.writer->mutate(Client::close_chunk(file.writer->holds[0], 3));
  live(2s);
  ASSERT_TRUE(healthy(file));
  EXPECT_EQ(now(file).pieces(2).cs_id(), file.chunk.pieces(2).cs_id());
  ASSERT_EQ(server_of(file.chunk, 2).repairs.size(), 1U);
  EXPECT_EQ(server_of(file.chunk, 2).repairs[0].regions(), 0b1000U);
}

TEST_F(RepairsTest, GivesUpAWriterThatDoesNotCloseAndRepairsTheOthers) {
  add_servers(3);
  std::vector<File> deaf;
  for (int i = 0; i < 6; ++i) deaf.push_back(open_file("deaf" + std::to_string(i), 3, 2));
  const File other = open_file("other", 3, 2);
  for (const File& file : deaf) drop(file, 0b100, 0b1);
  live(1s);
  drop(other, 0b100, 0b1);
  for (int i = 0; i < 10 && other.writer->holds.empty(); ++i) live(1s);
  ASSERT_EQ(other.writer->holds.size(), 1U) << "others are not held up";
  other.writer->mutate(Client::close_chunk(other.writer->holds[0], 3));
  live(2s);
  EXPECT_TRUE(healthy(other));
  live(15s);
  EXPECT_GE(deaf[0].writer->holds.size(), 2U) << "it is asked again";
  live(20s);
  EXPECT_EQ(master_->repairs().progress().under_way, 0U);
  EXPECT_EQ(master_->repairs().progress().why, "their writers do not close them");
  // It is not forgotten.
  for (const File& file : deaf) file.writer->holds.clear();
  live(40s);
  for (const File& file : deaf) {
    ASSERT_FALSE(file.writer->holds.empty());
    EXPECT_EQ(
        file.writer->mutate(Client::close_chunk(file.writer->holds.back(), 3))->error().code(), 0U);
  }
  live(30s);
  for (const File& file : deaf) EXPECT_TRUE(healthy(file));
}

TEST_F(RepairsTest, RepairsAfterTheRecoveryWhenTheWriterDies) {
  add_servers(3);
  const File file = open_file("a", 3, 2);
  drop(file, 0b100, 0b1);
  runtime_.run_for(50ms);
  ASSERT_EQ(file.writer->holds.size(), 1U);
  const std::uint64_t dead = file.writer->session;
  file.writer->disconnect();
  Client& b = client("b");
  pb::ClientRequest report;
  report.mutable_end_dead_session()->set_session(dead);
  report.mutable_end_dead_session()->set_process("a");
  report.mutable_end_dead_session()->set_host_id(7);
  ASSERT_TRUE(b.call(report).has_value());
  const Answer read = b.finish(b.begin(Client::acquire(file.inode, pb::LEASE_SHARED)));
  ASSERT_TRUE(read.has_value());
  // Nothing of the file was committed: the chunk went with its writer, and nothing is held.
  runtime_.run_for(1s);
  EXPECT_EQ(master_->repairs().progress().under_way, 0U);
  EXPECT_FALSE(state::queries::chunk(tables_, ChunkId::from_raw(file.chunk.id())).has_value());
}

TEST_F(RepairsTest, ASettledChunkNeedsNobody) {
  add_servers(3);
  const File file = open_file("a", 3, 2);
  server_of(file.chunk, 2).stop();
  drop(file, 0b100, 0b1);
  runtime_.run_for(50ms);
  pb::ClientRequest release;
  release.mutable_release_lease()->set_inode(file.inode);
  release.mutable_release_lease()->set_epoch(file.epoch);
  release.mutable_release_lease()->mutable_update()->set_size(4096);
  ASSERT_EQ(file.writer->mutate(release)->error().code(), 0U);
  server_of(file.chunk, 2).start();
  live(10s);
  EXPECT_TRUE(healthy(file));
  EXPECT_TRUE(file.writer->holds.empty());
  EXPECT_EQ(server_of(file.chunk, 2).repairs.at(0).first_seq(), 1U);
}

TEST_F(RepairsTest, ANewMasterGoesOnFromWhereverTheOldOneDied) {
  add_servers(4);
  // Held, not closed.
  const File held = open_file("held", 3, 2);
  drop(held, 0b100, 0b1);
  runtime_.run_for(50ms);
  ASSERT_EQ(held.writer->holds.size(), 1U);
  // Placed, not copied.
  const File placed = open_file("placed", 3, 2);
  server_of(placed.chunk, 1).repair_time = 60min;
  for (const auto& server : servers_) server->repair_time = 60min;
  drop(placed, 0b10, 0b1);
  runtime_.run_for(50ms);
  ASSERT_EQ(placed.writer->holds.size(), 1U);
  placed.writer->mutate(Client::close_chunk(placed.writer->holds[0], 5));
  runtime_.run_for(50ms);
  ASSERT_EQ(server_of(placed.chunk, 1).repairs.size(), 1U) << "the copy is under way";
  Outcome<Answer> waiting = placed.writer->begin_mutation(open_chunk(placed));
  runtime_.run_for(50ms);
  EXPECT_FALSE(waiting.done());

  fail_over();
  for (const auto& server : servers_) server->repair_time = Duration(0);
  held.writer->holds.clear();
  live(2s);
  EXPECT_TRUE(healthy(placed)) << "it was closed: nobody is asked";
  ASSERT_FALSE(held.writer->holds.empty()) << "the new master asks anew";
  held.writer->mutate(Client::close_chunk(held.writer->holds[0], 5));
  live(2s);
  EXPECT_TRUE(healthy(held));
  EXPECT_TRUE(state::check_invariants(tables_)->empty());
}

TEST_F(RepairsTest, AMasterThatDiedAfterThePlacingLeavesAMissingPieceWithAPlace) {
  add_servers(4);
  const File file = open_file("a", 3, 2);
  for (const auto& server : servers_) server->repair_errors = {Code::kUnsupported};
  drop(file, 0b100, 0b1);
  runtime_.run_for(50ms);
  file.writer->mutate(Client::close_chunk(file.writer->holds.at(0), 5));
  runtime_.run_for(50ms);
  std::uint32_t elsewhere = 1025;
  std::set<std::uint32_t> used;
  for (const pb::Piece& piece : file.chunk.pieces()) used.insert(piece.cs_id());
  while (used.contains(elsewhere)) ++elsewhere;
  pb::Command place;
  place.mutable_place_piece()->set_chunk(file.chunk.id());
  place.mutable_place_piece()->set_version(now(file).version());
  place.mutable_place_piece()->set_piece(2);
  place.mutable_place_piece()->set_cs_id(elsewhere);
  run(std::move(place));
  for (const auto& server : servers_) server->repairs.clear();
  for (const auto& server : servers_) server->repair_errors.clear();
  fail_over();
  live(3s);
  ASSERT_TRUE(healthy(file));
  EXPECT_EQ(now(file).pieces(2).cs_id(), elsewhere);
  ASSERT_EQ(servers_.at(elsewhere - 1025)->repairs.size(), 1U);
  EXPECT_TRUE(servers_.at(elsewhere - 1025)->repairs[0].whole());
}

TEST_F(RepairsTest, DoesNotFinishWhatChangedUnderTheCopy) {
  add_servers(3);
  const File file = open_file("a", 3, 2);
  server_of(file.chunk, 2).repair_time = 2s;
  drop(file, 0b100, 0b1);
  runtime_.run_for(50ms);
  file.writer->mutate(Client::close_chunk(file.writer->holds.at(0), 5));
  runtime_.run_for(50ms);
  ASSERT_EQ(repairs_told(), 1U);
  // Past the hold, as if it had not been there: opened, its writer lost, recovered.
  pb::Command open;
  pb::ClientRequest* request = open.mutable_client()->mutable_request();
  *request = open_chunk(file);
  request->set_session(file.writer->session);
  request->set_seq(file.writer->seq + 1);
  run(std::move(open));
  pb::Command begin;
  begin.mutable_begin_recovery()->set_chunk(file.chunk.id());
  run(std::move(begin));
  pb::Command finish;
  finish.mutable_finish_recovery()->set_chunk(file.chunk.id());
  finish.mutable_finish_recovery()->set_version(now(file).version());
  finish.mutable_finish_recovery()->set_regions(0b10);
  run(std::move(finish));
  runtime_.run_for(2500ms);
  EXPECT_EQ(now(file).pieces(2).state(), pb::PIECE_MISSING) << "what was copied is old";
  EXPECT_EQ(now(file).pieces(2).missed(), 0b11U);
  live(6s);
  EXPECT_TRUE(healthy(file));
  ASSERT_EQ(repairs_told(), 2U);
  EXPECT_EQ(server_of(file.chunk, 2).repairs[1].regions(), 0b11U);
  EXPECT_GT(server_of(file.chunk, 2).repairs[1].version(),
            server_of(file.chunk, 2).repairs[0].version());
}

TEST_F(RepairsTest, TriesAgainLaterAndElsewhereInTheEnd) {
  add_servers(4);
  const File file = open_file("a", 3, 2);
  FakeCs& bad = server_of(file.chunk, 2);
  bad.repair_errors.assign(20, Code::kNoSpace);
  drop(file, 0b100, 0b1);
  runtime_.run_for(50ms);
  file.writer->mutate(Client::close_chunk(file.writer->holds.at(0), 5));
  live(20s);
  EXPECT_TRUE(healthy(file));
  EXPECT_EQ(bad.repairs.size(), 3U);
  EXPECT_NE(now(file).pieces(2).cs_id(), file.chunk.pieces(2).cs_id());
}

TEST_F(RepairsTest, EndsACopyWhenItsServerFallsSilent) {
  add_servers(4);
  const File file = open_file("a", 3, 2);
  FakeCs& gone = server_of(file.chunk, 2);
  gone.repair_time = 60min;
  drop(file, 0b100, 0b1);
  runtime_.run_for(50ms);
  file.writer->mutate(Client::close_chunk(file.writer->holds.at(0), 5));
  runtime_.run_for(50ms);
  away_.insert(file.chunk.pieces(2).cs_id() - 1025);
  Outcome<Answer> waiting = file.writer->begin_mutation(open_chunk(file));
  live(7s);
  EXPECT_TRUE(waiting.done()) << "the writer goes on without the piece";
}

}  // namespace
}  // namespace cairn::mds::master
