// Records and batches as bytes.
#include "chunkserver/store/record.h"

#include <gtest/gtest.h>

#include "chunkserver/store/record_codec.h"
#include "chunkserver/store/rows_fixture.h"
#include "common/base/crc32c.h"
#include "common/base/prng.h"

namespace cairn::chunkserver::store {
namespace {

PrepareRecord sample_prepare() {
  PrepareRecord prepare;
  prepare.piece = piece_id(0x1234);
  prepare.version = ChunkVersion(3);
  prepare.op = op_id(9, 5);
  prepare.settled_below = OpSeq(4);
  prepare.participants = 0x3f;
  prepare.facts = {1, 4, 2, 1 << 20, 77, 8};
  prepare.writes = {{10, 2}, {20, 1}};
  prepare.zeroes = {{30, 100}};
  prepare.deltas = {{12, 1}, {130, 1}};
  prepare.payload = {{{1000, 1}, {2000, 4}}, {1, 2, 3, 4, 5}, true};
  return prepare;
}
std::vector<Record> sample_records() {
  PrepareRecord direct = sample_prepare();
  direct.payload.journaled = false;
  PrepareRecord empty;
  empty.piece = piece_id(6);
  PrepareRecord copied = sample_prepare();
  copied.copy = true;
  const FoldRecord fold{piece_id(7), op_id(2, 2), {{4, 2}}, {{{50, 2}}, {8, 9}, true}};
  const HealRecord heal{piece_id(8), {{4, 1}, {6, 1}}, {70, 0}, {{{60, 2}}, {8, 9}, false}};
  return {sample_prepare(),
          direct,
          empty,
          SettleRecord{piece_id(2), op_id(1, 2)},
          SealRecord{piece_id(3), ChunkVersion(4), LeaseEpoch(5)},
          ResolveRecord{piece_id(4), LeaseEpoch(6), {op_id(1, 1), op_id(1, 2)}},
          RemoveRecord{piece_id(5)},
          fold,
          heal,
          SettleRecord{piece_id(2), op_id(1, 2), ChunkVersion(7)},
          SealRecord{piece_id(3), ChunkVersion(4), LeaseEpoch(5), true},
          copied};
}
std::vector<const Record*> pointers(const std::vector<Record>& records) {
  std::vector<const Record*> out;
  for (const Record& record : records) out.push_back(&record);
  return out;
}
Buffer sample_batch() {
  const std::vector<Record> records = sample_records();
  return encode_batch(42, {7, 3, 99}, pointers(records)).bytes;
}
std::string text_of(const Record& record) {
  ByteWriter out;
  encode_record(out, record);
  return out.take();
}
bool decodes(const Record& record) { return decode_record(text_of(record)).has_value(); }

std::string hex(Bytes bytes) {
  std::string out;
  for (const std::byte b : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    out += kDigits[std::to_integer<unsigned>(b) >> 4];
    out += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return out;
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

TEST(Record, ComesBackAsItWasWritten) {
  const std::vector<Record> records = sample_records();
  const EncodedBatch encoded = encode_batch(42, {7, 3, 99}, pointers(records));
  EXPECT_EQ(encoded.data_blocks, 12U);
  const Result<BatchHead> head = decode_head(encoded.bytes.span(), 42);
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->data_blocks, 12U);
  EXPECT_EQ(head->blocks() * kBlockBytes, encoded.bytes.size() + 12 * kBlockBytes);
  Result<Batch> batch = decode_batch(encoded.bytes.span(), 42);
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->sequence, 8U);
  EXPECT_EQ(batch->previous_crc, 99U);
  EXPECT_EQ(batch->crc, encoded.crc);
  EXPECT_EQ(batch->records, records);
  EXPECT_EQ(batch->blocks, head->blocks());
  batch->at = 30;
  EXPECT_EQ(batch->first_data_block(), 30 + encoded.bytes.size() / kBlockBytes);
  EXPECT_EQ(decode_batch(encoded.bytes.span(), 43).error().code(), Code::kCorrupt);
}

TEST(Record, TheSizeThatIsReservedIsEnough) {
  for (const Record& record : sample_records()) {
    EXPECT_LE(text_of(record).size(), encoded_size(record));
    EXPECT_GT(text_of(record).size() + 200, encoded_size(record));
  }
}

TEST(Record, KnowsItsPieceAndItsBlocks) {
  const std::vector<Record> records = sample_records();
  EXPECT_EQ(piece_of(records[8]), piece_id(8));
  EXPECT_EQ(payload_of(records[0])->crcs.size(), 5U);
  EXPECT_EQ(payload_of(records[2]), nullptr);
  EXPECT_EQ(payload_of(records[3]), nullptr);
  EXPECT_EQ(journaled_blocks(records[0]), 5U);
  EXPECT_EQ(journaled_blocks(records[1]), 0U);
  EXPECT_EQ(journaled_blocks(records[7]), 2U);
}

TEST(Record, DigestTellsContentsApart) {
  const std::vector<BlockRange> a = {{1, 2}};
  const std::vector<BlockRange> none;
  const std::vector<std::uint32_t> crcs = {1, 2};
  EXPECT_EQ(content_digest(a, none, none, crcs), content_digest(a, none, none, crcs));
  EXPECT_NE(content_digest(a, none, none, crcs), content_digest(none, a, none, crcs));
  EXPECT_NE(content_digest(a, none, none, crcs), content_digest(none, none, a, crcs));
  EXPECT_NE(content_digest(a, none, none, crcs), content_digest(a, none, none, {1, 3}));
}

// The worked example of docs/formats/cs-journal.md.
TEST(Record, GoldenBytes) {
  PrepareRecord prepare;
  prepare.piece = piece_id(0x1234);
  prepare.version = ChunkVersion(3);
  prepare.op = op_id(9, 5);
  prepare.settled_below = OpSeq(5);
  prepare.participants = 0x3f;
  prepare.facts = {1, 4, 2, 1 << 20, 77, 8};
  prepare.writes = {{10, 1}};
  prepare.deltas = {{12, 1}};
  prepare.payload = {{{4096, 2}}, {0x11111111, 0x22222222}, true};
  const std::vector<Record> records = {SettleRecord{piece_id(0x1234), op_id(9, 5)}, prepare};
  const EncodedBatch encoded =
      encode_batch(0x1122334455667788, {6, 0, 0xaabbccdd}, pointers(records));
  ASSERT_EQ(encoded.bytes.size(), kBlockBytes);
  const std::string expected =
      "4353434a02000000"
      "bba56188"
      "ddccbbaa"
      "0700000000000000"
      "8877665544332211"
      "b100000000000000"
      "0200000000000000"
      "0200000000000000"
      "0000000000000000"
      "1a000000"
      "02"
      "3412000000000000"
      "02"
      "0900000000000000"
      "0500000000000000"
      "8f000000"
      "01"
      "3412000000000000"
      "02"
      "0300000000000000"
      "0900000000000000"
      "0500000000000000"
      "0500000000000000"
      "3f000000"
      "01000000"
      "04000000"
      "02000000"
      "00001000"
      "4d00000000000000"
      "0800000000000000"
      "01000000"
      "0a00000000000000"
      "01000000"
      "00000000"
      "01000000"
      "0c00000000000000"
      "01000000"
      "01"
      "01000000"
      "0010000000000000"
      "02000000"
      "02000000"
      "1111111122222222"
      "0000";
  EXPECT_EQ(hex(encoded.bytes.span().first(expected.size() / 2)), expected);
}

// The other kinds of the same document.
TEST(Record, GoldenBytesOfWhatNamesTheMapsVersion) {
  const auto golden = [](const Record& record) {
    const std::string text = text_of(record);
    return hex(std::as_bytes(std::span(text)));
  };
  const std::string piece = "341200000000000002";
  EXPECT_EQ(golden(SettleRecord{piece_id(0x1234), op_id(9, 5), ChunkVersion(7)}),
            "08" + piece + "0900000000000000" + "0500000000000000" + "0700000000000000");
  EXPECT_EQ(golden(SealRecord{piece_id(0x1234), ChunkVersion(7), LeaseEpoch(9)}),
            "03" + piece + "0700000000000000" + "0900000000000000");
  EXPECT_EQ(golden(SealRecord{piece_id(0x1234), ChunkVersion(7), LeaseEpoch(9), true}),
            "09" + piece + "0700000000000000" + "0900000000000000");
  PrepareRecord prepare = sample_prepare();
  const std::string plain = golden(prepare);
  prepare.copy = true;
  EXPECT_EQ(golden(prepare), "0a" + plain.substr(2));
}

TEST(Record, EverySingleBitFlipIsFound) {
  const std::vector<Record> records = sample_records();
  Buffer bytes = sample_batch();
  const std::size_t length = kBatchHeaderBytes + load_le<std::uint64_t>(bytes.data() + 32);
  for (std::size_t bit = 0; bit < 8 * length; ++bit) {
    bytes.data()[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << bit % 8)};
    const Result<Batch> batch = decode_batch(std::as_const(bytes).span(), 42);
    ASSERT_FALSE(batch.has_value()) << bit;
    EXPECT_EQ(batch.error().code(), Code::kCorrupt);
    bytes.data()[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << bit % 8)};
  }
  EXPECT_EQ(decode_batch(std::as_const(bytes).span(), 42)->records, records);
}

TEST(Record, EveryTruncationIsFound) {
  const Buffer bytes = sample_batch();
  const std::size_t length = kBatchHeaderBytes + load_le<std::uint64_t>(bytes.data() + 32);
  for (std::size_t size = 0; size < length; ++size) {
    const Buffer part = Buffer::copy_of(bytes.span().first(size));
    const Result<Batch> batch = decode_batch(part.span(), 42);
    ASSERT_FALSE(batch.has_value()) << size;
    EXPECT_EQ(batch.error().code(), Code::kCorrupt);
  }
  EXPECT_TRUE(decode_batch(bytes.span().first(length), 42).has_value());
}

TEST(Record, TruncatedAndLengthenedRecordsAreCorrupt) {
  for (const Record& record : sample_records()) {
    const std::string text = text_of(record);
    for (std::size_t size = 0; size < text.size(); ++size) {
      EXPECT_FALSE(decode_record(std::string(text, 0, size)).has_value());
    }
    EXPECT_FALSE(decode_record(text + '\0').has_value());
    EXPECT_EQ(decode_record(text).value(), record);
  }
  EXPECT_EQ(decode_record(std::string(30, '\x0b')).error().code(), Code::kCorrupt);
}

TEST(Record, NonsenseInsideIsCorrupt) {
  std::vector<PrepareRecord> wrong(13, sample_prepare());
  wrong[0].writes = {{20, 1}, {10, 2}};                // unsorted
  wrong[1].writes = {{10, 2}, {11, 1}};                // overlapping
  wrong[2].writes = {{10, 0}, {20, 3}};                // empty
  wrong[3].writes = {{kPieceBlocksMax - 2, 3}};        // outside a piece
  wrong[4].zeroes = {{20, 1}};                         // in two lists
  wrong[5].deltas = {{10, 2}};                         //
  wrong[6].zeroes = {{130, 5}};                        //
  wrong[7].payload.crcs.pop_back();                    // fewer checksums
  wrong[8].payload.extents = {{1000, 4}};              // fewer homes
  wrong[9].payload.extents = {{0, 5}};                 // the superblock
  wrong[10].payload.extents = {{UINT64_MAX - 3, 5}};   // beyond all disks
  wrong[11].payload.extents = {{1000, 5}, {3000, 0}};  // an empty home
  wrong[12].writes = {{UINT64_MAX, 3}};                // overflow
  for (std::size_t i = 0; i < wrong.size(); ++i) EXPECT_FALSE(decodes(wrong[i])) << i;
  EXPECT_TRUE(decodes(sample_prepare()));
  EXPECT_FALSE(decodes(ResolveRecord{piece_id(4), LeaseEpoch(6), {op_id(2, 1), op_id(1, 2)}}));
  EXPECT_FALSE(decodes(FoldRecord{piece_id(7), op_id(2, 2), {{4, 2}}, {{{50, 1}}, {8}, true}}));
  // A settle without a version has no place for one.
  std::string plain = text_of(SettleRecord{piece_id(2), op_id(1, 2), ChunkVersion(7)});
  EXPECT_TRUE(decode_record(plain).has_value());
  std::fill(plain.end() - 8, plain.end(), '\0');
  EXPECT_FALSE(decode_record(plain).has_value());
  EXPECT_FALSE(decodes(HealRecord{piece_id(8), {{4, 1}}, {70, 71}, {{{60, 1}}, {8}, false}}));
}

TEST(Record, AHeadThatCountsOtherBlocksThanItsRecordsIsCorrupt) {
  Buffer bytes = sample_batch();
  store_le(bytes.data() + 48, std::uint64_t{6});
  set_crc(bytes);
  EXPECT_EQ(decode_batch(std::as_const(bytes).span(), 42).error().code(), Code::kCorrupt);
  store_le(bytes.data() + 48, UINT64_MAX);
  set_crc(bytes);
  EXPECT_EQ(decode_head(std::as_const(bytes).span(), 42).error().code(), Code::kCorrupt);
}

TEST(Record, AnotherFormatIsNoBatch) {
  Buffer bytes = sample_batch();
  store_le(bytes.data() + 4, std::uint16_t{1});
  set_crc(bytes);
  EXPECT_EQ(decode_batch(std::as_const(bytes).span(), 42).error().code(), Code::kCorrupt);
}

TEST(Record, DecoderSurvivesNoise) {
  Prng prng(5);
  const Buffer good = sample_batch();
  const std::size_t payload = load_le<std::uint64_t>(good.data() + 32);
  std::size_t survived = 0;
  for (int i = 0; i < 20000; ++i) {
    Buffer bytes = Buffer::copy_of(good.span().first(kBatchHeaderBytes + payload));
    const std::uint64_t changes = prng.between(1, 8);
    for (std::uint64_t c = 0; c < changes; ++c) {
      bytes.data()[kBatchHeaderBytes + prng.below(payload)] =
          std::byte{static_cast<unsigned char>(prng.next())};
    }
    set_crc(bytes);
    const Result<Batch> batch = decode_batch(std::as_const(bytes).span(), 42);
    if (batch.has_value()) {
      ++survived;
      // Whatever is let through is consistent enough to be written again.
      const EncodedBatch again = encode_batch(42, {7, 3, 99}, pointers(batch->records));
      EXPECT_EQ(again.data_blocks, batch->data_blocks);
    } else {
      EXPECT_EQ(batch.error().code(), Code::kCorrupt);
    }
  }
  EXPECT_GT(survived, 100U);
}

TEST(Record, DecoderSurvivesRandomBytes) {
  Prng prng(6);
  for (int i = 0; i < 50000; ++i) {
    std::string text;
    const std::uint64_t length = prng.below(200);
    for (std::uint64_t c = 0; c < length; ++c) {
      // Small numbers reach deeper.
      text.push_back(static_cast<char>(prng.chance(700) ? prng.below(3) : prng.next()));
    }
    if (!text.empty()) text[0] = static_cast<char>(prng.between(0, 11));
    const Result<Record> record = decode_record(text);
    if (record.has_value()) {
      EXPECT_EQ(text_of(*record), text);
    }
  }
}

}  // namespace
}  // namespace cairn::chunkserver::store
