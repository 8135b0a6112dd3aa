#include "chunkserver/cluster/keeper.h"

#include <gtest/gtest.h>

#include "chunkserver/testing/store_world.h"

namespace cairn::chunkserver::cluster {
namespace {

using testing::StoreWorld;

// An MDS that answers what the test wants.
class FakeMds final : public rpc::Caller {
 public:
  explicit FakeMds(runtime::Runtime& runtime) : runtime_(runtime) {}
  Task<Result<std::string>> call(std::string method, std::string request, Deadline) override {
    co_await sleep_for(runtime_, 1ms);
    if (!reachable) co_return fail(Code::kUnavailable, "nobody there");
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
    for (const std::string& member : members) reply.add_mds(member);
    if (lose_replies != 0) {
      --lose_replies;
      co_return fail(Code::kConnectionLost, "it was done, but nobody says so");
    }
    if (known) {
      for (const pb::PieceRef& ref : last.removed()) {
        std::erase_if(to_remove, [&](PieceId piece) { return piece.chunk.raw() == ref.chunk(); });
        ++reported;
      }
      for (const PieceId piece : to_remove) {
        pb::PieceRef* ref = reply.add_remove();
        ref->set_chunk(piece.chunk.raw());
        ref->set_piece(piece.index.raw());
      }
    }
    co_return reply.SerializeAsString();
  }

  bool reachable = true;
  bool master = true;
  std::vector<std::string> members;
  int lose_replies = 0;
  bool known = false;
  int registrations = 0;
  int heartbeats = 0;
  int reported = 0;
  std::vector<PieceId> to_remove;
  pb::RegisterCsRequest last_identity;
  pb::HeartbeatRequest last;

 private:
  runtime::Runtime& runtime_;
};

class KeeperTest : public ::testing::Test {
 protected:
  KeeperTest() : world_({}), mds_(world_.loop()), log_(observe::make_null_log()) {
    CHECK(world_.open().has_value());
    pb::RegisterCsRequest identity;
    identity.set_cs_id(1025);
    identity.set_cluster_id(9);
    keeper_ = std::make_unique<Keeper>(
        world_.loop(), mds_, identity, world_.store(),
        [] {
          pb::CsStatistics statistics;
          statistics.set_pieces(3);
          return statistics;
        },
        *log_, [this](const std::vector<std::string>& members) { members_ = members; });
  }
  ~KeeperTest() override { world_.loop().run(keeper_->stop()); }

  StoreWorld world_;
  FakeMds mds_;
  std::unique_ptr<observe::Log> log_;
  std::vector<std::string> members_;
  std::unique_ptr<Keeper> keeper_;
};

TEST_F(KeeperTest, RegistersAndBeats) {
  keeper_->start();
  world_.loop().run_for(1050ms);
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
  world_.loop().run_for(60s);
  EXPECT_FALSE(keeper_->registered());
  mds_.reachable = true;
  world_.loop().run_for(6s);
  EXPECT_TRUE(keeper_->registered());
  mds_.known = false;
  world_.loop().run_for(1s);
  EXPECT_EQ(mds_.registrations, 2);
  mds_.reachable = false;
  world_.loop().run_for(10s);
  mds_.reachable = true;
  world_.loop().run_for(6s);
  EXPECT_EQ(mds_.registrations, 2);
  const int before = mds_.heartbeats;
  world_.loop().run_for(1s);
  EXPECT_GT(mds_.heartbeats, before + 5);
}

TEST_F(KeeperTest, RemovesDurablyBeforeItReports) {
  constexpr std::uint64_t kPieces = 1000;
  for (std::uint64_t chunk = 1; chunk <= kPieces; ++chunk) {
    testing::MadePrepare made =
        testing::make_prepare(testing::piece_id(chunk), 1, testing::op_id(1, 1), {{0, 1}}, {chunk});
    store::PrepareRequest request = std::move(made.request);
    ASSERT_TRUE(world_.loop()
                    .run(world_.store().prepare(std::move(request), std::move(made.body)))
                    .has_value());
    mds_.to_remove.push_back(testing::piece_id(chunk));
  }
  keeper_->start();
  world_.loop().run_for(3s);
  EXPECT_TRUE(mds_.to_remove.empty());
  EXPECT_GE(mds_.reported, static_cast<int>(kPieces));
  EXPECT_EQ(world_.store().statistics().pieces, 0U);
  EXPECT_EQ(world_.store().statistics().used_bytes, 0U);
}

TEST_F(KeeperTest, ANewMasterHearsOfUsRightAfterItsElection) {
  keeper_->start();
  world_.loop().run_for(1s);
  for (int round = 0; round < 5; ++round) {
    mds_.master = false;
    world_.loop().run_for(1700ms);
    mds_.master = true;
    mds_.known = false;  // it knows us from its tables, but not where we are
    const int registrations = mds_.registrations;
    const int heartbeats = mds_.heartbeats;
    world_.loop().run_for(450ms);
    EXPECT_EQ(mds_.registrations, registrations + 1);
    EXPECT_GE(mds_.heartbeats, heartbeats + 2) << "one told us to register, one was good";
  }
}

TEST_F(KeeperTest, RemovalsAreReportedAgainUntilAMasterTookThem) {
  testing::MadePrepare made =
      testing::make_prepare(testing::piece_id(1), 1, testing::op_id(1, 1), {{0, 1}}, {1});
  store::PrepareRequest request = std::move(made.request);
  ASSERT_TRUE(world_.loop()
                  .run(world_.store().prepare(std::move(request), std::move(made.body)))
                  .has_value());
  mds_.to_remove.push_back(testing::piece_id(1));
  keeper_->start();
  world_.loop().run_for(20ms);
  // Asked for by a master that is no more when the report comes; the next one asks again, and asks
  // for what is gone by now.
  mds_.lose_replies = 3;
  world_.loop().run_for(2s);
  EXPECT_TRUE(mds_.to_remove.empty());
  EXPECT_EQ(mds_.reported, 1);
  EXPECT_EQ(world_.store().statistics().pieces, 0U);
  mds_.to_remove.push_back(testing::piece_id(1));
  world_.loop().run_for(2s);
  EXPECT_TRUE(mds_.to_remove.empty()) << "removing what is not there is done too";
  EXPECT_EQ(mds_.reported, 2);
}

TEST_F(KeeperTest, TellsWhatItLearnedOfTheMembers) {
  mds_.members = {"10.0.0.1:2510", "10.0.0.2:2510"};
  keeper_->start();
  world_.loop().run_for(50ms);
  EXPECT_EQ(members_, mds_.members);
  mds_.members = {"10.0.0.2:2510"};
  world_.loop().run_for(300ms);
  EXPECT_EQ(members_, mds_.members);
  mds_.members.clear();  // of an older version: says nothing
  world_.loop().run_for(300ms);
  EXPECT_EQ(members_.size(), 1U);
}

TEST_F(KeeperTest, TellsThatTheDiskFailed) {
  keeper_->start();
  world_.loop().run_for(500ms);
  EXPECT_TRUE(mds_.last.failure().empty());
  world_.disk().fail_writes(true);
  testing::MadePrepare made =
      testing::make_prepare(testing::piece_id(1), 1, testing::op_id(1, 1), {{0, 1}}, {1});
  store::PrepareRequest request = std::move(made.request);
  const Status status =
      world_.loop().run(world_.store().prepare(std::move(request), std::move(made.body)));
  EXPECT_FALSE(status.has_value());
  world_.loop().run_for(500ms);
  EXPECT_FALSE(mds_.last.failure().empty());
}

}  // namespace
}  // namespace cairn::chunkserver::cluster
