// Scrub and healing of a real store on a disk that rots.
#include <gtest/gtest.h>

#include "chunkserver/care/block_checks.h"
#include "chunkserver/care/fake_peers.h"
#include "chunkserver/care/healer.h"
#include "chunkserver/care/scrubber.h"
#include "chunkserver/testing/store_world.h"

namespace cairn::chunkserver::care {
namespace {

using testing::FakePeer;

constexpr std::uint32_t kOwnId = 1025;
constexpr std::uint64_t kChunk = 7;
constexpr std::uint64_t kBlocks = 600;

// A replica here, and one at another chunk server that is always right.
class CareOfAStore : public ::testing::Test {
 protected:
  CareOfAStore() : network_(world_.loop()), master_(world_.loop()) {
    CHECK(world_.open().has_value());
    peer_ = std::make_unique<FakePeer>(world_.loop(), network_, net::Address{"10.0.0.2", 2600});
    pb::Chunk& chunk = master_.chunks[kChunk];
    chunk.set_id(kChunk);
    chunk.mutable_encoding()->set_data(1);
    chunk.mutable_encoding()->set_parity(1);
    chunk.mutable_encoding()->set_min(1);
    for (std::uint32_t i = 0; i < 2; ++i) {
      pb::Piece& piece = *chunk.add_pieces();
      piece.set_index(i);
      piece.set_cs_id(kOwnId + i);
      piece.set_state(pb::PIECE_CURRENT);
      piece.set_address("10.0.0." + std::to_string(i + 1) + ":2600");
    }
    door_ = std::make_unique<PieceStoreDoor>(world_.store());
    ScrubberOptions scrub;
    scrub.pieces_a_minute = 20;
    scrubber_ = std::make_unique<Scrubber>(world_.loop(), *door_, log_, scrub);
    HealerOptions heal;
    heal.cs_id = kOwnId;
    healer_ = std::make_unique<Healer>(world_.loop(), network_, testing::kCredentials, master_,
                                       *door_, log_, heal);
  }
  ~CareOfAStore() override {
    world_.loop().run(scrubber_->stop());
    world_.loop().run(healer_->stop());
    world_.loop().run(peer_->stop());
    CHECK(world_.close().has_value());
  }

  // At both replicas; here with a delay after, or before, the other one has it.
  void write(std::uint64_t first, std::uint64_t count, Duration lead) {
    std::vector<std::uint64_t> values;
    for (std::uint64_t i = 0; i < count; ++i) values.push_back(next_value_++);
    chunkserver::testing::MadePrepare made = chunkserver::testing::make_prepare(
        own_, 1, chunkserver::testing::op_id(1, ++seq_), {{first, count}}, values);
    for (std::uint64_t i = 0; i < count; ++i) {
      truth_[first + i] = Buffer::copy_of(made.body.slice(i * kBlockBytes, kBlockBytes).span());
    }
    made.request.settled_below = OpSeq(seq_);
    if (lead > Duration{}) copy(first, count);
    world_.loop().run_for(lead > Duration{} ? lead : Duration{});
    store::PrepareRequest request = std::move(made.request);
    const Status status =
        world_.loop().run(world_.store().prepare(std::move(request), std::move(made.body)));
    ASSERT_TRUE(status.has_value()) << status.error().to_string();
    if (lead > Duration{}) return;
    world_.loop().run_for(-lead);
    copy(first, count);
  }
  void copy(std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = first; i < first + count; ++i) {
      peer_->content[{own_.chunk, PieceIndex(1)}][i] = truth_[i];
    }
  }
  void check_all() {
    for (const auto& [block, bytes] : truth_) {
      const Result<store::ReadAnswer> answer =
          world_.loop().run(world_.store().read(own_, {{block, 1}}));
      ASSERT_TRUE(answer.has_value()) << block << ": " << answer.error().to_string();
      ASSERT_EQ(std::memcmp(answer->bytes.data(), bytes.data(), kBlockBytes), 0) << block;
    }
  }

  testing::KeptLog log_;
  chunkserver::testing::StoreWorld world_{{}};
  net::MemNetwork network_;
  testing::FakeMaster master_;
  std::unique_ptr<FakePeer> peer_;
  std::unique_ptr<PieceStoreDoor> door_;
  std::unique_ptr<Scrubber> scrubber_;
  std::unique_ptr<Healer> healer_;
  const PieceId own_ = testing::piece_id(kChunk, 0);
  std::map<std::uint64_t, Buffer> truth_;
  std::uint64_t next_value_ = 1;
  std::uint64_t seq_ = 0;
};

TEST_F(CareOfAStore, WhatRotsIsFoundAndHealed) {
  for (std::uint64_t first = 0; first < kBlocks; first += 20) write(first, 20, 1ms);
  ASSERT_TRUE(world_.loop().run(world_.store().commit_all()).has_value());
  for (std::uint64_t i = 0; i < 40; ++i) {
    const std::optional<DiskOffset> at = world_.disk().rot_somewhere(i, DiskOffset(2_MiB));
    ASSERT_TRUE(at.has_value());
    if (i % 10 == 0) world_.disk().fail_block(*at);
  }
  scrubber_->start();
  healer_->start();
  world_.loop().run_for(30s);
  const store::StoreStatistics statistics = world_.store().statistics();
  EXPECT_EQ(statistics.damaged_blocks, 0U);
  EXPECT_GE(statistics.healed_blocks, 10U);
  EXPECT_EQ(statistics.healed_blocks, healer_->figures().healed);
  EXPECT_GT(statistics.checksum_errors, 0U);
  EXPECT_GT(statistics.read_errors, 0U);
  EXPECT_FALSE(world_.store().failure().has_value());
  check_all();
}

TEST_F(CareOfAStore, BlocksThatSomebodyDoubtsAreVerifiedAndHealedWithoutTheScrub) {
  write(0, 300, 1ms);
  ASSERT_TRUE(world_.loop().run(world_.store().commit_all()).has_value());
  for (std::uint64_t i = 0; i < 200; ++i) {
    static_cast<void>(world_.disk().rot_somewhere(i, DiskOffset(2_MiB)));
  }
  BlockChecks checks(world_.loop(), *door_, log_);
  healer_->start();
  world_.loop().run_for(10s);
  EXPECT_EQ(world_.store().statistics().checksum_errors, 0U) << "nobody looked";
  checks.add(own_, {{0, 300}});
  world_.loop().run_for(10s);
  EXPECT_GE(checks.figures().bad_reads, 1U);
  EXPECT_EQ(world_.store().statistics().damaged_blocks, 0U);
  EXPECT_GT(world_.store().statistics().healed_blocks, 20U);
  check_all();
  checks.add(testing::piece_id(99), {{0, 3}});
  world_.loop().run_for(1s);
  EXPECT_EQ(log_.count(observe::Severity::kInfo, "of 3 blocks of piece 99.0"), 1U);
  world_.loop().run(checks.stop());
}

TEST_F(CareOfAStore, WritesOnTheirWayAreNotSpoilt) {
  for (std::uint64_t first = 0; first < kBlocks; first += 20) write(first, 20, 1ms);
  scrubber_->start();
  healer_->start();
  Prng prng(5);
  for (int round = 0; round < 400; ++round) {
    const std::uint64_t count = prng.between(1, 8);
    const Duration lead = std::chrono::milliseconds(prng.below(40)) - 20ms;
    write(prng.below(kBlocks - count), count, lead);
    if (HasFatalFailure()) return;
    if (round % 3 == 0) {
      static_cast<void>(world_.disk().rot_somewhere(prng.next(), DiskOffset(2_MiB)));
    }
    world_.loop().run_for(std::chrono::milliseconds(prng.below(100)));
  }
  // What is only in the journal comes home; then there is time to find and heal all.
  ASSERT_TRUE(world_.loop().run(world_.store().commit_all()).has_value());
  world_.loop().run_for(kHealRetryMost + 60s);
  EXPECT_EQ(world_.store().statistics().damaged_blocks, 0U);
  EXPECT_GT(world_.store().statistics().healed_blocks, 10U);
  check_all();
}

}  // namespace
}  // namespace cairn::chunkserver::care
