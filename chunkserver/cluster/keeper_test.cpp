#include "chunkserver/cluster/keeper.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "chunkserver/testing/virtual_loop.h"
#include "proto/admin.pb.h"

namespace cairn::chunkserver::cluster {
namespace {

PieceId piece_id(std::uint64_t chunk) { return {ChunkId::from_raw(chunk), PieceIndex(0)}; }

// A chunk server that removes and verifies nothing, but says so.
class FakeDuties final : public Duties {
 public:
  explicit FakeDuties(runtime::Runtime& runtime) : runtime_(runtime) {}
  pb::CsStatistics statistics() override {
    pb::CsStatistics statistics;
    statistics.set_pieces(3);
    return statistics;
  }
  std::optional<Failure> failure() const override { return broken; }
  Task<Status> remove(PieceId piece, std::optional<ChunkVersion> most) override {
    bounds.push_back(most);
    most_removals = std::max(most_removals, ++removals);
    co_await sleep_for(runtime_, 1ms);
    --removals;
    if (fail_removals) co_return fail(Code::kDiskFailed);
    pieces.erase(piece);
    co_return Status();
  }
  void set_verify_rate(std::uint32_t pieces_a_minute) override { rate = pieces_a_minute; }
  void offer_conversion() override { ++offers; }
  void take_scrub_tasks(const std::vector<pb::ScrubTask>& tasks) override {
    for (const pb::ScrubTask& task : tasks) {
      ++tasks_sent;
      pb::ScrubDone done;
      done.set_job(task.job());
      *done.mutable_piece() = task.piece();
      done.set_blocks(5);
      results[task.job()] = done;
    }
  }
  std::vector<pb::ScrubDone> scrubbed() const override {
    std::vector<pb::ScrubDone> all;
    for (const auto& [job, done] : results) all.push_back(done);
    return all;
  }
  void scrub_reported(const std::vector<pb::ScrubDone>& reported) override {
    for (const pb::ScrubDone& done : reported) results.erase(done.job());
  }

  std::optional<Failure> broken;
  std::set<PieceId> pieces;
  std::vector<std::optional<ChunkVersion>> bounds;
  bool fail_removals = false;
  std::size_t removals = 0;
  std::size_t most_removals = 0;
  std::uint32_t rate = 99;
  int tasks_sent = 0;
  int offers = 0;
  std::map<std::uint64_t, pb::ScrubDone> results;

 private:
  runtime::Runtime& runtime_;
};

// An MDS that answers what the test wants.
class FakeMds final : public rpc::Caller {
 public:
  explicit FakeMds(runtime::Runtime& runtime) : runtime_(runtime) {}
  Task<Result<std::string>> call(std::string method, std::string request, Deadline) override {
    co_await sleep_for(runtime_, 1ms);
    if (!reachable) co_return fail(Code::kUnavailable, "nobody there");
    if (method == "/cairn.pb.Admin/Hello") {
      pb::HelloReply hello;
      hello.set_master(told_master);
      co_return hello.SerializeAsString();
    }
    if (!master) co_return fail(Code::kNotMaster, "an election");
    if (method == "/cairn.pb.Cluster/RegisterCs") {
      ++registrations;
      EXPECT_TRUE(last_identity.ParseFromString(request));
      known = true;
      pb::RegisterCsReply reply;
      reply.set_heartbeat_ms(100);
      for (const std::string& member : members) reply.add_mds(member);
      co_return reply.SerializeAsString();
    }
    EXPECT_EQ(method, "/cairn.pb.Cluster/Heartbeat");
    ++heartbeats;
    EXPECT_TRUE(last.ParseFromString(request));
    pb::HeartbeatReply reply;
    reply.set_unknown(!known);
    reply.set_verify_chunks(verify_chunks);
    reply.set_convert(convert);
    for (const std::string& member : members) reply.add_mds(member);
    if (lose_replies != 0) {
      --lose_replies;
      co_return fail(Code::kConnectionLost, "it was done, but nobody says so");
    }
    if (known) {
      for (const pb::ScrubDone& done : last.scrubbed()) {
        ++scrubs_reported;
        std::erase(to_scrub, done.job());
      }
      for (const std::uint64_t job : to_scrub) {
        pb::ScrubTask* task = reply.add_scrub();
        task->set_job(job);
        task->mutable_piece()->set_chunk(100 + job);
      }
      for (const pb::PieceRef& ref : last.removed()) {
        std::erase_if(to_remove, [&](PieceId piece) { return piece.chunk.raw() == ref.chunk(); });
        ++reported;
      }
      for (const PieceId piece : to_remove) {
        pb::PieceRef* ref = reply.add_remove();
        ref->set_chunk(piece.chunk.raw());
        ref->set_piece(piece.index.raw());
        ref->set_version(remove_version);
      }
    }
    co_return reply.SerializeAsString();
  }

  bool reachable = true;
  bool master = true;
  std::string told_master;  // by whoever is none
  std::vector<std::string> members;
  int lose_replies = 0;
  bool known = false;
  int registrations = 0;
  int heartbeats = 0;
  int reported = 0;
  std::vector<PieceId> to_remove;
  std::uint64_t remove_version = 0;
  std::vector<std::uint64_t> to_scrub;
  int scrubs_reported = 0;
  std::uint32_t verify_chunks = 2;
  bool convert = false;
  pb::RegisterCsRequest last_identity;
  pb::HeartbeatRequest last;

 private:
  runtime::Runtime& runtime_;
};

class KeeperTest : public ::testing::Test {
 protected:
  KeeperTest() : loop_(1), mds_(loop_), duties_(loop_), log_(observe::make_null_log()) {
    pb::RegisterCsRequest identity;
    identity.set_cs_id(1025);
    identity.set_cluster_id(9);
    keeper_ = std::make_unique<Keeper>(
        loop_, mds_, identity, duties_, *log_,
        [this](const std::vector<std::string>& members) { members_ = members; });
  }
  ~KeeperTest() override { loop_.run(keeper_->stop()); }

  testing::VirtualLoop loop_;
  FakeMds mds_;
  FakeDuties duties_;
  std::unique_ptr<observe::Log> log_;
  std::vector<std::string> members_;
  std::unique_ptr<Keeper> keeper_;
};

TEST_F(KeeperTest, RegistersAndBeats) {
  keeper_->start();
  loop_.run_for(1050ms);
  EXPECT_EQ(mds_.registrations, 1);
  EXPECT_EQ(mds_.last_identity.cs_id(), 1025U);
  EXPECT_GE(mds_.heartbeats, 9);
  EXPECT_LE(mds_.heartbeats, 12);
  EXPECT_EQ(mds_.last.statistics().pieces(), 3U);
  EXPECT_EQ(mds_.last.cluster_id(), 9U);
}

TEST_F(KeeperTest, GoesOnTryingAndRegistersAgainWhenToldUnknown) {
  mds_.reachable = false;
  keeper_->start();
  loop_.run_for(60s);
  EXPECT_FALSE(keeper_->registered());
  mds_.reachable = true;
  loop_.run_for(6s);
  EXPECT_TRUE(keeper_->registered());
  mds_.known = false;
  loop_.run_for(1s);
  EXPECT_EQ(mds_.registrations, 2);
  mds_.reachable = false;
  loop_.run_for(10s);
  mds_.reachable = true;
  loop_.run_for(6s);
  EXPECT_EQ(mds_.registrations, 2);
  const int before = mds_.heartbeats;
  loop_.run_for(1s);
  EXPECT_GT(mds_.heartbeats, before + 5);
}

TEST_F(KeeperTest, OffersConversionWheneverTheMasterDoes) {
  keeper_->start();
  loop_.run_for(1s);
  EXPECT_EQ(duties_.offers, 0);
  mds_.convert = true;
  loop_.run_for(1s);
  EXPECT_GT(duties_.offers, 5);
  mds_.convert = false;
  loop_.run_for(200ms);
  const int before = duties_.offers;
  loop_.run_for(1s);
  EXPECT_EQ(duties_.offers, before);
}

TEST_F(KeeperTest, RemovesBeforeItReports) {
  constexpr std::uint64_t kPieces = 1000;
  for (std::uint64_t chunk = 1; chunk <= kPieces; ++chunk) {
    duties_.pieces.insert(piece_id(chunk));
    mds_.to_remove.push_back(piece_id(chunk));
  }
  keeper_->start();
  loop_.run_for(3s);
  EXPECT_TRUE(mds_.to_remove.empty());
  EXPECT_GE(mds_.reported, static_cast<int>(kPieces));
  EXPECT_TRUE(duties_.pieces.empty());
  EXPECT_LE(duties_.most_removals, kRemovalsAtOnce);
}

TEST_F(KeeperTest, CarriesTheVersionUpToWhichAPieceIsMeantAndReportsIt) {
  mds_.to_remove.push_back(piece_id(1));
  keeper_->start();
  loop_.run_for(150ms);
  ASSERT_EQ(duties_.bounds.size(), 1U);
  EXPECT_EQ(duties_.bounds[0], std::nullopt);
  mds_.remove_version = 7;
  mds_.to_remove.push_back(piece_id(1));
  loop_.run_for(110ms);
  mds_.remove_version = 9;
  mds_.to_remove.push_back(piece_id(1));
  loop_.run_for(300ms);
  ASSERT_GE(duties_.bounds.size(), 3U) << "another version is another removal";
  EXPECT_EQ(duties_.bounds[1], ChunkVersion(7));
  EXPECT_EQ(duties_.bounds.back(), ChunkVersion(9));
  EXPECT_TRUE(mds_.to_remove.empty());
}

TEST_F(KeeperTest, ARemovalThatFailedIsNotReported) {
  duties_.fail_removals = true;
  mds_.to_remove.push_back(piece_id(1));
  keeper_->start();
  loop_.run_for(2s);
  EXPECT_EQ(mds_.reported, 0);
  duties_.fail_removals = false;
  loop_.run_for(1s);
  EXPECT_TRUE(mds_.to_remove.empty());
}

TEST_F(KeeperTest, ANewMasterHearsOfUsRightAfterItsElection) {
  keeper_->start();
  loop_.run_for(1s);
  for (int round = 0; round < 5; ++round) {
    mds_.master = false;
    loop_.run_for(1700ms);
    mds_.master = true;
    mds_.known = false;  // it knows us from its tables, but not where we are
    const int registrations = mds_.registrations;
    const int heartbeats = mds_.heartbeats;
    loop_.run_for(450ms);
    EXPECT_EQ(mds_.registrations, registrations + 1);
    EXPECT_GE(mds_.heartbeats, heartbeats + 2) << "one told us to register, one was good";
  }
}

TEST_F(KeeperTest, RemovalsAreReportedAgainUntilAMasterTookThem) {
  duties_.pieces.insert(piece_id(1));
  mds_.to_remove.push_back(piece_id(1));
  keeper_->start();
  loop_.run_for(20ms);
  // Asked for by a master that is no more when the report comes; the next one asks again, and asks
  // for what is gone by now.
  mds_.lose_replies = 3;
  loop_.run_for(2s);
  EXPECT_TRUE(mds_.to_remove.empty());
  EXPECT_EQ(mds_.reported, 1);
  EXPECT_TRUE(duties_.pieces.empty());
  mds_.to_remove.push_back(piece_id(1));
  loop_.run_for(2s);
  EXPECT_TRUE(mds_.to_remove.empty()) << "removing what is not there is done too";
  EXPECT_EQ(mds_.reported, 2);
}

TEST_F(KeeperTest, CarriesScrubsBothWaysUntilTheMasterHasThem) {
  mds_.to_scrub = {1, 2, 3};
  keeper_->start();
  loop_.run_for(20ms);
  EXPECT_EQ(duties_.rate, 2U);
  EXPECT_EQ(duties_.results.size(), 3U);
  mds_.lose_replies = 2;
  loop_.run_for(150ms);
  EXPECT_EQ(duties_.results.size(), 3U) << "the master may not have got them";
  loop_.run_for(2s);
  EXPECT_TRUE(duties_.results.empty());
  EXPECT_TRUE(mds_.to_scrub.empty());
  EXPECT_EQ(mds_.scrubs_reported, 3);
  mds_.verify_chunks = 7;
  loop_.run_for(200ms);
  EXPECT_EQ(duties_.rate, 7U);
}

TEST_F(KeeperTest, TellsWhatItLearnedOfTheMembers) {
  mds_.members = {"10.0.0.1:2510", "10.0.0.2:2510"};
  keeper_->start();
  loop_.run_for(50ms);
  EXPECT_EQ(members_, mds_.members);
  mds_.members = {"10.0.0.2:2510"};
  loop_.run_for(300ms);
  EXPECT_EQ(members_, mds_.members);
  mds_.members.clear();  // of an older version: says nothing
  loop_.run_for(300ms);
  EXPECT_EQ(members_.size(), 1U);
}

// Away while the group was changed: nobody we know is the master, but they know who is.
TEST_F(KeeperTest, TellsOfAMasterThatItHearsOfFromOthers) {
  mds_.members = {"10.0.0.1:2510", "10.0.0.2:2510"};
  keeper_->start();
  loop_.run_for(50ms);
  mds_.master = false;
  loop_.run_for(1s);
  EXPECT_EQ(members_, mds_.members) << "they know none";
  mds_.told_master = "10.0.0.2:2510";
  loop_.run_for(5s);
  EXPECT_EQ(members_, mds_.members) << "nothing new";
  mds_.told_master = "10.0.0.4:2510";
  loop_.run_for(5s);
  EXPECT_EQ(members_,
            (std::vector<std::string>{"10.0.0.1:2510", "10.0.0.2:2510", "10.0.0.4:2510"}));
}

TEST_F(KeeperTest, LooksForAMasterBeforeItIsRegistered) {
  mds_.master = false;
  mds_.told_master = "10.0.0.4:2510";
  keeper_->start();
  loop_.run_for(5s);
  EXPECT_FALSE(keeper_->registered());
  EXPECT_EQ(members_, std::vector<std::string>{"10.0.0.4:2510"});
}

TEST_F(KeeperTest, TellsThatTheDiskFailed) {
  keeper_->start();
  loop_.run_for(500ms);
  EXPECT_TRUE(mds_.last.failure().empty());
  EXPECT_TRUE(mds_.last.trouble().empty());
  EXPECT_TRUE(mds_.last_identity.failure().empty());
  duties_.broken = Failure{"a write failed", 'H'};
  mds_.to_remove.push_back(piece_id(1));
  loop_.run_for(500ms);
  EXPECT_EQ(mds_.last.failure(), "a write failed");
  EXPECT_EQ(mds_.last.trouble(), "H");
  EXPECT_EQ(mds_.reported, 0) << "nothing can be removed";
}

TEST_F(KeeperTest, AChunkServerThatCannotServeRegistersAllTheSame) {
  pb::CsStatistics statistics;
  statistics.set_flags("C");
  SickDuties sick({"the journal is gone", 'S'}, statistics);
  pb::RegisterCsRequest identity;
  identity.set_cs_id(1026);
  Keeper keeper(loop_, mds_, identity, sick, *log_);
  mds_.to_remove.push_back(piece_id(1));
  mds_.to_scrub = {4};
  keeper.start();
  loop_.run_for(1s);
  EXPECT_EQ(mds_.last_identity.failure(), "the journal is gone");
  EXPECT_EQ(mds_.last_identity.trouble(), "S");
  EXPECT_TRUE(mds_.last_identity.address().empty());
  EXPECT_GE(mds_.heartbeats, 8);
  EXPECT_EQ(mds_.last.failure(), "the journal is gone");
  EXPECT_EQ(mds_.last.trouble(), "S");
  EXPECT_EQ(mds_.last.statistics().flags(), "CS");
  EXPECT_EQ(mds_.reported, 0);
  EXPECT_TRUE(mds_.to_scrub.empty()) << "answered: it failed";
  EXPECT_TRUE(sick.scrubbed().empty());
  loop_.run(keeper.stop());
}

}  // namespace
}  // namespace cairn::chunkserver::cluster
