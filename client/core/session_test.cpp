// Session: finding the master, leaving one that is dead or silent, when leases may be trusted.
#include "client/core/session.h"

#include <gtest/gtest.h>

#include "client/core/testing/fake_cluster.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::FakeMaster;
using testing::Shape;

constexpr Shape kTwoOne{.data = 2, .parity = 1, .min = 2};
constexpr Duration kBudget = 3s;  // of a failover

struct StubOwner final : Session::Owner {
  void on_recall(pb::RecallLease) override {}
  void on_hold(pb::HoldChunk) override {}
  pb::Reclaim held() const override { return {}; }
  void on_session_gone() override { ++gone; }
  pb::KeepAlive statistics() const override { return {}; }
  int gone = 0;
};

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() : cluster_(kTwoOne, 3, 0, 3), master_(*cluster_.master) {
    options_.masters = {address(0)};
    options_.credentials = {"test", "key"};
    options_.host_id = HostId::from_raw(7);
    options_.process = "p";
  }
  ~SessionTest() override {
    if (session_ == nullptr) return;
    const Status stopped = cluster_.run(stop(session_.get(), cluster_.runtime.after(1s)));
    EXPECT_TRUE(stopped.has_value());
  }

  static net::Address address(unsigned index) {
    return {"10.0.0." + std::to_string(index + 1), 2511};
  }
  static Task<Status> stop(Session* session, Deadline deadline) {
    co_await session->stop(false, deadline);
    co_return Status();
  }
  Session& open() {
    session_ = std::make_unique<Session>(cluster_.runtime, cluster_.network, *cluster_.log,
                                         options_, owner_);
    const Status started = cluster_.run(session_->start(cluster_.runtime.after(30s)));
    EXPECT_TRUE(started.has_value()) << started.error().to_string();
    return *session_;
  }
  static pb::ClientRequest make(const std::string& name) {
    pb::ClientRequest request;
    request.mutable_make_node()->set_parent(1);
    request.mutable_make_node()->set_name(name);
    request.mutable_make_node()->set_type(pb::TYPE_REGULAR);
    return request;
  }
  static pb::ClientRequest look_up(const std::string& name) {
    pb::ClientRequest request;
    request.mutable_lookup()->set_parent(1);
    request.mutable_lookup()->set_name(name);
    return request;
  }
  // Asks, and how long that took.
  std::pair<Result<pb::ClientReply>, Duration> timed(pb::ClientRequest request) {
    const Instant began = cluster_.world.now();
    Result<pb::ClientReply> reply =
        cluster_.run(session_->call(std::move(request), cluster_.runtime.after(60s)));
    return {std::move(reply), cluster_.world.now() - began};
  }
  void later(Duration delay, std::function<void()> what) {
    cluster_.runtime.schedule(cluster_.runtime.after(delay), std::move(what));
  }

  FakeCluster cluster_;
  FakeMaster& master_;
  Options options_;
  StubOwner owner_;
  std::unique_ptr<Session> session_;
};

TEST_F(SessionTest, FollowsARedirectToAnMdsThatNobodyConfigured) {
  master_.elect(2);
  const Instant began = cluster_.world.now();
  Session& session = open();
  EXPECT_LT(cluster_.world.now() - began, Duration(50ms));
  EXPECT_TRUE(session.valid());
  EXPECT_EQ(master_.redirects, 1U);
}

TEST_F(SessionTest, StartsDuringAnElectionAndWhileTheFirstAddressIsSilent) {
  options_.masters = {address(0), address(1), address(2)};
  master_.pause(0);
  master_.depose();
  later(1s, [this] { master_.elect(1); });
  const Instant began = cluster_.world.now();
  open();
  EXPECT_LT(cluster_.world.now() - began, Duration(1300ms));
}

TEST_F(SessionTest, SaysWhyItCannotStart) {
  master_.depose();
  session_ = std::make_unique<Session>(cluster_.runtime, cluster_.network, *cluster_.log, options_,
                                       owner_);
  Status started = cluster_.run(session_->start(cluster_.runtime.after(2s)));
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code(), Code::kNotMaster);
  session_.reset();
  options_.credentials.key = "another";
  session_ = std::make_unique<Session>(cluster_.runtime, cluster_.network, *cluster_.log, options_,
                                       owner_);
  const Instant began = cluster_.world.now();
  started = cluster_.run(session_->start(cluster_.runtime.after(60s)));
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code(), Code::kNotAuthenticated);
  EXPECT_LT(cluster_.world.now() - began, Duration(1s)) << "no waiting for what will not change";
  session_.reset();
}

TEST_F(SessionTest, AKilledMasterCostsLittleMoreThanTheElection) {
  open();
  for (unsigned round = 0; round < 12; ++round) {
    const std::size_t victim = master_.leader();
    const std::size_t next = (victim + 1 + round % 2) % 3;
    master_.kill(victim);
    later(1s, [this, next] { master_.elect(next); });
    const auto [reply, took] = timed(make("f" + std::to_string(round)));
    ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
    EXPECT_LT(took, Duration(1300ms)) << "round " << round;
    master_.revive(victim);
  }
  EXPECT_EQ(master_.executed, 12U);
  EXPECT_EQ(owner_.gone, 0);
  EXPECT_EQ(master_.reclaims, 12U);
}

TEST_F(SessionTest, ASilentMasterIsLeftWithinTheBudget) {
  open();
  for (unsigned round = 0; round < 6; ++round) {
    const std::size_t victim = master_.leader();
    const std::size_t next = (victim + 1) % 3;
    master_.pause(victim);
    later(1400ms, [this, next] { master_.elect(next); });
    const auto [reply, took] = timed(make("f" + std::to_string(round)));
    ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
    EXPECT_LT(took, Duration(1800ms)) << "round " << round;
    // It comes back, and what it has under way is not done by it.
    master_.resume(victim);
    cluster_.world.run_for(3s);
  }
  EXPECT_EQ(master_.executed, 6U);
}

TEST_F(SessionTest, TheOthersAreAskedWithinASecondOfSilence) {
  open();
  master_.pause(0);
  master_.elect(1);
  const auto [reply, took] = timed(look_up("nothing"));
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().code(), Code::kNotFound);
  EXPECT_LT(took, Duration(1s));
}

TEST_F(SessionTest, AMasterThatIsOnlySlowIsNotLeft) {
  open();
  master_.pause_until(0, cluster_.runtime.after(2500ms));
  const auto [reply, took] = timed(make("f"));
  ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
  EXPECT_LT(took, Duration(2600ms));
  EXPECT_EQ(master_.resumed, 0U) << "the channel stayed";
  EXPECT_EQ(master_.executed, 1U);
}

TEST_F(SessionTest, TheNewMasterIsNoticedWhileNothingIsAsked) {
  Session& session = open();
  master_.pause(0);
  master_.elect(2);
  cluster_.world.run_for(1700ms);
  EXPECT_EQ(master_.resumed, 1U);
  EXPECT_TRUE(session.valid());
}

TEST_F(SessionTest, AMutationOfALostReplyIsDoneOnceAndAnsweredByTheNextMaster) {
  open();
  for (unsigned round = 0; round < 5; ++round) {
    const std::size_t victim = master_.leader();
    const std::size_t next = (victim + 1) % 3;
    master_.lose_replies = 1;  // done, then the connection breaks, and the MDS is gone
    later(1ms, [this, victim] { master_.kill(victim); });
    later(800ms, [this, next] { master_.elect(next); });
    const std::string name = "f" + std::to_string(round);
    const auto [made, took] = timed(make(name));
    ASSERT_TRUE(made.has_value()) << made.error().to_string();
    EXPECT_LT(took, kBudget);
    EXPECT_EQ(master_.executed, round + 1U);
    EXPECT_EQ(made->make_node().attributes().inode(), master_.names.at(name));
    master_.revive(victim);
  }
}

TEST_F(SessionTest, ADeposedMasterThatStaysConnectedIsLeftAtOnce) {
  open();
  master_.elect(1);
  const auto [reply, took] = timed(make("f"));
  ASSERT_TRUE(reply.has_value());
  EXPECT_LT(took, Duration(100ms));
  EXPECT_EQ(master_.redirects, 1U) << "it said where";
  master_.knows_leader = false;
  master_.elect(2);
  const auto [second, again] = timed(make("g"));
  ASSERT_TRUE(second.has_value());
  EXPECT_LT(again, Duration(200ms)) << "everybody is asked";
}

TEST_F(SessionTest, TroubleOfAnMdsNeverReachesTheCaller) {
  open();
  unsigned round = 0;
  for (const Code code : {Code::kUnavailable, Code::kNoMajority, Code::kOverloaded,
                          Code::kCancelled, Code::kTimeout, Code::kConnectionLost,
                          Code::kDiskFailed, Code::kCorrupt, Code::kProtocol, Code::kNotMaster}) {
    master_.trouble = code;
    const std::size_t next = (master_.leader() + 1) % 3;
    later(700ms, [this, next] {
      master_.trouble.reset();
      master_.elect(next);
    });
    const auto [made, took] = timed(make("f" + std::to_string(++round)));
    ASSERT_TRUE(made.has_value()) << code_name(code) << ": " << made.error().to_string();
    EXPECT_LT(took, Duration(1500ms)) << code_name(code);
    EXPECT_EQ(master_.executed, round);
  }
  EXPECT_EQ(owner_.gone, 0);
}

TEST_F(SessionTest, OnlyAnswersOfAMasterKeepLeasesValid) {
  Session& session = open();
  const Instant opened = cluster_.world.now();
  unsigned round = 0;
  for (const Code code : {Code::kUnavailable, Code::kNotMaster, Code::kOverloaded,
                          Code::kNoMajority, Code::kCancelled}) {
    master_.trouble = code;
    const Duration until = 1s + std::chrono::milliseconds(1600) * round++;
    while (cluster_.world.now() - opened < until) {
      const auto deadline = cluster_.runtime.after(100ms);
      const Result<pb::ClientReply> reply = cluster_.run(session.call(look_up("x"), deadline));
      EXPECT_FALSE(reply.has_value());
    }
  }
  // Nine tenths of the ten seconds of a lease, from before the first.
  while (cluster_.world.now() - opened < Duration(8900ms)) cluster_.world.run_for(50ms);
  EXPECT_TRUE(session.valid());
  cluster_.world.run_for(300ms);
  EXPECT_FALSE(session.valid());
  master_.trouble.reset();
  ASSERT_FALSE(timed(look_up("x")).first.has_value());
  EXPECT_TRUE(session.valid()) << "kNotFound of a master does";
}

// It was not told yet what we hold: until then it counts on nothing, so nor may we.
TEST_F(SessionTest, AnAnswerBeforeTheReclaimCountsForNothing) {
  Session& session = open();
  master_.kill(0);
  master_.elect(1);
  master_.lose_reclaims = true;
  cluster_.world.run_for(20s);
  EXPECT_GT(master_.resumed, 0U);
  EXPECT_FALSE(session.valid());
  master_.lose_reclaims = false;
  cluster_.world.run_for(15s);
  EXPECT_TRUE(session.valid());
}

TEST_F(SessionTest, LearnsTheMembersAndFindsThemWithoutTheConfiguredOne) {
  open();
  master_.kill(0);
  master_.elect(1);
  ASSERT_TRUE(timed(make("f")).first.has_value());
  master_.kill(1);
  master_.elect(2);
  const auto [made, took] = timed(make("g"));
  ASSERT_TRUE(made.has_value());
  EXPECT_LT(took, Duration(300ms));
}

TEST_F(SessionTest, ManyRequestsAtOnceSurviveAFailover) {
  Session& session = open();
  constexpr unsigned kRequests = 300;
  std::vector<std::optional<Result<pb::ClientReply>>> replies(kRequests);
  for (unsigned i = 0; i < kRequests; ++i) {
    cluster_.start(session.call(make("f" + std::to_string(i)), cluster_.runtime.after(60s)),
                   &replies[i]);
  }
  later(1ms, [this] { master_.pause(0); });
  later(1200ms, [this] { master_.elect(1); });
  const Instant began = cluster_.world.now();
  ASSERT_TRUE(cluster_.world.run_until(
      [&] { return std::ranges::all_of(replies, [](const auto& r) { return r.has_value(); }); },
      30s));
  EXPECT_LT(cluster_.world.now() - began, kBudget);
  for (const auto& reply : replies) {
    ASSERT_TRUE(reply->has_value()) << reply->error().to_string();
  }
  EXPECT_EQ(master_.executed, kRequests);
}

}  // namespace
}  // namespace cairn::client
