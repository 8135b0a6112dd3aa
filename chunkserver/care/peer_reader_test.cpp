// PeerReader over a MemNetwork: whom it leaves alone, and for how long.
#include "chunkserver/care/peer_reader.h"

#include <gtest/gtest.h>

#include "chunkserver/care/fake_peers.h"
#include "chunkserver/testing/virtual_loop.h"

namespace cairn::chunkserver::care {
namespace {

using testing::FakePeer;
using testing::piece_id;
using testing::random_block;

const net::Address kPeer{"10.0.0.1", 2600};

class PeerReaderTest : public ::testing::Test {
 protected:
  PeerReaderTest() : loop_(1), network_(loop_), reader_(loop_, network_, testing::kCredentials) {}
  ~PeerReaderTest() override {
    loop_.run(reader_.stop());
    if (peer_ != nullptr) loop_.run(peer_->stop());
  }

  void start_peer() {
    peer_ = std::make_unique<FakePeer>(loop_, network_, kPeer);
    peer_->content[piece_id(7, 0)][3] = random_block(1);
  }
  Task<Result<PeerBlocks>> ask() {
    PeerPiece from{kPeer.to_string(), piece_id(7, 0), ChunkVersion(1)};
    return reader_.read(std::move(from), {3}, loop_.after(5s));
  }
  Result<PeerBlocks> read() { return loop_.run(ask()); }
  // Reads that begin together; how long the last one takes.
  Duration time_reads(int count, int* failed) {
    struct One {
      static Task<void> run(Task<Result<PeerBlocks>> task, int* bad) {
        const Result<PeerBlocks> answer = co_await task;
        if (!answer.has_value()) ++*bad;
      }
    };
    struct All {
      static Task<Status> run(PeerReaderTest* test, int many, int* bad) {
        runtime::TaskGroup group(test->loop_);
        for (int i = 0; i < many; ++i) group.spawn(One::run(test->ask(), bad));
        co_await group.join();
        co_return Status();
      }
    };
    const Instant begun = loop_.now();
    *failed = 0;
    EXPECT_TRUE(loop_.run(All::run(this, count, failed)).has_value());
    return loop_.now() - begun;
  }
  Status let_pass(Duration duration) {
    struct Sleeper {
      static Task<Status> run(runtime::Runtime* loop, Duration time) {
        co_await runtime::sleep_for(*loop, time);
        co_return Status();
      }
    };
    return loop_.run(Sleeper::run(&loop_, duration));
  }

  ::cairn::chunkserver::testing::VirtualLoop loop_;
  net::MemNetwork network_;
  PeerReader reader_;
  std::unique_ptr<FakePeer> peer_;
};

// A repair of a pending chunk is tried again as soon as a server is back: writers wait for it.
TEST_F(PeerReaderTest, APeerThatRefusedIsReadAsSoonAsItIsBack) {
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(read().has_value());
  start_peer();
  const Result<PeerBlocks> answer = read();
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(answer->received, std::uint64_t{1});
}

TEST_F(PeerReaderTest, ThoseWhoWaitForASilentPeerDoNotWaitOneAfterTheOther) {
  start_peer();
  network_.set_unreachable(kPeer, true);
  int failed = 0;
  const Duration took = time_reads(8, &failed);
  EXPECT_EQ(failed, 8);
  EXPECT_GE(took, kPeerConnect);
  EXPECT_LT(took, kPeerConnect + kPeerAvoid);
}

TEST_F(PeerReaderTest, APeerThatWasSilentIsAskedAgainAfterAMoment) {
  start_peer();
  network_.set_unreachable(kPeer, true);
  EXPECT_FALSE(read().has_value());
  network_.set_unreachable(kPeer, false);
  const Result<PeerBlocks> at_once = read();
  ASSERT_FALSE(at_once.has_value());
  EXPECT_EQ(at_once.error().code(), Code::kUnavailable);
  ASSERT_TRUE(let_pass(kPeerAvoid).has_value());
  EXPECT_TRUE(read().has_value());
}

}  // namespace
}  // namespace cairn::chunkserver::care
