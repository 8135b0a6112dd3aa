// Random histories of a chunk, random trouble, then a repair: the piece is right.
#include <gtest/gtest.h>

#include "chunkserver/care/repair_fixture.h"

namespace cairn::chunkserver::care {
namespace {

using testing::encoding_of;
using testing::RepairWorld;

constexpr std::uint64_t kBlocks = 640;

class RandomRepair {
 public:
  explicit RandomRepair(std::uint64_t seed)
      : prng_(seed),
        encoding_(draw_encoding()),
        target_(static_cast<unsigned>(prng_.below(encoding_.pieces()))),
        world_(encoding_, target_, kBlocks, seed) {}

  void live() {
    for (std::uint64_t i = prng_.between(1, 6); i != 0; --i) write_everywhere();
    for (std::uint64_t i = prng_.below(4); i != 0; --i) {
      EXPECT_TRUE(world_.stray(target_, rows(8), prng_.chance(500), 1000 + i).has_value());
    }
    world_.lose_target();
    miss();
    if (prng_.chance(400)) world_.begin_epoch();
    miss();
  }
  void suffer() {
    for (std::uint64_t i = prng_.between(1, 3); i != 0; --i) {
      switch (prng_.below(4)) {
        case 0:
        case 1:
          cut_short();
          break;
        case 2:
          source_fails();
          break;
        default:
          // Between two attempts the writer goes on.
          static_cast<void>(world_.repair(missed_));
          world_.chunk().set_version(world_.chunk().version() + prng_.below(2));
          miss();
      }
    }
  }
  void end_well() {
    // One source lies about some blocks; there is one to spare where there are two parities.
    if (encoding_.parity > 1) {
      const unsigned spare = other();
      for (const testing::BlockRange& range : rows(200)) {
        for (std::uint64_t b = range.first; b < range.end(); ++b) {
          world_.server(spare).lies.insert(b);
        }
      }
    }
    Result<pb::RepairReply> reply = world_.repair(missed_);
    if (!reply.has_value() && reply.error().code() == Code::kPieceMissing) {
      reply = world_.repair(missed_, true);
    }
    ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
    world_.expect_right(target_);
    world_.expect_consistent();
    EXPECT_EQ(world_.status(target_)->undecided, 0U);
    world_.restart_target(prng_.next());
    world_.expect_right(target_);
  }

 private:
  erasure::Encoding draw_encoding() {
    switch (prng_.below(4)) {
      case 0:
        return encoding_of(1, 2);
      case 1:
        return encoding_of(2, 1);
      case 2:
        return encoding_of(3, 2);
      default:
        return encoding_of(1, 1);
    }
  }
  // Some sorted ranges.
  std::vector<testing::BlockRange> rows(std::uint64_t most) {
    std::vector<testing::BlockRange> ranges;
    std::uint64_t from = prng_.below(kBlocks);
    for (std::uint64_t i = prng_.between(1, 3); i != 0 && from < kBlocks; --i) {
      const std::uint64_t count = std::min(prng_.between(1, most), kBlocks - from);
      ranges.push_back({from, count});
      from += count + prng_.between(1, 100);
    }
    return ranges;
  }
  unsigned other() {
    const auto piece = static_cast<unsigned>(prng_.below(encoding_.pieces() - 1));
    return piece < target_ ? piece : piece + 1;
  }
  void write_everywhere() {
    const std::vector<testing::BlockRange> touched = rows(200);
    world_.write(touched, world_.all_but_target());
    ASSERT_TRUE(world_.prepare(target_, touched, world_.seq()).has_value());
    if (!prng_.chance(600)) return;  // decided, and the target did not hear of it
    ASSERT_TRUE(world_.settle_at(target_, world_.epoch(), world_.seq() + 1).has_value());
  }
  void miss() {
    for (std::uint64_t i = prng_.below(3); i != 0; --i) {
      const std::vector<testing::BlockRange> touched = rows(60);
      world_.write(touched, world_.all_but_target());
      for (const testing::BlockRange& range : touched) {
        missed_ |= layout::regions_of({range.first, range.count}, kBlocks);
      }
    }
  }
  void cut_short() {
    const chunkserver::testing::Fate fates[] = {
        chunkserver::testing::Fate::kBySeed, chunkserver::testing::Fate::kAllLost,
        chunkserver::testing::Fate::kAllKept, chunkserver::testing::Fate::kKilled};
    world_.target().power().end_at(prng_.between(1, 12), fates[prng_.below(4)], prng_.next());
    static_cast<void>(world_.repair(missed_, prng_.chance(150)));
    world_.restart_target(prng_.next());
  }
  void source_fails() {
    const unsigned piece = other();
    world_.server(piece).error = Error(Code::kDiskFailed);
    static_cast<void>(world_.repair(missed_));
    world_.server(piece).error.reset();
  }

  Prng prng_;
  const erasure::Encoding encoding_;
  const unsigned target_;
  RepairWorld world_;
  layout::RegionMask missed_ = 0;
};

TEST(RepairRandom, WhateverHappenedThePieceIsRightInTheEnd) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(seed);
    RandomRepair random(seed);
    random.live();
    random.suffer();
    random.end_well();
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(RepairRandom, RotAtTheSourcesIsGoneRound) {
  RepairWorld world(encoding_of(3, 2), 4);
  world.write({{0, 1024}}, world.all_but_target());
  for (unsigned piece = 0; piece < 4; ++piece) {
    ASSERT_TRUE(world.loop().run(world.server(piece).store().commit_all()).has_value());
  }
  for (std::uint64_t i = 0; i < 60; ++i) {
    const std::optional<DiskOffset> at = world.server(1).disk().rot_somewhere(i, DiskOffset(4_MiB));
    ASSERT_TRUE(at.has_value());
    if (i % 8 == 0) world.server(1).disk().fail_block(*at);
  }
  world.lose_target();
  const Result<pb::RepairReply> reply = world.repair(0, true);
  ASSERT_TRUE(reply.has_value()) << reply.error().to_string();
  world.expect_right(4);
  EXPECT_GT(world.server(1).store().statistics().damaged_blocks, 10U);
}

}  // namespace
}  // namespace cairn::chunkserver::care
