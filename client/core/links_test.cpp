// CsLinks: chunk servers that reset, are silent, are slow, are older.
#include "client/core/cs_links.h"

#include <gtest/gtest.h>

#include "client/core/latency_book.h"
#include "client/core/testing/fake_cluster.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::Shape;

constexpr Shape kPlain{.data = 1, .parity = 0, .min = 1};

class LinksTest : public ::testing::Test {
 protected:
  LinksTest() : cluster_(kPlain), links_(cluster_.runtime, cluster_.network, {"test", "key"}) {}
  ~LinksTest() override {
    cluster_.run(stopped(&links_));
    cluster_.world.run_for(1s);
  }
  static Task<bool> stopped(CsLinks* links) {
    co_await links->stop();
    co_return true;
  }
  // A read of a piece that is not there.
  Task<Result<net::Payload>> ask(Duration timeout) {
    pb::Read read;
    read.set_chunk(77);
    net::Payload request;
    request.meta = read.SerializeAsString();
    return links_.call(address(), pb::OP_READ, std::move(request), cluster_.runtime.after(timeout));
  }
  Code code_of(Duration timeout = 8s) {
    const Result<net::Payload> answer = cluster_.run(ask(timeout));
    CHECK(!answer.has_value());
    return answer.error().code();
  }
  testing::FakeCs& server() { return *cluster_.cs.front(); }
  std::string address() { return server().address().to_string(); }
  Instant now() const { return cluster_.runtime.now(); }

  FakeCluster cluster_;
  CsLinks links_;
};

TEST_F(LinksTest, ASilentServerIsGivenUpAfterABoundedTime) {
  EXPECT_EQ(code_of(), Code::kPieceMissing);
  server().freeze();
  const Instant began = now();
  EXPECT_EQ(code_of(), Code::kConnectionLost);
  EXPECT_GE(now() - began, Duration(1500ms));
  EXPECT_LE(now() - began, Duration(2s));
  EXPECT_TRUE(links_.avoided(address()));
  EXPECT_GT(links_.down_for(address()), Duration());
  EXPECT_FALSE(links_.may_have_moved(address())) << "it was there a moment ago";
  // Whoever comes next is told at once, while it is looked for in the background.
  const Instant again = now();
  EXPECT_EQ(code_of(), Code::kUnavailable);
  EXPECT_EQ(now(), again);
  cluster_.world.run_for(3s);
  server().thaw();
  EXPECT_TRUE(cluster_.world.run_until([&] { return !links_.avoided(address()); }, 3s));
  EXPECT_EQ(code_of(), Code::kPieceMissing);
}

TEST_F(LinksTest, ASlowServerThatAnswersPingsIsKept) {
  server().delay = 7s;
  const Instant began = now();
  EXPECT_EQ(code_of(), Code::kPieceMissing);
  EXPECT_EQ(now() - began, Duration(7s));
  EXPECT_GT(server().pings, 5U);
  EXPECT_LT(server().pings, 20U) << "one at a time";
  EXPECT_EQ(links_.down_for(address()), Duration());
}

TEST_F(LinksTest, AnOlderServerThatDoesNotKnowPingsIsKept) {
  server().knows_ping = false;
  server().delay = 5s;
  EXPECT_EQ(code_of(), Code::kPieceMissing);
  EXPECT_GT(server().pings, 2U);
}

TEST_F(LinksTest, NothingIsSentWhileNothingWaits) {
  EXPECT_EQ(code_of(), Code::kPieceMissing);
  cluster_.world.run_for(60s);
  EXPECT_EQ(server().pings, 0U);
  // A silence from before the request does not count.
  server().delay = 1s;
  EXPECT_EQ(code_of(), Code::kPieceMissing);
}

TEST_F(LinksTest, AllCallsOfASilentServerEndTogether) {
  EXPECT_EQ(code_of(), Code::kPieceMissing);
  server().freeze();
  std::vector<std::optional<Result<net::Payload>>> answers(5);
  for (auto& answer : answers) {
    cluster_.start(ask(8s), &answer);
    cluster_.world.run_for(200ms);
  }
  cluster_.world.run_for(1s);
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer.has_value()) << "the first one waited for 1.5 s and more";
    EXPECT_EQ(answer->error().code(), Code::kConnectionLost);
  }
  server().thaw();
}

TEST_F(LinksTest, ABrokenConnectionIsMadeAnewAndARefusedOneIsToldAtOnce) {
  EXPECT_EQ(code_of(), Code::kPieceMissing);
  cluster_.network.cut(server().address());
  cluster_.world.run_for(10ms);
  EXPECT_EQ(code_of(), Code::kPieceMissing);
  server().kill();
  cluster_.world.run_for(10ms);
  const Instant began = now();
  EXPECT_EQ(code_of(), Code::kUnavailable);
  EXPECT_LT(now() - began, Duration(10ms));
  EXPECT_FALSE(links_.may_have_moved(address()));
  cluster_.world.run_for(2s);
  EXPECT_TRUE(links_.may_have_moved(address()));
  server().revive();
}

TEST(LatencyBook, APatienceFollowsWhatIsUsual) {
  LatencyBook book;
  EXPECT_EQ(book.patience("a"), LatencyBook::kUnknown);
  for (int i = 0; i < 100; ++i) book.add("a", 200us);
  EXPECT_EQ(book.patience("a"), LatencyBook::kLeast);
  for (int i = 0; i < 100; ++i) book.add("b", i % 2 == 0 ? Duration(20ms) : Duration(40ms));
  EXPECT_GT(book.patience("b"), Duration(50ms));
  EXPECT_LT(book.patience("b"), Duration(100ms));
  for (int i = 0; i < 100; ++i) book.add("c", 8s);
  EXPECT_EQ(book.patience("c"), LatencyBook::kMost);
  // One that recovers is believed soon.
  for (int i = 0; i < 100; ++i) book.add("c", 1ms);
  EXPECT_LT(book.patience("c"), Duration(50ms));
}

TEST(LatencyBook, KnowsWhoseReadsWait) {
  LatencyBook book;
  const Instant zero = Instant::from_nanos(1);
  book.began("a", zero);
  book.began("a", zero + 700ms);
  EXPECT_FALSE(book.stuck("a", zero + 700ms));
  EXPECT_TRUE(book.stuck("a", zero + 800ms));
  EXPECT_FALSE(book.stuck("b", zero + 800ms));
  book.ended("a", zero);
  EXPECT_FALSE(book.stuck("a", zero + 800ms));
  book.ended("a", zero + 700ms);
  EXPECT_EQ(book.patience("a"), LatencyBook::kUnknown);
}

TEST(LatencyBook, AtMostOneReadInTenIsHedged) {
  LatencyBook book;
  unsigned hedges = 0;
  for (int i = 0; i < 1'000; ++i) {
    book.count_read();
    if (book.take_hedge()) ++hedges;
  }
  EXPECT_LE(hedges, 100 + LatencyBook::kReserve);
  EXPECT_GE(hedges, 100U);
}

}  // namespace
}  // namespace cairn::client
