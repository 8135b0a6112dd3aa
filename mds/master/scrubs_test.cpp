#include "mds/master/scrubs.h"

#include <gtest/gtest.h>

#include "mds/master/master_fixture.h"

namespace cairn::mds::master {
namespace {

class ScrubsTest : public MasterTest {
 protected:
  // A file of one chunk, replicas 2 of 3 servers, all pieces written.
  std::uint64_t file(FakeClient& a, std::uint64_t parent, const std::string& name) {
    pb::ClientRequest request;
    pb::MakeNode* make = request.mutable_make_node();
    make->set_parent(parent);
    make->set_name(name);
    make->set_type(pb::TYPE_REGULAR);
    make->set_mode(0644);
    make->set_exclusive_lease(true);
    const Answer made = a.mutate(std::move(request));
    EXPECT_TRUE(made.has_value() && made->error().code() == 0);
    const std::uint64_t id = made->make_node().attributes().inode();
    const Answer opened = a.mutate(FakeClient::open_chunk(id, made->make_node().epoch(), 3));
    EXPECT_TRUE(opened.has_value() && opened->error().code() == 0);
    chunks_[id] = opened->open_chunk().chunk();
    return id;
  }
  std::uint64_t directory(FakeClient& a, std::uint64_t parent, const std::string& name) {
    pb::ClientRequest request;
    request.mutable_make_node()->set_parent(parent);
    request.mutable_make_node()->set_name(name);
    request.mutable_make_node()->set_type(pb::TYPE_DIRECTORY);
    request.mutable_make_node()->set_mode(0755);
    return a.mutate(std::move(request))->make_node().attributes().inode();
  }
  FakeClient& begin() {
    add_servers(3);
    set_root_encoding(1, 1, 1);
    return client("a");
  }
  std::uint64_t scrub(std::uint64_t id) {
    const Result<std::uint64_t> job = master_->scrubs().start(inode(id), "/x");
    EXPECT_TRUE(job.has_value());
    runtime_.run_for(10ms);
    return job.value_or(0);
  }
  ScrubBoard::Progress progress(std::uint64_t job) {
    return master_->scrubs().board().progress(job).value();
  }
  // What all servers are asked, answered.
  std::size_t answer_all(std::uint64_t damaged = 0) {
    std::size_t answered = 0;
    for (std::uint32_t cs = 1025; cs < 1028; ++cs) {
      for (const pb::ScrubTask& task : master_->scrubs().tasks(cs)) {
        EXPECT_TRUE(answer(cs, task, damaged).has_value());
        ++answered;
      }
    }
    return answered;
  }
  Status answer(std::uint32_t cs, const pb::ScrubTask& task, std::uint64_t damaged,
                const std::string& failure = {}) {
    pb::ScrubDone done;
    done.set_job(task.job());
    *done.mutable_piece() = task.piece();
    done.set_blocks(4);
    done.set_damaged(damaged);
    done.set_failure(failure);
    return master_->scrubs().answered(cs, done);
  }
  std::string last_event() {
    runtime_.run_for(1500ms);
    return state::queries::last_events(tables_, 1)->at(0).message();
  }

  std::map<std::uint64_t, pb::Chunk> chunks_;
};

TEST_F(ScrubsTest, VerifiesTheWrittenPiecesOfAFile) {
  FakeClient& a = begin();
  const std::uint64_t id = file(a, 1, "file");
  const std::uint64_t job = scrub(id);
  EXPECT_EQ(progress(job).pieces, 2U);
  EXPECT_FALSE(progress(job).done());
  EXPECT_EQ(answer_all(), 2U);
  EXPECT_TRUE(progress(job).done());
  EXPECT_EQ(progress(job).verified, 2U);
  EXPECT_EQ(progress(job).blocks, 8U);
  EXPECT_NE(last_event().find("of /x ended: 2 of 2 pieces verified, 0 damaged blocks"),
            std::string::npos);
}

TEST_F(ScrubsTest, PassesOverPiecesThatWereNeverWritten) {
  FakeClient& a = begin();
  const pb::MakeNodeReply made = a.create("file");
  ASSERT_EQ(
      a.mutate(FakeClient::open_chunk(made.attributes().inode(), made.epoch(), 1))->error().code(),
      0U);
  EXPECT_EQ(progress(scrub(made.attributes().inode())).pieces, 1U);
}

TEST_F(ScrubsTest, WalksATreeOverPagesOfNames) {
  FakeClient& a = begin();
  std::uint64_t parent = directory(a, 1, "tree");
  const std::uint64_t top = parent;
  std::size_t files = 0;
  for (int depth = 0; depth < 20; ++depth, ++files) {
    file(a, parent, "file");
    parent = directory(a, parent, "down");
  }
  for (int i = 0; i < 600; ++i, ++files) file(a, top, "f" + std::to_string(i));
  for (int i = 0; i < 300; ++i) directory(a, top, "d" + std::to_string(i));
  file(a, 1, "beside");
  const std::uint64_t job = scrub(top);
  ASSERT_TRUE(runtime_.run_until([&] { return !progress(job).walking; }, 10s));
  EXPECT_EQ(progress(job).pieces, 2 * files);
  EXPECT_EQ(answer_all(), 2 * files);
  EXPECT_TRUE(progress(job).done());
}

TEST_F(ScrubsTest, NamesDamageByInodeChunkPieceAndServer) {
  FakeClient& a = begin();
  const std::uint64_t id = file(a, 1, "file");
  const std::uint64_t job = scrub(id);
  const pb::Chunk& chunk = chunks_[id];
  const std::uint32_t cs = chunk.pieces(1).cs_id();
  const std::vector<pb::ScrubTask> tasks = master_->scrubs().tasks(cs);
  ASSERT_EQ(tasks.size(), 1U);
  ASSERT_TRUE(answer(cs, tasks[0], 3).has_value());
  EXPECT_EQ(progress(job).findings.at(0),
            fmt::format("inode {} chunk {} piece 1 on CS {}: 3 of 4 blocks are damaged", id,
                        chunk.id(), cs));
}

TEST_F(ScrubsTest, APieceThatLeftItsServerMeanwhileDoesNotCount) {
  FakeClient& a = begin();
  const std::uint64_t id = file(a, 1, "file");
  const std::uint64_t job = scrub(id);
  const std::uint32_t cs = chunks_[id].pieces(0).cs_id();
  const std::vector<pb::ScrubTask> tasks = master_->scrubs().tasks(cs);
  pb::ClientRequest drop;
  drop.mutable_drop_pieces()->set_inode(id);
  drop.mutable_drop_pieces()->set_chunk(chunks_[id].id());
  drop.mutable_drop_pieces()->set_epoch(chunks_[id].writer_epoch());
  drop.mutable_drop_pieces()->set_version(chunks_[id].version());
  drop.mutable_drop_pieces()->set_pieces(1);
  const Answer dropped = a.mutate(drop);
  ASSERT_TRUE(dropped.has_value() && dropped->error().code() == 0);
  ASSERT_TRUE(answer(cs, tasks[0], 0, "CAIRN-405: the piece is gone").has_value());
  EXPECT_EQ(progress(job).pieces, 1U);
  EXPECT_EQ(progress(job).unreachable, 0U);
  // Asked again, the map says that it is missing.
  EXPECT_EQ(progress(scrub(id)).unreachable, 1U);
}

TEST_F(ScrubsTest, PiecesOfAServerThatIsAwayAreUnreachable) {
  FakeClient& a = begin();
  const std::uint64_t id = file(a, 1, "file");
  const std::uint64_t job = scrub(id);
  const std::uint32_t cs = chunks_[id].pieces(0).cs_id();
  master_->cs_board().heartbeat(cs, std::nullopt, {.why = "EIO", .letter = 'H'}, runtime_.now());
  runtime_.run_for(2s);
  EXPECT_EQ(progress(job).unreachable, 1U);
  EXPECT_EQ(answer_all(), 1U);
  EXPECT_TRUE(progress(job).done());
  EXPECT_EQ(progress(job).findings.at(0),
            fmt::format("1 piece of CS {} not verified: the CS is offline", cs));
}

TEST_F(ScrubsTest, AnswersThatMakeNoSenseAreRefusedOrPassedOver) {
  FakeClient& a = begin();
  const std::uint64_t job = scrub(file(a, 1, "file"));
  pb::ScrubTask task;
  task.set_job(job);
  EXPECT_EQ(answer(1025, task, 0).error().code(), Code::kProtocol);
  task.mutable_piece()->set_chunk(UINT64_MAX);
  EXPECT_TRUE(answer(1025, task, 0).has_value());
  task.mutable_piece()->set_piece(21);
  EXPECT_EQ(answer(1025, task, 0).error().code(), Code::kProtocol);
  task.set_job(1);
  task.mutable_piece()->set_piece(0);
  EXPECT_TRUE(answer(1025, task, 5).has_value());
  EXPECT_EQ(progress(job).damaged, 0U);
  EXPECT_FALSE(progress(job).done());
}

TEST_F(ScrubsTest, SomethingElseThanAFileOrADirectoryIsRefused) {
  FakeClient& a = begin();
  pb::ClientRequest request;
  request.mutable_make_node()->set_parent(1);
  request.mutable_make_node()->set_name("pipe");
  request.mutable_make_node()->set_type(pb::TYPE_FIFO);
  request.mutable_make_node()->set_mode(0644);
  const std::uint64_t pipe = a.mutate(request)->make_node().attributes().inode();
  EXPECT_EQ(master_->scrubs().start(inode(pipe), "/pipe").error().code(), Code::kInvalidArgument);
}

TEST_F(ScrubsTest, JobsEndWithTheReignAndAreNotTakenForThoseOfTheNext) {
  FakeClient& a = begin();
  const std::uint64_t id = file(a, 1, "file");
  const std::uint64_t job = scrub(id);
  stop();
  start();
  EXPECT_FALSE(master_->scrubs().board().progress(job).has_value());
  EXPECT_FALSE(master_->scrubs().board().progress(0).has_value());
  EXPECT_NE(scrub(id), job);
}

}  // namespace
}  // namespace cairn::mds::master
