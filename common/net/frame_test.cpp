#include "common/net/frame.h"

#include <gtest/gtest.h>

#include "common/base/crc32c.h"
#include "common/base/limits.h"
#include "common/base/prng.h"
#include "common/net/frame_payload.h"

namespace cairn::net {
namespace {

using Head = std::array<std::byte, kFrameHeaderBytes>;

Head encode(const FrameHeader& header) {
  Head bytes;
  encode_frame_header(header, bytes);
  return bytes;
}

std::string hex(Bytes bytes) {
  std::string out;
  for (const std::byte b : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    out += kDigits[static_cast<unsigned>(b) >> 4];
    out += kDigits[static_cast<unsigned>(b) & 15];
  }
  return out;
}

// The worked example of docs/formats/frame.md.
FrameHeader example() {
  FrameHeader header;
  header.kind = FrameKind::kRequest;
  header.op = 17;
  header.request_id = 258;
  header.deadline_ms = 2000;
  header.meta_bytes = 9;
  header.body_bytes = 4096;
  header.meta_crc = crc32c(as_bytes("123456789"));
  return header;
}

// Puts a valid checksum on a changed header.
Head resealed(Head bytes) {
  store_le(bytes.data() + 44, crc32c(Bytes(bytes).first(44)));
  return bytes;
}

TEST(FrameHeader, HasTheBytesOfTheFormatDocument) {
  EXPECT_EQ(hex(encode(example())),
            "43524e46"
            "01"
            "01"
            "1100"
            "0201000000000000"
            "d0070000"
            "00000000"
            "09000000"
            "00100000"
            "839206e3"
            "0000000000000000"
            "c189e4fd");
}

TEST(FrameHeader, DecodesWhatItEncodes) {
  Prng random(1);
  for (int i = 0; i < 1000; ++i) {
    FrameHeader header;
    header.kind = static_cast<FrameKind>(random.between(1, 3));
    header.op = static_cast<std::uint16_t>(random.next());
    header.request_id = header.kind == FrameKind::kOneway ? 0 : random.between(1, UINT64_MAX - 1);
    if (header.kind == FrameKind::kRequest)
      header.deadline_ms = static_cast<std::uint32_t>(random.next());
    header.meta_bytes = static_cast<std::uint32_t>(random.between(0, limits::kFrameMetaBytesMax));
    header.body_bytes = static_cast<std::uint32_t>(random.between(0, limits::kFrameBodyBytesMax));
    header.meta_crc = static_cast<std::uint32_t>(random.next());
    if (header.kind == FrameKind::kReply && random.chance(500)) {
      header.error_code = static_cast<std::uint32_t>(random.between(1, 9999));
      header.body_bytes = 0;
    }
    const Result<FrameHeader> decoded = decode_frame_header(encode(header));
    ASSERT_TRUE(decoded.has_value()) << header.to_string();
    EXPECT_EQ(*decoded, header) << header.to_string();
  }
}

TEST(FrameHeader, RefusesEveryFlippedBit) {
  const Head good = encode(example());
  for (std::size_t bit = 0; bit < kFrameHeaderBytes * 8; ++bit) {
    Head bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const Result<FrameHeader> decoded = decode_frame_header(bad);
    ASSERT_FALSE(decoded.has_value()) << "bit " << bit;
    EXPECT_EQ(decoded.error().code(), Code::kProtocol);
  }
}

struct BadField {
  const char* name;
  std::size_t at;
  std::uint32_t value;
};

TEST(FrameHeader, RefusesFieldsThatMakeNoSenseUnderAValidChecksum) {
  const BadField rows[] = {
      {"magic", 0, 0x12345678},
      {"version 2 and kind 1", 4, 0x00110102},
      {"kind 0", 4, 0x00110001},
      {"kind 4", 4, 0x00110401},
      {"reply with a deadline", 4, 0x00110201},
      {"oneway with an id", 4, 0x00110301},
      {"request with an error", 20, 100},
      {"meta beyond the limit", 24, limits::kFrameMetaBytesMax + 1},
      {"body beyond the limit", 28, limits::kFrameBodyBytesMax + 1},
      {"huge body", 28, UINT32_MAX},
      {"reserved", 36, 1},
      {"reserved", 40, 1},
  };
  for (const BadField& row : rows) {
    Head bytes = encode(example());
    store_le(bytes.data() + row.at, row.value);
    const Result<FrameHeader> decoded = decode_frame_header(resealed(bytes));
    ASSERT_FALSE(decoded.has_value()) << row.name;
    EXPECT_EQ(decoded.error().code(), Code::kProtocol) << row.name;
  }
}

TEST(FrameHeader, RequestNeedsAnId) {
  Head bytes = encode(example());
  store_le(bytes.data() + 8, std::uint64_t{0});
  EXPECT_FALSE(decode_frame_header(resealed(bytes)).has_value());
}

TEST(FrameHeader, DecoderSurvivesRandomBytes) {
  Prng random(2);
  for (int i = 0; i < 200'000; ++i) {
    Head bytes;
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.next());
    if (random.chance(900)) {
      store_le(bytes.data(), kFrameMagic);
      store_le(bytes.data() + 4, kFrameVersion);
      store_le(bytes.data() + 5, static_cast<std::uint8_t>(random.below(5)));
      if (random.chance(500)) store_le(bytes.data() + 36, std::uint64_t{0});
      bytes = resealed(bytes);
    }
    const Result<FrameHeader> decoded = decode_frame_header(bytes);
    if (!decoded.has_value()) continue;
    EXPECT_LE(decoded->meta_bytes, limits::kFrameMetaBytesMax);
    EXPECT_LE(decoded->body_bytes, limits::kFrameBodyBytesMax);
    EXPECT_EQ(encode(*decoded), bytes);
  }
}

TEST(FrameMeta, FlippedBitIsRefused) {
  std::string meta = "123456789";
  EXPECT_TRUE(check_frame_meta(example(), as_bytes(meta)).has_value());
  meta[4] = 'X';
  EXPECT_EQ(check_frame_meta(example(), as_bytes(meta)).error().code(), Code::kProtocol);
}

TEST(FrameError, CodeAndMessageTravel) {
  const std::string meta = encode_error(Error(Code::kNoSpace, "disk 7 is full"));
  const Error back = decode_error(402, meta);
  EXPECT_EQ(back.code(), Code::kNoSpace);
  EXPECT_EQ(back.message(), "disk 7 is full");
}

TEST(FrameError, CodeOfANewerPeerIsInternal) {
  const Error error = decode_error(999, encode_error(Error(Code::kNoSpace, "x")));
  EXPECT_EQ(error.code(), Code::kInternal);
  EXPECT_NE(error.message().find("999"), std::string::npos);
  EXPECT_EQ(decode_error(402, "\xff\xff").code(), Code::kNoSpace);
}

TEST(Address, ParsesAndPrints) {
  for (const char* text : {"10.30.100.101:2511", "[fe80::1]:2511", "127.0.0.1:1", "[::]:65535"}) {
    const Result<Address> address = Address::parse(text);
    ASSERT_TRUE(address.has_value()) << text;
    EXPECT_EQ(address->to_string(), text);
  }
}

TEST(Address, RefusesNamesMissingPortsAndPortZero) {
  for (const char* text : {"", "host:1", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536",
                           "10.0.0.1:12x", "fe80::1:2511", "[10.0.0.1]:1", "[fe80::1]", "10.0.0:1",
                           " 10.0.0.1:1", "10.0.0.1:-1", ":1"}) {
    const Result<Address> address = Address::parse(text);
    ASSERT_FALSE(address.has_value()) << text;
    EXPECT_EQ(address.error().code(), Code::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace cairn::net
