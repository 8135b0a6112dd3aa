// The ring against a plain map of its blocks, and the rules of what counts as the next batch.
#include "chunkserver/store/ring.h"

#include <gtest/gtest.h>

#include "common/base/prng.h"

namespace cairn::chunkserver::store {
namespace {

// One owner for each block: the plainest way to say what may be written where.
class NaiveRing {
 public:
  explicit NaiveRing(std::size_t blocks) : owner_(blocks, 0) {}

  bool is_free(std::uint64_t at, std::uint64_t count) const {
    if (at + count > owner_.size()) return false;
    for (std::uint64_t i = at; i < at + count; ++i) {
      if (owner_[i] != 0) return false;
    }
    return true;
  }
  // Behind the last batch, or at the begin if it does not fit before the end.
  std::optional<std::uint64_t> place(std::uint64_t count) const {
    if (head_ + count <= owner_.size()) {
      if (is_free(head_, count)) return head_;
      return std::nullopt;
    }
    if (is_free(0, count)) return 0;
    return std::nullopt;
  }
  void push(std::uint64_t at, std::uint64_t count, std::uint64_t sequence) {
    for (std::uint64_t i = at; i < at + count; ++i) owner_[i] = sequence;
    head_ = at + count;
  }
  void release(std::uint64_t sequence) {
    for (std::uint64_t& owner : owner_) {
      if (owner <= sequence) owner = 0;
    }
  }
  std::uint64_t live() const {
    return static_cast<std::uint64_t>(
        std::count_if(owner_.begin(), owner_.end(), [](std::uint64_t o) { return o != 0; }));
  }
  std::uint64_t head() const { return head_; }

 private:
  std::vector<std::uint64_t> owner_;
  std::uint64_t head_ = 0;
};

struct RingState {
  RingUsage usage;
  NaiveRing naive;
  std::uint64_t next = 1;
  std::uint64_t released = 0;
};

// Tries everything that may be done from here, `depth` steps deep.
void explore(const RingState& state, std::uint64_t blocks, int depth, std::uint64_t* seen) {
  ++*seen;
  ASSERT_GE(state.usage.used(), state.naive.live());
  ASSERT_LE(state.usage.used(), blocks);
  ASSERT_EQ(state.usage.used() == 0, state.naive.live() == 0);
  for (std::uint64_t sequence = 1; sequence <= state.next; ++sequence) {
    const bool live = sequence > state.released && sequence < state.next;
    const auto position = state.usage.position_of(sequence);
    ASSERT_EQ(position.has_value(), live);
    ASSERT_EQ(position.value_or(JournalPosition()).sequence, live ? sequence : 0);
  }
  if (depth == 0) return;
  for (std::uint64_t count = 1; count <= blocks + 1; ++count) {
    const std::optional<std::uint64_t> at = state.usage.place(count);
    // With nothing in use both are right; the ring itself decides by the end alone.
    ASSERT_EQ(at, state.naive.place(count)) << count << " blocks at " << state.naive.head();
    if (!at.has_value()) continue;
    RingState then = state;
    then.usage.push({then.next, *at + count, 0}, *at, count);
    then.naive.push(*at, count, then.next++);
    explore(then, blocks, depth - 1, seen);
  }
  for (std::uint64_t upto = state.released + 1; upto < state.next; ++upto) {
    RingState then = state;
    then.usage.release(upto);
    then.naive.release(upto);
    then.released = upto;
    explore(then, blocks, depth - 1, seen);
  }
}

TEST(RingUsage, AgreesWithAMapOfItsBlocksWhateverIsDone) {
  std::uint64_t seen = 0;
  for (std::uint64_t blocks = 1; blocks <= 5; ++blocks) {
    const RingState empty{RingUsage(blocks, 0), NaiveRing(blocks)};
    explore(empty, blocks, 9, &seen);
  }
  EXPECT_GT(seen, 10'000U);
}

TEST(RingUsage, ContinuesWhereARecoveryFoundTheEnd) {
  // Batches 5 (blocks 6, 7) and 6 (0 .. 2) of a ring of 9 blocks; block 8 was skipped.
  RingUsage usage(9, 3, {{{5, 8, 50}, 6, 2}, {{6, 3, 60}, 0, 3}});
  EXPECT_EQ(usage.used(), 6U);
  EXPECT_EQ(usage.place(3), 3U);
  EXPECT_EQ(usage.place(4), std::nullopt);
  EXPECT_EQ(usage.position_of(5), (JournalPosition{5, 8, 50}));
  EXPECT_EQ(usage.position_of(4), std::nullopt);
  usage.release(5);
  EXPECT_EQ(usage.place(6), 3U);
  EXPECT_EQ(usage.place(7), std::nullopt);
  usage.release(6);
  EXPECT_EQ(usage.used(), 0U);
  EXPECT_EQ(usage.place(9), 0U);
  EXPECT_EQ(usage.place(10), std::nullopt);
}

constexpr std::uint64_t kRing = 0x1122334455667788;

EncodedBatch batch_behind(const JournalPosition& position, std::uint64_t ring = kRing) {
  const Record record = SettleRecord{{ChunkId::from_raw(7), PieceIndex(1)}, {}};
  return encode_batch(ring, position, std::vector<const Record*>{&record});
}

TEST(NextBatch, IsKnownBySequenceLinkRingAndChecksum) {
  const JournalPosition position{4, 10, 0xabcd};
  const EncodedBatch right = batch_behind(position);
  const auto found = next_batch(right.bytes.span(), kRing, position, 10);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->sequence, 5U);
  EXPECT_EQ(found->at, 10U);
  EXPECT_EQ(found->blocks, 1U);
  EXPECT_EQ(found->crc, right.crc);

  EXPECT_FALSE(next_batch(right.bytes.span(), kRing + 1, position, 10).has_value());
  EXPECT_FALSE(next_batch(right.bytes.span(), kRing, {3, 10, 0xabcd}, 10).has_value());
  EXPECT_FALSE(next_batch(right.bytes.span(), kRing, {5, 10, 0xabcd}, 10).has_value());
  EXPECT_FALSE(next_batch(right.bytes.span(), kRing, {4, 10, 0xabce}, 10).has_value());
  EXPECT_FALSE(next_batch(Bytes(), kRing, position, 10).has_value());
  const Buffer zeros = Buffer::zeroed(kBlockBytes);
  EXPECT_FALSE(next_batch(zeros.span(), kRing, position, 10).has_value());
}

TEST(NextBatch, NoFlippedBitPasses) {
  const JournalPosition position{4, 10, 0xabcd};
  const EncodedBatch right = batch_behind(position);
  const std::size_t used = kBatchHeaderBytes + 40;
  for (std::size_t bit = 0; bit < used * 8; ++bit) {
    Buffer bytes = Buffer::copy_of(right.bytes.span());
    bytes.data()[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto found = next_batch(std::as_const(bytes).span(), kRing, position, 10);
    // Behind the payload nothing counts.
    const bool covered = bit < kBatchHeaderBytes * 8;
    EXPECT_FALSE(found.has_value() && (covered || found->crc != right.crc)) << "bit " << bit;
  }
}

TEST(ProvesDamage, OnlyABatchFurtherThanTheNextOne) {
  const JournalPosition end{4, 10, 0xabcd};
  EXPECT_FALSE(proves_damage(batch_behind({2, 0, 1}).bytes.span(), kRing, end));
  EXPECT_FALSE(proves_damage(batch_behind({3, 0, 1}).bytes.span(), kRing, end));
  // The next one with another link is the torn one of an interrupted start.
  EXPECT_FALSE(proves_damage(batch_behind({4, 0, 1}).bytes.span(), kRing, end));
  EXPECT_TRUE(proves_damage(batch_behind({5, 0, 1}).bytes.span(), kRing, end));
  EXPECT_TRUE(proves_damage(batch_behind({500, 0, 1}).bytes.span(), kRing, end));
  EXPECT_FALSE(proves_damage(batch_behind({5, 0, 1}, kRing + 1).bytes.span(), kRing, end));
  Buffer torn = batch_behind({5, 0, 1}).bytes;
  torn.data()[kBatchHeaderBytes] ^= std::byte{1};
  EXPECT_FALSE(proves_damage(std::as_const(torn).span(), kRing, end));
}

}  // namespace
}  // namespace cairn::chunkserver::store
