#include "admin/hwflush/record.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/base/prng.h"

namespace cairn::admin::hwflush {
namespace {

constexpr DirectoryId kDirectory{0x1234, 0x5678};

std::vector<std::byte> block_of(const Record& record) {
  std::vector<std::byte> block(kRecordBytes);
  encode_record(record, block);
  return block;
}

// A file of `records` blocks as a thread leaves it after counters 1 to `newest`.
std::vector<std::byte> file_after(std::uint64_t newest, std::uint64_t records) {
  std::vector<std::byte> file(records * kRecordBytes);
  for (std::uint64_t counter = 1; counter <= newest; ++counter) {
    encode_record({.directory = kDirectory, .thread = 3, .counter = counter},
                  MutableBytes(file).subspan(counter % records * kRecordBytes, kRecordBytes));
  }
  return file;
}

TEST(Record, SurvivesTheWayToTheDeviceAndBack) {
  for (const std::uint64_t counter : {std::uint64_t{1}, std::uint64_t{77}, UINT64_MAX}) {
    const Record record{.directory = kDirectory, .thread = 199, .counter = counter};
    EXPECT_EQ(decode_record(block_of(record)), record);
  }
}

TEST(Record, LayoutIsAsDocumented) {
  const auto block = block_of({.directory = kDirectory, .thread = 7, .counter = 9});
  EXPECT_EQ(as_text(Bytes(block).first(8)), "CRNHWFL1");
  EXPECT_EQ(load_le<std::uint32_t>(block.data() + 8), 7U);
  EXPECT_EQ(load_le<std::uint64_t>(block.data() + 16), 0x1234U);
  EXPECT_EQ(load_le<std::uint64_t>(block.data() + 24), 0x5678U);
  EXPECT_EQ(load_le<std::uint64_t>(block.data() + 32), 9U);
}

TEST(Record, EveryFlippedBitIsNoticed) {
  const auto good = block_of({.directory = kDirectory, .thread = 1, .counter = 5});
  Prng prng(1);
  for (int round = 0; round < 2000; ++round) {
    auto bad = good;
    const std::uint64_t bit = prng.below(kRecordBytes * 8);
    bad[bit / 8] ^= std::byte{1} << static_cast<int>(bit % 8);
    ASSERT_FALSE(decode_record(bad).has_value()) << bit;
  }
}

TEST(Record, GarbageIsNone) {
  Prng prng(2);
  std::vector<std::byte> block(kRecordBytes);
  EXPECT_FALSE(decode_record(block).has_value());
  EXPECT_FALSE(decode_record(Bytes(block).first(100)).has_value());
  EXPECT_FALSE(decode_record({}).has_value());
  for (int round = 0; round < 200; ++round) {
    for (std::byte& byte : block) byte = static_cast<std::byte>(prng.next());
    if (round % 2 == 0) std::memcpy(block.data(), "CRNHWFL1", 8);
    ASSERT_FALSE(decode_record(block).has_value());
  }
}

TEST(NewestCounter, ATornRecordLeavesTheOneBefore) {
  for (const std::uint64_t records : {std::uint64_t{2}, std::uint64_t{5}}) {
    for (std::size_t torn = 512; torn < kRecordBytes; torn += 512) {
      auto file = file_after(12, records);
      const auto next = block_of({.directory = kDirectory, .thread = 3, .counter = 13});
      std::copy_n(next.begin(), torn,
                  file.begin() + static_cast<std::ptrdiff_t>(13 % records * kRecordBytes));
      EXPECT_EQ(newest_counter(file, kDirectory, 3), 12U) << records << " " << torn;
    }
  }
}

TEST(NewestCounter, CountsOnlyItsOwnThreadAndDirectory) {
  const auto file = file_after(9, 4);
  EXPECT_EQ(newest_counter(file, kDirectory, 3), 9U);
  EXPECT_EQ(newest_counter(file, kDirectory, 4), 0U);
  EXPECT_EQ(newest_counter(file, DirectoryId{1, 1}, 3), 0U);
}

TEST(NewestCounter, AFileThatWasCutCountsWhatIsLeft) {
  const auto file = file_after(3, 4);
  EXPECT_EQ(newest_counter(Bytes(file).first(3 * kRecordBytes), kDirectory, 3), 2U);
  EXPECT_EQ(newest_counter(Bytes(file).first(2 * kRecordBytes + 100), kDirectory, 3), 1U);
  EXPECT_EQ(newest_counter({}, kDirectory, 3), 0U);
}

TEST(DirectoryId, IsPrintedAndRead) {
  EXPECT_EQ(DirectoryId::parse(kDirectory.to_string()), kDirectory);
  EXPECT_EQ(kDirectory.to_string().size(), 32U);
  for (const char* bad : {"", "12", "0000000000000000000000000000000g",
                          "00000000000000000000000000000000", "-0000000000000010000000000000001"}) {
    EXPECT_FALSE(DirectoryId::parse(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace cairn::admin::hwflush
