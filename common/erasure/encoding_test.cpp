#include "common/erasure/encoding.h"

#include <gtest/gtest.h>

#include "common/base/limits.h"

namespace cairn::erasure {
namespace {

TEST(Encoding, ParsesCodes) {
  struct Case {
    const char* text;
    const char* printed;
  };
  for (const Case& c : {Case{"4+2", "encoding=4+2:5"}, Case{"4+2:4", "encoding=4+2:4"},
                        Case{"4+2:6", "encoding=4+2:6"}, Case{"2+1", "encoding=2+1:2"},
                        Case{"17+4", "encoding=17+4:18"}, Case{"5+3", "encoding=5+3:6"},
                        Case{"1+0", "replicas=1:1"}}) {
    const Result<Encoding> encoding = Encoding::parse_code(c.text);
    ASSERT_TRUE(encoding.has_value()) << c.text;
    EXPECT_EQ(encoding->to_attribute(), c.printed);
  }
}

TEST(Encoding, ParsesReplicas) {
  struct Case {
    const char* text;
    const char* printed;
  };
  for (const Case& c :
       {Case{"1", "1:1"}, Case{"2", "2:1"}, Case{"3", "3:2"}, Case{"4", "4:3"}, Case{"5", "5:3"},
        Case{"3:1", "3:1"}, Case{"3:3", "3:3"}, Case{"15", "15:8"}}) {
    const Result<Encoding> encoding = Encoding::parse_replicas(c.text);
    ASSERT_TRUE(encoding.has_value()) << c.text;
    EXPECT_EQ(encoding->to_string(), c.printed);
    EXPECT_TRUE(encoding->is_replicas());
  }
}

TEST(Encoding, RefusalsSayWhatToTypeInstead) {
  struct Case {
    const char* text;
    const char* says;
  };
  for (const Case& c : {Case{"3+3", "use 4+3 or replicas=4"},
                        Case{"0+2", "at least one data piece"},
                        Case{"18+4", "at most 17 data"},
                        Case{"4+5", "at most 4 parity"},
                        Case{"6+5", "at most 4"},
                        Case{"1+1", "use replicas=2"},
                        Case{"1+2", "use replicas=3"},
                        Case{"4+0", "use 1+0"},
                        Case{"4+2:3", "must be 4 to 6"},
                        Case{"4+2:7", "must be 4 to 6"},
                        Case{"3:2", "replicas=3:2"},
                        Case{"3", "replicas=3"},
                        Case{"", "for example"},
                        Case{"+2", "for example"},
                        Case{"4+", "for example"},
                        Case{"4+2:", "for example"},
                        Case{"4+2 ", "for example"},
                        Case{"-4+2", "for example"},
                        Case{"4+2+1", "for example"},
                        Case{"4294967297+2", "for example"},
                        Case{"4 + 2", "for example"},
                        Case{"0x4+2", "for example"}}) {
    const Result<Encoding> encoding = Encoding::parse_code(c.text);
    ASSERT_FALSE(encoding.has_value()) << c.text;
    EXPECT_EQ(encoding.error().code(), Code::kInvalidArgument);
    EXPECT_NE(encoding.error().message().find(c.says), std::string::npos)
        << encoding.error().message();
  }
  for (const Case& c :
       {Case{"0", "1 to 15"}, Case{"16", "1 to 15"}, Case{"3:0", "1 to 3"}, Case{"3:4", "1 to 3"},
        Case{"4+2", "encoding=4+2"}, Case{"x", "3:2"}, Case{"3:", "3:2"}, Case{"", "3:2"}}) {
    const Result<Encoding> encoding = Encoding::parse_replicas(c.text);
    ASSERT_FALSE(encoding.has_value()) << c.text;
    EXPECT_EQ(encoding.error().code(), Code::kInvalidArgument);
    EXPECT_NE(encoding.error().message().find(c.says), std::string::npos)
        << encoding.error().message();
  }
}

TEST(Encoding, PrintedFormsParseBackAndNumbersFollowTheSameRules) {
  unsigned allowed = 0;
  for (std::uint32_t data = 0; data <= 20; ++data) {
    for (std::uint32_t parity = 0; parity <= 20; ++parity) {
      for (std::uint32_t min = 0; min <= 24; ++min) {
        const Result<Encoding> made = Encoding::make(data, parity, min);
        if (!made.has_value()) continue;
        ++allowed;
        EXPECT_GE(made->min, made->data);
        EXPECT_LE(made->pieces(), limits::kPiecesPerChunkMax);
        const Result<Encoding> parsed = made->is_replicas()
                                            ? Encoding::parse_replicas(made->to_string())
                                            : Encoding::parse_code(made->to_string());
        ASSERT_TRUE(parsed.has_value()) << made->to_string();
        EXPECT_EQ(*parsed, *made);
      }
    }
  }
  // Replicas: sum of 1..15 minimums; codes: parity + 1 minimums each.
  EXPECT_EQ(allowed, 120U + 16 * 2 + 15 * 3 + 14 * 4 + 13 * 5);
  EXPECT_FALSE(Encoding::make(1, UINT32_MAX, 1).has_value());
  EXPECT_FALSE(Encoding::make(UINT32_MAX, UINT32_MAX, UINT32_MAX).has_value());
  EXPECT_FALSE(Encoding::make(257, 2, 2).has_value());
}

}  // namespace
}  // namespace cairn::erasure
