// What a PREPARE must be to reach the store, and that nothing else does.
#include "chunkserver/data/decode.h"

#include <gtest/gtest.h>

#include <functional>

#include "common/base/crc32c.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::data {
namespace {

using store::BlockRange;

struct Made {
  pb::Prepare prepare;
  Buffer body;
};

void put(const std::vector<BlockRange>& ranges, RangeField* field) {
  field->Clear();
  for (const BlockRange& range : ranges) {
    pb::BlockRange* one = field->Add();
    one->set_first(range.first);
    one->set_count(static_cast<std::uint32_t>(range.count));
  }
}

Made make(const std::vector<BlockRange>& writes, const std::vector<BlockRange>& zeroes,
          const std::vector<BlockRange>& deltas) {
  Made made;
  made.prepare.set_chunk(7);
  made.prepare.set_piece(1);
  made.prepare.set_version(3);
  made.prepare.set_epoch(4);
  made.prepare.set_seq(5);
  made.prepare.set_settled_below(2);
  made.prepare.set_participants(7);
  put(writes, made.prepare.mutable_writes());
  put(zeroes, made.prepare.mutable_zeroes());
  put(deltas, made.prepare.mutable_deltas());
  const std::uint64_t blocks = store::total_blocks(writes) + store::total_blocks(deltas);
  made.body = Buffer::zeroed(blocks * kBlockBytes);
  std::vector<std::uint32_t> crcs;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    store_le<std::uint64_t>(made.body.data() + i * kBlockBytes, i + 1);
    crcs.push_back(crc32c(made.body.slice(i * kBlockBytes, kBlockBytes).span()));
  }
  made.prepare.set_crcs(encode_crcs(crcs));
  return made;
}

Result<store::PrepareRequest> decode(const Made& made) {
  return decode_prepare(made.prepare.SerializeAsString(), made.body.span());
}

Code code_of(const Made& made) {
  const Result<store::PrepareRequest> decoded = decode(made);
  return decoded.has_value() ? Code::kInternal : decoded.error().code();
}

TEST(DecodePrepare, TakesWritesZeroesAndDeltas) {
  Made made = make({{10, 2}, {20, 1}}, {{12, 5}, {30, 1'000'000}}, {{0, 1}, {17, 3}});
  made.prepare.set_unaligned(true);
  const Result<store::PrepareRequest> decoded = decode(made);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
  EXPECT_EQ(decoded->writes, (std::vector<BlockRange>{{10, 2}, {20, 1}}));
  EXPECT_EQ(decoded->zeroes, (std::vector<BlockRange>{{12, 5}, {30, 1'000'000}}));
  EXPECT_EQ(decoded->deltas, (std::vector<BlockRange>{{0, 1}, {17, 3}}));
  EXPECT_TRUE(decoded->unaligned);
  ASSERT_EQ(decoded->crcs.size(), 7U);
  EXPECT_EQ(decoded->crcs[6], crc32c(made.body.slice(6 * kBlockBytes, kBlockBytes).span()));
  EXPECT_FALSE(decode(make({{1, 1}}, {}, {}))->unaligned);
}

TEST(DecodePrepare, DeltasAloneAreAnOp) {
  const Result<store::PrepareRequest> decoded = decode(make({}, {}, {{5, 8}}));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->crcs.size(), 8U);
  EXPECT_TRUE(decoded->writes.empty());
}

TEST(DecodePrepare, ABlockIsChangedInOneWayOnly) {
  EXPECT_EQ(code_of(make({{5, 2}}, {{6, 1}}, {})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(make({{5, 2}}, {}, {{4, 2}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(make({}, {{5, 2}}, {{5, 2}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(make({{0, 1}, {9, 1}}, {{3, 1}}, {{1, 1}, {3, 1}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(make({}, {}, {{5, 2}, {6, 1}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(make({}, {}, {{5, 2}, {3, 1}})), Code::kInvalidArgument);
  EXPECT_TRUE(decode(make({{0, 1}, {3, 1}}, {{1, 1}, {4, 1}}, {{2, 1}, {5, 1}})).has_value());
}

TEST(DecodePrepare, TheLimitIsForWritesAndDeltasTogether) {
  const std::uint64_t half = store::kPrepareBlocksMax / 2;
  EXPECT_TRUE(decode(make({{0, half}}, {}, {{half, half}})).has_value());
  EXPECT_TRUE(decode(make({{0, 2 * half}}, {{2 * half, 1000}}, {})).has_value());
  EXPECT_EQ(code_of(make({{0, half}}, {}, {{half, half + 1}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(make({}, {}, {{0, 2 * half + 1}})), Code::kInvalidArgument);
  EXPECT_EQ(code_of(make({}, {}, {{store::kPieceBlocksMax - 1, 2}})), Code::kInvalidArgument);
}

TEST(DecodePrepare, EveryBlockOfTheBodyIsVerified) {
  for (std::size_t block = 0; block < 5; ++block) {
    const Made made = make({{1, 2}}, {}, {{7, 3}});
    Buffer body = made.body;
    body.data()[block * kBlockBytes + 4095] ^= std::byte{128};
    EXPECT_EQ(code_of(made), Code::kChecksumMismatch) << block;
  }
  Made made = make({{1, 2}}, {}, {{7, 3}});
  made.prepare.mutable_crcs()->resize(16);
  EXPECT_EQ(code_of(made), Code::kInvalidArgument) << "a CRC is missing";
  made = make({{1, 2}}, {}, {{7, 3}});
  made.body = made.body.slice(0, 4 * kBlockBytes);
  EXPECT_EQ(code_of(made), Code::kInvalidArgument) << "a block is missing";
}

// What must be true of everything that is let in.
void expect_sound(const store::PrepareRequest& request, std::size_t body) {
  const std::uint64_t blocks =
      store::total_blocks(request.writes) + store::total_blocks(request.deltas);
  EXPECT_LE(blocks, store::kPrepareBlocksMax);
  EXPECT_EQ(blocks * kBlockBytes, body);
  EXPECT_EQ(request.crcs.size(), blocks);
  EXPECT_NE(request.op.seq.raw(), 0U);
  EXPECT_NE(request.piece.chunk.raw(), 0U);
  std::vector<BlockRange> all;
  for (const auto* ranges : {&request.writes, &request.zeroes, &request.deltas}) {
    for (const BlockRange& range : *ranges) {
      EXPECT_GT(range.count, 0U);
      EXPECT_LE(range.first, store::kPieceBlocksMax);
      EXPECT_LE(range.end(), store::kPieceBlocksMax);
      all.push_back(range);
    }
    EXPECT_TRUE(std::is_sorted(ranges->begin(), ranges->end(),
                               [](const auto& a, const auto& b) { return a.first < b.first; }));
  }
  std::sort(all.begin(), all.end(),
            [](const BlockRange& a, const BlockRange& b) { return a.first < b.first; });
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_GE(all[i].first, all[i - 1].end());
}

std::vector<BlockRange> random_ranges(Prng& prng) {
  std::vector<BlockRange> ranges;
  std::uint64_t at = prng.below(4);
  const std::uint64_t count = prng.below(4);
  for (std::uint64_t i = 0; i < count; ++i) {
    ranges.push_back({at, prng.below(8) == 0 ? 0 : prng.between(1, 3)});
    at = ranges.back().end() + prng.below(6) - (prng.below(10) == 0 ? 1 : 0);
  }
  return ranges;
}

TEST(DecodePrepare, LetsInNothingUnsoundOfRandomRanges) {
  Prng prng(11);
  std::size_t taken = 0;
  for (int round = 0; round < 20'000; ++round) {
    const Made made = make(random_ranges(prng), random_ranges(prng), random_ranges(prng));
    const Result<store::PrepareRequest> decoded = decode(made);
    if (decoded.has_value()) {
      ++taken;
      expect_sound(*decoded, made.body.size());
    } else {
      EXPECT_EQ(decoded.error().code(), Code::kInvalidArgument);
    }
  }
  EXPECT_GT(taken, 1000U);
  EXPECT_LT(taken, 19'000U);
}

TEST(DecodePrepare, SurvivesNoise) {
  Prng prng(12);
  const Made made = make({{10, 2}, {20, 1}}, {{12, 5}}, {{0, 1}, {17, 3}});
  const std::string good = made.prepare.SerializeAsString();
  std::size_t taken = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string meta = good;
    const std::uint64_t changes = prng.between(1, 4);
    for (std::uint64_t i = 0; i < changes; ++i) {
      const std::size_t at = prng.below(meta.size());
      switch (prng.below(4)) {
        case 0:
          meta[at] = static_cast<char>(prng.next());
          break;
        case 1:
          meta.erase(at, prng.between(1, 3));
          break;
        case 2:
          meta.insert(at, 1, static_cast<char>(prng.next()));
          break;
        default:
          meta[at] =
              static_cast<char>(static_cast<unsigned char>(meta[at]) ^ (1U << prng.below(8)));
      }
      if (meta.empty()) meta = "x";
    }
    const Result<store::PrepareRequest> decoded = decode_prepare(meta, made.body.span());
    if (!decoded.has_value()) continue;
    ++taken;
    expect_sound(*decoded, made.body.size());
  }
  EXPECT_GT(taken, 100U) << "other versions, epochs and so on are as good";
}

}  // namespace
}  // namespace cairn::chunkserver::data
