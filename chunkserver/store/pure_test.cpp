// The pure parts: space map, fence, records, ring, rows, reuse gate.
#include <gtest/gtest.h>

#include "chunkserver/store/fence.h"
#include "chunkserver/store/record.h"
#include "chunkserver/store/reuse_gate.h"
#include "chunkserver/store/ring.h"
#include "chunkserver/store/rows.h"
#include "chunkserver/store/space_map.h"
#include "common/base/crc32c.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::store {
namespace {

OpId op(std::uint64_t epoch, std::uint64_t seq) { return {LeaseEpoch(epoch), OpSeq(seq)}; }
PieceId piece(std::uint64_t chunk) { return {ChunkId::from_raw(chunk), PieceIndex(2)}; }

TEST(SpaceMap, GivesOneExtentWhenOneIsLongEnough) {
  SpaceMap map(100, 200);
  EXPECT_EQ(map.allocate(30).value(), (std::vector<Extent>{{100, 30}}));
  EXPECT_EQ(map.allocate(20).value(), (std::vector<Extent>{{130, 20}}));
  ASSERT_TRUE(map.free({100, 30}).has_value());
  // Next fit: behind the last one first.
  EXPECT_EQ(map.allocate(10).value(), (std::vector<Extent>{{150, 10}}));
  EXPECT_EQ(map.allocate(30).value(), (std::vector<Extent>{{160, 30}}));
  EXPECT_EQ(map.allocate(15).value(), (std::vector<Extent>{{100, 15}}));
  EXPECT_EQ(map.free_blocks(), 25U);
  map.check_invariants();
}

TEST(SpaceMap, GathersFragmentsAndRefusesWhatIsNotThere) {
  SpaceMap map(0, 10);
  ASSERT_TRUE(map.allocate(10).has_value());
  for (std::uint64_t block = 0; block < 10; block += 2)
    ASSERT_TRUE(map.free({block, 1}).has_value());
  EXPECT_EQ(map.allocate(6).error().code(), Code::kNoSpace);
  EXPECT_EQ(map.free_blocks(), 5U);
  EXPECT_EQ(map.allocate(5).value().size(), 5U);
  map.extend(13);
  EXPECT_EQ(map.allocate(3).value(), (std::vector<Extent>{{10, 3}}));
}

TEST(SpaceMap, RefusesDoubleFreeAndDoubleUse) {
  SpaceMap map(0, 10);
  ASSERT_TRUE(map.take({2, 3}).has_value());
  EXPECT_EQ(map.take({4, 2}).error().code(), Code::kCorrupt);
  EXPECT_EQ(map.take({9, 2}).error().code(), Code::kCorrupt);
  ASSERT_TRUE(map.free({3, 1}).has_value());
  EXPECT_EQ(map.free({3, 1}).error().code(), Code::kCorrupt);
  EXPECT_EQ(map.free({2, 2}).error().code(), Code::kCorrupt);
  EXPECT_EQ(map.free({8, 5}).error().code(), Code::kCorrupt);
  EXPECT_EQ(map.used_blocks(), 2U);
  map.check_invariants();
}

TEST(SpaceMap, AgreesWithABitmapOnRandomPrograms) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Prng prng(seed);
    SpaceMap map(10, 300);
    std::vector<bool> used(300, false);
    std::vector<Extent> held;
    for (int i = 0; i < 500; ++i) {
      if (prng.chance(550)) {
        const Result<std::vector<Extent>> got = map.allocate(prng.between(1, 20));
        if (!got.has_value()) continue;
        for (const Extent& extent : *got) {
          for (std::uint64_t b = extent.first; b < extent.end(); ++b) {
            ASSERT_FALSE(used[b]);
            used[b] = true;
          }
          held.push_back(extent);
        }
      } else if (!held.empty()) {
        std::swap(held[prng.below(held.size())], held.back());
        for (std::uint64_t b = held.back().first; b < held.back().end(); ++b) used[b] = false;
        ASSERT_TRUE(map.free(held.back()).has_value());
        held.pop_back();
      }
      map.check_invariants();
      ASSERT_EQ(map.used_blocks(),
                static_cast<std::uint64_t>(std::count(used.begin(), used.end(), true)));
    }
  }
}

TEST(Fence, Table) {
  const FenceState none;
  const FenceState seen{true, ChunkVersion(5), LeaseEpoch(7), op(7, 4)};
  struct Row {
    const char* name;
    FenceState state;
    PrepareTicket ticket;
    std::optional<Code> error;
    PrepareVerdict verdict = PrepareVerdict::kTake;
  };
  const ChunkVersion v5(5);
  const std::vector<Row> rows = {
      {"absent, not to be made", none, {v5, op(7, 9), OpSeq(), false}, Code::kPieceMissing},
      {"absent, to be made", none, {v5, op(7, 9), OpSeq(), true}, std::nullopt},
      {"the same version and epoch", seen, {v5, op(7, 9), OpSeq(), false}, std::nullopt},
      {"older version", seen, {ChunkVersion(4), op(7, 9), OpSeq(), true}, Code::kStaleVersion},
      {"older version of a newer epoch",
       seen,
       {ChunkVersion(4), op(8, 1), OpSeq(), true},
       Code::kStaleVersion},
      {"older epoch", seen, {v5, op(6, 9), OpSeq(), true}, Code::kStaleEpoch},
      {"newer version, older epoch",
       seen,
       {ChunkVersion(6), op(6, 9), OpSeq(), true},
       Code::kStaleEpoch},
      {"newer both", seen, {ChunkVersion(6), op(8, 1), OpSeq(), false}, std::nullopt},
      {"a settled op again",
       seen,
       {v5, op(7, 3), OpSeq(), false},
       std::nullopt,
       PrepareVerdict::kSettledBefore},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const Result<PrepareVerdict> verdict = check_prepare(row.state, row.ticket);
    ASSERT_EQ(verdict.has_value(), !row.error.has_value());
    if (row.error.has_value()) {
      EXPECT_EQ(verdict.error().code(), *row.error);
    } else {
      EXPECT_EQ(*verdict, row.verdict);
    }
  }
}

TEST(Fence, MarksGrowAndNeverCoverTheOpThatCarriesThem) {
  FenceState state{true, ChunkVersion(5), LeaseEpoch(7), op(7, 4)};
  state = after_prepare(state, {ChunkVersion(5), op(7, 9), OpSeq(20), false});
  EXPECT_EQ(state.settled, op(7, 9));
  state = after_prepare(state, {ChunkVersion(6), op(8, 1), OpSeq(0), false});
  EXPECT_EQ(state, (FenceState{true, ChunkVersion(6), LeaseEpoch(8), op(8, 1)}));
  EXPECT_TRUE(is_settled(state, op(7, 1000)));
  EXPECT_FALSE(is_settled(state, op(8, 1)));
  EXPECT_TRUE(check_settle(state, op(8, 2)).value());
  EXPECT_FALSE(check_settle(state, op(8, 1)).value());
  EXPECT_FALSE(check_settle(state, op(9, 1)).value());
  EXPECT_EQ(check_settle(state, op(7, 2)).error().code(), Code::kStaleEpoch);
  EXPECT_EQ(check_settle(FenceState(), op(7, 2)).error().code(), Code::kPieceMissing);
}

TEST(Fence, SealsOnceAndResolvesOnlyWhatWasSealed) {
  const FenceState state{true, ChunkVersion(5), LeaseEpoch(7), op(7, 4)};
  EXPECT_TRUE(check_seal(state, ChunkVersion(6), LeaseEpoch(9)).value());
  EXPECT_EQ(check_seal(state, ChunkVersion(4), LeaseEpoch(9)).error().code(), Code::kStaleVersion);
  EXPECT_EQ(check_seal(state, ChunkVersion(6), LeaseEpoch(6)).error().code(), Code::kStaleEpoch);
  EXPECT_EQ(check_seal(FenceState(), ChunkVersion(6), LeaseEpoch(9)).error().code(),
            Code::kPieceMissing);
  const FenceState sealed = after_seal(state, ChunkVersion(6), LeaseEpoch(9));
  EXPECT_FALSE(check_seal(sealed, ChunkVersion(6), LeaseEpoch(9)).value());
  EXPECT_EQ(sealed.settled, op(7, 4));
  EXPECT_TRUE(check_resolve(sealed, ChunkVersion(6), LeaseEpoch(9)).has_value());
  EXPECT_EQ(check_resolve(sealed, ChunkVersion(7), LeaseEpoch(9)).error().code(),
            Code::kRefusedForSafety);
  EXPECT_EQ(check_resolve(sealed, ChunkVersion(5), LeaseEpoch(9)).error().code(),
            Code::kStaleVersion);
  EXPECT_EQ(check_prepare(sealed, {ChunkVersion(5), op(7, 9), OpSeq(), false}).error().code(),
            Code::kStaleVersion);
}

std::vector<Record> sample_records() {
  PrepareRecord prepare;
  prepare.piece = piece(0x1234);
  prepare.version = ChunkVersion(3);
  prepare.op = op(9, 5);
  prepare.settled_below = OpSeq(4);
  prepare.participants = 0x3f;
  prepare.facts = {1, 4, 2, 1 << 20, 77, 8};
  prepare.writes = {{10, 2}, {20, 1}};
  prepare.zeroes = {{30, 100}};
  prepare.extents = {{1000, 1}, {2000, 2}};
  prepare.crcs = {1, 2, 3};
  return {prepare, SettleRecord{piece(2), op(1, 2)},
          SealRecord{piece(3), ChunkVersion(4), LeaseEpoch(5)},
          ResolveRecord{piece(4), LeaseEpoch(6), {op(1, 1), op(1, 2)}}, RemoveRecord{piece(5)}};
}
std::vector<const Record*> pointers(const std::vector<Record>& records) {
  std::vector<const Record*> out;
  for (const Record& record : records) out.push_back(&record);
  return out;
}

TEST(Record, ComesBackAsItWasWritten) {
  const std::vector<Record> records = sample_records();
  const EncodedBatch encoded = encode_batch(42, {7, 3, 99}, pointers(records));
  const Result<Batch> batch = decode_batch(encoded.bytes.span(), 42);
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->sequence, 8U);
  EXPECT_EQ(batch->previous_crc, 99U);
  EXPECT_EQ(batch->crc, encoded.crc);
  EXPECT_EQ(batch->records, records);
  EXPECT_EQ(decode_batch(encoded.bytes.span(), 43).error().code(), Code::kCorrupt);
}

// The worked example of docs/formats/cs-journal.md.
TEST(Record, GoldenBytes) {
  const std::vector<Record> records = {SettleRecord{piece(0x1234), op(9, 5)}};
  const EncodedBatch encoded =
      encode_batch(0x1122334455667788, {6, 0, 0xaabbccdd}, pointers(records));
  ASSERT_EQ(encoded.bytes.size(), kBlockBytes);
  std::string hex;
  for (const std::byte b : encoded.bytes.span().first(96)) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[std::to_integer<unsigned>(b) >> 4];
    hex += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  EXPECT_EQ(hex,
            "4353434a01000000"
            "bc0fc945"
            "ddccbbaa"
            "0700000000000000"
            "8877665544332211"
            "1e00000000000000"
            "01000000"
            "0000000000000000000000000000000000000000"
            "1a000000"
            "02"
            "3412000000000000"
            "02"
            "0900000000000000"
            "0500000000000000"
            "0000");
}

TEST(Record, EverySingleBitFlipIsFound) {
  const std::vector<Record> records = sample_records();
  const EncodedBatch encoded = encode_batch(42, {7, 3, 99}, pointers(records));
  Buffer bytes = Buffer::copy_of(encoded.bytes.span());
  const std::size_t length = kBatchHeaderBytes + 300;
  for (std::size_t bit = 0; bit < 8 * length; ++bit) {
    bytes.data()[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << bit % 8)};
    const Result<Batch> batch = decode_batch(std::as_const(bytes).span(), 42);
    // Padding between the payload and the end of the block is not covered, nor does anyone read it.
    if (batch.has_value()) {
      EXPECT_EQ(batch->records, records);
    }
    bytes.data()[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << bit % 8)};
  }
}

// Gives a batch a right checksum, so that noise reaches the record decoder.
void set_crc(Buffer& batch) {
  const auto payload = load_le<std::uint64_t>(batch.data() + 32);
  const std::byte zero[4] = {};
  const Bytes bytes = std::as_const(batch).span();
  std::uint32_t crc = crc32c(zero, crc32c(bytes.first(8)));
  crc = crc32c(bytes.subspan(12, kBatchHeaderBytes + payload - 12), crc);
  store_le(batch.data() + 8, crc);
}

TEST(Record, DecoderSurvivesNoise) {
  Prng prng(5);
  const std::vector<Record> records = sample_records();
  for (int i = 0; i < 20000; ++i) {
    EncodedBatch encoded = encode_batch(42, {7, 3, 99}, pointers(records));
    Buffer bytes = Buffer::copy_of(encoded.bytes.span());
    const std::uint64_t changes = prng.between(1, 8);
    for (std::uint64_t c = 0; c < changes; ++c) {
      bytes.data()[kBatchHeaderBytes + prng.below(280)] =
          std::byte{static_cast<unsigned char>(prng.next())};
    }
    set_crc(bytes);
    const Result<Batch> batch = decode_batch(std::as_const(bytes).span(), 42);
    if (!batch.has_value()) {
      EXPECT_EQ(batch.error().code(), Code::kCorrupt);
    }
  }
}

TEST(Ring, NeverPlacesOverWhatIsAlive) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Prng prng(seed);
    JournalRing ring(64, prng.below(65));
    std::deque<std::pair<std::uint64_t, Extent>> alive;
    std::uint64_t sequence = 0;
    for (int i = 0; i < 500; ++i) {
      const std::uint64_t count = prng.between(1, 16);
      const std::optional<std::uint64_t> at = ring.place(count);
      if (at.has_value()) {
        ASSERT_LE(*at + count, 64U);
        for (const auto& [s, extent] : alive) {
          ASSERT_TRUE(*at + count <= extent.first || extent.end() <= *at);
        }
        ring.push(++sequence, *at, count);
        alive.push_back({sequence, {*at, count}});
      } else {
        ASSERT_FALSE(alive.empty());
      }
      if (!at.has_value() || prng.chance(300)) {
        const std::size_t gone = prng.between(at.has_value() ? 0 : alive.size(), alive.size());
        for (std::size_t k = 0; k < gone; ++k) {
          ring.release(alive.front().first);
          alive.pop_front();
        }
        if (alive.empty()) {
          EXPECT_EQ(ring.used(), 0U);
        }
      }
    }
  }
}

class RingImage {
 public:
  explicit RingImage(std::uint64_t blocks)
      : bytes_(Buffer::zeroed(blocks * kBlockBytes)), ring_(blocks, 0) {}
  void write(const std::vector<Record>& records) {
    const EncodedBatch encoded = encode_batch(1, position_, pointers(records));
    const std::uint64_t blocks = encoded.bytes.size() / kBlockBytes;
    if (ring_.place(blocks) == std::nullopt) ring_.release(position_.sequence);
    at_ = ring_.place(blocks).value();
    std::memcpy(bytes_.data() + at_ * kBlockBytes, encoded.bytes.data(), encoded.bytes.size());
    position_ = {position_.sequence + 1, at_ + blocks, encoded.crc};
    ring_.push(position_.sequence, at_, blocks);
  }
  Bytes bytes() const { return bytes_.span(); }
  void damage(std::uint64_t block) { bytes_.data()[block * kBlockBytes + 70] ^= std::byte{1}; }
  const JournalPosition& position() const { return position_; }
  std::uint64_t at() const { return at_; }

 private:
  Buffer bytes_;
  JournalRing ring_;
  JournalPosition position_;
  std::uint64_t at_ = 0;
};

TEST(Ring, ScanFindsEverythingAfterAPositionOverManyLaps) {
  RingImage image(32);
  const std::vector<Record> records = sample_records();
  std::vector<JournalPosition> positions;
  for (int i = 0; i < 100; ++i) {
    positions.push_back(image.position());
    image.write(records);
    const std::size_t from = positions.size() - std::min<std::size_t>(positions.size(), 20);
    const Result<JournalScan> scan = scan_journal(image.bytes(), 1, positions[from]);
    ASSERT_TRUE(scan.has_value());
    EXPECT_EQ(scan->batches.size(), positions.size() - from);
    EXPECT_EQ(scan->end, image.position());
  }
}

TEST(Ring, ATornLastBatchEndsTheJournalButADamagedEarlierOneIsCorrupt) {
  RingImage image(32);
  const JournalPosition begin = image.position();
  image.write(sample_records());
  const JournalPosition first = image.position();
  image.write(sample_records());
  image.damage(image.at());
  const Result<JournalScan> torn = scan_journal(image.bytes(), 1, begin);
  ASSERT_TRUE(torn.has_value());
  EXPECT_EQ(torn->end, first);
  image.damage(image.at());  // whole again
  image.damage(0);
  EXPECT_EQ(scan_journal(image.bytes(), 1, begin).error().code(), Code::kCorrupt);
}

TEST(Rows, ComeBackAsTheyWere) {
  PieceRow row;
  row.fence = {true, ChunkVersion(3), LeaseEpoch(9), op(9, 2)};
  row.facts = {1, 4, 2, 1 << 20, 77, 8};
  row.blocks = 12;
  row.pending = {{op(9, 5), 7, {{10, 2}}, {{30, 100}}, {{1000, 1}, {2000, 1}}, {1, 2}}};
  row.forwarded = {{op(8, 1), 3}};
  EXPECT_EQ(decode_piece_row(encode(row)).value(), row);
  Segment segment;
  Prng prng(3);
  for (BlockPlace& place : segment.places) {
    if (prng.chance(600)) place = {prng.between(1, 1000), static_cast<std::uint32_t>(prng.next())};
  }
  segment.places[4] = {500, 1};
  segment.places[5] = {501, 2};
  EXPECT_EQ(decode_segment(encode(segment)).value().places, segment.places);
  EXPECT_EQ(parse_piece_key(piece_key(piece(77))).value(), piece(77));
  EXPECT_LT(piece_key(piece(1)), piece_key(piece(256)));
  EXPECT_LT(segment_key(piece(1), 255), segment_key(piece(1), 256));
}

TEST(Rows, DecodersSurviveNoise) {
  Prng prng(11);
  PieceRow row;
  row.fence.exists = true;
  row.pending = {{op(9, 5), 7, {{10, 2}}, {{30, 100}}, {{1000, 1}, {2000, 1}}, {1, 2}}};
  Segment segment;
  segment.places[3] = {9, 9};
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = prng.chance(500) ? encode(row) : encode(segment);
    bytes[prng.below(bytes.size())] = static_cast<char>(prng.next());
    bytes.resize(prng.between(0, bytes.size()));
    static_cast<void>(decode_piece_row(bytes).has_value());
    static_cast<void>(decode_segment(bytes).has_value());
    static_cast<void>(decode_region(bytes).has_value());
  }
}

TEST(ReuseGate, HoldsBackUntilEarlierReadsEnded) {
  ReuseGate gate;
  gate.hold({{1, 1}});
  EXPECT_EQ(gate.take_reusable(), (std::vector<Extent>{{1, 1}}));
  const ReuseGate::Ticket first = gate.begin_read();
  gate.hold({{2, 1}});
  const ReuseGate::Ticket second = gate.begin_read();
  gate.hold({{3, 1}});
  EXPECT_TRUE(gate.take_reusable().empty());
  gate.end_read(first);
  EXPECT_EQ(gate.take_reusable(), (std::vector<Extent>{{2, 1}}));
  EXPECT_EQ(gate.held_blocks(), 1U);
  gate.end_read(second);
  EXPECT_EQ(gate.take_reusable(), (std::vector<Extent>{{3, 1}}));
  EXPECT_FALSE(gate.holds());
}

}  // namespace
}  // namespace cairn::chunkserver::store
