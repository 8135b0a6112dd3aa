// The parts of scrub and healing that are values in, values out.
#include <gtest/gtest.h>

#include <bit>

#include "chunkserver/care/damage_ledger.h"
#include "chunkserver/care/fake_door.h"
#include "chunkserver/care/rebuild.h"
#include "chunkserver/care/scrub_state.h"
#include "chunkserver/care/scrub_tasks.h"

namespace cairn::chunkserver::care {
namespace {

using erasure::PieceMask;
using testing::piece_id;
using testing::random_block;

TEST(ScrubState, ComesBackAsItWas) {
  for (const ScrubState& state :
       {ScrubState{}, ScrubState{piece_id(0x12af, 3), 17, 1'718'000'000'000'000'000, 0},
        ScrubState{piece_id(UINT64_MAX, 20), UINT64_MAX, INT64_MAX, INT64_MIN}}) {
    const Result<ScrubState> back = decode_scrub_state(encode_scrub_state(state));
    ASSERT_TRUE(back.has_value()) << back.error().to_string();
    EXPECT_EQ(*back, state);
  }
  EXPECT_TRUE(encode_scrub_state({piece_id(0x12af, 3), 17, 5, 4})
                  .starts_with("cairn scrub 1\nafter 12af 3\nverified 17\nbegan 5\nended 4\ncrc "));
}

TEST(ScrubState, NoDamageGoesUnnoticed) {
  const std::string text = encode_scrub_state({piece_id(0x12af, 3), 17, 1'718'000'000, 12});
  for (std::size_t at = 0; at < text.size(); ++at) {
    EXPECT_FALSE(decode_scrub_state(text.substr(0, at)).has_value()) << "cut at " << at;
    for (unsigned bit = 0; bit < 8; ++bit) {
      std::string bad = text;
      bad[at] = static_cast<char>(static_cast<unsigned char>(bad[at]) ^ (1U << bit));
      EXPECT_FALSE(decode_scrub_state(bad).has_value()) << "bit " << bit << " at " << at;
    }
  }
  EXPECT_FALSE(decode_scrub_state(text + "x").has_value());
  EXPECT_FALSE(decode_scrub_state("").has_value());
}

pb::ScrubTask task(std::uint64_t job, std::uint64_t chunk, std::uint32_t piece) {
  pb::ScrubTask one;
  one.set_job(job);
  one.mutable_piece()->set_chunk(chunk);
  one.mutable_piece()->set_piece(piece);
  return one;
}

TEST(ScrubTasks, TakeEachOnceUntilReported) {
  ScrubTasks tasks;
  const std::vector<pb::ScrubTask> sent = {task(1, 7, 0), task(1, 7, 1), task(2, 7, 0)};
  EXPECT_EQ(tasks.take(sent), 3U);
  EXPECT_EQ(tasks.take(sent), 0U);
  EXPECT_EQ(tasks.begin()->piece, piece_id(7, 0));
  EXPECT_EQ(tasks.take(sent), 0U) << "begun is known";
  tasks.finish({.blocks = 5, .damaged = 1});
  EXPECT_EQ(tasks.take(sent), 0U) << "done is known";
  const std::vector<pb::ScrubDone> done = tasks.done();
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].job(), 1U);
  EXPECT_EQ(done[0].blocks(), 5U);
  EXPECT_EQ(done[0].damaged(), 1U);
  EXPECT_EQ(tasks.done().size(), 1U) << "not yet reported";
  tasks.reported(done);
  EXPECT_TRUE(tasks.done().empty());
  EXPECT_EQ(tasks.take(sent), 1U) << "asked for again";
  EXPECT_EQ(tasks.begin()->piece, piece_id(7, 1));
  tasks.postpone();
  EXPECT_EQ(tasks.begin()->piece, piece_id(7, 1)) << "it still comes first";
}

TEST(ScrubTasks, AreBoundedAndRefuseNonsense) {
  ScrubTasks tasks;
  EXPECT_EQ(tasks.take({task(1, 0, 0), task(1, 5, 21)}), 0U);
  ASSERT_EQ(tasks.done().size(), 2U);
  EXPECT_FALSE(tasks.done()[0].failure().empty());
  std::vector<pb::ScrubTask> many;
  for (std::uint64_t i = 1; i <= 2 * kScrubTasksMax; ++i) many.push_back(task(9, i, 0));
  EXPECT_EQ(tasks.take(many), kScrubTasksMax - 2);
  EXPECT_EQ(tasks.take(many), 0U);
  tasks.reported(tasks.done());
  EXPECT_EQ(tasks.take(many), 2U);
}

TEST(SourceSets, AreAllSetsWhenThereAreFew) {
  const PieceMask have = 0b1011'0110;
  const std::vector<PieceMask> sets = source_sets(have, 3, 64, 0b1000'0110, 1);
  EXPECT_EQ(sets.size(), 10U);
  EXPECT_EQ(sets[0], 0b1000'0110U);
  EXPECT_EQ(std::set<PieceMask>(sets.begin(), sets.end()).size(), sets.size());
  for (const PieceMask set : sets) {
    EXPECT_EQ(std::popcount(set), 3);
    EXPECT_EQ(set & ~have, 0U);
  }
  EXPECT_TRUE(source_sets(have, 6, 64, 0, 1).empty());
  EXPECT_EQ(source_sets(have, 5, 64, 0, 1), std::vector<PieceMask>{have});
}

TEST(SourceSets, LeaveOutEachSourceSoonWhenThereAreMany) {
  const PieceMask have = (1U << 21) - 2;  // 20 sources, 17 needed: 1140 sets
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<PieceMask> sets = source_sets(have, 17, kSubsetsMax, 0, seed);
    EXPECT_EQ(sets.size(), kSubsetsMax);
    EXPECT_EQ(std::set<PieceMask>(sets.begin(), sets.end()).size(), sets.size());
    PieceMask left_out = 0;
    for (std::size_t i = 0; i < 8; ++i) left_out |= have & ~sets[i];
    EXPECT_EQ(left_out, have);
  }
}

// A row of blocks of a code, with random data.
std::vector<Buffer> make_row(const erasure::Encoding& encoding, std::uint64_t seed) {
  std::vector<Buffer> row;
  for (unsigned i = 0; i < encoding.data; ++i) row.push_back(random_block(seed * 100 + i));
  if (encoding.is_replicas()) {
    for (unsigned i = 1; i < encoding.pieces(); ++i) row.push_back(Buffer::copy_of(row[0].span()));
    return row;
  }
  std::vector<const std::byte*> data;
  for (const Buffer& block : row) data.push_back(block.data());
  std::vector<std::byte*> parity;
  for (unsigned i = 0; i < encoding.parity; ++i) {
    row.push_back(Buffer::allocate(kBlockBytes));
    parity.push_back(row.back().data());
  }
  erasure::Codec::get(encoding.data, encoding.parity)->encode(data, parity, kBlockBytes);
  return row;
}

std::vector<erasure::Encoding> all_encodings() {
  std::vector<erasure::Encoding> all;
  for (std::uint32_t data = 1; data <= 17; ++data) {
    for (std::uint32_t parity = 1; parity <= 14; ++parity) {
      const Result<erasure::Encoding> one = erasure::Encoding::make(data, parity, data);
      if (one.has_value()) all.push_back(*one);
    }
  }
  return all;
}

TEST(Rebuilder, RestoresEveryPieceOfEveryCode) {
  const std::vector<erasure::Encoding> encodings = all_encodings();
  EXPECT_GT(encodings.size(), 60U);
  Prng prng(4);
  for (const erasure::Encoding& encoding : encodings) {
    SCOPED_TRACE(encoding.to_string());
    std::vector<Buffer> row = make_row(encoding, 7);
    for (std::uint8_t wanted = 0; wanted < encoding.pieces(); ++wanted) {
      // Some M of the others.
      std::vector<unsigned> others;
      for (unsigned i = 0; i < encoding.pieces(); ++i) {
        if (i != wanted) others.push_back(i);
      }
      prng.shuffle(std::span(others));
      std::vector<std::byte*> sources(encoding.pieces(), nullptr);
      for (unsigned i = 0; i < encoding.data; ++i) sources[others[i]] = row[others[i]].data();
      Rebuilder rebuilder(encoding, PieceIndex(wanted));
      Buffer into = Buffer::zeroed(kBlockBytes);
      const std::uint32_t crc = crc32c(std::as_const(row[wanted]).span());
      const PieceMask used = rebuilder.build(sources, crc, 1, into.span());
      EXPECT_EQ(std::popcount(used), int{encoding.data});
      EXPECT_EQ(std::memcmp(into.data(), row[wanted].data(), kBlockBytes), 0);
      sources[others[0]] = nullptr;
      EXPECT_EQ(rebuilder.build(sources, crc, 1, into.span()), 0U) << "too few";
    }
  }
}

TEST(Rebuilder, GoesRoundSourcesThatLie) {
  for (const erasure::Encoding& encoding : all_encodings()) {
    if (encoding.pieces() < encoding.data + 2U) continue;  // nobody to spare
    SCOPED_TRACE(encoding.to_string());
    for (std::uint8_t liar = 1; liar < encoding.pieces(); ++liar) {
      std::vector<Buffer> row = make_row(encoding, liar);
      const std::uint32_t crc = crc32c(std::as_const(row[0]).span());
      row[liar].data()[17] ^= std::byte{4};
      std::vector<std::byte*> sources;
      for (Buffer& block : row) sources.push_back(block.data());
      Rebuilder rebuilder(encoding, PieceIndex(0));
      Buffer into = Buffer::zeroed(kBlockBytes);
      const PieceMask used = rebuilder.build(sources, crc, liar, into.span());
      EXPECT_NE(used, 0U);
      EXPECT_EQ(used >> liar & 1U, 0U);
      EXPECT_EQ(std::memcmp(into.data(), row[0].data(), kBlockBytes), 0);
      EXPECT_LE(rebuilder.decodes(), kSubsetsMax);
    }
  }
}

TEST(Rebuilder, NeverCallsWrongBytesRight) {
  const erasure::Encoding encoding = *erasure::Encoding::make(4, 2, 4);
  std::vector<Buffer> row = make_row(encoding, 3);
  const std::uint32_t crc = crc32c(std::as_const(row[2]).span());
  row[0].data()[0] ^= std::byte{1};
  row[5].data()[9] ^= std::byte{1};
  std::vector<std::byte*> sources;
  for (Buffer& block : row) sources.push_back(block.data());
  Rebuilder rebuilder(encoding, PieceIndex(2));
  Buffer into = Buffer::zeroed(kBlockBytes);
  EXPECT_EQ(rebuilder.build(sources, crc, 1, into.span()), 0U);
  EXPECT_EQ(rebuilder.decodes(), 5U) << "every 4 of 5";
}

store::DamagedBlock block(std::uint64_t chunk, std::uint64_t number, std::uint32_t crc = 1) {
  return {piece_id(chunk), number, 100 + number, crc};
}

TEST(DamageLedger, CutsRunsByPieceAndSize) {
  DamageLedger ledger;
  std::vector<store::DamagedBlock> damaged;
  for (std::uint64_t i = 0; i < 10; ++i) damaged.push_back(block(1, i * 3));
  damaged.push_back(block(2, 5));
  const Instant now = Instant::from_nanos(1);
  const std::vector<HealRun> runs = ledger.due(damaged, now, 4, 100);
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_EQ(runs[0].blocks.size(), 4U);
  EXPECT_EQ(runs[2].blocks.size(), 2U);
  EXPECT_EQ(runs[3].piece, piece_id(2));
  EXPECT_EQ(ledger.due(damaged, now, 4, 2).size(), 2U);
}

TEST(DamageLedger, ABlockDamagedTwiceIsInTwoRuns) {
  DamageLedger ledger;
  const std::vector<store::DamagedBlock> damaged = {{piece_id(1), 4, 100, 7},
                                                    {piece_id(1), 5, 101, 7},
                                                    {piece_id(1), 5, 102, 8},
                                                    {piece_id(1), 6, 103, 9}};
  Instant now = Instant::from_nanos(1);
  const std::vector<HealRun> runs = ledger.due(damaged, now, 256, 64);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0].blocks.size(), 2U);
  EXPECT_EQ(runs[1].blocks.size(), 2U);
  for (const HealRun& run : runs) {
    for (const store::DamagedBlock& one : run.blocks) ledger.failed(one, now, false);
  }
  EXPECT_TRUE(ledger.due(damaged, now, 256, 64).empty()) << "both wait";
}

TEST(DamageLedger, TriesAgainLaterAndLater) {
  DamageLedger ledger;
  const std::vector<store::DamagedBlock> damaged = {block(1, 1), block(1, 2)};
  Instant now = Instant::from_nanos(1);
  Duration last = {};
  for (int attempt = 0; attempt < 10; ++attempt) {
    ASSERT_EQ(ledger.due(damaged, now, 256, 64).size(), 1U);
    ledger.failed(damaged[0], now, true);
    EXPECT_EQ(ledger.failed(damaged[1], now, false), attempt == 2);
    const Instant before = now;
    while (ledger.due(damaged, now, 256, 64).empty()) now = now + Duration(1s);
    EXPECT_GE(now - before, last);
    EXPECT_LE(now - before, kHealRetryMost);
    last = now - before;
  }
  EXPECT_EQ(last, kHealRetryMost);
  EXPECT_EQ(ledger.undoable(), 2U);
  // One was healed; the other was written again and lies somewhere else, where it is damaged, too.
  store::DamagedBlock again = damaged[1];
  again.home = 7;
  ASSERT_EQ(ledger.due({again}, now - Duration(1s), 256, 64).size(), 1U) << "news is tried at once";
  EXPECT_EQ(ledger.undoable(), 0U);
}

TEST(DamageLedger, HopelessBlocksHoldUpNoOthers) {
  DamageLedger ledger;
  std::vector<store::DamagedBlock> damaged;
  for (std::uint64_t chunk = 1; chunk <= 500; ++chunk) damaged.push_back(block(chunk, 1));
  std::set<PieceId> tried;
  Instant now = Instant::from_nanos(1);
  for (int look = 0; look < 50 && tried.size() < damaged.size(); ++look, now = now + Duration(1s)) {
    for (const HealRun& run : ledger.due(damaged, now, 256, 16)) {
      tried.insert(run.piece);
      ledger.failed(run.blocks[0], now, true);
    }
  }
  EXPECT_EQ(tried.size(), damaged.size());
}

TEST(DamageLedger, SaysEachBlockOnce) {
  DamageLedger ledger;
  const std::vector<store::DamagedBlock> damaged = {block(1, 1)};
  Instant now = Instant::from_nanos(1);
  ledger.due(damaged, now, 1, 1);
  EXPECT_TRUE(ledger.failed(damaged[0], now, true));
  EXPECT_FALSE(ledger.failed(damaged[0], now, true));
  ledger.healed(damaged[0], now);
  EXPECT_EQ(ledger.undoable(), 0U);
  EXPECT_TRUE(ledger.due(damaged, now, 1, 1).empty()) << "not at once, even if it still shows";
  EXPECT_FALSE(ledger.failed(block(9, 9), now, true)) << "nobody knows it";
}

}  // namespace
}  // namespace cairn::chunkserver::care
