#include "common/rpc/auth.h"

#include <gtest/gtest.h>

#include "common/base/prng.h"

namespace cairn::rpc {
namespace {

constexpr std::int64_t kNow = 1'700'000'000'000;
const net::Credentials kCredentials{"stor1", "key"};

std::string auth_at(std::int64_t ms, std::uint64_t nonce, const std::string& request = "r") {
  return make_auth(kCredentials, "/t/X", request, ms, {nonce, 7});
}
Code code_of(const Status& status) { return status.has_value() ? Code{0} : status.error().code(); }

TEST(Auth, GoodCallPassesOnce) {
  AuthChecker checker(kCredentials);
  EXPECT_TRUE(checker.check(auth_at(kNow, 1), "/t/X", "r", kNow).has_value());
  EXPECT_EQ(code_of(checker.check(auth_at(kNow, 1), "/t/X", "r", kNow)), Code::kNotAuthenticated);
  EXPECT_TRUE(checker.check(auth_at(kNow, 2), "/t/X", "r", kNow).has_value());
}

TEST(Auth, EveryPartIsSigned) {
  AuthChecker checker(kCredentials);
  const std::string auth = auth_at(kNow, 1);
  EXPECT_EQ(code_of(checker.check(auth, "/t/Y", "r", kNow)), Code::kNotAuthenticated);
  EXPECT_EQ(code_of(checker.check(auth, "/t/X", "s", kNow)), Code::kNotAuthenticated);
  for (std::size_t i = 0; i < auth.size(); ++i) {
    std::string bad = auth;
    bad[i] = bad[i] == '0' ? '1' : '0';
    EXPECT_FALSE(checker.check(bad, "/t/X", "r", kNow).has_value()) << i;
    EXPECT_FALSE(checker.check(auth.substr(0, i), "/t/X", "r", kNow).has_value()) << i;
  }
  EXPECT_TRUE(checker.check(auth, "/t/X", "r", kNow).has_value());
}

TEST(Auth, WindowOfTheClockIsFiveMinutes) {
  AuthChecker checker(kCredentials);
  EXPECT_TRUE(checker.check(auth_at(kNow - 300'000, 1), "/t/X", "r", kNow).has_value());
  EXPECT_TRUE(checker.check(auth_at(kNow + 300'000, 2), "/t/X", "r", kNow).has_value());
  EXPECT_EQ(code_of(checker.check(auth_at(kNow - 300'001, 3), "/t/X", "r", kNow)),
            Code::kNotAuthenticated);
  EXPECT_EQ(code_of(checker.check(auth_at(kNow + 300'001, 4), "/t/X", "r", kNow)),
            Code::kNotAuthenticated);
}

TEST(Auth, WrongClusterIsToldFromWrongKey) {
  AuthChecker checker({"stor2", "key"});
  EXPECT_EQ(code_of(checker.check(auth_at(kNow, 1), "/t/X", "r", kNow)), Code::kWrongCluster);
  AuthChecker other({"stor1", "other"});
  EXPECT_EQ(code_of(other.check(auth_at(kNow, 1), "/t/X", "r", kNow)), Code::kNotAuthenticated);
}

TEST(Auth, WithoutAPasswordOnlyTheNameCounts) {
  AuthChecker checker({"stor1", ""});
  EXPECT_TRUE(checker.check(auth_at(kNow, 1), "/t/X", "r", 0).has_value());
  EXPECT_TRUE(checker.check(auth_at(kNow, 1), "/t/X", "r", 0).has_value());
  EXPECT_EQ(code_of(checker.check("", "/t/X", "r", 0)), Code::kNotAuthenticated);
}

TEST(Auth, ForgottenNoncesAreNeverAcceptedAgain) {
  AuthChecker checker(kCredentials, 10);
  for (std::uint64_t i = 0; i < 100; ++i) {
    const std::int64_t ms = kNow + static_cast<std::int64_t>(i) * 1000;
    ASSERT_TRUE(checker.check(auth_at(ms, i), "/t/X", "r", kNow).has_value()) << i;
  }
  for (std::uint64_t i = 0; i < 100; ++i) {
    const std::int64_t ms = kNow + static_cast<std::int64_t>(i) * 1000;
    EXPECT_FALSE(checker.check(auth_at(ms, i), "/t/X", "r", kNow).has_value()) << i;
  }
}

TEST(Auth, RandomTextIsRefused) {
  AuthChecker checker(kCredentials);
  Prng random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string text = auth_at(kNow, random.next());
    for (std::uint64_t n = random.between(1, 4); n > 0; --n) {
      text[random.below(text.size())] = static_cast<char>(random.next());
    }
    if (random.chance(300)) text.resize(random.below(text.size()));
    EXPECT_FALSE(checker.check(text, "/t/X", "q", kNow).has_value());
  }
}

}  // namespace
}  // namespace cairn::rpc
