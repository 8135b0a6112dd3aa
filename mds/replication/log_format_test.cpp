#include "mds/replication/log_format.h"

#include <gtest/gtest.h>

#include "common/base/crc32c.h"
#include "mds/replication/log_fixture.h"

namespace cairn::mds::replication {
namespace {

using testing::accept, testing::chosen, testing::describe, testing::learn, testing::promise,
    testing::random_record, testing::recovery, testing::Records;

const Records kOneOfEach = {promise(3, 2), accept(3, 7, "hi"), learn(8, "ho"), chosen(7),
                            recovery(true, 9)};

std::string encode(const std::vector<Records>& batches, Lsn segment = Lsn(1)) {
  std::string out;
  Lsn next = segment;
  for (const Records& batch : batches) {
    encode_batch(log_records(batch), segment, out.size(), next, &out);
    next = Lsn(next.raw() + batch.size());
  }
  return out;
}

paxos::Record to_record(const RecordView& v) {
  switch (v.kind) {
    case RecordKind::kPromise:
      return paxos::PromiseRecord{v.ballot};
    case RecordKind::kAccept:
      return paxos::AcceptRecord{.ballot = v.ballot, .slot = v.slot, .value = value_of(v)};
    case RecordKind::kLearn:
      return paxos::LearnRecord{.slot = v.slot, .value = value_of(v)};
    case RecordKind::kChosen:
      return paxos::ChosenRecord{v.slot};
    case RecordKind::kRecovery:
      return paxos::RecoveryRecord{.active = v.active, .until = v.slot};
    case RecordKind::kFloor:
      break;
  }
  CHECK(false);
}

struct Scan {
  std::vector<std::string> seen;
  Result<ScannedSegment> result;
};

Scan scan(const std::string& bytes, Lsn segment = Lsn(1)) {
  Scan scan;
  const RecordVisitor visit = [&scan](const RecordView& view) {
    scan.seen.push_back(describe(to_record(view)));
    return Status();
  };
  scan.result = scan_segment(as_bytes(bytes), segment, visit);
  return scan;
}

TEST(LogFormat, HasStableBytes) {
  const std::string bytes = encode({kOneOfEach}, Lsn(0x21));
  std::string hex;
  std::size_t at = 0;
  for (const paxos::Record& record : kOneOfEach) {
    for (std::size_t i = record_bytes(log_records({record})[0]); i > 0; --i) {
      hex += fmt::format("{:02x}", static_cast<unsigned char>(bytes[at++]));
    }
    hex += '\n';
  }
  EXPECT_EQ(at, bytes.size());
  EXPECT_EQ(hex,
            "43444c320c000000210000000000000021000000000000000100000043c8d518"
            "030000000000000002000000\n"
            "43444c32170000002200000000000000210000000000000002000000261ffa75"
            "0300000000000000010000000700000000000000026869\n"
            "43444c320b0000002300000000000000210000000000000003000000b219ab93"
            "080000000000000002686f\n"
            "43444c3208000000240000000000000021000000000000000400000061bd82e3"
            "0700000000000000\n"
            "43444c3209000000250000000000000021000000000000000501000024ebd074"
            "090000000000000001\n");
}

TEST(LogFormat, ReadsBackWhatItWrote) {
  Prng prng(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<Records> batches(prng.below(6));
    std::vector<std::string> expected;
    for (Records& batch : batches) {
      for (std::uint64_t n = prng.between(1, 5); n > 0; --n) {
        batch.push_back(random_record(prng, 50));
        expected.push_back(describe(batch.back()));
      }
    }
    const Lsn segment(prng.between(1, 1'000'000));
    const std::string bytes = encode(batches, segment);
    const Scan found = scan(bytes + std::string(prng.below(100), '\0'), segment);
    ASSERT_TRUE(found.result.has_value()) << found.result.error().to_string();
    EXPECT_EQ(found.seen, expected);
    EXPECT_EQ(found.result->end, bytes.size());
    EXPECT_EQ(found.result->next, Lsn(segment.raw() + expected.size()));
    EXPECT_FALSE(found.result->torn);
  }
}

TEST(LogFormat, CutsATornTailAtEveryByte) {
  const std::string durable = encode({kOneOfEach});
  const std::string whole = encode({kOneOfEach, kOneOfEach});
  for (std::size_t length = durable.size() + 1; length < whole.size(); ++length) {
    // The file was preallocated: what did not arrive reads as zeros.
    for (const std::size_t zeros : {std::size_t{0}, std::size_t{500}}) {
      const Scan found = scan(whole.substr(0, length) + std::string(zeros, '\0'));
      ASSERT_TRUE(found.result.has_value()) << length << " " << found.result.error().to_string();
      EXPECT_EQ(found.result->end, durable.size());
      EXPECT_TRUE(found.result->torn);
      EXPECT_EQ(found.seen.size(), kOneOfEach.size());
    }
  }
}

TEST(LogFormat, TakesADamagedByteOfTheLastBatchForATornWriteAndNeverForData) {
  const std::string durable = encode({kOneOfEach});
  const std::string whole = encode({kOneOfEach, kOneOfEach});
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ (1U << bit));
      const Scan found = scan(damaged);
      if (at < durable.size()) {
        ASSERT_FALSE(found.result.has_value()) << at << " " << bit;
        EXPECT_EQ(found.result.error().code(), Code::kCorrupt);
      } else {
        ASSERT_TRUE(found.result.has_value()) << at << " " << bit;
        EXPECT_TRUE(found.result->torn);
        EXPECT_EQ(found.result->end, durable.size());
        EXPECT_EQ(found.seen.size(), kOneOfEach.size());
      }
    }
  }
}

TEST(LogFormat, CutsABatchOfSeveralBlocksOfWhichAnyDidNotArrive) {
  Records large;
  for (std::uint64_t slot = 1; slot <= 9; ++slot) {
    large.push_back(accept(1, slot, std::string(2500, 'x')));
  }
  const std::string durable = encode({kOneOfEach});
  const std::string whole = encode({kOneOfEach, large});
  const std::size_t blocks = div_ceil(whole.size(), kBlockBytes);
  ASSERT_GE(blocks, 5U);
  for (std::size_t arrived = 0; arrived + 1 < (std::size_t{1} << blocks); ++arrived) {
    // The first block has the same bytes in front before and after.
    std::string torn = durable;
    torn.resize(align_up(whole.size(), kBlockBytes));
    for (std::size_t block = 0; block < blocks; ++block) {
      if ((arrived >> block & 1) == 0) continue;
      const std::string_view bytes =
          std::string_view(whole).substr(block * kBlockBytes, kBlockBytes);
      std::copy(bytes.begin(), bytes.end(),
                torn.begin() + static_cast<std::ptrdiff_t>(block * kBlockBytes));
    }
    const Scan found = scan(torn);
    ASSERT_TRUE(found.result.has_value()) << arrived << " " << found.result.error().to_string();
    EXPECT_EQ(found.result->end, durable.size());
    EXPECT_EQ(found.result->torn, arrived != 0);
  }
}

TEST(LogFormat, CallsDamageBeforeALaterBatchCorrupt) {
  const std::string first = encode({kOneOfEach});
  const std::string whole = encode({kOneOfEach, {chosen(9)}, {chosen(10)}});
  std::string damaged = whole;
  // A hole of many bytes, up to the last batch.
  for (std::size_t at = first.size(); at + 40 < whole.size(); ++at) damaged[at] = '\0';
  const Scan found = scan(damaged + std::string(5000, '\0'));
  ASSERT_FALSE(found.result.has_value());
  EXPECT_EQ(found.result.error().code(), Code::kCorrupt);
}

TEST(LogFormat, DoesNotTakeBytesInsideAValueForARecord) {
  // Whoever can name a file can put this into a command; the batch with it is then torn.
  std::string later;
  encode_batch(log_records({chosen(77)}), Lsn(1), 0, Lsn(50), &later);
  const std::string durable = encode({kOneOfEach});
  std::string torn = encode({kOneOfEach, {accept(1, 9, later + later), chosen(9)}});
  torn.resize(torn.size() - 3);
  const Scan found = scan(torn);
  ASSERT_TRUE(found.result.has_value()) << found.result.error().to_string();
  EXPECT_EQ(found.result->end, durable.size());
}

TEST(LogFormat, RefusesARecordAtAnotherPlaceOrOfAnotherSegment) {
  const std::string bytes = encode({kOneOfEach}, Lsn(5));
  EXPECT_TRUE(decode_record(as_bytes(bytes), Lsn(5), 0).has_value());
  EXPECT_EQ(decode_record(as_bytes(bytes), Lsn(5), 4096).error().code(), Code::kCorrupt);
  EXPECT_EQ(decode_record(as_bytes(bytes), Lsn(6), 0).error().code(), Code::kCorrupt);
  const Scan other = scan(bytes, Lsn(6));
  ASSERT_TRUE(other.result.has_value());
  EXPECT_EQ(other.result->end, 0U);
}

TEST(LogFormat, RefusesASegmentThatBeginsWithAnotherNumber) {
  std::string bytes;
  encode_batch(log_records({chosen(1)}), Lsn(5), 0, Lsn(6), &bytes);
  const Scan found = scan(bytes, Lsn(5));
  ASSERT_FALSE(found.result.has_value());
  EXPECT_EQ(found.result.error().code(), Code::kCorrupt);
}

// A record at the beginning of segment 1 whose CRC is right, whatever it says.
std::string forge(std::uint8_t kind, std::uint8_t flags, const std::string& payload) {
  std::byte place[16] = {};
  store_le(place, std::uint64_t{1});
  std::byte header[kRecordHeaderBytes] = {};
  store_le(header, kRecordMagic);
  store_le(header + 4, static_cast<std::uint32_t>(payload.size()));
  store_le(header + 8, std::uint64_t{1});
  store_le(header + 16, std::uint64_t{1});
  store_le(header + 24, kind);
  store_le(header + 25, flags);
  const std::uint32_t seed = crc32c(Bytes(header, 28), crc32c(place));
  store_le(header + 28, crc32c(as_bytes(payload), seed));
  return std::string(as_text(header)) + payload;
}

TEST(LogFormat, DecodesStrictly) {
  const std::string ballot = std::string("\1\0\0\0\0\0\0\0\2\0\0\0", 12);
  const std::string slot = std::string("\7\0\0\0\0\0\0\0", 8);
  const std::string zero(8, '\0');
  const auto code = [](const std::string& bytes) {
    const Result<RecordView> view = decode_record(as_bytes(bytes), Lsn(1), 0);
    return view.has_value() ? Code() : view.error().code();
  };
  EXPECT_EQ(code(forge(1, 1, ballot)), Code());
  EXPECT_EQ(code(forge(2, 0, ballot + slot + "\2hi")), Code());
  EXPECT_EQ(code(forge(5, 1, slot + "\1")), Code());
  // Of a newer version.
  EXPECT_EQ(code(forge(0, 1, ballot)), Code::kUnsupported);
  EXPECT_EQ(code(forge(7, 1, ballot)), Code::kUnsupported);
  EXPECT_EQ(code(forge(1, 2, ballot)), Code::kUnsupported);
  const std::vector<std::pair<std::uint8_t, std::string>> impossible = {
      {1, ballot + "x"},
      {1, ballot.substr(1)},
      {1, std::string(12, '\0')},   // no ballot
      {2, ballot + slot},           // no value kind
      {2, ballot + zero + "\2hi"},  // no slot
      {2, ballot + slot + "\4hi"},  // no such value kind
      {2, ballot + slot + std::string(1, 0)},
      {2, ballot + slot + "\1hi"},  // a noop with bytes
      {3, slot},
      {3, zero + "\2hi"},
      {4, slot + "x"},
      {4, ""},
      {5, slot},
      {5, slot + "\2"},
      {6, slot + "x"},
  };
  for (const auto& [kind, payload] : impossible) {
    EXPECT_EQ(code(forge(kind, 1, payload)), Code::kCorrupt) << int{kind} << " " << payload.size();
  }
}

TEST(LogFormat, NeverCrashesOnRandomBytes) {
  Prng prng(11);
  const std::string whole = encode({kOneOfEach, {promise(4)}, kOneOfEach, {accept(4, 9, "value")}});
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes = whole.substr(0, prng.below(whole.size() + 1));
    for (std::uint64_t hits = prng.below(4); hits > 0 && !bytes.empty(); --hits) {
      bytes[prng.below(bytes.size())] = static_cast<char>(prng.next());
    }
    const Scan found = scan(bytes);
    if (found.result.has_value()) {
      EXPECT_LE(found.result->end, bytes.size());
    }
    ignore(decode_record(as_bytes(bytes), Lsn(1), 0), "only that it returns");
  }
}

TEST(LogFormat, NamesSegmentsByTheirFirstNumber) {
  EXPECT_EQ(segment_name(Lsn(0x1f)), "000000000000001f.log");
  ASSERT_TRUE(parse_segment_name("000000000000001f.log").has_value());
  EXPECT_EQ(*parse_segment_name("000000000000001f.log"), Lsn(0x1f));
  for (const char* name : {"", "1f.log", "000000000000001F.log", "000000000000001f.lo",
                           "+00000000000001f.log", "000000000000001f.log.new"}) {
    EXPECT_FALSE(parse_segment_name(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace cairn::mds::replication
