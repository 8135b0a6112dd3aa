// HomeMap against a plain list of blocks, HomeIndex against the standard library's map.
#include "chunkserver/store/home_map.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/prng.h"

namespace cairn::chunkserver::store {
namespace {

TEST(HomeIndex, AgreesWithAMapOnRandomPrograms) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Prng prng(seed);
    HomeIndex index;
    std::unordered_map<std::uint64_t, std::uint32_t> model;
    const std::uint64_t homes = std::array<std::uint64_t, 5>{8, 100, 5000, 5000, 40'000}[seed - 1];
    // Neighbours, or far apart: both are what a disk has.
    const std::uint64_t stride = seed % 2 == 0 ? 1 : 1ULL << 28;
    for (std::uint32_t step = 0; step < 100'000; ++step) {
      const std::uint64_t home = (1 + prng.below(homes)) * stride;
      if (model.contains(home)) {
        ASSERT_EQ(index.find(home), model[home]);
        if (prng.chance(600)) {
          index.erase(home);
          model.erase(home);
        }
      } else {
        ASSERT_EQ(index.find(home), HomeIndex::kNone);
        index.erase(home);
        index.insert(home, step);
        model[home] = step;
      }
      ASSERT_EQ(index.size(), model.size());
    }
    for (std::uint64_t i = 1; i <= homes; ++i) {
      const auto it = model.find(i * stride);
      ASSERT_EQ(index.find(i * stride), it == model.end() ? HomeIndex::kNone : it->second);
    }
  }
}

// Every block that was ever added, and what became of it.
class NaiveHomes {
 public:
  struct Block {
    std::uint64_t sequence;
    std::uint64_t home;
    enum { kWaiting, kTaken, kWritten, kDone } state = kWaiting;
    std::uint64_t written_at = 0;
  };

  void add(std::uint64_t sequence, std::uint64_t home) {
    kill(home);
    blocks_.push_back({sequence, home});
  }
  void kill(std::uint64_t home) {
    for (Block& block : blocks_) {
      const bool homeless = block.state == Block::kWaiting || block.state == Block::kTaken;
      if (block.home == home && homeless) block.state = Block::kDone;
    }
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> take(std::size_t most) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;  // home, sequence
    for (Block& block : blocks_) {
      if (block.state != Block::kWaiting || taken.size() == most) continue;
      block.state = Block::kTaken;
      taken.push_back({block.home, block.sequence});
    }
    std::sort(taken.begin(), taken.end());
    return taken;
  }
  void written(const std::vector<HomeMap::Homeless>& taken) {
    ++clock_;
    for (const HomeMap::Homeless& one : taken) {
      for (Block& block : blocks_) {
        const bool same = block.home == one.home && block.sequence == one.sequence;
        if (same && block.state == Block::kTaken) {
          block.state = Block::kWritten;
          block.written_at = clock_;
        }
      }
    }
  }
  std::uint64_t clock() const { return clock_; }
  void flushed(std::uint64_t begun) {
    for (Block& block : blocks_) {
      if (block.state == Block::kWritten && block.written_at <= begun) block.state = Block::kDone;
    }
  }
  std::uint64_t tail(std::uint64_t applied) const {
    std::uint64_t tail = applied;
    for (const Block& block : blocks_) {
      if (block.state != Block::kDone) tail = std::min(tail, block.sequence - 1);
    }
    return tail;
  }
  const Block* find(std::uint64_t home) const {
    for (const Block& block : blocks_) {
      const bool homeless = block.state == Block::kWaiting || block.state == Block::kTaken;
      if (block.home == home && homeless) return &block;
    }
    return nullptr;
  }
  std::optional<std::uint64_t> oldest() const {
    std::optional<std::uint64_t> oldest;
    for (const Block& block : blocks_) {
      const bool homeless = block.state == Block::kWaiting || block.state == Block::kTaken;
      if (homeless && (!oldest.has_value() || block.sequence < *oldest)) oldest = block.sequence;
    }
    return oldest;
  }
  bool unflushed() const {
    return std::any_of(blocks_.begin(), blocks_.end(),
                       [](const Block& b) { return b.state == Block::kWritten; });
  }
  std::size_t homeless() const {
    return static_cast<std::size_t>(std::count_if(blocks_.begin(), blocks_.end(), [](auto& b) {
      return b.state == Block::kWaiting || b.state == Block::kTaken;
    }));
  }

 private:
  std::vector<Block> blocks_;
  std::uint64_t clock_ = 0;
};

// Drives both with the same steps.
class Twins {
 public:
  Twins(std::uint64_t homes, ByteCount keep) : map_(keep), homes_(homes) {}

  static constexpr std::uint64_t kKinds = 8;
  void step(std::uint64_t kind, std::uint64_t choice) {
    const std::uint64_t home = 1 + choice % homes_;
    switch (kind) {
      case 0:
        map_.begin_batch(++sequence_);
        break;
      case 1:
        // The gate keeps a home from being given away while it is written.
        if (sequence_ == 0 || is_written(home)) break;
        map_.add(home, {sequence_ * 100 + home, static_cast<std::uint32_t>(home), bytes(home)});
        naive_.add(sequence_, home);
        break;
      case 2:
        map_.forget({home, 1 + choice % 2});
        for (std::uint64_t i = 0; i < 1 + choice % 2; ++i) naive_.kill(home + i);
        break;
      case 3:
        if (!taken_.empty()) break;
        taken_ = map_.take(1 + choice % 3);
        check_taken(naive_.take(1 + choice % 3));
        break;
      case 4:
        map_.written(taken_);
        naive_.written(taken_);
        taken_.clear();
        break;
      case 5:
        mark_ = map_.flush_mark();
        clock_ = naive_.clock();
        break;
      case 6:
        if (mark_ == 0) break;
        map_.flushed(mark_);
        naive_.flushed(clock_);
        break;
      default:
        applied_ = choice % 2 == 0 ? sequence_ : std::min(applied_ + 1, sequence_);
        break;
    }
  }
  void check() const {
    map_.check_invariants();
    ASSERT_EQ(map_.tail_sequence(applied_), naive_.tail(applied_));
    ASSERT_EQ(map_.homeless(), naive_.homeless());
    ASSERT_EQ(map_.oldest(), naive_.oldest());
    ASSERT_EQ(map_.unflushed(), naive_.unflushed());
    for (std::uint64_t home = 1; home <= homes_ + 1; ++home) {
      const HomeMap::Place* place = map_.find(home);
      const NaiveHomes::Block* block = naive_.find(home);
      ASSERT_EQ(place == nullptr, block == nullptr) << "home " << home;
      if (place == nullptr) continue;
      ASSERT_EQ(place->ring_block, block->sequence * 100 + home);
      ASSERT_EQ(place->crc, home);
      ASSERT_TRUE(place->bytes.empty() || place->bytes.data()[0] == std::byte{42});
    }
  }

 private:
  static Buffer bytes(std::uint64_t home) {
    if (home % 3 == 0) return {};
    Buffer block = Buffer::zeroed(kBlockBytes);
    block.data()[0] = std::byte{42};
    return block;
  }
  bool is_written(std::uint64_t home) const {
    return std::any_of(taken_.begin(), taken_.end(),
                       [home](const HomeMap::Homeless& one) { return one.home == home; });
  }
  void check_taken(const std::vector<std::pair<std::uint64_t, std::uint64_t>>& expected) const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> got;
    for (const HomeMap::Homeless& one : taken_) {
      got.push_back({one.home, one.sequence});
      ASSERT_TRUE(map_.is_current(one));
    }
    ASSERT_EQ(got, expected);
  }

  HomeMap map_;
  NaiveHomes naive_;
  std::uint64_t homes_;
  std::uint64_t sequence_ = 0;
  std::uint64_t applied_ = 0;
  std::uint64_t mark_ = 0;
  std::uint64_t clock_ = 0;
  std::vector<HomeMap::Homeless> taken_;
};

TEST(HomeMap, AgreesWithAListOnEveryShortProgram) {
  // Every order of six steps on one home, behind a batch with one block.
  constexpr int kSteps = 6;
  std::uint64_t programs = 1;
  for (int i = 0; i < kSteps; ++i) programs *= Twins::kKinds - 1;
  for (std::uint64_t program = 0; program < programs; ++program) {
    Twins twins(1, kBlockBytes);
    twins.step(0, 0);
    twins.step(1, 0);
    std::uint64_t rest = program;
    for (int i = 0; i < kSteps; ++i) {
      twins.step(rest % (Twins::kKinds - 1), 0);
      rest /= Twins::kKinds - 1;
    }
    twins.step(7, 0);
    twins.check();
    ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "program " << program;
  }
}

TEST(HomeMap, AgreesWithAListOnRandomPrograms) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Prng prng(seed);
    Twins twins(2 + prng.below(6), prng.below(4) * kBlockBytes);
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t kind = prng.below(Twins::kKinds);
      twins.step(kind, prng.next());
      twins.check();
      ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "seed " << seed << " step " << i;
    }
  }
}

TEST(HomeMap, TakesTheOldestFirstAndSortsByHome) {
  HomeMap map(1_MiB);
  map.begin_batch(3);
  map.add(50, {1, 0, {}});
  map.add(20, {2, 0, {}});
  map.begin_batch(5);
  map.add(10, {3, 0, {}});
  EXPECT_EQ(map.oldest(), 3U);
  EXPECT_EQ(map.tail_sequence(9), 2U);
  const auto first = map.take(2);
  ASSERT_EQ(first.size(), 2U);
  EXPECT_EQ(first[0].home, 20U);
  EXPECT_EQ(first[1].home, 50U);
  // They are still not at home.
  EXPECT_EQ(map.oldest(), 3U);
  EXPECT_NE(map.find(20), nullptr);
  const auto second = map.take(2);
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].home, 10U);
  map.written(second);
  EXPECT_EQ(map.find(10), nullptr);
  map.flushed(map.flush_mark());
  EXPECT_EQ(map.tail_sequence(9), 2U);
  map.written(first);
  EXPECT_EQ(map.tail_sequence(9), 2U);
  map.flushed(map.flush_mark());
  EXPECT_EQ(map.tail_sequence(9), 9U);
  EXPECT_TRUE(map.empty());
}

TEST(HomeMap, AFlushThatBeganBeforeTheWriteEndedCountsForNothing) {
  HomeMap map(1_MiB);
  map.begin_batch(1);
  map.add(50, {1, 0, {}});
  const auto blocks = map.take(8);
  const std::uint64_t before = map.flush_mark();
  map.written(blocks);
  map.flushed(before);
  EXPECT_TRUE(map.unflushed());
  EXPECT_EQ(map.tail_sequence(1), 0U);
}

TEST(HomeMap, WhatDiesWhileItIsWrittenIsDeadAtOnce) {
  HomeMap map(1_MiB);
  map.begin_batch(1);
  map.add(50, {1, 0, {}});
  const auto blocks = map.take(8);
  map.forget({50, 1});
  EXPECT_EQ(map.find(50), nullptr);
  EXPECT_FALSE(map.is_current(blocks[0]));
  EXPECT_EQ(map.tail_sequence(1), 1U);
  map.begin_batch(2);
  map.add(50, {7, 0, {}});
  // The old write ended: it says nothing about the new block.
  map.written(blocks);
  ASSERT_NE(map.find(50), nullptr);
  EXPECT_EQ(map.find(50)->ring_block, 7U);
  EXPECT_FALSE(map.unflushed());
  EXPECT_EQ(map.tail_sequence(2), 1U);
}

TEST(HomeMap, KeepsNoMoreBytesThanItMay) {
  HomeMap map(2 * kBlockBytes);
  map.begin_batch(1);
  for (std::uint64_t home = 1; home <= 3; ++home) {
    map.add(home, {home, 0, Buffer::zeroed(kBlockBytes)});
  }
  EXPECT_EQ(map.kept_bytes(), 2 * kBlockBytes);
  EXPECT_TRUE(map.find(3)->bytes.empty());
  map.forget({1, 1});
  EXPECT_EQ(map.kept_bytes(), kBlockBytes);
  map.add(4, {4, 0, Buffer::zeroed(kBlockBytes)});
  EXPECT_FALSE(map.find(4)->bytes.empty());
  map.written(map.take(9));
  EXPECT_EQ(map.kept_bytes(), 0U);
  map.check_invariants();
}

TEST(HomeMap, ReusesTheMemoryOfADayOfOverwrites) {
  HomeMap map(0);
  // The same homes again and again, brought home now and then: nothing piles up but what is live.
  Prng prng(1);
  std::uint64_t applied = 0;
  for (int round = 0; round < 2000; ++round) {
    map.begin_batch(++applied);
    for (int i = 0; i < 8; ++i) map.add(1 + prng.below(64), {1, 0, {}});
    if (round % 10 != 9) continue;
    map.written(map.take(1000));
    map.flushed(map.flush_mark());
    ASSERT_TRUE(map.empty());
    ASSERT_EQ(map.tail_sequence(applied), applied);
  }
  map.check_invariants();
}

}  // namespace
}  // namespace cairn::chunkserver::store
