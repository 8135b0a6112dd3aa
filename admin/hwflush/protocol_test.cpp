#include "admin/hwflush/protocol.h"

#include <gtest/gtest.h>

#include "admin/hwflush/comparison.h"
#include "admin/hwflush/limits.h"
#include "admin/hwflush/resolve.h"
#include "common/base/crc32c.h"
#include "common/base/prng.h"

namespace cairn::admin::hwflush {
namespace {

std::vector<Message> samples() {
  Counters all;
  for (std::uint32_t i = 0; i < kThreadsMax; ++i) all.push_back({i, i * 1000000007ULL});
  return {
      Hello{.directory = {1, 2}, .fresh = true, .host = "h", .path = "/d", .on_disk = {{0, 5}}},
      Hello{.directory = {9, 0},
            .fresh = false,
            .host = std::string(kHostBytesMax, 'h'),
            .path = std::string(kPathBytesMax, 'p'),
            .on_disk = all},
      Known{.by = KnownBy::kPlace, .on_server = {{3, 1}, {199, UINT64_MAX}}},
      Known{},
      Report{.sequence = 7, .flushed = all},
      Acknowledge{.sequence = UINT64_MAX},
      Refuse{.text = "no"},
  };
}

// All messages in the bytes, fed in pieces of `step`.
Result<std::vector<Message>> decode_all(Bytes bytes, std::size_t step) {
  MessageDecoder decoder;
  std::vector<Message> messages;
  while (true) {
    for (;;) {
      TRY(std::optional<Message> next, decoder.next());
      if (!next.has_value()) break;
      messages.push_back(std::move(*next));
    }
    if (bytes.empty()) return messages;
    const std::size_t part = std::min({step, bytes.size(), decoder.room()});
    EXPECT_GT(part, 0U);
    decoder.append(bytes.first(part));
    bytes = bytes.subspan(part);
  }
}

TEST(Protocol, MessagesSurviveTheWire) {
  for (const Message& message : samples()) {
    const auto frame = encode_message(message);
    const auto decoded = decode_all(frame, frame.size());
    ASSERT_TRUE(decoded.has_value()) << decoded.error().message();
    EXPECT_EQ(*decoded, std::vector<Message>{message});
  }
}

TEST(Protocol, MessagesMayComeInAnyPieces) {
  std::vector<std::byte> stream;
  for (const Message& message : samples()) {
    const auto frame = encode_message(message);
    stream.insert(stream.end(), frame.begin(), frame.end());
  }
  for (const std::size_t step : {1U, 2U, 3U, 15U, 16U, 17U, 1000U, 100000U}) {
    const auto decoded = decode_all(stream, step);
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(*decoded, samples()) << step;
  }
}

TEST(Protocol, AMessageThatIsNotWholeIsNone) {
  for (const Message& message : samples()) {
    const auto frame = encode_message(message);
    for (std::size_t length = 0; length < frame.size(); length += 1 + length / 50) {
      const auto decoded = decode_all(Bytes(frame).first(length), length + 1);
      ASSERT_TRUE(decoded.has_value());
      ASSERT_TRUE(decoded->empty());
    }
  }
}

TEST(Protocol, OtherVersionsAndLongMessagesAreRefusedByTheirHeader) {
  auto frame = encode_message(Acknowledge{1});
  frame[4] = std::byte{2};
  const auto newer = decode_all(frame, frame.size());
  ASSERT_FALSE(newer.has_value());
  EXPECT_NE(newer.error().message().find("version 2"), std::string::npos);
  frame = encode_message(Acknowledge{1});
  store_le<std::uint32_t>(frame.data() + 8, kPayloadBytesMax + 1);
  EXPECT_FALSE(decode_all(frame, frame.size()).has_value());
  EXPECT_FALSE(decode_all(as_bytes("GET / HTTP/1.1\r\n\r\n"), 100).has_value());
}

// Flipped bits are seen by the CRC; what passes it because the CRC was made for it must still be
// refused or be a message within its limits.
TEST(Protocol, FuzzedMessagesNeverDoMoreThanFail) {
  Prng prng(42);
  const std::vector<Message> all = samples();
  std::size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    auto frame = encode_message(all[prng.below(all.size())]);
    const std::uint64_t changes = prng.between(1, 4);
    for (std::uint64_t i = 0; i < changes; ++i) {
      frame[prng.below(frame.size())] = static_cast<std::byte>(prng.next());
    }
    if (prng.chance(300)) frame.resize(prng.below(frame.size() + 1));
    if (frame.size() > 16 && prng.chance(700)) {
      store_le<std::uint32_t>(frame.data() + 8, static_cast<std::uint32_t>(frame.size() - 16));
      store_le<std::uint32_t>(frame.data() + 12, crc32c(Bytes(frame).subspan(16)));
    }
    const auto decoded = decode_all(frame, prng.between(1, 64));
    if (!decoded.has_value()) {
      ASSERT_EQ(decoded.error().code(), Code::kProtocol);
      continue;
    }
    for (const Message& message : *decoded) {
      ++accepted;
      ASSERT_LE(encode_message(message).size(), kPayloadBytesMax + 16);
    }
  }
  EXPECT_GT(accepted, 0U);
}

TEST(Comparison, PrintsTheGuidesLinesForAllThreadsOfEitherSide) {
  const Comparison result = compare_counters({{0, 10}, {2, 7}, {3, 5}}, {{0, 10}, {1, 3}, {2, 6}});
  EXPECT_EQ(result.lines, "id0:10 -> 10\nid1:0 -> 3\nid2:7 -> 6\nid3:5 -> 0\n");
  EXPECT_EQ(result.threads, 4U);
  EXPECT_EQ(result.lost, 1U);
  EXPECT_EQ(result.most_lost, 3U);
  EXPECT_FALSE(result.good());
}

TEST(Comparison, EqualAndHigherOnDiskAreGood) {
  EXPECT_TRUE(compare_counters({{0, 10}}, {{0, 10}}).good());
  EXPECT_TRUE(compare_counters({{0, 11}}, {{0, 10}}).good());
  EXPECT_FALSE(compare_counters({{0, 9}}, {{0, 10}}).good());
  EXPECT_TRUE(compare_counters({}, {}).good());
}

TEST(Comparison, TheVerdictSaysWhatCanBeSaid) {
  const Comparison lost = compare_counters({{0, 9}}, {{0, 10}});
  EXPECT_NE(verdict(lost, KnownBy::kDirectory).find("lost data"), std::string::npos);
  EXPECT_NE(verdict(lost, KnownBy::kPlace).find("not mounted"), std::string::npos);
  EXPECT_NE(verdict(compare_counters({{0, 9}}, {}), KnownBy::kNothing).find("never told"),
            std::string::npos);
}

TEST(SplitServer, TakesNamesAndAddressesWithAndWithoutPort) {
  const auto split = [](const char* text) {
    return split_server(text, 7).value_or(net::Address{"bad", 0});
  };
  EXPECT_EQ(split("vstorage1.example.com"), (net::Address{"vstorage1.example.com", 7}));
  EXPECT_EQ(split("host:99"), (net::Address{"host", 99}));
  EXPECT_EQ(split("10.0.0.1"), (net::Address{"10.0.0.1", 7}));
  EXPECT_EQ(split("fe80::1"), (net::Address{"fe80::1", 7}));
  EXPECT_EQ(split("[fe80::1]"), (net::Address{"fe80::1", 7}));
  EXPECT_EQ(split("[fe80::1]:99"), (net::Address{"fe80::1", 99}));
  for (const char* bad :
       {"", ":1", "host:", "host:0", "host:65536", "host:x", "[::1", "[]", "[::1]x"}) {
    EXPECT_EQ(split(bad).port, 0) << bad;
  }
}

}  // namespace
}  // namespace cairn::admin::hwflush
