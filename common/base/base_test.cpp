#include <gtest/gtest.h>

#include <cerrno>

#include "common/base/buffer.h"
#include "common/base/crc32c.h"
#include "common/base/ids.h"
#include "common/base/limits.h"
#include "common/base/prng.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/base/units.h"

namespace cairn {
namespace {

TEST(Crc32c, MatchesTheRfcVector) { EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283U); }

TEST(Crc32c, ContinuesFromASeed) {
  EXPECT_EQ(crc32c(as_bytes("6789"), crc32c(as_bytes("12345"))), crc32c(as_bytes("123456789")));
}

TEST(Buffer, IsAlignedAndSharesSlices) {
  Buffer buffer = Buffer::zeroed(10'000);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % kBlockBytes, 0U);
  Buffer part = buffer.slice(100, 50);
  part.data()[0] = std::byte{7};
  EXPECT_EQ(buffer.data()[100], std::byte{7});
  EXPECT_EQ(part.size(), 50U);
}

TEST(Error, EveryCodeHasANameAndAnErrno) {
  for (std::uint32_t raw = 0; raw < 700; ++raw) {
    if (!is_known_code(raw)) continue;
    const Error error(static_cast<Code>(raw));
    EXPECT_NE(code_name(error.code()), "unknown error") << raw;
    EXPECT_NE(error.to_errno(), 0) << raw;
  }
  EXPECT_EQ(Error(Code::kNotFound).to_errno(), ENOENT);
  EXPECT_EQ(Error(Code::kNotFound, "x").to_string(), "not found (200): x");
}

Result<int> half(int n) {
  if (n % 2 != 0) return fail(Code::kInvalidArgument, "odd");
  return n / 2;
}
Result<int> quarter(int n) {
  TRY(const int first, half(n));
  TRY(const int second, half(first));
  return second;
}

TEST(Result, TryReturnsTheError) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().code(), Code::kInvalidArgument);
}

TEST(Prng, IsTheSameEverywhere) {
  Prng prng(1);
  EXPECT_EQ(prng.next(), 0x910a2dec89025cc1ULL);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(prng.below(7), 7U);
}

}  // namespace
}  // namespace cairn
