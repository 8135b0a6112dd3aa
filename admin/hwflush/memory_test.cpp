#include "admin/hwflush/memory.h"

#include <gtest/gtest.h>

#include "admin/hwflush/limits.h"
#include "common/base/prng.h"

namespace cairn::admin::hwflush {
namespace {

Hello hello_of(std::uint64_t directory, std::string path = "/test", bool fresh = false) {
  return {.directory = {directory, 1},
          .fresh = fresh,
          .host = "h",
          .path = std::move(path),
          .on_disk = {}};
}

TEST(Memory, FindsADirectoryByItsIdWhereverItIsMounted) {
  Memory memory;
  EXPECT_EQ(memory.find(hello_of(1)).by, KnownBy::kNothing);
  ASSERT_TRUE(memory.take(hello_of(1), {{0, 5}, {7, 2}}).has_value());
  ASSERT_TRUE(memory.take(hello_of(1), {{0, 6}}).has_value());
  const Known known = memory.find(hello_of(1, "/elsewhere"));
  EXPECT_EQ(known.by, KnownBy::kDirectory);
  EXPECT_EQ(known.on_server, (Counters{{0, 6}, {7, 2}}));
}

TEST(Memory, FindsADirectoryThatLostItsIdByItsPlace) {
  Memory memory;
  ASSERT_TRUE(memory.take(hello_of(1), {{0, 5}}).has_value());
  ASSERT_TRUE(memory.take(hello_of(2), {{0, 9}}).has_value());
  const Known known = memory.find(hello_of(3));
  EXPECT_EQ(known.by, KnownBy::kPlace);
  EXPECT_EQ(known.on_server, (Counters{{0, 9}}));  // of the newer one
  EXPECT_EQ(memory.find(hello_of(3, "/other")).by, KnownBy::kNothing);
}

TEST(Memory, AFreshClientIsForgottenFirst) {
  Memory memory;
  ASSERT_TRUE(memory.take(hello_of(1), {{0, 5}}).has_value());
  ASSERT_TRUE(memory.take(hello_of(2, "/other"), {{0, 5}}).has_value());
  EXPECT_EQ(memory.find(hello_of(3, "/test", true)).by, KnownBy::kNothing);
  EXPECT_EQ(memory.find(hello_of(1)).by, KnownBy::kNothing);
  EXPECT_EQ(memory.find(hello_of(2)).by, KnownBy::kDirectory);
}

TEST(Memory, ACounterNeverGoesBack) {
  Memory memory;
  ASSERT_TRUE(memory.take(hello_of(1), {{0, 5}, {1, 5}}).has_value());
  const Memory before = memory;
  const Status taken = memory.take(hello_of(1), {{0, 9}, {1, 4}});
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().code(), Code::kStaleVersion);
  EXPECT_NE(taken.error().message().find("id1"), std::string::npos);
  EXPECT_EQ(memory, before);
  EXPECT_TRUE(memory.take(hello_of(1), {{1, 5}}).has_value());
}

TEST(Memory, HasALimit) {
  Memory memory;
  for (std::uint64_t i = 1; i <= kDirectoriesMax; ++i) {
    ASSERT_TRUE(memory.take(hello_of(i, "/" + std::to_string(i)), {{0, 1}}).has_value());
  }
  EXPECT_EQ(memory.take(hello_of(99999), {{0, 1}}).error().code(), Code::kOverloaded);
  EXPECT_TRUE(memory.take(hello_of(1, "/1"), {{0, 2}}).has_value());
}

TEST(Memory, SurvivesAsText) {
  Memory memory;
  ASSERT_TRUE(memory.take(hello_of(1, "/with blank\nand %41 \xc3\xa4"), {{0, 5}}).has_value());
  ASSERT_TRUE(memory.take(hello_of(2, ""), {{199, UINT64_MAX}}).has_value());
  const Result<Memory> read = Memory::parse(memory.to_text());
  ASSERT_TRUE(read.has_value()) << read.error().message();
  EXPECT_EQ(*read, memory);
  EXPECT_EQ(*Memory::parse(Memory().to_text()), Memory());
}

TEST(Memory, DamagedTextIsRefused) {
  Memory memory;
  ASSERT_TRUE(memory.take(hello_of(1), {{0, 5}, {3, 77}}).has_value());
  const std::string good = memory.to_text();
  Prng prng(7);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ static_cast<char>(prng.between(1, 127)));
    ASSERT_FALSE(Memory::parse(bad).has_value()) << i;
    ASSERT_FALSE(Memory::parse(good.substr(0, i)).has_value()) << i;
  }
}

}  // namespace
}  // namespace cairn::admin::hwflush
